"""The house keeps its own rules: every flow its contract, every room its place."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.types import _parse_datatype_string

from frames import frame, read, record, records_frame
from promolake.core.flow import Ingest, Join, Metric
from promolake.core.table import Table, Written
from promolake.core.topic import Topic
from promolake.hallway import HALLWAY
from promolake.silver.entity import parsed, quarantine_rows, silver_rows
from promolake.sources import TOPICS

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "promolake"
FILES = sorted(SOURCE.rglob("*.py"))
GOLD: tuple[Metric | Join, ...] = (*HALLWAY.metrics, *HALLWAY.joins)
OF_CHANCE = (
    r"\b(first|last|any_value|rand|randn|uuid|shuffle|current_timestamp|current_date|now|monotonically_increasing_id|spark_partition_id)\("
)


def by_name(noun: Table | Ingest | Metric | Join | Topic) -> str:
    return getattr(noun, "table", noun).name


tables = pytest.mark.parametrize("table", HALLWAY.tables, ids=by_name)
ingests = pytest.mark.parametrize("flow", HALLWAY.ingests, ids=by_name)
gold = pytest.mark.parametrize("flow", GOLD, ids=by_name)

# --- contracts ----------------------------------------------------------------------------------------------------------------


def test_no_two_tables_share_a_name() -> None:
    names = [table.name for table in HALLWAY.tables]
    assert len(names) == len(set(names))
    shorts = [table.short for table in HALLWAY.tables if table.layer != "bronze"]  # the name of module, query and checkpoint
    assert len(shorts) == len(set(shorts))


@tables
def test_a_tables_name_says_what_it_holds(table: Table) -> None:
    patterns = {"bronze": r"[a-z]+_[a-z]+", "silver": r"(quarantine_)?[a-z_]+s", "gold": r"[a-z_]+_per_[a-z_]+"}
    joined = [flow.table for flow in HALLWAY.joins]  # one row per event: a plural noun, as in silver
    assert re.fullmatch(patterns["silver" if table in joined else table.layer], table.short)


@pytest.mark.parametrize("flow", [*HALLWAY.ingests, *GOLD, *HALLWAY.forwards], ids=lambda flow: getattr(flow, "table", flow).name)
def test_a_flow_lives_in_the_module_of_its_name(flow) -> None:
    function = flow.projection if isinstance(flow, Ingest) else flow.function
    layer, name = ("gold", flow.name) if flow in HALLWAY.forwards else (flow.table.layer, flow.table.short)
    assert function.__module__ == f"promolake.{layer}.{name}"
    assert isinstance(flow, Ingest) or function.__name__ == name
    assert sys.modules[function.__module__].FLOW is flow


def test_every_module_of_silver_and_gold_stands_in_the_hallway() -> None:
    modules = {f"{path.parent.name}.{path.stem}" for path in FILES if path.parent.name in ("silver", "gold") and path.stem != "__init__"}
    shared = {"silver.entity", "gold.window"}
    flows = {flow.table.name for flow in (*HALLWAY.ingests, *GOLD)} | {f"gold.{flow.name}" for flow in HALLWAY.forwards}
    assert modules - shared == flows


@tables
def test_every_table_and_column_is_described_in_a_sentence(table: Table) -> None:
    for noun in (table, *table.columns):
        assert noun.description.strip().endswith("."), noun


@tables
def test_a_tables_grain_and_stats_are_columns_of_it(table: Table) -> None:
    assert len(set(table.column_names)) == len(table.column_names)
    assert {*table.grain, *table.stats} <= {*table.column_names}
    assert table.grain or table.written is Written.APPEND


@tables
def test_no_value_delta_keeps_in_its_log_is_personal(table: Table) -> None:
    """Delta keeps min and max of the stats columns in clear: times and positions only."""
    types = {column.name: column.type for column in table.columns}
    assert {types[name] for name in table.stats} <= {"timestamp", "int", "bigint"}
    assert table.stats


@tables
def test_names_and_types_agree(table: Table) -> None:
    for column in table.columns:
        for ending, kind in {
            "_count": "bigint",
            "_at": "timestamp",
            "_time": "timestamp",
            "_hash": "bigint|string",
            "_masked": "string",
        }.items():
            assert not column.name.endswith(ending) or re.fullmatch(kind, column.type), column
        assert not column.name.startswith("is_") or column.type == "boolean", column
        if column.name.endswith(("_amount", "_price")):
            assert column.type.startswith("decimal("), column
            assert "currency" in table.column_names, column


@ingests
def test_a_silver_row_has_its_times_and_one_grain(flow: Ingest) -> None:
    assert {"event_time", "ingested_at"} <= {*flow.table.column_names}
    assert flow.table.grain == ("event_id",)
    assert "ingested_at" in flow.bronze.column_names
    assert "violations" in flow.quarantine.column_names
    assert {flow.bronze.written, flow.table.written, flow.quarantine.written} == {Written.APPEND}


@ingests
def test_no_sensitive_field_has_a_silver_column_of_its_own(flow: Ingest) -> None:
    sensitive = {field.flat for field in flow.topic.fields if field.sensitive}
    assert not sensitive & {*flow.table.column_names}


@gold
def test_a_gold_flow_reads_columns_that_exist_of_tables_that_only_grow(flow: Metric | Join) -> None:
    silver = [ingest.table for ingest in HALLWAY.ingests]
    for reads in flow.reads:
        assert reads.table in silver
        assert reads.table.written is Written.APPEND
        assert {*reads.columns} <= {*reads.table.column_names}
        assert "event_time" in reads.columns
    assert flow.table.written is not Written.APPEND


def test_what_is_forwarded_is_read_from_silver() -> None:
    assert {flow.reads.layer for flow in HALLWAY.forwards} == {"silver"}
    assert not {flow.topic for flow in HALLWAY.forwards} & {topic.name for topic in TOPICS}


@pytest.mark.parametrize("topic", TOPICS, ids=by_name)
def test_a_topic_promises_identity_examples_and_descriptions(topic: Topic) -> None:
    names = [field.name for field in topic.fields]
    assert names[:2] == ["event_id", "event_time"]
    assert len({field.flat for field in topic.fields}) == len(names)
    assert topic.key in names
    assert topic.examples
    assert [field.name for field in topic.fields if not field.description.endswith(".")] == []
    assert [field.name for field in topic.fields if field.kind == "code" and not field.one_of] == []
    assert [field.name for field in topic.fields if field.kind in ("integer", "percent") and None in (field.minimum, field.maximum)] == []


def test_every_topic_has_an_entity() -> None:
    assert [flow.topic for flow in HALLWAY.ingests] == list(TOPICS)


@ingests
def test_a_rule_has_a_name_of_its_own_and_says_what_it_asks(flow: Ingest) -> None:
    names = [rule.name for rule in flow.rules]
    assert len(names) == len(set(names))
    assert [rule.name for rule in flow.rules if not rule.description.endswith(".")] == []


# --- functions ----------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole_plans(spark: SparkSession) -> Iterator[None]:
    """Plans are written down without leaving fields out."""
    spark.conf.set("spark.sql.debug.maxToStringFields", "10000")
    yield
    spark.conf.unset("spark.sql.debug.maxToStringFields")


def promised(table: Table) -> dict[str, str]:
    return {field.name: field.dataType.simpleString() for field in _parse_datatype_string(table.ddl).fields}


def given(rows: DataFrame) -> dict[str, str]:
    return {field.name: field.dataType.simpleString() for field in rows.schema.fields}


def of_nothing(spark: SparkSession, flow: Metric | Join) -> DataFrame:
    return flow.function(*(read(spark, reads, []) for reads in flow.reads))


@gold
def test_a_gold_function_returns_exactly_the_columns_and_types_it_promises(spark: SparkSession, flow: Metric | Join) -> None:
    assert list(given(of_nothing(spark, flow)).items()) == list(promised(flow.table).items())
    if isinstance(flow, Join):
        assert list(given(flow.settled(frame(spark, flow.table, []))).items()) == list(promised(flow.table).items())


@gold
@pytest.mark.usefixtures("whole_plans")
def test_a_gold_function_leaves_nothing_to_chance_or_to_the_clock(spark: SparkSession, flow: Metric | Join) -> None:
    rows = of_nothing(spark, flow)
    found = [rows, flow.settled(rows)] if isinstance(flow, Join) else [rows]
    assert [re.findall(OF_CHANCE, one._jdf.queryExecution().analyzed().toString()) for one in found] == [[] for _ in found]


@pytest.mark.usefixtures("whole_plans")
def test_chance_and_the_clock_would_be_found(spark: SparkSession) -> None:
    plan = spark.sql("SELECT first(id), uuid(), current_timestamp() FROM range(3)")._jdf.queryExecution().analyzed().toString()
    assert set(re.findall(OF_CHANCE, plan)) == {"first", "uuid", "current_timestamp"}


@pytest.mark.usefixtures("whole_plans")
def test_the_parse_pass_gives_silver_and_quarantine_as_promised_and_leaves_nothing_to_chance(spark: SparkSession) -> None:
    for flow in HALLWAY.ingests:
        rows = parsed(records_frame(spark, [record(flow.topic, flow.topic.examples[0])]), flow)
        assert list(given(silver_rows(rows, flow)).items()) == list(promised(flow.table).items())
        assert list(given(quarantine_rows(rows, flow)).items()) == list(promised(flow.quarantine).items())
        assert re.findall(OF_CHANCE, rows._jdf.queryExecution().analyzed().toString()) == []


# --- files --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_a_file_is_short_and_named_for_what_it_holds(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 400
    assert not re.search(r"util|helper|common|manager", path.stem)


def test_only_the_engine_reads_and_writes_streams_and_tables() -> None:
    door = re.compile(r"\b(readStream|writeStream|write_deltalake|saveAsTable)\b|\.write\.|\.toTable\(")
    rooms = [path for path in FILES if path.parent != SOURCE / "engine"]
    assert [str(path.relative_to(SOURCE)) for path in rooms if door.search(path.read_text())] == []


def test_an_entry_point_is_thin() -> None:
    entry_points = (ROOT / "pipelines").glob("*.py")
    assert {path.name: lines for path in entry_points if (lines := len(path.read_text().splitlines())) > 30} == {}


def test_who_may_import_whom_is_kept() -> None:
    lint = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert lint.returncode == 0, lint.stdout + lint.stderr
