"""Records are parsed alike however many tasks share them, and an answer goes to the record it is of or to none."""

from __future__ import annotations

from concurrent.futures import wait
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest
from pyspark.sql import SparkSession

from promolake.core.flow import Ingest
from promolake.engine import parsing, prepared
from promolake.engine.arrow import arrow_schema
from promolake.engine.parsing import Parser, _beside
from promolake.hallway import HALLWAY

FEW = 500
NOW = datetime(2026, 11, 11, 12, tzinfo=UTC)


def records(flow: Ingest, count: int) -> pa.Table:
    """Examples of the contract, every third of them cut off; the offsets stand in the order of arrival."""
    examples = flow.topic.examples
    values = [examples[n % len(examples)].encode()[: None if n % 3 else 20] for n in range(count)]
    common = {"topic": flow.topic.name, "partition": 0, "kafka_timestamp": NOW, "key": b"shop", "headers": [], "ingested_at": NOW}
    return pa.Table.from_pylist([common | {"offset": 7 * n, "value": value} for n, value in enumerate(values)], arrow_schema(flow.bronze))


@pytest.mark.spark
def test_shares_of_a_kept_plan_answer_as_one_plan_made_for_it_does(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a cluster, whose executors do not see the driver's files."""
    monkeypatch.setattr(parsing, "FEW", FEW)
    flows = HALLWAY.ingests[2:4]
    given = {flow.table.name: records(flow, FEW) for flow in flows}
    shared = Parser(spark, tmp_path / "kept", flows, b"key")
    with monkeypatch.context() as cluster:
        for module in (prepared, parsing):
            cluster.setattr(module, "keeps_plans", lambda spark: False)
        whole = Parser(spark, tmp_path / "anew", flows, b"key")
        found = whole.parse(given)
    shared.parse({name: rows.slice(0, 5) for name, rows in given.items()})
    assert (shared._others, shared.kept) == ([], {flow.table.short for flow in flows}), "few records need no second plan"
    alone = shared.parse(given)
    wait(shared._others)
    assert (whole._others, whole.kept) == ([], set())
    assert not (tmp_path / "anew").exists(), "raw records were written where nobody reads them"
    assert len(shared._copies_for(FEW + 1)) == 2
    for answered in (alone, shared.parse(given)):
        assert {name: rows.to_pylist() for name, rows in answered.items()} == {name: rows.to_pylist() for name, rows in found.items()}
    for flow in flows:
        assert found[flow.table.name]["offset"].to_pylist() == given[flow.table.name]["offset"].to_pylist()
        assert 0 < found[flow.table.name]["row"].null_count < FEW
    for one in (shared, whole):
        one.close()


@pytest.mark.parametrize("offsets", [[2, 1], [1], [1, 2, 3], []])
def test_answers_of_other_records_are_refused(offsets: list[int]) -> None:
    def answers(at: list[int]) -> pa.Table:
        columns = {"partition": pa.array([0] * len(at), pa.int32()), "offset": pa.array(at, pa.int64())}
        return pa.table(columns | {"violations": pa.array([[]] * len(at), pa.list_(pa.string())), "row": at})

    asked = answers([1, 2]).select(["partition", "offset"])
    assert _beside(asked, answers([1, 2]))["row"].to_pylist() == [1, 2]
    with pytest.raises(RuntimeError, match="other records than it was given"):
        _beside(asked, answers(offsets))


@pytest.mark.spark
def test_the_key_takes_no_python_worker(spark: SparkSession) -> None:
    keyed = parsing.with_key(spark.range(1), b"key")
    assert keyed.count() == 1
    assert "ExistingRDD" not in keyed._jdf.queryExecution().executedPlan().toString(), "rows of Python, which a worker unpickles"
