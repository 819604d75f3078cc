"""One run of the flows with one of the engine's levers switched off, or with a table more: `python -m bench.levers NAME HOME BOOTSTRAP`.

Writes HOME/measured.json: what a micro-batch took once the first ones are over, and the start. test_levers.py compares such runs.
"""

from __future__ import annotations

import json
import os
import runpy
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

from deltalake import DeltaTable

from bench.engines.engine import REPOSITORY
from bench.measuring import cpu_seconds, tree
from day import STREAMED, settings_for
from promolake.core.flow import Hallway
from promolake.core.table import Table
from promolake.engine import jars, lakehouse, minutes, parsing, prepared, session
from promolake.engine.lakehouse import Lakehouse
from promolake.engine.runner import Runner
from promolake.engine.scan import Scan
from promolake.settings import Settings

PER_BATCH = 600
COLD = 10  # batches of each run that are left out
SECONDS = 30  # a run ends after so long, however few batches it has made

NONE = "nothing is switched off"
ONE_MORE = "one gold table more"


def _plans_made_anew() -> None:
    prepared.keeps_plans = parsing.keeps_plans = lambda spark: False


def _compiled_to_java() -> None:
    for name in session._INTERPRETED:
        session._SCAN.pop(name)


def _java_as_it_comes() -> None:
    session._COMPILING = ""


def _g1() -> None:
    jars.collector = lambda wanted: "-XX:+UseG1GC"


def _silver_read_again() -> None:
    minutes.MAX_ROWS = 0


def _delta_rs_asked_each_time() -> None:
    lakehouse.has_more = lambda *_: True


def _opened_each_time() -> None:
    in_hand = Lakehouse._in_hand

    def anew(self: Lakehouse, table: Table) -> DeltaTable:
        self._open.pop(table.name, None)
        return in_hand(self, table)

    Lakehouse._in_hand = anew


def _merged_as_one() -> None:
    Lakehouse._parted = lambda self, table, rows: (rows, rows.slice(0, 0))


def _by_delta_rs() -> None:
    lakehouse.is_plain = lambda *_: False


def _hadoop_processes() -> None:
    session._LOCAL.pop("spark.sql.streaming.checkpointFileManagerClass")


def _lines_asked_for() -> None:
    session._SESSION["spark.python.sql.dataFrameDebugging.enabled"] = "true"


def _classes_loaded_anew() -> None:
    session.class_archive.reading = lambda file: ""


def _case_mapped_by_icu() -> None:
    session._SESSION.pop("spark.sql.icu.caseMappings.enabled")


def _tcp() -> None:
    session._SESSION["spark.python.unix.domain.socket.enabled"] = "false"


PATCHES: dict[str, Callable[[], None]] = {
    "plans are kept and run again": _plans_made_anew,
    "expressions are interpreted": _compiled_to_java,
    "Java compiles later and less": _java_as_it_comes,
    "ParallelGC": _g1,
    "minutes lately touched stay in memory": _silver_read_again,
    "the next commit's file is looked for": _delta_rs_asked_each_time,
    "tables are held open": _opened_each_time,
    "newer windows are appended, not merged": _merged_as_one,
    "small commits by hand, not delta-rs": _by_delta_rs,
    "checkpoint files without Hadoop's processes": _hadoop_processes,
    "a Unix socket between Java and Python": _tcp,
    "Java is not asked for the line of each column": _lines_asked_for,
    "ICU's table of title cases is not made": _case_mapped_by_icu,
    "classes are kept as Java has them in memory": _classes_loaded_anew,
}
SETTINGS: dict[str, dict[str, int]] = {
    "small commits without Spark": {"spark_above_rows": 0},
    "commits side by side": {"commit_threads": 1},
}
LEVERS = [*PATCHES, *SETTINGS]


def settings_without(lever: str, home: Path) -> Settings:
    plain = settings_for(home, PER_BATCH)
    return plain.model_copy(update={"engine": plain.engine.model_copy(update=SETTINGS.get(lever, {}))})


def one_more() -> Hallway:
    """With the notebooks' example: a row per minute and product that was looked at."""
    example = runpy.run_path(str(REPOSITORY / "notebooks" / "views_per_product_per_minute.py"))
    return replace(STREAMED, metrics=(*STREAMED.metrics, example["FLOW"]))


def measured(settings: Settings, bootstrap: str, flows: Hallway) -> dict[str, float]:
    """Seconds and CPU seconds (of this process and the JVM) from the end of a batch to the end of the next, of those not cold, and the
    seconds from Spark's start to the end of the first batch."""
    began = time.monotonic()
    spark = session.session(settings, "levers", print, standing_tasks=2)
    runner = Runner(settings, bootstrap, spark, flows, "main", print)
    ends: list[tuple[float, float]] = []
    batch = Scan._batch

    def noted(self: Scan, *given: Any) -> None:
        batch(self, *given)
        ends.append((time.monotonic(), cpu_seconds(tree(os.getpid()))))
        if time.monotonic() - ends[0][0] > SECONDS:
            runner.stop()

    Scan._batch = noted
    runner.run()
    session.ended(spark)
    warm = ends[min(COLD, len(ends) // 3) :]
    took = [later[0] - earlier[0] for earlier, later in pairwise(warm)]
    cpu = (warm[-1][1] - warm[0][1]) / len(took)
    return {"batches": len(took), "seconds": median(took), "cpu": cpu, "start": ends[0][0] - began}


if __name__ == "__main__":
    lever, home, bootstrap = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
    home.mkdir(parents=True)
    PATCHES.get(lever, lambda: None)()
    found = measured(settings_without(lever, home), bootstrap, one_more() if lever == ONE_MORE else STREAMED)
    (home / "measured.json").write_text(json.dumps(found))
