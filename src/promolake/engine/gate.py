"""Ends a streaming query only between two batches: stopped inside foreachBatch it throws in its thread and replays the batch."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from pyspark.sql import DataFrame
from pyspark.sql.streaming import StreamingQuery

_MOMENT = 0.02  # seconds
PATIENCE_SECONDS = 10.0  # for a query that has no batch in hand and yet is busy: it asks a broker that does not answer


class Gate:
    """Wraps a foreachBatch function; `end` waits for the batch in hand, then stops the query."""

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._closed = threading.Event()
        self._refused = threading.Event()

    def guarded(self, batch: Callable[[DataFrame, int], None]) -> Callable[[DataFrame, int], None]:
        def one_batch(frame: DataFrame, batch_id: int) -> None:
            with self._turn:
                if self._closed.is_set():
                    self._refused.set()
                    raise InterruptedError("the query was stopped before this batch began")
                batch(frame, batch_id)

        return one_batch

    def between(self, work: Callable[[], None]) -> bool:
        """Does the work while no batch is in hand; False when one is."""
        if not self._turn.acquire(blocking=False):
            return False
        try:
            work()
        finally:
            self._turn.release()
        return True

    def end(self, query: StreamingQuery) -> None:
        self._closed.set()
        with self._turn:  # the batch in hand is finished
            deadline = time.monotonic() + PATIENCE_SECONDS
        # Spark has written that batch down when it is idle, or when it comes with the next one: a query that lags is never idle.
        while query.isActive and query.status["isTriggerActive"] and not self._refused.wait(_MOMENT) and time.monotonic() < deadline:
            pass
        query.stop()
