"""The product itself, as its users start it."""

from __future__ import annotations

import os
import sys

from bench.engines.engine import COMMON_TABLES, REPOSITORY, Engine, Mode, Place


class Promolake(Engine):
    name = "promolake"
    does = ("common", "all")
    keeps = (
        "Delta, one row per grain. Silver besides: validated, deduplicated, masked, with quarantine and a ledger that balances; "
        "`all` also joins orders with views and searches and forwards errors; alerts are on while latency is measured"
    )

    def command(self, place: Place, mode: Mode) -> list[str]:
        only = [part for name in COMMON_TABLES for part in ("--only", f"gold.{name}")] if place.work == "common" else []
        once = ["--once"] if mode == "once" else []
        return [sys.executable, "-m", "promolake.cli", "--home", str(place.home), "run", *only, *once]

    def environment(self, place: Place) -> dict[str, str]:
        return dict(os.environ) | {"PROMOLAKE_KAFKA__BOOTSTRAP": place.bootstrap, "PROMOLAKE_CONF": str(REPOSITORY / "conf")}
