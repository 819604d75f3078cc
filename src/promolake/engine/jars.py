"""The Java side of the house: which Java, and which jars, fetched by coordinate through Spark's own Ivy.

pyspark ships Ivy, so no build tool is needed and no registry is named here: Ivy's `ibiblio` resolver knows where Maven Central is.
Jars land in `<jar home>/cache`, the layout of `spark.jars.ivy`, so `spark-submit --packages` with that setting finds the same files.
Ivy checks every file's checksum. What was resolved once is remembered beside the cache: a warm start reads one small file.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from xml.sax.saxutils import quoteattr

from promolake.core.errors import EnvironmentProblem

JAVA_VERSION = 17
ATTEMPTS = 3

# The same file as infra/ivysettings.xml, which plain spark-submit is pointed to.
IVY_SETTINGS = """\
<ivysettings>
  <settings defaultResolver="central"/>
  <resolvers>
    <ibiblio name="central" m2compatible="true"/>
  </resolvers>
</ivysettings>
"""


@dataclass(frozen=True)
class JarSet:
    """Jars that go on one class path: `coordinates` are `group:artifact:version`; transitive ones bring what they depend on."""

    name: str
    coordinates: tuple[str, ...]
    transitive: bool

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256(repr(self).encode()).hexdigest()[:12]


SPARK_JARS = JarSet(
    "spark",
    (
        "io.delta:delta-spark_4.2_2.13:4.4.0",
        "io.delta:delta-storage:4.4.0",
        "org.apache.spark:spark-sql-kafka-0-10_2.13:4.2.0",
        "org.apache.spark:spark-token-provider-kafka-0-10_2.13:4.2.0",
        "org.apache.kafka:kafka-clients:3.9.2",
        "org.apache.commons:commons-pool2:2.13.1",
    ),
    transitive=False,
)
"""What a session needs beyond pyspark's own jars; nothing pyspark has, so nothing can shadow it."""

BROKER_JARS = JarSet(
    "broker",
    ("org.apache.kafka:kafka_2.13:4.2.0", "org.apache.logging.log4j:log4j-slf4j-impl:2.25.3"),
    transitive=True,
)
"""The embedded Kafka broker's class path; kept apart from Spark's, whose Kafka client and slf4j are other versions."""


def jar_home() -> Path:
    """Where jars are kept: `$PROMOLAKE_JARS`, else `~/.cache/promolake/ivy`."""
    configured = os.environ.get("PROMOLAKE_JARS")
    return Path(configured).absolute() if configured else Path.home() / ".cache" / "promolake" / "ivy"


def resolved(jar_set: JarSet, progress: Callable[[str], None]) -> list[Path]:
    """The files of a jar set, fetched when they are not there yet; `progress` is given one line per file fetched.

    Raises EnvironmentProblem when Java is missing, the cache cannot be written or Maven Central cannot be reached.
    """
    home = jar_home()
    memory = home / "resolved" / f"{jar_set.name}-{jar_set.fingerprint}.txt"
    try:
        if remembered := _remembered(memory, home):
            return remembered
        memory.parent.mkdir(parents=True, exist_ok=True)
        with _only_one(home / "lock"):
            if remembered := _remembered(memory, home):  # another process was faster
                return remembered
            jars = _fetched(jar_set, home, progress)
            fresh = memory.with_suffix(".new")
            fresh.write_text("".join(f"{jar.relative_to(home)}\n" for jar in jars))
            fresh.replace(memory)
            return jars
    except OSError as problem:
        raise EnvironmentProblem(
            f"Jars cannot be kept in {home}: {problem.strerror or problem}.", "Set PROMOLAKE_JARS to a directory that can be written."
        ) from problem


@cache
def java() -> Path:
    """The `java` to run: of `$JAVA_HOME`, else of the PATH. Raises EnvironmentProblem when there is none or it is older than 17."""
    remedy = f"Install Java {JAVA_VERSION} (Debian: openjdk-{JAVA_VERSION}-jre-headless) or point JAVA_HOME to one."
    home = os.environ.get("JAVA_HOME")
    found = shutil.which("java", path=str(Path(home, "bin"))) if home else shutil.which("java")
    if found is None:
        raise EnvironmentProblem(f"JAVA_HOME is {home}, which has no bin/java." if home else "There is no java on the PATH.", remedy)
    answer = subprocess.run([found, "-version"], capture_output=True, text=True).stderr
    version = re.search(r'version "(?:1\.)?(\d+)', answer)
    if version is None or int(version[1]) < JAVA_VERSION:
        is_called = f"is Java {version[1]}" if version else "does not tell its version"
        raise EnvironmentProblem(f"{found} {is_called}; Java {JAVA_VERSION} or newer is needed.", remedy)
    return Path(found)


def _remembered(memory: Path, home: Path) -> list[Path]:
    """The remembered files, or none when they were never resolved or one of them is gone."""
    try:
        jars = [home / line for line in memory.read_text().splitlines()]
    except FileNotFoundError:
        return []
    return jars if all(jar.is_file() for jar in jars) else []


@contextmanager
def _only_one(lock: Path) -> Iterator[None]:
    """Ivy's cache is not made for two writers: the second process waits here."""
    with lock.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _fetched(jar_set: JarSet, home: Path, progress: Callable[[str], None]) -> list[Path]:
    progress(f"resolving the {jar_set.name} jars")
    with tempfile.TemporaryDirectory() as scratch:
        settings, module, listed = (Path(scratch, name) for name in ("ivysettings.xml", "ivy.xml", "classpath.txt"))
        settings.write_text(IVY_SETTINGS)
        module.write_text(_module(jar_set))
        # Ivy waits for ever by default; these are milliseconds.
        command = [str(java()), "-Dsun.net.client.defaultConnectTimeout=20000", "-Dsun.net.client.defaultReadTimeout=60000"]
        command += ["-jar", str(_ivy()), "-settings", str(settings), "-cache", str(home / "cache"), "-ivy", str(module)]
        command += ["-confs", "default", "-types", "jar", "bundle", "-cachepath", str(listed)]
        for attempt in range(1, ATTEMPTS + 1):
            output = _run_ivy(command, jar_set, progress)
            if listed.exists():
                return [Path(jar) for jar in listed.read_text().strip().split(os.pathsep)]
            if attempt < ATTEMPTS:
                progress(f"the {jar_set.name} jars could not be fetched: trying again")
    raise _failure(jar_set, output)


def _module(jar_set: JarSet) -> str:
    lines = []
    for coordinate in jar_set.coordinates:
        group, artifact, version = (quoteattr(part) for part in coordinate.split(":"))
        transitive = str(jar_set.transitive).lower()
        lines.append(f'<dependency org={group} name={artifact} rev={version} conf="default->default" transitive="{transitive}"/>')
    return (
        f'<ivy-module version="2.0"><info organisation="promolake" module="{jar_set.name}-jars"/>'
        f'<configurations><conf name="default"/></configurations><dependencies>{"".join(lines)}</dependencies></ivy-module>'
    )


def _ivy() -> Path:
    # Found without importing pyspark, which takes half a second.
    package = importlib.util.find_spec("pyspark")
    found = sorted(Path(package.submodule_search_locations[0], "jars").glob("ivy-*.jar")) if package else []
    if not found:
        raise EnvironmentProblem("pyspark's jars are not installed in this Python.", "Run make install.")
    return found[0]


def _run_ivy(command: list[str], jar_set: JarSet, progress: Callable[[str], None]) -> list[str]:
    """Ivy's output, line by line; says which file arrived while it runs."""
    output, count = [], 0
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as ivy:
        for line in ivy.stdout:
            output.append(line.strip())
            if arrived := re.search(r"\[SUCCESSFUL \] \S+!(\S+\.jar)", line):
                count += 1
                progress(f"fetched {jar_set.name} jar {count}: {arrived[1]}")
    return output


def _failure(jar_set: JarSet, output: list[str]) -> EnvironmentProblem:
    missing = [line for line in output if "not found" in line and line.startswith("::")]
    if missing and not any("Server access error" in line or "UnknownHost" in line for line in output):
        return EnvironmentProblem(f"Maven Central has no {missing[0].strip(': ')}.", "Check the coordinates in engine/jars.py.")
    return EnvironmentProblem(
        f"The {jar_set.name} jars could not be fetched: Maven Central cannot be reached.",
        "Check the network, or set PROMOLAKE_JARS to a directory filled on a machine that has one.",
    )


def collector(wanted: str) -> str:
    """The garbage collector to ask a JVM for; empty when the environment has chosen one already, as Java refuses to start with two."""
    given = " ".join(os.environ.get(name, "") for name in ("JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "_JAVA_OPTIONS"))
    return "" if re.search(r"-XX:\+Use\w+GC\b", given) else wanted
