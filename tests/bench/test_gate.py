"""The gate and the meter of the engine comparison: fast, so that they are tested every time."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime
from decimal import Decimal
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pytest

from bench import report
from bench.dataset import START, more_keys
from bench.endurance import sized, slope
from bench.engines.engine import Place
from bench.engines.promolake import Promolake
from bench.goals import judged as judged_goals
from bench.latency import until
from bench.measuring import Metered, Sample, cpu_seconds, tree
from bench.results import Results
from bench.truth import Expected, differences, held, judged
from promolake.producers.promotion import PromotionDay

MINUTE = datetime(2024, 11, 11, 10, tzinfo=UTC)
BURN = "import time\nwhile time.process_time() < {}: pass"


def rows(**changed: object) -> pa.Table:
    """Two partial rows of one minute and product."""
    row = {"window_start": MINUTE, "currency": "CNY", "product_id": "p1", "sales_amount": Decimal("1.5000"), "unit_count": 1}
    return pa.Table.from_pylist([row, row | changed])


def test_partial_rows_are_summed_to_the_grain() -> None:
    assert held("sales_per_product_per_minute", rows()) == {(int(MINUTE.timestamp()), "CNY", "p1"): (Decimal("3.0000"), 2)}


def test_rows_that_count_nothing_are_none() -> None:
    nothing = pa.Table.from_pylist([{"window_start": MINUTE, "currency": "CNY", "gmv_amount": Decimal("0.0000"), "sale_count": 0}])
    assert held("gmv_per_minute", nothing) == {}


@pytest.mark.parametrize(
    "wrong", [{"sales_amount": Decimal("1.5001")}, {"unit_count": 2}, {"product_id": "p2"}, {"window_start": MINUTE.replace(minute=1)}]
)
def test_the_gate_refuses_a_cent_a_unit_another_product_and_another_minute(wrong: dict[str, object]) -> None:
    truth = {"sales_per_product_per_minute": held("sales_per_product_per_minute", rows())}
    assert differences(truth, truth) == []
    assert len(differences(truth, {"sales_per_product_per_minute": held("sales_per_product_per_minute", rows(**wrong))})) == 1


def test_the_gate_refuses_what_is_missing_and_what_is_too_much() -> None:
    truth = {"gmv_per_minute": {(0, "CNY"): (Decimal(1), 1)}}
    assert differences(truth, {"gmv_per_minute": {}})
    assert differences({"gmv_per_minute": {}}, truth)


def test_the_truth_of_a_day_agrees_with_itself_by_minute_and_by_product() -> None:
    expected = Expected()
    for happening in islice(PromotionDay(7, 100.0, START, trouble=False), 20_000):
        expected.add(happening)
    per_minute, per_product = expected.tables["gmv_per_minute"], expected.tables["sales_per_product_per_minute"]
    assert len(per_minute) > 4
    assert sum(amount for amount, _ in per_minute.values()) == sum(amount for amount, _ in per_product.values()) > 0
    assert sum(count for (count,) in expected.tables["requests_per_ip_per_minute"].values()) == expected.records["site.access"]


def test_an_engine_that_left_no_tables_has_no_score(tmp_path: Path) -> None:
    place = Place(tmp_path, "localhost:1", "common")
    assert judged(lambda: Promolake().differences(place, Expected(), {}))


def test_the_meter_counts_children_that_live_and_those_that_ended(tmp_path: Path) -> None:
    """The process uses next to nothing itself; one child ends after 0.3 CPU seconds, another after 0.2 stays."""
    ended, staying = BURN.format(0.3), BURN.format(0.2) + "\nprint('burnt', flush=True)\nimport time; time.sleep(60)"
    code = (
        f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {ended!r}])\n"
        f"p = subprocess.Popen([sys.executable, '-c', {staying!r}], stdout=subprocess.PIPE)\np.stdout.readline()\np.kill()\np.wait()\n"
    )
    with Metered([sys.executable, "-c", code], tmp_path / "log", tmp_path, {}) as run:
        assert run.wait(60)
        sample = run.take()
        assert run.exit_code == 0
    assert 0.5 <= sample.cpu < 2.0
    assert run.peak_memory > 0


def test_the_tree_of_a_process_has_its_descendants() -> None:
    with subprocess.Popen([sys.executable, "-c", BURN.format(0.1) + "\ninput()"], stdin=subprocess.PIPE) as child:
        assert len(tree(child.pid)) == 1
        assert cpu_seconds(tree(child.pid)) < 5
        child.stdin.write(b"\n")


def test_results_measured_again_replace_the_old_ones_and_leave_the_others(tmp_path: Path) -> None:
    results = Results(tmp_path)
    results.keep("backlog", "a", {"engine": "a", "cpu_s": 1})
    results.keep("backlog", "b", {"engine": "b", "cpu_s": 2})
    results.keep("backlog", "a", {"engine": "a", "cpu_s": 3})
    assert Results(tmp_path).of("backlog", engine="a") == [{"engine": "a", "cpu_s": 3}]
    assert len(Results(tmp_path).of("backlog")) == 2


def test_a_run_without_a_score_is_named_in_the_report_and_counts_in_no_figure(tmp_path: Path) -> None:
    results = Results(tmp_path)
    common = {
        "work": "common",
        "events": 1000,
        "wall_s": 2.0,
        "peak_memory": 2**30,
        "load_before": 0.1,
        "records": 9_000,
        "scale": 1,
        "keys": 1,
    }
    for engine, cpu, wrong in (
        ("promolake", 2.0, []),
        ("Flink SQL", 4.0, []),
        ("hand-written floor", 0.1, ["gmv_per_minute: 1 row differs"]),
    ):
        results.keep("backlog", engine, common | {"engine": engine, "cpu_s": cpu, "wrong": wrong, "repeat": 0})
    text = report.write(results)
    assert "| hand-written floor | 0 of 1 | no score: gmv_per_minute: 1 row differs |" in text
    found = {goal.what: goal.found for goal in judged_goals(results)}
    assert found["events per CPU-second, common work: promolake / Flink SQL"] == 2.0
    assert found["events per CPU-second, common work: promolake / hand-written floor"] is None


def test_more_keys_are_more_products_in_the_same_number_of_events() -> None:
    def products() -> int:
        day = islice(PromotionDay(7, 1000.0, START, trouble=False), 20_000)
        return len({happening.fact.product_id for happening in day if happening.message.topic == "shop.orders"})

    once = products()
    with more_keys(16):
        assert products() > 1.5 * once
    assert products() == once


def test_memory_that_grows_a_tenth_in_ten_minutes_is_told_and_what_came_before_is_not() -> None:
    samples = [Sample(float(at), 0.0, 10**9 if at > 300 else 1) for at in range(0, 1500, 10)]
    assert abs(slope(samples)) < 1e-9
    growing = [Sample(float(at), 0.0, int(1e9 * (1 + at / 6000))) for at in range(0, 1500, 10)]
    assert 0.08 < slope(growing) < 0.1


def test_state_is_told_as_it_grows(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "1.delta").write_bytes(b"x" * 1000)
    with sized(tmp_path, 0.01) as sizes:
        assert until(lambda: sizes[-1:] == [1000], 10)
        (tmp_path / "state" / "2.delta").write_bytes(b"x" * 500)
        assert until(lambda: sizes[-1:] == [1500], 10)
