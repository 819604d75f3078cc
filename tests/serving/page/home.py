"""A home as a run leaves it, without Spark: a lake with books, and the checkpoint of one query."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from promolake.alerts.tables import ALERTS, STATES
from promolake.engine.ledger import LEDGER
from promolake.gold.gmv_per_minute import TABLE as GMV
from promolake.quality.findings import AUDITS
from promolake.silver.orders import FLOW as ORDERS
from serving.conftest import Lake

NOW = datetime.now(UTC).replace(microsecond=0)
FLOOD = {"alertname": "IpFlood", "ip": "192.0.2.1", "severity": "page"}
SECRET = b'{"receiver": {"phone": "13812345678"}}'


def seconds(ago: float) -> datetime:
    return NOW - timedelta(seconds=ago)


def books(lake: Lake) -> None:
    """Two partitions of shop.orders in two batches, the first an hour ago; then one record was let out of quarantine."""
    entries = [
        entry(0, 0, 3600, read=100, valid=90, quarantined=6, duplicate=4, late=0),
        entry(1, 0, 10, read=50, valid=45, quarantined=5, duplicate=0, late=2),
        entry(1, 1, 10, read=10, valid=10, quarantined=0, duplicate=0, late=0),
        entry(2, 0, 5, read=0, valid=1, quarantined=-1, duplicate=0, late=0),
    ]
    lake.add(LEDGER, entries)


def entry(batch_id: int, partition: int, ago: float, **counts: int) -> dict[str, Any]:
    place = {"query": "main", "batch_id": batch_id, "topic": "shop.orders", "partition": partition, "first_offset": 0, "last_offset": 99}
    times = {"newest_event_time": seconds(ago + 2), "ingested_at": seconds(ago)}
    return place | times | {f"{name}_count": n for name, n in counts.items()}


def quarantine(lake: Lake) -> None:
    """Two rows that broke rules today, one of them two rules, and one of two days ago."""
    given = [(("price_not_negative",), 30), (("price_not_negative", "currency_code"), 20), (("currency_code",), 48 * 3600)]
    rows = [
        {"topic": "shop.orders", "partition": 0, "offset": n, "value": SECRET, "violations": list(rules), "ingested_at": seconds(ago)}
        for n, (rules, ago) in enumerate(given)
    ]
    lake.add(ORDERS.quarantine, rows)


def alerts(lake: Lake) -> None:
    """A flood that fires, with a script in what it says."""
    words = {"summary": "<script>alert(1)</script> 192.0.2.1"}
    row = {"alert_id": "a1", "fingerprint": "f1", "alert": "IpFlood", "status": "firing", "labels": json.dumps(FLOOD)}
    lake.add(ALERTS, [row | {"annotations": json.dumps(words), "value": 700.0, "starts_at": seconds(60), "ingested_at": seconds(30)}])
    state = {"alert": "IpFlood", "labels": '["192.0.2.1"]', "status": "firing", "since": seconds(60), "value": 700.0}
    lake.add(STATES, [state, {"alert": "IpFlood", "labels": "", "status": "looked", "since": seconds(60)}])


def audit(lake: Lake) -> None:
    """An old audit that found nothing, and the newest, which found one critical thing broken."""
    for ago, is_success in ((7200, True), (600, False)):
        row = {"audit_id": str(ago), "audited_at": seconds(ago), "table_name": "gold.gmv_per_minute", "table_version": 1, "kind": "k"}
        row |= {"column_names": "", "checked_count": 1, "unexpected_count": 0, "details": "2 keys differ"}
        critical = row | {"expectation": "gmv_agrees", "severity": "critical", "is_success": is_success}
        lake.add(AUDITS, [critical, row | {"expectation": "fresh", "severity": "warning", "is_success": True}])


def filled(lake: Lake) -> None:
    books(lake)
    quarantine(lake)
    alerts(lake)
    audit(lake)
    lake.add(GMV, [{"minute": 1, "currency": "CNY", "category": "toys", "gmv_amount": "1", "refund_amount": "0"}])


def checkpoint(home: Path, batches: int = 3, unfinished: bool = False) -> None:
    """The query `main`: batch n was planned 10 s before batch n + 1 and took n + 1 seconds; it has read up to 100 and 50."""
    folder = home / "checkpoints" / "main"
    for kind in ("offsets", "commits"):
        (folder / kind).mkdir(parents=True)
    (folder / "metadata").write_text('{"id": "q1"}')
    for n in range(batches):
        ends = {"shop.orders": {"0": 100 if n else 50, "1": 50}}
        planned = seconds(10 * (batches - n)).timestamp()
        _write(folder / "offsets" / str(n), f'v1\n{{"batchWatermarkMs": 0}}\n{json.dumps(ends)}', planned)
        if not (unfinished and n == batches - 1):
            _write(folder / "commits" / str(n), 'v1\n{"nextBatchWatermarkMs":0}', planned + n + 1)


def _write(file: Path, text: str, written: float) -> None:
    file.write_text(text)
    os.utime(file, (written, written))
