"""What the commands answer, and that every expected failure is one sentence and an exit code."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest
import typer

from promolake import cli
from promolake.cli import main
from promolake.engine import session as sessions
from promolake.engine.arrow import arrow_schema
from promolake.engine.kafka import ensure_topics
from promolake.engine.lakehouse import Lakehouse, Txn
from promolake.engine.ledger import FORWARDS, LEDGER
from promolake.engine.lock import writing
from promolake.gold.sales_per_product_per_minute import TABLE as SALES
from promolake.hallway import HALLWAY
from promolake.sources import TOPICS

MIDNIGHT = datetime(2026, 11, 11, tzinfo=UTC)
COMMANDS = ("demo", "local", "simulate", "replay", "run", "rebuild", "serve", "sql", "sql-server", "status", "check", "audit", "doctor")
COMMANDS += ("maintain", "tables", "sample", "alerts", "quarantine", "verify")


@pytest.fixture
def sales(home: Path) -> None:
    rows = [
        {"window_start": MIDNIGHT + timedelta(minutes=n), "window_end": MIDNIGHT + timedelta(minutes=n + 1), "currency": "CNY"}
        | {"product_id": f"p{n}", "sales_amount": Decimal("0.1000") * n, "unit_count": n, "sale_count": 1}
        for n in (1, 2)
    ]
    Lakehouse(home / "lake").upsert(SALES, pa.Table.from_pylist(rows, schema=arrow_schema(SALES)), Txn("test", 0))


# --- help ------------------------------------------------------------------------------------------------------------------------


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    listed = capsys.readouterr().out
    assert all(f" {command} " in listed for command in COMMANDS)
    assert "--home" in listed


@pytest.mark.parametrize("command", [*((name,) for name in COMMANDS), ("local", "up"), ("local", "down"), ("local", "status")])
def test_every_command_has_help_that_begins_with_a_sentence(command: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*command, "--help"]) == 0
    shown = [line.strip(" │") for line in capsys.readouterr().out.splitlines()]
    usage = next(n for n, line in enumerate(shown) if line.startswith("Usage:"))
    assert next(line for line in shown[usage + 1 :] if line).rstrip()[-1] in ".):" or "." in " ".join(shown[usage + 1 :])


def modules(group: typer.Typer) -> dict[str, set[str]]:
    """The modules each command of a group is written in, with those of its own commands."""
    alone = {one.name or one.callback.__name__: {one.callback.__module__} for one in group.registered_commands}
    return alone | {one.name: set().union(*modules(one.typer_instance).values()) for one in group.registered_groups}


def test_each_command_is_in_the_modules_that_are_loaded_for_it() -> None:
    cli.register()
    assert modules(cli.app) == {command: {f"promolake.cli.{name}" for name in names} for command, names in cli.MODULES.items()}


def test_nothing_that_takes_long_to_load_is_loaded_for_another_command() -> None:
    """Of a word that stands for a folder, too."""
    code = "import sys; from promolake.cli import main; main(['--home', 'run', 'status', '--help']); print(*sys.modules)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    loaded = said.splitlines()[-1].split()
    assert {"promolake.cli.looking", "typer"} <= set(loaded)
    assert {"promolake.cli.jobs", "promolake.hallway", "pyspark", "pandas", "duckdb", "deltalake", "kafka"}.isdisjoint(loaded)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere Arrow may not have it")
@pytest.mark.parametrize(("wanted", "taken"), [({}, "jemalloc"), ({"ARROW_DEFAULT_MEMORY_POOL": "system"}, "system")])
def test_arrow_has_an_allocator_that_gives_back_unless_the_environment_says_another(wanted: dict[str, str], taken: str) -> None:
    code = """import promolake.cli.__main__ as door
def main(_):
    import pyarrow
    print(pyarrow.default_memory_pool().backend_name)
    return 0
door.main = main
door.process()"""
    plain = {name: value for name, value in os.environ.items() if name != "ARROW_DEFAULT_MEMORY_POOL"}
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=plain | wanted).stdout
    assert said == f"{taken}\n"


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere delta-rs has another allocator")
def test_what_delta_rs_is_told_to_give_back_is_understood() -> None:
    """Its allocator says nothing when it looks for another variable, or takes none of it."""
    code = """import promolake.cli.__main__ as door
def main(_):
    import os
    os.environ["_RJEM_MALLOC_CONF"] += ",confirm_conf:true"
    import deltalake
    return 0
door.main = main
door.process()"""
    plain = {name: value for name, value in os.environ.items() if name != "_RJEM_MALLOC_CONF"}
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=plain).stderr
    understood = re.findall(r"Set conf value: (\S+)", said)
    assert {"narenas:2", "tcache_max:2048", "dirty_decay_ms:1000", "muzzy_decay_ms:0", "background_thread:true"} <= set(understood)
    assert "Invalid" not in said


def test_into_a_pipe_names_are_printed_whole(promolake) -> None:
    answer = promolake("tables")
    assert [table.name for table in HALLWAY.tables if f" {table.name} " not in answer.out] == []
    assert "…" not in answer.out


def test_a_command_that_does_not_exist_is_a_usage_error(promolake) -> None:
    answer = promolake("sell")
    assert answer.code == 2
    assert "No such command 'sell'" in answer.err


# --- sql -------------------------------------------------------------------------------------------------------------------------

STATEMENT = "SELECT product_id, sales_amount, window_start FROM gold.sales_per_product_per_minute ORDER BY product_id"


def test_sql_answers_json_csv_and_a_table_with_exact_figures(promolake, sales: None) -> None:
    assert json.loads(promolake("sql", STATEMENT, "--format", "json").out) == [
        {"product_id": "p1", "sales_amount": "0.1000", "window_start": "2026-11-11T00:01:00Z"},
        {"product_id": "p2", "sales_amount": "0.2000", "window_start": "2026-11-11T00:02:00Z"},
    ]
    assert list(csv.reader(io.StringIO(promolake("sql", STATEMENT, "--format", "csv").out.rstrip("\n"))))[1:] == [
        ["p1", "0.1000", "2026-11-11T00:01:00Z"],
        ["p2", "0.2000", "2026-11-11T00:02:00Z"],
    ]
    answer = promolake("sql", STATEMENT)
    assert answer.code == 0
    assert answer.err == ""
    assert [line.split() for line in answer.out.splitlines() if line.strip().startswith("p")][1:] == [
        ["p1", "0.1000", "2026-11-11T00:01:00Z"],
        ["p2", "0.2000", "2026-11-11T00:02:00Z"],
    ]


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("SELEC 1", "syntax error"),
        ("DROP TABLE gold.sales_per_product_per_minute", "Only one query is taken"),
        ("SELECT * FROM gold.nothing", "There is no table gold.nothing. There are gold.sales_per_product_per_minute, gold.top_products."),
    ],
)
def test_a_bad_statement_is_one_sentence_on_stderr_and_exit_code_2(promolake, sales: None, statement: str, said: str) -> None:
    answer = promolake("sql", statement)
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.startswith("promolake: ")
    assert said in answer.err
    assert answer.err.count("\n") == 1


def test_sql_over_an_empty_home_says_how_to_fill_it(promolake) -> None:
    answer = promolake("sql", "SELECT 1")
    assert answer.code == 2
    assert "holds no table yet. Fill it with" in answer.err


# --- status ----------------------------------------------------------------------------------------------------------------------


def test_status_of_an_empty_home_is_nothing_and_not_an_error(promolake, home: Path) -> None:
    answer = promolake("status", "--json")
    assert answer.code == 0
    found = json.loads(answer.out)
    nothing = {"lag": None, "read": 0, "valid": 0, "quarantined": 0, "duplicate": 0}
    assert found["topics"] == [{"topic": topic.name, **nothing} for topic in TOPICS]
    assert (found["home"], found["running"], found["bootstrap"], found["gold"]) == (str(home), {}, None, [])
    assert found["forwards"] == [{"topic": "app.logs.errors", "audited": 0, "by_lane": 0, "by_micro_batch": 0}]
    assert "running nothing\nbroker none answers" in promolake("status").out


def test_status_tells_who_writes_what_was_read_and_how_fresh_gold_is(promolake, home: Path, sales: None) -> None:
    book = {"query": "main", "batch_id": 0, "topic": "shop.orders", "ingested_at": MIDNIGHT}
    counts = {"read_count": 10, "valid_count": 7, "quarantined_count": 2, "duplicate_count": 1}
    rows = [book | counts | {"partition": partition, "first_offset": 0, "last_offset": 9} for partition in (0, 1)]
    Lakehouse(home / "lake").append(LEDGER, pa.Table.from_pylist(rows, schema=arrow_schema(LEDGER)), Txn("test", 0))
    with writing(home, [SALES]):
        found = json.loads(promolake("status", "--json").out)
        assert f"running {SALES.name} (pid {os.getpid()})" in promolake("status").out
    assert found["running"] == {SALES.name: os.getpid()}
    (orders,) = (topic for topic in found["topics"] if topic["topic"] == "shop.orders")
    assert orders == {"topic": "shop.orders", "lag": None, "read": 20, "valid": 14, "quarantined": 4, "duplicate": 2}
    assert found["gold"] == [{"table": SALES.name, "rows": 2, "newest": "2026-11-11 00:02:00+00:00"}]


def test_status_tells_how_many_errors_the_lane_sent_and_how_many_it_missed(promolake, home: Path) -> None:
    book = {"query": "main", "flow": "forwarded_errors", "topic": "app.logs.errors", "ingested_at": MIDNIGHT}
    rows = [book | {"batch_id": n, "due_count": due, "sent_count": sent} for n, (due, sent) in enumerate([(1200, 0), (100, 4)])]
    lake = Lakehouse(home / "lake")
    lake.create([FORWARDS])
    lake.append(FORWARDS, pa.Table.from_pylist(rows, schema=arrow_schema(FORWARDS)), Txn("test", 0))
    found = json.loads(promolake("status", "--json").out)["forwards"]
    assert found == [{"topic": "app.logs.errors", "audited": 1300, "by_lane": 1296, "by_micro_batch": 4}]
    assert re.search(r"app\.logs\.errors\W+1,300\W+1,296\W+4\b", promolake("status").out)


@pytest.mark.broker
def test_the_lag_is_what_the_broker_holds_and_no_batch_has_read(promolake, bootstrap: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ensure_topics(bootstrap, [topic.name for topic in TOPICS])
    monkeypatch.setenv("PROMOLAKE_KAFKA__BOOTSTRAP", bootstrap)
    before = {topic["topic"]: topic["lag"] for topic in json.loads(promolake("status", "--json").out)["topics"]}
    assert promolake("simulate", "--count", "200", "--rate", "2000", "--seed", "5").code == 0
    after = {topic["topic"]: topic["lag"] for topic in json.loads(promolake("status", "--json").out)["topics"]}
    assert sum(after.values()) - sum(before.values()) == 200


# --- refusals before anything is started -----------------------------------------------------------------------------------------


def test_replaying_into_the_wrong_topic_is_refused(promolake, home: Path) -> None:
    answer = promolake("replay", "shop.views", "orders.csv", "--map", "online_retail")
    assert answer.code == 2
    assert answer.err == "promolake: The mapping online_retail is for shop.orders, not for shop.views. Say `replay shop.orders ...`.\n"
    assert not home.exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "--query", "night"], "There is no query night. Queries in conf/promolake.yaml: main."),
        (["run", "--only", "gmv_per_hour"], "There is no flow gmv_per_hour. Flows: bronze.shop_searches, "),
        (["replay", "shop.views", "x.csv", "--map", "nothing"], "nothing"),
    ],
)
def test_a_name_that_does_not_exist_is_refused_before_spark_starts(promolake, home: Path, arguments: list[str], said: str) -> None:
    answer = promolake(*arguments)
    assert answer.code == 2
    assert said in answer.err
    assert not home.exists()


def test_a_file_that_does_not_fit_is_refused_before_a_broker_is_waited_for_and_its_names_stand_as_they_are(promolake, home: Path) -> None:
    file = home.parent / "orders.csv"
    file.write_text("[/b],price[0]\n")
    answer = promolake("replay", "shop.orders", str(file), "--map", "online_retail")
    assert answer.code == 2
    assert "orders.csv has no column CustomerID; it has: [/b], price[0]." in answer.err
    assert not home.exists()


def test_a_broker_that_does_not_run_is_no_broker(promolake) -> None:
    assert promolake("local", "status") == (1, "not running\n", "")
    assert promolake("local", "down") == (0, "was not running\n", "")


def test_a_misspelt_variable_ends_every_command_with_exit_code_2(promolake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROMOLAKE_KAFKA__BOOTSTRP", "a:1")
    for command in (["status"], ["sql", "SELECT 1"], ["run"], ["local", "status"]):
        answer = promolake(*command)
        assert answer.code == 2
        assert answer.err == "promolake: The variable PROMOLAKE_KAFKA__BOOTSTRP names no setting. See conf/promolake.yaml for the keys.\n"


@pytest.mark.parametrize("has_died", [True, False])
def test_what_fails_because_java_is_no_more_is_said_in_a_sentence_and_anything_else_is_raised(
    promolake, monkeypatch: pytest.MonkeyPatch, has_died: bool
) -> None:
    def failing(*_: object, **__: object) -> None:
        raise ConnectionRefusedError(111, "Connection refused")  # as py4j says it

    monkeypatch.setattr(type(cli.app), "__call__", failing)
    monkeypatch.setattr(sessions, "died", lambda: has_died)
    if has_died:
        answer = promolake("run")
        assert answer.code == 6
        assert "Java has ended in the middle of the work, killed or out of memory. Nothing is lost: start again" in answer.err
    else:
        with pytest.raises(ConnectionRefusedError):
            promolake("run")
