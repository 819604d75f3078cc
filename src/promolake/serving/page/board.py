"""What the screen shows, computed from one cut: each tile a file of tiles/, over the small relations of relations.py."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from promolake.core.errors import SettingsError
from promolake.serving.page.cut import LEDGER, Cut, Cutter, Snapshot
from promolake.serving.page.relations import Relations

ALERTS = "ops.alerts"


@dataclass(frozen=True)
class Tile:
    """A figure of the screen: `name` is its file in tiles/, `table` where it comes from and `relation` what that file reads of it."""

    name: str
    table: str
    relation: str


TILES = (
    Tile("gmv", "gold.gmv_per_minute", "sums.gmv_per_minute"),
    Tile("gmv_per_minute", "gold.gmv_per_minute", "recent.gmv_per_minute"),
    Tile("top_products", "gold.sales_per_product_per_minute", "sums.sales_per_product_per_minute"),
    Tile("traffic", "gold.traffic_per_minute", "sums.traffic_per_minute"),
    Tile("funnel", "gold.funnel_per_minute", "sums.funnel_per_minute"),
    Tile("top_ips", "gold.requests_per_ip_per_minute", "recent.requests_per_ip_per_minute"),
    Tile("machines", "gold.machine_metrics_per_minute", "recent.machine_metrics_per_minute"),
    Tile("errors", "gold.errors_per_minute", "recent.errors_per_minute"),
    Tile("alerts", ALERTS, "sums.alerts"),
)


class Board:
    """The tiles over the lake under `root`; `topics` names the Kafka topics each gold table is fed from, `lateness` says how long a minute
    may fill up. Threads take turns."""

    def __init__(self, root: Path, topics: Mapping[str, Sequence[str]], lateness: timedelta) -> None:
        self._cutter = Cutter(root, sorted({tile.table for tile in TILES}))
        self._topics = topics
        self._lateness = lateness
        self._relations = Relations()
        self._turn = threading.Lock()

    def has_news(self) -> bool:
        return self._cutter.has_news()

    def newest(self) -> dict[str, Any]:
        """The screen now: `cut`, `batch`, `at` None, `tiles` by name, each with `rows` and how fresh and how final they are."""
        with self._turn:
            return self._shown(self._cutter.newest(), None)

    def at(self, moment: datetime) -> dict[str, Any]:
        """The screen as it was then. Raises SettingsError when history does not reach back so far."""
        with self._turn:
            try:
                return self._shown(self._cutter.at(moment), moment)
            except FileNotFoundError:
                raise SettingsError(f"The files of {moment:%Y-%m-%d %H:%M:%S} UTC are gone.", "Ask for a later time.") from None

    def _shown(self, cut: Cut, at: datetime | None) -> dict[str, Any]:
        there = {relation: cut.tables[table].table for relation, table in _RELATIONS.items() if table in cut.tables}
        newest = {relation: self._relations.fill(relation, table, is_newest=at is None) for relation, table in there.items()}
        reached = self._reached() if _REACHED in there else {}
        tiles = {
            tile.name: self._tile(tile, cut.tables[tile.table], newest[tile.relation], self._final_until(tile.table, reached))
            for tile in TILES
            if tile.relation in there
        }
        return {"cut": cut.id, "batch": cut.batch, "at": at, "tiles": tiles}

    def _tile(self, tile: Tile, snapshot: Snapshot, newest: datetime | None, final_until: datetime | None) -> dict[str, Any]:
        return {
            "rows": self._relations.rows(tile.name, tile.relation),
            "newest": newest,
            "committed_at": snapshot.committed_at,
            "final_until": final_until,
            "final": bool(newest and final_until and newest <= final_until),
        }

    def _final_until(self, table: str, reached: Mapping[str, datetime]) -> datetime | None:
        """The end of the last minute that can no longer fill up: each topic of the table is at least the lateness past it."""
        topics = self._topics.get(table, ())
        if not topics or not all(topic in reached for topic in topics):
            return None
        return (min(reached[topic] for topic in topics) - self._lateness).replace(second=0, microsecond=0)

    def _reached(self) -> dict[str, datetime]:
        """The newest event time of each topic."""
        rows = self._relations.rows("reached", _REACHED)
        return {row["topic"]: row["newest_event_time"].astimezone(UTC) for row in rows if row["newest_event_time"]}


_REACHED = "sums.ledger"
_RELATIONS = {tile.relation: tile.table for tile in TILES} | {_REACHED: LEDGER}
