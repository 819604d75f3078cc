"""What promolake asks of the JVM it starts."""

from __future__ import annotations

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
