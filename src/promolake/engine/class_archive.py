"""The classes a process of Java needs, kept as the JVM holds them in memory: class-data sharing (JEP 350, "Dynamic CDS Archives").

Spark, Delta and the rehearsal of a batch load fifteen thousand classes; reading, checking and linking them anew takes seven seconds of a
core at every start, the Kafka broker's one and a half. The archives lie in the virtual environment, as one is good for the pyspark of that
environment alone; a JVM that is another one, or finds other jars, passes over it without a word.
"""

from __future__ import annotations

import sys
from pathlib import Path

SPARK, BROKER = (Path(sys.prefix, "share", "promolake", f"{name}.jsa") for name in ("spark", "broker"))


def reading(file: Path) -> str:
    """The JVM's options to start from the archive; none when `make install` has not written it, or where Spark would split its name."""
    silent = " ".join(f"-Xlog:{what}=off{where}" for what in ("cds", "cds+dynamic") for where in ("", ":stderr"))
    return f"-XX:SharedArchiveFile={file} {silent}" if file.is_file() and " " not in str(file) else ""


def writing(file: Path) -> str:
    """The JVM's options to write what it has loaded into a file when it ends, without a word for each class it cannot keep; what the
    second compiler would make in so short a life is thrown away with it, so it makes nothing."""
    return f"-XX:ArchiveClassesAtExit={file} -XX:TieredStopAtLevel=1 -Xlog:disable -Xlog:all=error:stderr"
