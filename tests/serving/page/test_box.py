"""The SQL box: what it answers, and what it withstands."""

from __future__ import annotations

import csv
import io
import time
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from promolake.core.errors import SettingsError
from promolake.serving.page import box
from promotion import Promotion, at, sold

HUGE = "SELECT COUNT(*) FROM range(100000) a, range(100000) b, range(100000) c"
XSS = "<script>alert(1)</script>"


@pytest.fixture(autouse=True)
def sales(promotion: Promotion) -> None:
    promotion.batch({"sales_per_product_per_minute": [sold(0, XSS, "10.1234", 2), sold(0, "=1+1", "3", 1)]}, at(0.5))


def asked(client: TestClient, sql: str) -> dict[str, Any]:
    return client.post("/api/sql", data={"sql": sql}).json()


def test_an_answer_is_text_cell_by_cell_and_exact(client: TestClient) -> None:
    found = asked(client, "SELECT product_id, sales_amount, NULL AS none FROM gold.sales_per_product_per_minute ORDER BY sales_amount DESC")
    assert found["rows"] == [[XSS, "10.1234", None], ["=1+1", "3.0000", None]]
    assert [column["is_number"] for column in found["columns"]] == [False, True, False]
    assert not found["more"]


def test_ops_can_be_asked_and_silver_cannot(client: TestClient, home: Path) -> None:
    assert asked(client, "SELECT COUNT(*) AS n FROM ops.ledger")["rows"] == [["6"]]
    for table in ("silver.orders", "bronze.orders", "silver.quarantine_orders"):
        assert "error" in asked(client, f"SELECT * FROM {table}")
    (home / "lake" / "silver").symlink_to(home / "lake" / "gold")  # a silver that is there
    assert "There is no table silver.gmv_per_minute" in asked(client, "SELECT * FROM silver.gmv_per_minute")["error"]


@pytest.mark.parametrize(
    "sql",
    [
        "",
        "DROP TABLE gold.gmv_per_minute",
        "SELECT 1; SELECT 2",
        "SELECT 1; COPY (SELECT 1) TO '/tmp/x'",
        "COPY (SELECT 1) TO '/tmp/promolake-box.csv'",
        "ATTACH '/tmp/x.db'",
        "PRAGMA database_list",
        "SET memory_limit = '10GB'",
        "INSTALL httpfs",
        "LOAD httpfs",
        "CALL pragma_version()",
        "EXPORT DATABASE '/tmp/x'",
        "SELECT * FROM read_text('/etc/passwd')",
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM '/etc/passwd'",
        "SELECT * FROM glob('/*')",
        "SELECT * FROM query('SELECT * FROM read_text(''/etc/passwd'')')",
        "SELECT * FROM read_parquet('http://127.0.0.1:1/x')",
        "SELECT getenv('HOME')",
        "WITH x AS (SELECT 1) INSERT INTO gold.gmv_per_minute SELECT * FROM x",
    ],
)
def test_what_is_no_question_about_gold_is_refused_in_a_sentence(client: TestClient, sql: str) -> None:
    answer = client.post("/api/sql", data={"sql": sql})
    assert answer.status_code == 400
    assert answer.json()["error"].endswith(".")
    assert "root:" not in answer.text


def test_a_query_that_takes_too_long_is_ended(home: Path) -> None:
    began = time.monotonic()
    with pytest.raises(SettingsError, match=r"The query was ended after 0\.3 s"):
        box.answer(home / "lake", HUGE, seconds=0.3)
    assert time.monotonic() - began < 5


def test_a_query_that_takes_too_much_memory_is_refused(client: TestClient) -> None:
    error = asked(client, "SELECT list(a.range || repeat('x', 1000)) FROM range(1000000) a")["error"]
    assert "The query cannot be answered: Out of Memory Error" in error


def test_only_the_first_rows_are_answered(client: TestClient) -> None:
    found = asked(client, "SELECT range FROM range(1000000000000)")
    assert (len(found["rows"]), found["more"]) == (box.ROWS, True)
    found = asked(client, f"SELECT range FROM range({box.ROWS})")
    assert (len(found["rows"]), found["more"]) == (box.ROWS, False)


def test_an_answer_that_is_too_large_is_refused(client: TestClient) -> None:
    assert asked(client, "SELECT repeat('x', 20000000)")["error"].startswith("The answer is larger than 5 MB.")


def test_the_answer_can_be_downloaded_and_holds_no_formula(client: TestClient) -> None:
    answer = client.post("/api/sql.csv", data={"sql": "SELECT product_id FROM gold.sales_per_product_per_minute ORDER BY 1"})
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert "attachment" in answer.headers["content-disposition"]
    assert list(csv.reader(io.StringIO(answer.text))) == [["product_id"], [XSS], ["'=1+1"]]


def test_a_query_in_the_address_is_filled_in_as_text_and_not_run(client: TestClient) -> None:
    page = client.get("/sql", params={"sql": "</textarea>" + XSS}).text
    assert XSS not in page
    assert "&lt;/textarea&gt;&lt;script&gt;alert(1)" in page


def test_a_form_that_is_too_long_is_not_read(client: TestClient) -> None:
    assert client.post("/api/sql", data={"sql": "SELECT 1 --" + "x" * 20_000}).status_code == 400


def test_names_with_markup_stay_text(client: TestClient) -> None:
    found = asked(client, f'SELECT 1 AS "{XSS}"')
    assert found["columns"] == [{"name": XSS, "is_number": True}]
