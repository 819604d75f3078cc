"""`promolake sql-server`: BI tools over JDBC and a Python client see gold and ops, can only ask, and the server ends when told to."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyspark
import pytest
from impala.dbapi import connect
from impala.error import Error

from promolake.core.table import Table
from promolake.engine import class_archive
from promolake.engine.arrow import arrow_schema
from promolake.engine.lakehouse import Lakehouse, Txn
from promolake.engine.ledger import LEDGER
from promolake.gold.sales_per_product_per_minute import TABLE as SALES
from promolake.hallway import HALLWAY

MIDNIGHT = datetime(2026, 11, 11, tzinfo=UTC)
SOLD = "SELECT product_id, sales_amount, unit_count, window_start FROM gold.sales_per_product_per_minute"
BRONZE, ORDERS = (next(table for table in HALLWAY.tables if table.name == name) for name in ("bronze.shop_orders", "silver.orders"))


SECRET = {"PROMOLAKE_PSEUDONYM_KEY": "as-secret-as-can-be"}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]


class Server:
    """The command as a process, over a lake with one sale, an empty ledger, and one order in clear in bronze."""

    def __init__(self, home: Path, **environment: str) -> None:
        self.lake = home / "lake"
        self.port = free_port()
        fill(self.lake)
        self.log = home / "server.log"
        command = [sys.executable, "-m", "promolake.cli", "--home", str(home), "sql-server", "--port", str(self.port)]
        with self.log.open("w") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, cwd=home, env=os.environ | SECRET | environment)

    @property
    def java(self) -> Path:
        """What the system shows of its JVM."""
        (pid,) = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return Path("/proc", pid)

    def ask(self, *statements: str, **settings: str) -> list[tuple[Any, ...]]:
        """The rows of the last of the statements, sent over one connection whose session asks for the settings."""
        with self.asking(**settings) as cursor:
            for statement in statements:
                cursor.execute(statement)
            return cursor.fetchall()

    @contextlib.contextmanager
    def asking(self, **settings: str) -> Iterator[Any]:
        """A cursor of a connection of its own."""
        address = {"host": "127.0.0.1", "port": self.port, "auth_mechanism": "PLAIN", "user": "me", "password": "none"}
        with connect(**address, timeout=120) as client, contextlib.closing(client.cursor(configuration=settings)) as cursor:
            yield cursor


def fill(lake: Path) -> None:
    lakehouse = Lakehouse(lake)
    lakehouse.create([LEDGER, ORDERS])
    row = {"window_start": MIDNIGHT, "window_end": MIDNIGHT + timedelta(minutes=1), "currency": "CNY"}
    row |= {"product_id": "p1", "sales_amount": Decimal("0.1"), "unit_count": 3, "sale_count": 1}
    lakehouse.upsert(SALES, rows(SALES, row), Txn("test", 0))
    raw = {"topic": "shop.orders", "partition": 0, "offset": 0, "kafka_timestamp": MIDNIGHT, "ingested_at": MIDNIGHT}
    lakehouse.append(BRONZE, rows(BRONZE, raw | {"key": b"o1", "value": b"+86 138 0000 0000", "headers": []}), Txn("test", 0))


def rows(table: Table, row: dict[str, Any]) -> pa.Table:
    return pa.Table.from_pylist([{name: row[name] for name in table.column_names}], schema=arrow_schema(table))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, until: Callable[..., None]) -> Iterator[Server]:
    with started(tmp_path_factory.mktemp("served"), until) as one:
        yield one


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory, until: Callable[..., None]) -> Iterator[Server]:
    """A server that ends a query after LIMIT_SECONDS."""
    limit = {"PROMOLAKE_SQL_SERVER__QUERY_SECONDS": str(LIMIT_SECONDS)}
    with started(tmp_path_factory.mktemp("impatient"), until, **limit) as one:
        yield one


@contextlib.contextmanager
def started(home: Path, until: Callable[..., None], **environment: str) -> Iterator[Server]:
    """A server that has said that it can be asked, killed at the end if it has not ended."""
    one = Server(home, **environment)
    try:
        yield _ready(one, until)
    finally:
        if one.process.poll() is None:
            one.process.kill()
            one.process.wait()


def _ready(one: Server, until: Callable[..., None]) -> Server:
    until(lambda: "try it: " in one.log.read_text() or one.process.poll() is not None, timeout_s=180)
    assert one.process.poll() is None, one.log.read_text()
    return one


def beeline(url: str, *statements: str) -> subprocess.CompletedProcess[str]:
    """What Spark's own JDBC client prints."""
    command = [Path(pyspark.__file__).parent / "bin" / "beeline", "-u", url, "-n", "me", "--silent=true", "--outputformat=csv2"]
    return subprocess.run([*command, *statements], capture_output=True, text=True, timeout=120)


spark = pytest.mark.spark

# --- what is answered ------------------------------------------------------------------------------------------------------------


@spark
def test_a_python_client_gets_exact_figures_from_tables_and_views(server: Server) -> None:
    assert server.ask(SOLD) == [("p1", Decimal("0.1000"), 3, datetime(2026, 11, 11))]
    sold = "SELECT product_id FROM gold.sales_per_product_per_minute"
    top = f"SELECT product_id FROM gold.top_products WHERE rank = 1 AND product_id IN ({sold})"
    assert {*server.ask(top)} == {("p1",)}
    assert server.ask("WITH n AS (SELECT COUNT(*) AS n FROM ops.ledger) SELECT n FROM n") == [(0,)]


@spark
def test_beeline_is_answered_with_the_line_the_server_prints(server: Server) -> None:
    url, shown = re.search(r"beeline -u (\S+) -n me -e '(.*)'", server.log.read_text()).groups()
    answer = beeline(url, "-e", shown, "-e", SOLD)
    assert answer.returncode == 0, answer.stderr
    assert "gold,sales_per_product_per_minute,false" in answer.stdout
    assert "p1,0.1000,3,2026-11-11 00:00:00.0" in answer.stdout


@spark
def test_a_tool_finds_gold_and_ops_and_nothing_else(server: Server) -> None:
    found = {f"{row[0]}.{row[1]}" for database in server.ask("SHOW DATABASES") for row in server.ask(f"SHOW TABLES IN {database[0]}")}
    assert found == {"gold.sales_per_product_per_minute", "gold.top_products", "ops.ledger"}
    described = server.ask("DESCRIBE gold.sales_per_product_per_minute")
    assert ("unit_count", "bigint") in [row[:2] for row in described]
    assert server.ask("USE gold", "SELECT COUNT(*) FROM top_products WHERE rank = 1")[0][0] > 0
    assert server.ask("EXPLAIN SELECT 1")
    assert server.ask("SET spark.sql.session.timeZone")[0][1] == "UTC"


@spark
def test_the_catalogue_calls_of_jdbc_find_the_same(server: Server) -> None:
    with server.asking() as cursor:
        cursor.get_databases()
        assert {row[0] for row in cursor.fetchall()} == {"default", "global_temp", "gold", "ops"}
        cursor.get_tables(database_name="gold")
        assert {row[2]: row[3] for row in cursor.fetchall()} == {"sales_per_product_per_minute": "TABLE", "top_products": "VIEW"}
        for name in ("sales_per_product_per_minute", "top_products"):
            assert ("unit_count", "BIGINT") in [column[:2] for column in cursor.get_table_schema(name, "gold")]


@spark
def test_several_clients_are_answered_at_once(server: Server) -> None:
    counts = [f"SELECT COUNT(*) + {n} FROM gold.sales_per_product_per_minute" for n in range(8)]
    with ThreadPoolExecutor(4) as clients:
        answers = list(clients.map(server.ask, counts))
    assert [rows[0][0] - n for n, rows in enumerate(answers)] == [1] * 8


@spark
def test_what_is_committed_while_it_runs_is_seen(server: Server) -> None:
    before = server.ask("SELECT COUNT(*) FROM gold.sales_per_product_per_minute")[0][0]
    row = {"window_start": MIDNIGHT, "window_end": MIDNIGHT + timedelta(minutes=1), "currency": "EUR"}
    row |= {"product_id": "p1", "sales_amount": Decimal(1), "unit_count": 1, "sale_count": 1}
    Lakehouse(server.lake).upsert(SALES, rows(SALES, row), Txn("test", 1))
    assert server.ask("SELECT COUNT(*) FROM gold.sales_per_product_per_minute") == [(before + 1,)]
    Lakehouse(server.lake).overwrite(SALES, rows(SALES, row | {"currency": "CNY"} | {"sales_amount": Decimal("0.1"), "unit_count": 3}), {})


# --- what is refused -------------------------------------------------------------------------------------------------------------

REFUSED = [
    "DELETE FROM gold.sales_per_product_per_minute",
    "INSERT INTO gold.sales_per_product_per_minute SELECT * FROM gold.sales_per_product_per_minute",
    "WITH r AS (SELECT * FROM gold.sales_per_product_per_minute) INSERT INTO gold.sales_per_product_per_minute SELECT * FROM r",
    "UPDATE gold.sales_per_product_per_minute SET unit_count = 0",
    "MERGE INTO gold.sales_per_product_per_minute AS t USING (SELECT 1 AS i) ON t.unit_count = i WHEN MATCHED THEN DELETE",
    "DROP TABLE gold.sales_per_product_per_minute",
    "DROP DATABASE gold CASCADE",
    "TRUNCATE TABLE gold.sales_per_product_per_minute",
    "VACUUM gold.sales_per_product_per_minute",
    "OPTIMIZE gold.sales_per_product_per_minute",
    "CREATE TABLE gold.mine (i INT) USING DELTA",
    "CREATE TABLE gold.clear USING DELTA LOCATION '{lake}/bronze/shop_orders'",
    "CREATE TEMPORARY VIEW clear USING delta OPTIONS (path '{lake}/bronze/shop_orders')",
    "CREATE OR REPLACE VIEW gold.top_products AS SELECT 1",
    "SELECT * FROM delta.`{lake}/bronze/shop_orders`",
    "SELECT 1 WHERE EXISTS (SELECT * FROM delta.`{lake}/bronze/shop_orders`)",
    "SELECT (SELECT MAX(value) FROM delta.`{lake}/bronze/shop_orders`)",
    "SELECT * FROM parquet.`{lake}/gold/sales_per_product_per_minute`",
    "SELECT * FROM text.`/etc/passwd`",
    "EXECUTE IMMEDIATE 'SELECT * FROM text.`/etc/passwd`'",
    "TABLE text.`/etc/passwd`",
    "SELECT * FROM json.`{lake}/bronze/shop_orders/_delta_log/00000000000000000000.json`",
    "SELECT * FROM gold.sales_per_product_per_minute AS s JOIN parquet.`{lake}/bronze/shop_orders` AS b ON TRUE",
    "INSERT OVERWRITE DIRECTORY '{lake}/out' USING csv SELECT 1",
    "SELECT TRANSFORM (1) USING 'id' AS (x STRING)",
    "SELECT reflect('java.lang.System', 'getenv', 'HOME')",
    "SELECT java_method('java.lang.System', 'getenv', 'HOME')",
    "SELECT builtin.try_reflect('java.lang.System', 'getenv', 'HOME')",
    "ADD JAR '/tmp/x.jar'",
    "CREATE FUNCTION f AS 'java.lang.String'",
    "SET spark.sql.runSQLOnFiles=true",
    "RESET",
    "CACHE TABLE gold.sales_per_product_per_minute",
    "SELECT * FROM silver.orders",
    "FROM text.`/etc/passwd` |> SELECT *",
    "BEGIN SELECT * FROM text.`/etc/passwd`; END",
    "SELECT * FROM table_changes_by_path('{lake}/bronze/shop_orders', 0)",
]


@spark
@pytest.mark.parametrize("statement", REFUSED)
def test_what_is_more_than_asking_gold_and_ops_is_refused(server: Server, statement: str) -> None:
    with pytest.raises(Error) as refused:
        server.ask(statement.format(lake=server.lake))
    assert re.search(
        "Only queries over|UNRESOLVED_ROUTINE|TABLE_OR_VIEW_NOT_FOUND|PARSE_SYNTAX|UNSUPPORTED|Unsupported", str(refused.value)
    )


@spark
def test_a_statement_that_names_the_environment_gets_its_own_text_back(server: Server) -> None:
    named = "${env:PROMOLAKE_PSEUDONYM_KEY} ${env:HOME} ${system:user.home}"
    assert server.ask(f"SELECT '{named}'") == [(named,)]


@spark
def test_it_starts_from_the_classes_that_were_kept(server: Server) -> None:
    """What stands in front of Spark's jars on the class path must be what it was when they were."""
    assert str(class_archive.SPARK) in (server.java / "maps").read_text()


@spark
def test_no_secret_is_in_the_environment_of_the_jvm(server: Server) -> None:
    environment = (server.java / "environ").read_bytes()
    assert b"HOME=" in environment
    assert SECRET["PROMOLAKE_PSEUDONYM_KEY"].encode() not in environment


@spark
def test_no_xml_reads_a_file(server: Server) -> None:
    entity = '<!DOCTYPE a [<!ENTITY e SYSTEM "file:///etc/passwd">]><a>&e;</a>'
    with contextlib.suppress(Error):
        assert "root:" not in str(server.ask(f"SELECT xpath_string('{entity}', 'a')"))
    with contextlib.suppress(Error):
        assert "root:" not in str(server.ask(f"SELECT from_xml('{entity}', 'e STRING')"))


@spark
def test_an_explained_plan_tells_nothing_of_a_file(server: Server) -> None:
    assert "Only queries over" in str(server.ask("EXPLAIN SELECT * FROM text.`/etc/passwd`"))


CATALOG = "spark.sql.catalog.mine"
DERBY = {
    CATALOG: "org.apache.spark.sql.execution.datasources.v2.jdbc.JDBCTableCatalog",
    f"{CATALOG}.driver": "org.apache.derby.jdbc.EmbeddedDriver",
}


@spark
@pytest.mark.parametrize("form", ["set:hiveconf:", "set:hivevar:"])
@pytest.mark.parametrize(
    ("settings", "statement"),
    [
        (DERBY | {f"{CATALOG}.url": "jdbc:derby:{lake}/mine;create=true"}, "SELECT * FROM mine.app.t"),
        (DERBY | {f"{CATALOG}.url": "jdbc:derby:{lake}/mine;create=true"}, "SHOW TABLES IN mine.app"),
        ({"spark.sql.runSQLOnFiles": "true"}, "SELECT * FROM text.`/etc/passwd`"),
        ({"spark.sql.variable.substitute": "true"}, "SELECT '${{env:HOME}}'"),
    ],
)
def test_a_connection_that_brings_settings_is_not_answered(server: Server, form: str, settings: dict[str, str], statement: str) -> None:
    given = {f"{form}{name}": value.format(lake=server.lake) for name, value in settings.items()}
    with pytest.raises(Error, match="the settings here are the server's"):
        server.ask(statement.format(), **given)
    assert not (server.lake / "mine").exists()


@spark
def test_after_all_that_the_lake_is_as_it_was(server: Server) -> None:
    assert server.ask(SOLD) == [("p1", Decimal("0.1000"), 3, datetime(2026, 11, 11))]
    assert sorted(path.name for path in server.lake.iterdir()) == [".databases", "bronze", "gold", "ops", "silver"]


LIMIT_SECONDS = 5  # while they run both cores are taken from whatever else is tested
ENDLESS = "SELECT SUM(a.id * b.id % 7) FROM range(1000000000) AS a CROSS JOIN range(100000) AS b"


@spark
def test_a_query_that_takes_too_long_is_ended_and_gives_its_cores_back(impatient: Server, until: Callable[..., None]) -> None:
    """It takes both cores, for days: were it only forgotten, nothing after it would be answered within the limit."""
    began = time.monotonic()
    ended = beeline(f"jdbc:hive2://127.0.0.1:{impatient.port}/gold", "-e", ENDLESS)
    assert ended.returncode != 0
    assert "Query timed out" in ended.stderr
    assert time.monotonic() - began >= LIMIT_SECONDS

    def answers() -> bool:
        try:
            return impatient.ask(SOLD) == [("p1", Decimal("0.1000"), 3, datetime(2026, 11, 11))]
        except KeyError:  # a cold server's first on a busy machine may take too long as well: impyla does not know Hive's state for that
            return False

    until(answers, timeout_s=120)


@spark
def test_a_client_cannot_give_itself_more_time(impatient: Server) -> None:
    with pytest.raises(Error, match="Only queries over"):
        impatient.ask("SET spark.sql.thriftServer.queryTimeout=0")
    with pytest.raises(Error, match="the settings here are the server's"):
        impatient.ask("SELECT 1", **{"set:hiveconf:spark.sql.thriftServer.queryTimeout": "0"})


# --- how it begins and ends ------------------------------------------------------------------------------------------------------


@spark
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_sigterm_and_ctrl_c_end_it_in_order_and_free_the_port(server: Server, impatient: Server, number: signal.Signals) -> None:
    ending = server if number == signal.SIGTERM else impatient
    os.kill(ending.process.pid, number)
    assert ending.process.wait(timeout=60) == 0, ending.log.read_text()
    assert ending.log.read_text().endswith("stopped\n")
    assert sorted(path.name for path in ending.log.parent.iterdir()) == ["lake", "log", "server.log", "warehouse"]
    with socket.create_server(("127.0.0.1", ending.port)):
        pass


def test_a_port_that_is_taken_is_said_before_anything_starts(promolake, home: Path) -> None:
    fill(home / "lake")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        answer = promolake("sql-server", "--port", str(port))
    assert (answer.code, answer.out) == (3, "")
    assert f"Port {port} of 127.0.0.1 is taken. Choose another with --port." in answer.err


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5"])
def test_elsewhere_than_here_it_wants_a_decision(promolake, host: str) -> None:
    answer = promolake("sql-server", "--host", host)
    assert answer.code == 2
    assert "asks nobody for a password" in answer.err
    assert "--without-password" in answer.err


def test_an_empty_lake_is_said_before_anything_starts(promolake, home: Path) -> None:
    answer = promolake("sql-server")
    assert answer.code == 2
    assert "holds no table yet" in answer.err
