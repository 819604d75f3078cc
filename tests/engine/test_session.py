"""What promolake asks of the JVM it starts."""

from __future__ import annotations

import pytest

from promolake.engine import jars


@pytest.mark.parametrize(
    ("given", "asked"),
    [("", "-XX:+UseParallelGC"), ("-XX:TieredStopAtLevel=1 -XX:+UseSerialGC", ""), ("-Xmx2g", "-XX:+UseParallelGC"), ("-XX:+UseG1GC", "")],
)
def test_a_collector_chosen_in_the_environment_is_the_only_one(given: str, asked: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Java refuses to start with two."""
    monkeypatch.setenv("JAVA_TOOL_OPTIONS", given)
    assert jars.collector("-XX:+UseParallelGC") == asked
