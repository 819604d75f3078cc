"""Who hears of what: Alertmanager's rules for routes, groups, inhibition and silences."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
import yaml

from alerts.conftest import MIDNIGHT
from promolake.alerts.routing import Hold, Silence, policies
from promolake.alerts.rules import AlertsFile, InhibitRule, Matcher, load
from promolake.alerts.silences import Silences
from promolake.core.errors import SettingsError

ROUTES = yaml.safe_load("""
route:
  receiver: all
  group_by: [alertname]
  group_wait: 5s
  routes:
    - {matchers: ['team="risk"'], receiver: risk, group_by: ['...'], continue: true}
    - matchers: ['severity=~"page|warn"']
      receiver: oncall
      group_wait: 0s
      routes: [{matchers: ['team!="ops"'], receiver: sales}]
receivers: [{name: all, channels: []}, {name: risk, channels: []}, {name: oncall, channels: []}, {name: sales, channels: []}]
""")
FILE = AlertsFile.model_validate(ROUTES)


@pytest.mark.parametrize(
    ("labels", "receivers"),
    [
        ({"severity": "info", "team": "sales"}, ["all"]),
        ({"severity": "info", "team": "risk"}, ["risk"]),
        ({"severity": "page", "team": "risk"}, ["risk", "sales"]),
        ({"severity": "page", "team": "ops"}, ["oncall"]),
        ({"severity": "warning", "team": "ops"}, ["all"]),
    ],
)
def test_the_deepest_route_that_matches_is_taken_and_continue_goes_on(labels: dict[str, str], receivers: list[str]) -> None:
    assert [policy.receiver for policy in policies(FILE.route, labels)] == receivers


def test_what_a_route_does_not_say_is_its_parents() -> None:
    (sales,) = policies(FILE.route, {"severity": "page", "team": "sales"})
    assert (sales.group_by, sales.group_wait) == (("alertname",), timedelta())
    risk = policies(FILE.route, {"alertname": "A", "team": "risk", "ip": "1"})[0]
    assert risk.group_wait == timedelta(seconds=5)
    assert risk.group({"alertname": "A", "ip": "1"}) == {"alertname": "A", "ip": "1"}, "'...' groups by every label"


def test_an_alert_is_inhibited_while_another_fires_with_equal_labels_and_never_by_itself() -> None:
    page, warn = Matcher.model_validate('severity="page"'), Matcher.model_validate('severity=~"warn|page"')
    rule = InhibitRule(source_matchers=(page,), target_matchers=(warn,), equal=("host",))
    source = {"severity": "page", "host": "a"}
    hold = Hold([source], [rule], [], MIDNIGHT)
    assert hold.why({"severity": "warn", "host": "a"}) == "inhibited"
    assert hold.why({"severity": "warn", "host": "b"}) == ""
    assert hold.why({"severity": "info", "host": "a"}) == ""
    assert hold.why(source) == ""


def test_a_silence_holds_from_its_beginning_until_before_its_end(tmp_path: Path) -> None:
    silences = Silences(tmp_path)
    made = silences.add(["alertname=IpFlood", "ip=~10[.].*"], MIDNIGHT, timedelta(hours=1), "me", "a load test")
    known = Silences(tmp_path).all()
    assert known == (made,)
    labels = {"alertname": "IpFlood", "ip": "10.0.0.1"}
    for minutes, why in ((-1, ""), (0, "silenced"), (59, "silenced"), (60, "")):
        assert Hold([], [], known, MIDNIGHT + timedelta(minutes=minutes)).why(labels) == why
    assert Hold([], [], known, MIDNIGHT).why(labels | {"ip": "192.0.2.1"}) == ""
    assert silences.expire(made.id, MIDNIGHT + timedelta(minutes=5))
    assert not silences.expire("another", MIDNIGHT)
    ended: Silence = Silences(tmp_path).all()[0]
    assert ended.ends_at == MIDNIGHT + timedelta(minutes=5)


SHIPPED = Path("conf/alerts.yaml")


def test_the_shipped_rules_are_thirteen_and_every_one_has_a_severity_and_a_summary() -> None:
    rules = load(SHIPPED).rules
    assert len(rules) == 13
    assert all("severity" in rule.labels and "summary" in rule.annotations for rule in rules)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("        for: 2m\n", "        fro: 2m\n", "Extra inputs"),
        ("for: 2m", "for: two minutes", "no duration"),
        ("receiver: everybody\n", "receiver: nobody\n", "no receiver is named nobody"),
        ("alert: GmvSpike", "alert: GmvDrop", "same name"),
        ('topic="shop.orders"', "topic~shop", "no matcher"),
    ],
)
def test_a_wrong_file_is_refused_with_its_line(old: str, new: str, said: str, tmp_path: Path) -> None:
    text = SHIPPED.read_text()
    assert old in text
    file = tmp_path / "alerts.yaml"
    file.write_text(text.replace(old, new, 1))
    with pytest.raises(SettingsError, match=said) as refusal:
        load(file)
    line = int(refusal.value.what.split(":")[1])
    wrong = next(n for n, one in enumerate(file.read_text().splitlines(), 1) if new.strip() in one)
    assert line == wrong or "same name" in said or "no receiver" in said
