"""The Spark session: Delta and Kafka on board, UTC, few partitions, and settings that keep a small micro-batch small."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from pyspark import SparkContext
from pyspark.sql import SparkSession

from promolake.engine import class_archive, jars
from promolake.settings import Settings

# What a session needs wherever it runs; conf/spark-defaults.conf says the same for plain spark-submit.
_SESSION = {
    "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
    "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.shuffle.partitions": "2",
    "spark.databricks.delta.snapshotPartitions": "2",
    "spark.sql.sources.parallelPartitionDiscovery.parallelism": "2",
    "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",  # the default, INT96, is not what Arrow or Delta call a timestamp
    "spark.sql.legacy.parameterSubstitution.constantsOnly": "true",  # Delta's parser drops SQL parameters otherwise (delta#7640)
    "spark.sql.icu.caseMappings.enabled": "false",  # ICU works out every character's title case first, a second and a half of each start
    "spark.python.sql.dataFrameDebugging.enabled": "false",  # the line that made a column: two calls of three while plans are made
    "spark.python.unix.domain.socket.enabled": "true",  # between the JVM and Python, TCP waits 40 ms for each acknowledgement
    "spark.redaction.regex": "(?i)secret|password|token|access[.]?key|credential|jaas|hmac|sign|webhook|api[.]?key|salt|dsn|pseudonym",
}
# Java's compilers took more than half of the JVM's time in a run's first minutes. The second one takes a method that has run 5,000 times,
# with all it calls: this lets it wait for four times as many, and puts less into each (DECISIONS.md).
_COMPILING = (
    "-XX:Tier4InvocationThreshold=20000 -XX:Tier4MinInvocationThreshold=2400 -XX:Tier4CompileThreshold=60000 "
    "-XX:MaxInlineLevel=9 -XX:FreqInlineSize=150 -XX:InlineSmallCode=1200"
)
# Where little is done Java's second compiler never pays; and what the first one makes is faster when it need not count for the second.
# Without it Java would keep room for a fifth of the code, and stop compiling when that is full.
_COMPILING_BRIEFLY = "-XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=240m"
_WARNING = "-Xlog:disable -Xlog:all=warning:stderr"  # on standard output, where Java warns, stands a command's --json
BRIEF = 120_000  # records; at 200,000 it costs no less CPU, and a sixth more time (DECISIONS.md)
# Left to itself Java changes the young part's size, and how long it keeps what a batch still needs, from pause to pause, and soon moves
# 2 MB a second of what is about to die among what lasts, where only a collection of the whole heap finds it. In parts that stay (a third
# is young, a sixth of that each of two sets of survivors) a batch's rows die where they were made, all but 0.1 MB (DECISIONS.md).
_COLLECTING = "-XX:+UseParallelGC -XX:-UseAdaptiveSizePolicy -XX:SurvivorRatio=4"
_COLLECT_EVERY = "2min"  # the whole heap; Spark lets go of what it sent around only then
# Of malloc: how many arenas all threads have; from how much on a piece is mapped by itself, and gone when it is freed; how much may be
# free at an arena's end. By the numbers of malloc.h, and by the names a process looks for when it begins (mallopt(3)).
_MALLOC = {-8: ("MALLOC_ARENA_MAX", 2), -3: ("MALLOC_MMAP_THRESHOLD_", 512 << 10), -1: ("MALLOC_TRIM_THRESHOLD_", 4 << 20)}
_CHECKPOINTING = "org.apache.spark.sql.execution.streaming.checkpointing"
_LOCAL = {
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    # What Spark remembers of jobs that are over, for a page that nobody can open.
    "spark.ui.liveUpdate.period": "-1",
    "spark.ui.retainedJobs": "20",
    "spark.ui.retainedStages": "20",
    "spark.ui.retainedTasks": "200",
    "spark.sql.ui.retainedExecutions": "10",
    "spark.cleaner.periodicGC.interval": _COLLECT_EVERY,
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
    # The default manager sets each new file's rights, for which Hadoop starts a process: 60 ms of every micro-batch.
    "spark.sql.streaming.checkpointFileManagerClass": f"{_CHECKPOINTING}.FileSystemBasedCheckpointFileManager",
}
_STREAM = {
    "spark.sql.adaptive.enabled": "false",
    "spark.sql.streaming.stateStore.providerClass": "org.apache.spark.sql.execution.streaming.state.RocksDBStateStoreProvider",
    "spark.sql.streaming.stateStore.rocksdb.changelogCheckpointing.enabled": "true",
    "spark.sql.streaming.stateStore.rocksdb.trackTotalNumberOfRows": "false",
    "spark.sql.optimizer.inSetConversionThreshold": "1",  # a closed list is looked up in; one of up to ten Spark would go through
    "spark.sql.streaming.stopTimeout": "30s",
    "spark.sql.streaming.multipleWatermarkPolicy": "max",  # the slower side of a join does not hold up the other
}
# A join's state by event time: a batch looks only at what is in reach and what has just left it, where Spark's default (2) looks at every
# row that stands, after half an hour for ten seconds. Spark 4.2 has it behind a switch; a checkpoint keeps its own (DECISIONS.md).
_JOIN = _STREAM | {
    "spark.sql.streaming.join.stateFormatVersion": "4",
    "spark.sql.streaming.join.stateFormatV4.enabled": "true",
    "spark.sql.streaming.minBatchesToRetain": "20",  # ten minutes of triggers; a start needs the last, and Spark would keep a hundred
}
# The scan's micro-batch is a thousand rows through a thousand expressions: generating and compiling Java for it costs more than running it.
# Then Spark also keeps what expressions share in a cache, emptied for each row, which costs more than to compute it again.
_INTERPRETED = {
    "spark.sql.codegen.wholeStage": "false",
    "spark.sql.codegen.factoryMode": "NO_CODEGEN",
    "spark.sql.subexpressionElimination.enabled": "false",
}
_SCAN = _STREAM | _INTERPRETED
# Of few batches, and without a second compiler, what is compiled pays at once.
_BRIEF_SCAN = _STREAM | {"spark.sql.codegen.wholeStage": "false"}
_IS_BRIEF = "spark.promolake.brief"


def session(
    settings: Settings,
    name: str,
    say: Callable[[str], None],
    more: Mapping[str, str] | None = None,
    standing_tasks: int = 0,
    class_data: str | None = None,
    brief: bool = False,
) -> SparkSession:
    """The process's session, in UTC, with `more` options. Under spark-submit master, memory and jars are spark-submit's; else
    local[cores] with jars fetched through Ivy, `say` telling the progress. Raises EnvironmentProblem when Java or a jar is missing.

    `standing_tasks` are those that never end and mostly wait (engine/lane.py): slots beside the cores', so that they take none.
    `class_data` are the JVM's options about the class archive: to start from it, unless said otherwise (engine/class_archive.py).
    `brief` is a session that ends after a scan of less than BRIEF records."""
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)  # the workers that read a batch: this Python, not the first on the PATH
    builder = SparkSession.builder.appName(name)
    options = _SESSION | {"spark.sql.warehouse.dir": str(settings.home / "warehouse")} | dict(more or {})
    malloc_gives_back()
    if "PYSPARK_GATEWAY_PORT" not in os.environ:  # not started by spark-submit
        os.environ["JAVA_HOME"] = str(jars.java().resolve().parent.parent)
        found = jars.resolved(jars.SPARK_JARS, say)
        say("starting Spark")
        # On the class path, not as spark.jars: only what Java's own class loader loads is in the archive, and seen by the Thrift server.
        options |= _LOCAL | {"spark.driver.extraClassPath": os.pathsep.join(map(str, found))}
        os.environ.setdefault("SPARK_LAUNCHER_OPTS", _WARNING)  # of the JVM that only works out how to start the other
        options |= {"spark.default.parallelism": str(settings.engine.cores), _IS_BRIEF: str(brief).lower()} | options
        builder = builder.master(f"local[{settings.engine.cores + standing_tasks}]")
        builder = builder.config("spark.driver.memory", settings.engine.driver_memory)
        # On two cores G1's concurrent threads take from the micro-batch what they save in pauses.
        collector = jars.collector(_COLLECTING)
        class_data = class_archive.reading(class_archive.SPARK) if class_data is None else class_data
        # All of the heap at once, or its parts do not stay. Out of it a thread would die alone, and leave Spark waiting for what it had in
        # hand, for ever and without a word.
        memory = f"-Xms{settings.engine.driver_memory} -Xss4m -XX:+ExitOnOutOfMemoryError"
        compiling = _COMPILING_BRIEFLY if brief else _COMPILING
        java = f"{memory} {collector} {compiling} {_WARNING} {class_data} {_quiet(settings.home)}"
        builder = builder.config("spark.driver.extraJavaOptions", java)
    for key, value in options.items():
        builder = builder.config(key, value)
    with _sigterm_left_to_python():
        spark = builder.getOrCreate()
    spark.sparkContext.setLogLevel("ERROR")
    return spark


def malloc_gives_back() -> None:
    """Here and in what is started from here. glibc gives each thread an arena, up to eight a core, and what was freed in one is of no use
    to another: a JVM of 300 threads and a Python of 130 would grow for hours. And it soon takes pieces of up to 32 MB out of them, too, as
    it has them mapped by themselves only until the first is freed: in a run's Python 200 MB of holes about 60 in use (mallopt(3))."""
    for number, (name, value) in _MALLOC.items():
        wanted = os.environ.setdefault(name, str(value))
        with suppress(OSError, AttributeError, ValueError):  # another C library
            ctypes.CDLL(None).mallopt(number, int(wanted))


_starting = threading.local()


@contextmanager
def _sigterm_left_to_python() -> Iterator[None]:
    """A JVM started meanwhile ignores SIGTERM, as PySpark has it ignore SIGINT: systemd and `timeout` send it to all processes of a job,
    and the batch in hand is finished with the JVM's help. It ends when this process does, as its standard input then ends."""
    _starting.java = True
    try:
        yield
    finally:
        _starting.java = False


def _in_what_was_forked() -> None:
    if getattr(_starting, "java", False):  # nothing else is started meanwhile by this thread
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # Java leaves alone what is ignored when it begins


os.register_at_fork(after_in_child=_in_what_was_forked)


def ended(spark: SparkSession, patience_s: float = 20.0) -> None:
    """Ends Spark before the interpreter does: the other way round the process may die with an abort (performance.md).

    The JVM is waited for as well: while it lives, py4j's threads keep what the batches used until after the interpreter has gone.
    """
    if died():
        return
    gateway = spark.sparkContext._gateway
    spark.stop()
    # A thread of py4j tells the JVM of every object freed here, and logs a traceback when that is going.
    gateway._gateway_client.is_connected = False
    if jvm := getattr(gateway, "proc", None):  # none under spark-submit, where the JVM is the parent
        jvm.stdin.close()
        jvm.wait(timeout=patience_s)


def died() -> bool:
    """Whether the JVM this process started has ended before it was told to: killed, or out of memory."""
    context = SparkContext._active_spark_context
    jvm = getattr(context and context._gateway, "proc", None)  # none under spark-submit, where the JVM is the parent
    return jvm is not None and jvm.poll() is not None


def scan_session(spark: SparkSession) -> SparkSession:
    """A session of the same process for the scan, with the settings that suit its micro-batches."""
    return _with(spark.newSession(), _BRIEF_SCAN if spark.conf.get(_IS_BRIEF, "false") == "true" else _SCAN)


def batch_session(spark: SparkSession) -> SparkSession:
    """A session of the same process that computes whole tables: as the scan's, but on a cluster each shuffle is spread over all cores."""
    found = scan_session(spark)
    if not spark.sparkContext.master.startswith("local"):
        found.conf.set("spark.sql.shuffle.partitions", str(spark.sparkContext.defaultParallelism))
    return found


def join_session(spark: SparkSession) -> SparkSession:
    """A session of the same process for stream-stream joins: state in RocksDB, plans optimised as ever, and on a laptop on half the cores,
    so that the scan always has the others."""
    if not spark.sparkContext.master.startswith("local"):
        return _with(spark.newSession(), _JOIN)
    half = max(1, spark.sparkContext.defaultParallelism // 2)
    return _with(spark.newSession(), _JOIN | _INTERPRETED | {"spark.sql.shuffle.partitions": str(half)})


def _with(spark: SparkSession, options: dict[str, str]) -> SparkSession:
    for key, value in options.items():
        spark.conf.set(key, value)
    return spark


def _quiet(home: Path) -> str:
    """Spark's own log goes to the home, not to the terminal."""
    file = home / "log" / "log4j2.properties"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(
        "rootLogger.level = warn\nrootLogger.appenderRef.file.ref = file\n"
        "appender.file.type = RollingFile\nappender.file.name = file\n"
        f"appender.file.fileName = {home}/log/spark.log\nappender.file.filePattern = {home}/log/spark.%i.log\n"
        "appender.file.layout.type = PatternLayout\nappender.file.layout.pattern = %d{ISO8601} %p %c: %m%n%ex\n"
        "appender.file.policies.type = SizeBasedTriggeringPolicy\nappender.file.policies.size = 20MB\n"
        "appender.file.strategy.type = DefaultRolloverStrategy\nappender.file.strategy.max = 3\n"
    )
    return f"-Dlog4j2.configurationFile=file:{file}"
