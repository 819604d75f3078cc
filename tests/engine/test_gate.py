"""A query ends only between two batches."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from promolake.engine.gate import Gate


class Query:
    """A stream that calls its batch function in a thread, one batch after another, and notes whether `stop` came inside one."""

    def __init__(self, batch: Callable[[object, int], None], batches: int | None) -> None:
        self.inside = False
        self.stopped_inside: bool | None = None
        self.done: list[int] = []
        self.failure: Exception | None = None
        self.trigger_is_active = True
        self._batch = batch
        self._batches = batches
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def isActive(self) -> bool:
        return self._thread.is_alive()

    @property
    def status(self) -> dict[str, bool]:
        return {"isTriggerActive": self.trigger_is_active}

    def stop(self) -> None:
        if self.stopped_inside is None:
            self.stopped_inside = self.inside
        self._stop.set()
        self._thread.join(20)

    def _run(self) -> None:
        number = 0
        while not self._stop.is_set() and number != self._batches:
            try:
                self._batch(self, number)
            except InterruptedError as error:
                self.failure = error
                return
            self.done.append(number)
            number += 1
        self.trigger_is_active = False
        self._stop.wait(20)


def test_the_batch_in_hand_is_finished_before_the_query_is_stopped(until) -> None:
    gate, go_on = Gate(), threading.Event()

    def batch(query: Query, number: int) -> None:
        query.inside = True
        assert go_on.wait(20)
        query.inside = False

    query = Query(gate.guarded(batch), batches=1)
    until(lambda: query.inside)
    ending = threading.Thread(target=gate.end, args=(query,))
    ending.start()
    ending.join(0.2)  # time enough to go wrong
    assert query.stopped_inside is None
    go_on.set()
    ending.join(20)
    assert query.stopped_inside is False
    assert query.done == [0]


@pytest.mark.parametrize("_", range(5))
def test_a_query_that_is_never_idle_is_stopped_between_two_batches_too(_: int, until) -> None:
    gate, ran = Gate(), []

    def batch(query: Query, number: int) -> None:
        query.inside = True
        ran.append(number)
        query.inside = False

    query = Query(gate.guarded(batch), batches=None)
    until(lambda: len(ran) > 20)
    ending = threading.Thread(target=gate.end, args=(query,), daemon=True)
    ending.start()
    ending.join(20)
    assert not ending.is_alive(), "it waits for an idle moment that never comes"
    assert query.stopped_inside is False
    assert query.done == ran == list(range(len(ran)))
    assert not query.isActive


def test_an_idle_query_is_stopped_at_once_and_an_ended_one_is_no_matter() -> None:
    gate = Gate()
    query = Query(gate.guarded(lambda frame, number: None), batches=0)
    gate.end(query)
    assert not query.isActive
    gate.end(query)


def test_no_batch_begins_after_the_end() -> None:
    gate, ran = Gate(), []
    guarded = gate.guarded(lambda frame, number: ran.append(number))
    query = Query(guarded, batches=0)
    gate.end(query)
    with pytest.raises(InterruptedError, match="stopped before this batch began"):
        guarded(query, 7)
    assert ran == []
