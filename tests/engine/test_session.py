"""What promolake asks of the JVM it starts."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import pytest

from promolake.engine import jars

ENDS = """
import sys
from pathlib import Path
from promolake import settings
from promolake.engine.session import ended, session

spark = session(settings.load(Path(sys.argv[1])), "ends", print)
gateway = spark.sparkContext._gateway
client, jvm, told = gateway._gateway_client, gateway.proc, []
send = client.send_command

def noting(*command, **options):
    told.append("to a JVM that is going" if jvm.stdin.closed else "in time")
    return send(*command, **options)

client.send_command = noting
client.finalizer_deque.extendleft((client, "o0") for _ in range(300_000))  # what py4j's thread tells the JVM, one by one
ended(spark)
print(sorted(set(told)))
"""


BRIEF = """
import sys
from pathlib import Path
from promolake import settings
from promolake.engine.session import ended, scan_session, session

spark = session(settings.load(Path(sys.argv[1])), "brief", print, brief=True)
flags = spark._jvm.java.lang.management.ManagementFactory.getRuntimeMXBean().getInputArguments()
print("-XX:TieredStopAtLevel=1" in flags, scan_session(spark).conf.get("spark.sql.codegen.factoryMode"))
ended(spark)
"""

RUNS_OUT_OF_MEMORY = """
import sys
from pathlib import Path
from promolake import settings
from promolake.engine.session import died, ended, session
spark = session(settings.load(Path(sys.argv[1])), "large", print)
try:
    spark._sc._gateway.new_array(spark._jvm.long, 2**30)
except Exception as error:
    print("failed")
spark._sc._gateway.proc.wait(30)
print(died())
ended(spark)
"""

HELD = """
import ctypes, sys
from promolake.engine.session import malloc_gives_back
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
class Info(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in "arena ordblks smblks hblks mapped usmblks fsmblks uordblks fordblks keepcost".split()]
libc.mallinfo2.restype = Info
if sys.argv[1] == "told":
    malloc_gives_back()
for _ in range(3):
    libc.free(libc.malloc(8 << 20))
before = libc.mallinfo2().mapped
libc.malloc(1 << 20)
print(libc.mallinfo2().mapped - before >= 1 << 20)
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="not glibc, whose habit this is about")
@pytest.mark.parametrize(("malloc", "is_mapped"), [("told", "True"), ("left alone", "False")])
def test_what_is_large_never_makes_holes_between_what_lasts(malloc: str, is_mapped: str) -> None:
    """It is mapped by itself, so that all of it goes back when it is freed, however many were freed before; malloc alone learns not to."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    done = subprocess.run([sys.executable, "-c", HELD, malloc], capture_output=True, text=True, env=plain)
    assert done.stdout == f"{is_mapped}\n", done.stderr


@pytest.mark.spark
def test_a_jvm_that_runs_out_of_memory_ends_and_is_known_to_have_ended(tmp_path: Path) -> None:
    """Else the thread that met it dies alone, and Spark waits for what it had in hand for ever."""
    done = subprocess.run([sys.executable, "-c", RUNS_OUT_OF_MEMORY, tmp_path], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-2:] == ["failed", "True"]


@pytest.mark.spark
def test_objects_freed_while_spark_ends_are_not_told_to_a_jvm_that_is_going(tmp_path: Path) -> None:
    """It may reset the connection, and py4j then logs a traceback."""
    done = subprocess.run([sys.executable, "-c", ENDS, tmp_path], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "['in time']", done.stderr


@pytest.mark.spark
def test_a_brief_session_leaves_javas_second_compiler_out_and_compiles_its_expressions(tmp_path: Path) -> None:
    """And what Java warns of does not stand in between what a command prints, which may be JSON."""
    warned = os.environ | {"JAVA_TOOL_OPTIONS": "-XX:+UseLargePages"}  # there are none
    done = subprocess.run([sys.executable, "-c", BRIEF, tmp_path], capture_output=True, text=True, env=warned)
    assert done.stdout.splitlines() == ["starting Spark", "True FALLBACK"], done.stderr


@pytest.mark.parametrize(
    ("given", "asked"),
    [("", "-XX:+UseParallelGC"), ("-XX:TieredStopAtLevel=1 -XX:+UseSerialGC", ""), ("-Xmx2g", "-XX:+UseParallelGC"), ("-XX:+UseG1GC", "")],
)
def test_a_collector_chosen_in_the_environment_is_the_only_one(given: str, asked: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Java refuses to start with two."""
    monkeypatch.setenv("JAVA_TOOL_OPTIONS", given)
    assert jars.collector("-XX:+UseParallelGC") == asked
