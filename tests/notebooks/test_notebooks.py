"""Every notebook runs from nothing, shows figures that are right, and defines nothing."""

from __future__ import annotations

import ast
import json
import os
import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from decimal import Decimal
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from promolake.cli import main
from promolake.connecting import SAMPLE_HOME

FOLDER = Path(__file__).parents[2] / "notebooks"
NAMES = sorted(path.stem for path in FOLDER.glob("*.ipynb"))
notebooks = pytest.mark.parametrize("name", NAMES)


def read(name: str) -> nbformat.NotebookNode:
    return nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)


def code(name: str) -> list[nbformat.NotebookNode]:
    return [cell for cell in read(name).cells if cell.cell_type == "code"]


# --- how they are written --------------------------------------------------------------------------------------------------------


def test_there_are_the_five() -> None:
    topics = ["walk_the_hallway", "gold_in_sql", "promotion_dashboard", "lateness_and_truth", "add_your_own_metric"]
    assert [f"{n:02}_{topic}" for n, topic in enumerate(topics, 1)] == NAMES


@notebooks
def test_a_notebook_imports_and_shows_and_defines_nothing(name: str) -> None:
    definitions = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    trees = [ast.parse(cell.source) for cell in code(name)]
    assert [node.name for tree in trees for node in ast.walk(tree) if isinstance(node, definitions)] == []


@notebooks
def test_a_notebook_is_kept_without_outputs_and_in_short_cells(name: str) -> None:
    assert [cell.outputs for cell in code(name) if cell.outputs or cell.execution_count] == []
    assert max(len(cell.source.splitlines()) for cell in code(name)) <= 15
    assert (FOLDER / f"{name}.ipynb").stat().st_size < 20_000


# --- what they show --------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, lending: Callable[[], AbstractContextManager[None]]) -> Path:
    """Where all notebooks run. The sample stands there already, made by the command that `promolake.sample()` runs (test_connecting.py):
    in a process of its own, as the first notebook would have it, it takes a minute of both cores to warm up."""
    folder = tmp_path_factory.mktemp("notebooks")
    with lending():
        assert main(["--home", str(folder / SAMPLE_HOME), "sample"]) == 0
    return folder


def shown(name: str, folder: Path, figures: str) -> dict[str, Any]:
    """Runs the notebook, and gives what its variables then say: `figures` is a Python expression of JSON values."""
    book = read(name)
    book.cells.append(nbformat.v4.new_code_cell(f"import json\nprint(json.dumps({figures}, default=str))"))
    client = NotebookClient(book, timeout=400, resources={"metadata": {"path": str(folder)}})
    client.execute(env={**os.environ, "PYTHONPATH": os.pathsep.join([str(FOLDER), os.environ.get("PYTHONPATH", "")])})
    return json.loads(book.cells[-1].outputs[0].text) | {"plots": [plot for cell in book.cells for plot in _plots(cell)]}


def _plots(cell: nbformat.NotebookNode) -> list[dict[str, Any]]:
    data = (output.data for output in cell.get("outputs", ()) if output.output_type == "display_data")
    return [one["application/vnd.plotly.v1+json"] for one in data if "application/vnd.plotly.v1+json" in one]


def books(folder: Path) -> dict[str, Any]:
    """What the sample's sender wrote down."""
    return json.loads((folder / SAMPLE_HOME / "sample.json").read_text())


@pytest.mark.spark
@pytest.mark.broker
class TestWhatTheyShow:
    """In their order, in one folder: two Spark sessions at most, and one sample."""

    def test_the_hallway_accounts_for_every_record_that_was_sent(self, folder: Path) -> None:
        found = shown(
            "01_walk_the_hallway",
            folder,
            "{'ledger': ledger.to_dict('records'), 'masked': list(orders.user_hash), 'top': list(top['rank'])}",
        )
        sent = {topic: counts["sent"] for topic, counts in books(folder)["truth"]["topics"].items()}
        assert {row["topic"]: row["read"] for row in found["ledger"]} == sent
        assert sum(sent.values()) == books(folder)["sent"] > 50_000
        assert [row for row in found["ledger"] if row["read"] != row["valid"] + row["quarantined"] + row["duplicate"]] == []
        assert all(re.fullmatch("v1:[0-9a-f]{32}", pseudonym) for pseudonym in found["masked"] if pseudonym)
        assert found["top"] == [1, 2, 3, 4, 5]
        assert [len(plot["data"]) for plot in found["plots"]] == [3]

    def test_gold_is_answered_the_same_with_and_without_spark_and_is_what_was_sent(self, folder: Path) -> None:
        figures = "{'spark': in_spark.to_dict('records'), 'same': in_duckdb.equals(in_spark), 'visitors': visitors.to_dict('records')}"
        found = shown("02_gold_in_sql", folder, figures)
        orders = books(folder)["truth"]["orders"]
        assert found["same"] is True
        assert {row["currency"]: Decimal(row["gmv_amount"]) for row in found["spark"]} == {
            currency: Decimal(truth["gmv_amount"]) for currency, truth in orders.items()
        }
        assert all(0 < row["visitors"] < row["added_up_wrongly"] for row in found["visitors"])

    def test_the_dashboard_has_seven_plots_and_its_last_total_is_the_views(self, folder: Path) -> None:
        figures = "{'net': float(running.net.iloc[-1]), 'gmv': gmv[['gmv', 'refunds']].sum().sum(), 'steps': list(map(int, steps))}"
        found = shown("03_promotion_dashboard", folder, figures)
        assert len(found["plots"]) == 7
        assert all(plot["data"] for plot in found["plots"])
        searches, views, orders = found["steps"]
        assert searches > 0 < orders < views
        truth = books(folder)["truth"]["orders"]["CNY"]
        assert found["net"] == pytest.approx(float(Decimal(truth["gmv_amount"]) + Decimal(truth["refund_amount"])))

    def test_late_rows_changed_the_minutes_that_are_said_to_be_restated_and_gold_is_true(self, folder: Path) -> None:
        figures = "{'agrees': list(map(bool, agreement.agrees)), 'fates': bool((fates == made).all(axis=None)), 'takes': len(takes), "
        figures += "'restated': list(map(str, revisions.window_start)), 'changed': list(map(str, changed.window_start))}"
        found = shown("04_lateness_and_truth", folder, figures)
        assert found["takes"] == 2
        assert found["agrees"] == [True] * 3 * len(books(folder)["truth"]["orders"])
        assert found["fates"] is True
        assert {*found["restated"]} >= {minute for minute in found["changed"] if minute < "2025-11-11 00:20"}
        assert len(found["changed"]) > 10

    def test_the_example_metric_counts_what_it_should_and_gets_into_the_lake(self, folder: Path) -> None:
        figures = (
            "{'few': list(counted.view_count), 'agrees': agrees, 'views': int(interest.views.sum()), 'viewed': viewed.to_dict('records')}"
        )
        found = shown("05_add_your_own_metric", folder, figures)
        assert found["few"] == [2, 1, 1]
        assert found["agrees"] is True
        assert found["views"] == books(folder)["truth"]["topics"]["shop.views"]["valid"]
        assert [row["views"] for row in found["viewed"]] == sorted((row["views"] for row in found["viewed"]), reverse=True)
