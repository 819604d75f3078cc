"""One writer per table, whoever it is and however it ends."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pytest

from promolake.core.errors import HomeInUse
from promolake.core.table import Column, Table
from promolake.engine.lakehouse import Lakehouse, Txn
from promolake.engine.lock import holders, writing

ORDERS = Table("silver.orders", "", ())
VIEWS = Table("silver.views", "", ())
HOLDER = """
    import time
    from pathlib import Path
    from promolake.core.table import Table
    from promolake.engine.lock import writing
    with writing(Path({home!r}), [Table("silver.orders", "", ())]):
        print("writing", flush=True)
        time.sleep(600)
"""


def test_a_second_writer_is_refused_at_once_naming_the_first(tmp_path: Path) -> None:
    with writing(tmp_path, [VIEWS, ORDERS]):
        refused = pytest.raises(HomeInUse, match=rf"Process {os.getpid()} writes silver\.orders in .* Stop it first")
        with refused, writing(tmp_path, [ORDERS]):
            pass
        assert holders(tmp_path) == {"silver.orders": os.getpid()}
    with writing(tmp_path, [ORDERS, VIEWS]):
        pass
    assert holders(tmp_path) == {}


def test_writers_of_different_tables_do_not_meet_and_a_refused_one_holds_nothing(tmp_path: Path) -> None:
    with writing(tmp_path, [ORDERS]):
        with pytest.raises(HomeInUse), writing(tmp_path, [VIEWS, ORDERS]):
            pass
        with writing(tmp_path, [VIEWS]):
            pass


def test_shared_tables_are_written_by_turns_and_keep_nobody_out(tmp_path: Path) -> None:
    books = Table("ops.books", "", (Column("n", "bigint", "A number."),), shared=True)
    with writing(tmp_path, [books]), writing(tmp_path, [books]):
        assert holders(tmp_path) == {}
    lakes = [Lakehouse(tmp_path / "lake") for _ in range(4)]  # as four processes: none knows of the others' locks

    def write(mine: int) -> None:
        for n in range(25):
            assert lakes[mine].append(books, pa.table({"n": [n]}), Txn(f"writer {mine}", n))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    assert sorted(lakes[0].read(books, ("n",))["n"].to_pylist()) == sorted([*range(25)] * 4)
    assert lakes[0].version(books) == 100, "somebody had to try again"


def test_who_only_looks_keeps_nobody_from_writing(tmp_path: Path) -> None:
    over = threading.Event()

    def look() -> None:
        while not over.is_set():
            holders(tmp_path)

    looking = threading.Thread(target=look)
    looking.start()
    try:
        for _ in range(300):
            with writing(tmp_path, [ORDERS]):
                pass
    finally:
        over.set()
        looking.join()


def test_other_homes_are_others(tmp_path: Path) -> None:
    with writing(tmp_path / "a", [ORDERS]), writing(tmp_path / "b", [ORDERS]):
        assert holders(tmp_path / "a") == holders(tmp_path / "b") == {"silver.orders": os.getpid()}


def test_a_writer_that_was_killed_holds_nothing(tmp_path: Path) -> None:
    code = textwrap.dedent(HOLDER.format(home=str(tmp_path)))
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "writing\n"
        with pytest.raises(HomeInUse, match=f"Process {other.pid} writes"), writing(tmp_path, [ORDERS]):
            pass
        other.kill()
    with writing(tmp_path, [ORDERS]):
        assert holders(tmp_path) == {"silver.orders": os.getpid()}
