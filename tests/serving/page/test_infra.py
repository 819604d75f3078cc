"""Prometheus's and Grafana's files name metrics that exist, and Prometheus's own tool finds nothing wrong with its files."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from promolake.serving.page.metrics import exposed
from serving.page.world import World

INFRA = Path(__file__).parents[3] / "infra"
PROMETHEUS = INFRA / "prometheus"
DASHBOARDS = sorted((INFRA / "grafana" / "dashboards").glob("*.json"))
PROMTOOL = shutil.which("promtool")


def rules() -> list[dict]:
    return [rule for group in yaml.safe_load((PROMETHEUS / "rules.yml").read_text())["groups"] for rule in group["rules"]]


def dashboard_expressions() -> list[str]:
    panels = [panel for file in DASHBOARDS for panel in json.loads(file.read_text())["panels"]]
    return [target["expr"] for panel in panels for target in panel["targets"]]


def named(expressions: list[str]) -> set[str]:
    return {name for text in expressions for name in re.findall(r"\bpromolake[_:][a-z0-9_:]+", text)}


def test_every_metric_in_rules_and_dashboards_is_in_metrics_or_a_recording_rule(world: World) -> None:
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    families = text_string_to_metric_families(exposed(world.now()).decode())
    there = {family.name + ("_total" if family.type == "counter" else "") for family in families} | recorded
    assert named([rule["expr"] for rule in rules()]) - there == set()
    assert named(dashboard_expressions()) - there == set()
    assert len(named(dashboard_expressions())) > 15


def test_the_panels_of_a_dashboard_do_not_lie_on_each_other() -> None:
    for file in DASHBOARDS:
        cells = [
            (x, y)
            for panel in json.loads(file.read_text())["panels"]
            for place in [panel["gridPos"]]
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        ]
        assert len(cells) == len(set(cells))
        assert max(x for x, _ in cells) < 24


def test_what_is_provisioned_is_there() -> None:
    source = yaml.safe_load((INFRA / "grafana/provisioning/datasources/prometheus.yml").read_text())["datasources"][0]
    provider = yaml.safe_load((INFRA / "grafana/provisioning/dashboards/promolake.yml").read_text())["providers"][0]
    assert source["type"] == "prometheus"
    assert provider["type"] == "file"
    assert DASHBOARDS


def promtool(*arguments: str) -> None:
    done = subprocess.run([PROMTOOL, *arguments], cwd=PROMETHEUS, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed (Debian: prometheus)")


@needs_promtool
def test_prometheus_takes_the_configuration_and_the_rules() -> None:
    promtool("check", "config", "prometheus.yml")
    promtool("check", "rules", "--lint=all", "--lint-fatal", "rules.yml")


@needs_promtool
def test_the_rules_fire_when_they_should_and_not_before() -> None:
    promtool("test", "rules", "rules_test.yml")


@needs_promtool
def test_every_expression_of_a_dashboard_is_promql(tmp_path: Path) -> None:
    each = [{"record": f"panel:{n}", "expr": expression} for n, expression in enumerate(dashboard_expressions())]
    file = tmp_path / "panels.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": each}]}))
    promtool("check", "rules", str(file))


@needs_promtool
def test_prometheus_finds_nothing_wrong_with_the_metrics(world: World) -> None:
    done = subprocess.run([PROMTOOL, "check", "metrics"], input=exposed(world.now()), capture_output=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, b"")
