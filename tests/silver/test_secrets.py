"""The pseudonym key shows in no plan."""

import base64

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from frames import INGESTS, KEY, record, records_frame
from promolake.columns.masking import key_pads
from promolake.silver.entity import parsed
from promolake.sources import orders


def written_down(frame: DataFrame) -> str:
    """Every form in which Spark writes a plan down."""
    frame.collect()
    execution = frame._jdf.queryExecution()
    modes = frame.sparkSession._jvm.org.apache.spark.sql.execution.ExplainMode
    explained = [execution.explainString(modes.fromString(mode)) for mode in ("extended", "formatted", "codegen")]
    return "\n".join([*explained, execution.toString(), execution.optimizedPlan().toJSON(), execution.executedPlan().toJSON()]).lower()


def traces(secret: bytes) -> list[str]:
    """What would be seen of its first bytes if it stood there: hexadecimal, text, base64, or a list of numbers."""
    head = secret[:8]
    numbers = [", ".join(str(byte - 256 * (byte > 127)) for byte in head), " ".join(f"{byte:02x}" for byte in head)]
    return [trace.lower() for trace in (head.hex(), head.decode("latin-1"), base64.b64encode(secret)[:8].decode(), *numbers)]


@pytest.fixture(scope="module")
def plans(spark: SparkSession) -> str:
    records = records_frame(spark, [record(orders.TOPIC, orders.TOPIC.examples[0])])
    return written_down(parsed(records, INGESTS[orders.TOPIC.name]))


@pytest.mark.parametrize("secret", [KEY, *key_pads(KEY)], ids=["the key", "the inner pad", "the outer pad"])
def test_the_key_shows_in_no_plan(plans: str, secret: bytes) -> None:
    assert [trace for trace in traces(secret) if trace in plans] == []
    assert "hmac_inner" in plans


def test_a_key_given_as_a_literal_would_show(spark: SparkSession) -> None:
    plan = written_down(spark.range(1).select(F.lit(bytearray(KEY))))
    assert any(trace in plan for trace in traces(KEY))
