"""The embedded default: one real Apache Kafka node (KRaft: broker and controller in one) as a child process.

Everything lies under `<home>/local/kafka`: `server.properties` and `log4j2.xml` (written at each start), `data`, `broker.log` (what
Kafka logs), `broker.out` (what Java prints), `state.json` (ports, and the process while it runs). Paths in Kafka's files are
relative to that directory, so a stopped home can be moved.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import random
import re
import socket
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from promolake.core.errors import EnvironmentProblem
from promolake.engine import class_archive
from promolake.engine.jars import BROKER_JARS, collector, java, resolved
from promolake.engine.kafka import cluster_id
from promolake.local.processes import Child, Process

HOST = "127.0.0.1"
# Below the range Linux takes ports of outgoing connections from, so that a kept port is still free at the next start.
PORT_RANGE = range(20_000, 32_000)
START_TIMEOUT_S = 90.0
STOP_TIMEOUT_S = 20.0
# The first compiler tier alone starts sooner and took a third less processor time, also while 10,000 records/s arrived.
JVM = ("-Xmx384m", "-XX:TieredStopAtLevel=1", "-XX:+ExitOnOutOfMemoryError", "-Dlog4j2.configurationFile=log4j2.xml")

# Voters are named here and not in the data, so that a new port is only a new line.
# A killed broker is taken back when its session has run out: the shorter, the sooner it serves again.
# Event time is the payload's; Kafka's own timestamp says when the broker took the record.
SERVER_PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@{host}:{controller_port}
listeners=BROKER://{host}:{port},CONTROLLER://{host}:{controller_port}
advertised.listeners=BROKER://{host}:{port}
listener.security.protocol.map=BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=BROKER
controller.listener.names=CONTROLLER
log.dirs=data
log.retention.ms=-1
log.retention.bytes=-1
log.message.timestamp.type=LogAppendTime
auto.create.topics.enable=false
num.partitions=2
default.replication.factor=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=2
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=2
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
broker.session.timeout.ms=4000
broker.heartbeat.interval.ms=1000
num.network.threads=2
num.io.threads=2
"""

LOG4J2 = """\
<Configuration status="error" shutdownHook="disable">
  <Appenders>
    <RollingFile name="log" fileName="broker.log" filePattern="broker.log.%i">
      <PatternLayout pattern="%d %-5p %c{1}: %m%n"/>
      <SizeBasedTriggeringPolicy size="10 MB"/>
      <DefaultRolloverStrategy max="3"/>
    </RollingFile>
  </Appenders>
  <Loggers>
    <Root level="info"><AppenderRef ref="log"/></Root>
  </Loggers>
</Configuration>
"""


@dataclass(frozen=True)
class Status:
    """A running broker: its pid, its address for clients (`host:port`), seconds since it started, bytes its data take on disk."""

    pid: int
    bootstrap: str
    uptime_s: float
    data_bytes: int


@dataclass(frozen=True)
class _State:
    port: int
    controller_port: int
    process: Process | None = None

    @property
    def bootstrap(self) -> str:
        return f"{HOST}:{self.port}"


class Broker:
    """The broker of one lake home, whether this command or an earlier one started it.

    `class_data` are its JVM's options about the class archive: to start from it, unless said otherwise (engine/class_archive.py).
    """

    def __init__(self, home: Path, class_data: str | None = None) -> None:
        self.directory = home.absolute() / "local" / "kafka"
        self._class_data = class_data
        self._child: Child | None = None

    def start(self, progress: Callable[[str], None], *, tied: bool = False) -> bool:
        """Starts the broker and returns when it serves: True, or False when it was running already.

        `tied`: it is killed when the calling thread ends, even by kill -9; otherwise it outlives the command.
        Raises EnvironmentProblem: no Java, no jars, a home that cannot be written, or a broker that does not come up (with its cause).
        """
        jars = resolved(BROKER_JARS, progress)
        with self._alone():
            state = self._state()
            if state and state.process:
                return False
            state = self._with_free_ports(state, progress)
            self._write_configuration(state)
            if not self._meta().exists():
                progress("formatting the broker's storage")
                self._format(jars)
            progress(f"starting the Kafka broker at {state.bootstrap}")
            mark = self._log_size()
            command = [*_java(jars, self._class_data), "kafka.Kafka", "server.properties"]
            self._child = Child(command, self.directory / "broker.out", tied=tied, cwd=self.directory)
            self._save(_State(state.port, state.controller_port, self._child.process))
            try:
                self._wait_until_ready(state, self._child, mark)
            except BaseException:  # also Ctrl-C: a broker nobody waits for would be left behind
                self._end(state)
                raise
            return True

    def stop(self) -> bool:
        """Ends the broker (SIGTERM, SIGKILL after 20 s) and only it: True, or False when it was not running."""
        with self._alone():
            state = self._state()
            if state:
                self._end(state)
            return state is not None and state.process is not None

    def status(self) -> Status | None:
        """The running broker, or None."""
        state = self._state()
        if state is None or state.process is None:
            return None
        return Status(state.process.pid, state.bootstrap, state.process.uptime_s, _disk_bytes(self.directory / "data"))

    def _end(self, state: _State) -> None:
        if state.process:
            state.process.stop(STOP_TIMEOUT_S)
        if self._child:
            self._child.stop(STOP_TIMEOUT_S)
            self._child = None
        self._save(_State(state.port, state.controller_port))

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Two commands never start or stop the same broker at once."""
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            lock = (self.directory / "lock").open("w")
        except OSError as problem:
            raise EnvironmentProblem(
                f"{self.directory} cannot be written: {problem.strerror}.", "Choose another home with promolake --home DIR."
            ) from problem
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _state(self) -> _State | None:
        """What the state file says, without a process that is gone."""
        try:
            kept = json.loads((self.directory / "state.json").read_text())
        except FileNotFoundError:
            return None
        process = Process(**kept["process"]) if kept["process"] else None
        return _State(kept["port"], kept["controller_port"], process if process and process.alive else None)

    def _save(self, state: _State) -> None:
        fresh = self.directory / "state.json.new"
        fresh.write_text(json.dumps(asdict(state)))
        fresh.replace(self.directory / "state.json")

    def _with_free_ports(self, kept: _State | None, progress: Callable[[str], None]) -> _State:
        if kept and _is_free(kept.port) and _is_free(kept.controller_port):
            return kept
        port, controller_port = _free_ports(2)
        if kept:
            progress(f"port {kept.port} or {kept.controller_port} is taken: the broker moves to {port}")
        return _State(port, controller_port)

    def _write_configuration(self, state: _State) -> None:
        properties = SERVER_PROPERTIES.format(host=HOST, port=state.port, controller_port=state.controller_port)
        (self.directory / "server.properties").write_text(properties)
        (self.directory / "log4j2.xml").write_text(LOG4J2)

    def _meta(self) -> Path:
        return self.directory / "data" / "meta.properties"

    def _format(self, jars: list[Path]) -> None:
        # Kafka's cluster ids are 16 bytes in URL-safe base64 and must not begin with a dash.
        fresh_id = "0" + base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")[1:]
        command = [*_java(jars), "kafka.tools.StorageTool", "format"]
        command += ["-t", fresh_id, "-c", "server.properties", "--ignore-formatted"]
        done = subprocess.run(command, cwd=self.directory, capture_output=True, text=True)
        if done.returncode:
            raise EnvironmentProblem(f"The broker's storage could not be formatted: {_cause(done.stdout + done.stderr)}.")

    def _wait_until_ready(self, state: _State, child: Child, mark: int) -> None:
        """Ready: the port is our process's and the cluster that answers there is ours. A port alone could be anybody's."""
        ours = re.search(r"^cluster\.id=(.+)$", self._meta().read_text(), re.MULTILINE)[1]
        deadline = time.monotonic() + START_TIMEOUT_S
        while not (listens(child.process.pid, state.port) and cluster_id(state.bootstrap) == ours):
            if child.exit_code is None and time.monotonic() < deadline:
                time.sleep(0.1)
                continue
            what = f"ended with code {child.exit_code}" if child.exit_code is not None else f"does not answer after {START_TIMEOUT_S:g} s"
            raise EnvironmentProblem(
                f"The Kafka broker {what}: {_cause(self._log_since(mark))}.", f"Its whole log is {self.directory / 'broker.log'}."
            )

    def _log_size(self) -> int:
        log = self.directory / "broker.log"
        return log.stat().st_size if log.exists() else 0

    def _log_since(self, mark: int) -> str:
        """What Kafka logged since it was `mark` bytes long, after what Java printed when Kafka logged nothing."""
        log = self.directory / "broker.log"
        said = log.read_bytes()[mark:].decode(errors="replace") if log.exists() else ""
        return said or (self.directory / "broker.out").read_text(errors="replace")


def _java(jars: list[Path], class_data: str | None = None) -> list[str]:
    class_data = class_archive.reading(class_archive.BROKER) if class_data is None else class_data
    options = [str(java()), collector("-XX:+UseSerialGC"), *JVM, *class_data.split(), "-cp", os.pathsep.join(map(str, jars))]
    return [option for option in options if option]


def _cause(log: str) -> str:
    """The innermost exception's message of the last failure in a log, else the log's last line."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    causes = [found[1] for line in lines if (found := re.search(r"[\w.$]+(?:Exception|Error): (.+)", line))]
    return (causes or lines or ["it says nothing"])[-1].rstrip(".")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As Kafka binds: a connection of the last run that still lingers does not count, a listener does.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def _free_ports(count: int) -> list[int]:
    free: list[int] = []
    for port in random.sample(PORT_RANGE, k=len(PORT_RANGE)):
        if _is_free(port):
            free.append(port)
        if len(free) == count:
            return free
    raise EnvironmentProblem(f"No {count} free ports between {PORT_RANGE.start} and {PORT_RANGE.stop}.", "End what holds them.")


def listens(pid: int, port: int) -> bool:
    """Whether this very process listens on the port: a socket of its own is a listener in the kernel's table (proc(5), net/tcp)."""
    listeners = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:
                listeners.add(f"socket:[{fields[9]}]")
    return bool(listeners) and any(_target(descriptor) in listeners for descriptor in _descriptors(pid))


def _descriptors(pid: int) -> list[Path]:
    try:
        return list(Path(f"/proc/{pid}/fd").iterdir())
    except FileNotFoundError:
        return []


def _target(descriptor: Path) -> str:
    try:
        return os.readlink(descriptor)
    except FileNotFoundError:  # closed meanwhile
        return ""


def _disk_bytes(directory: Path) -> int:
    """What the files take on disk; Kafka's indexes are sparse and seem larger."""
    total = 0
    for folder, _, names in os.walk(directory):
        for name in names:
            try:
                total += os.lstat(os.path.join(folder, name)).st_blocks * 512
            except FileNotFoundError:  # deleted meanwhile
                continue
    return total
