"""Lets a streaming query end only between two batches: stopped inside foreachBatch it throws in the stream's thread and replays the batch."""

from __future__ import annotations

import threading
from collections.abc import Callable

from pyspark.sql import DataFrame
from pyspark.sql.streaming import StreamingQuery

_MOMENT = 0.02  # seconds


class Gate:
    """Wraps a foreachBatch function; `end` waits for the batch in hand, then stops the query."""

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._closed = threading.Event()

    def guarded(self, batch: Callable[[DataFrame, int], None]) -> Callable[[DataFrame, int], None]:
        def one_batch(frame: DataFrame, batch_id: int) -> None:
            with self._turn:
                if self._closed.is_set():
                    raise InterruptedError("the query was stopped before this batch began")
                batch(frame, batch_id)

        return one_batch

    def end(self, query: StreamingQuery) -> None:
        while query.isActive and query.status["isTriggerActive"] and not self._closed.wait(_MOMENT):
            pass
        with self._turn:
            self._closed.set()
            query.stop()
