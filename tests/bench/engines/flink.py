"""Flink SQL through PyFlink, into Iceberg tables: the engine users would name first."""

from __future__ import annotations

import os
import subprocess
import threading
from pathlib import Path

import duckdb
import pyarrow as pa

from bench.engines.engine import JOBS, Engine, Mode, Place, Say, Watch, job
from bench.engines.environment import python_of
from promolake.cli.freshness import POLL_SECONDS
from promolake.engine.jars import JarSet, java, resolved

JARS = JarSet(
    "bench-flink",
    ("org.apache.flink:flink-sql-connector-kafka:5.0.0-2.2", "org.apache.iceberg:iceberg-flink-runtime-2.1:1.11.0"),
    transitive=False,
)
HADOOP = ("hadoop-client-api", "hadoop-client-runtime")
"""What Iceberg needs of Hadoop comes with pyspark."""
LATEST = "SELECT * FROM held QUALIFY row_number() OVER (PARTITION BY {grain} ORDER BY window_end DESC) = 1"
GRAIN = {
    "gmv_per_minute": "window_start, currency, category",
    "sales_per_product_per_minute": "window_start, currency, product_id",
    "requests_per_ip_per_minute": "window_start, ip",
}
READER = JOBS / "iceberg_reader.py"


class Flink(Engine):
    name = "Flink SQL"
    keeps = (
        "Iceberg, append only: a backlog's minute is written when it is over; live, each minute's sums so far are appended every second "
        "(CUMULATE) and the reader takes the latest. No silver, validation or deduplication; a late row would be dropped"
    )

    def prepare(self, say: Say) -> None:
        self._python = python_of("flink", say)
        import pyspark

        spark = Path(pyspark.__path__[0], "jars")
        hadoop = [jar for name in HADOOP for jar in spark.glob(f"{name}-*.jar")]
        library = next(self._python.parents[1].glob("lib/python*/site-packages/pyflink/lib"))
        for jar in (*resolved(JARS, say), *hadoop):
            link = library / jar.name
            link.unlink(missing_ok=True)
            link.symlink_to(jar)

    def command(self, place: Place, mode: Mode) -> list[str]:
        return job("flink_job.py", place, mode, self._python)

    def environment(self, place: Place) -> dict[str, str]:
        return dict(os.environ) | {"JAVA_HOME": str(java().resolve().parent.parent), "FLINK_LOG_DIR": str(place.home)}

    def watch(self, place: Place) -> Watch:
        return _IcebergWatch(self._python, place.table("gold", "gmv_per_minute"))

    def rows(self, place: Place, layer: str, name: str, columns: str = "*") -> pa.Table:
        out = place.home / f"{layer}.{name}.arrow"
        subprocess.run([str(self._python), str(READER), "dump", str(place.table(layer, name)), str(out)], check=True)
        with pa.memory_map(str(out)) as file, duckdb.connect() as connection:
            connection.register("held", pa.ipc.open_file(file).read_all())
            latest = LATEST.format(grain=GRAIN[name]) if layer == "gold" else "FROM held"
            return connection.sql(f"SELECT {columns} FROM ({latest})").to_arrow_table()


class _IcebergWatch(Watch):
    """The reader is a process of Flink's environment, which has what it takes to read Iceberg."""

    def __init__(self, python: Path, table: Path) -> None:
        command = [str(python), str(READER), "watch", str(table), str(POLL_SECONDS)]
        self._reader = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self._seen: list[tuple[int, float]] = []
        self._thread = threading.Thread(target=self._watch, name="iceberg-watch", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._reader.terminate()
        self._thread.join()
        self._reader.wait()
        self._reader.stdout.close()

    def _watch(self) -> None:
        for line in self._reader.stdout:
            at, total = line.split()
            self._seen.append((int(total), float(at)))
