"""Replay: real files into Kafka, by a mapping. Replaying a file twice sends the same event ids, so it changes nothing in gold."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from promolake.core.errors import SettingsError
from promolake.producers.mapped import RowMapper, folder_and_name
from promolake.producers.mapping import Mapping
from promolake.producers.message import Message
from promolake.producers.rows import rows
from promolake.producers.sending import Sender

LISTED = 100  # unmapped rows named in a report; the rest are counted


@dataclass
class ReplayReport:
    """What a replay did. `unmapped` rows were sent all the same, as found: silver judges them. `listed` are "file:line why"."""

    files: int = 0
    rows: int = 0
    sent: int = 0
    skipped: int = 0
    unmapped: int = 0
    too_large: int = 0
    listed: list[str] = field(default_factory=list)

    def name(self, file: Path, line: int, why: str) -> None:
        if len(self.listed) < LISTED:
            self.listed.append(f"{file}:{line} {why}")

    @property
    def summary(self) -> str:
        """One sentence per thing worth saying."""
        text = f"{self.sent} of {self.rows} rows from {self.files} files sent, {self.skipped} left out by the mapping's where."
        if self.unmapped:
            text += f" {self.unmapped} could not be mapped and were sent as found: those that break the contract go to quarantine."
        if self.too_large:
            text += f" {self.too_large} are larger than Kafka takes and were not sent."
        return text


def messages(files: Sequence[Path], mapping: Mapping, report: ReplayReport | None = None) -> Iterator[Message]:
    """The messages of the files, in the order of their rows, one at a time. `report` is counted up on the way.

    Every file is opened and its header compared with the mapping first. Raises SettingsError where a file or a column is missing.
    """
    check(files, mapping)
    for _, _, message in _mapped(files, mapping, report or ReplayReport(), lambda file, position: None):
        yield message


def replay(
    files: Sequence[Path], mapping: Mapping, bootstrap: str, rate: float | None = None, say: Callable[[str], None] = print
) -> ReplayReport:
    """Sends the files' messages to Kafka, at most `rate` a second, with a progress bar; returns what was done.

    Raises SettingsError before anything is sent where the mapping does not fit, BrokerAway where Kafka does not take the messages.
    """
    check(files, mapping)
    report = ReplayReport()
    began = time.monotonic()
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, transient=True) as progress, Sender(bootstrap, say) as sender:
        bar = progress.add_task("")  # one for all files: hundreds of bars would hide the one that moves

        def at(file: Path, position: int) -> None:
            words = f"{file.name} ({report.files} of {len(files)})"
            progress.update(bar, description=words, total=file.stat().st_size, completed=position)

        for file, line, message in _mapped(files, mapping, report, at):
            if rate and (ahead := began + report.sent / rate - time.monotonic()) > 0:
                time.sleep(ahead)
            if sender.send(message):
                report.sent += 1
            else:
                report.too_large += 1
                report.name(file, line, "is larger than Kafka takes")
    return report


def check(files: Sequence[Path], mapping: Mapping) -> None:
    """Opens every file and reads its first row: what does not fit is said, as SettingsError, before anything is sent."""
    if not files:
        raise SettingsError("There is no file to replay.", "Name at least one.")
    named: dict[tuple[str, str], Path] = {}
    for file in files:
        if file.exists() and not file.is_file():
            raise SettingsError(
                f"{file} is not a file.", "A folder's files are named one by one; what a pipe gives is written into a file first."
            )
        first = named.setdefault(folder_and_name(file), file)
        if first.resolve() != file.resolve():
            raise SettingsError(f"{first} and {file} would give their rows the same ids: folder and name are equal.", "Rename one of them.")
        next(rows(file, mapping), None)


def _mapped(
    files: Sequence[Path], mapping: Mapping, report: ReplayReport, at: Callable[[Path, int], None]
) -> Iterator[tuple[Path, int, Message]]:
    for file in files:
        report.files += 1
        mapper = RowMapper(mapping, file)
        for row in rows(file, mapping, lambda position, file=file: at(file, position)):
            report.rows += 1
            mapped = mapper.message(row)
            if mapped is None:
                report.skipped += 1
                continue
            message, problem = mapped
            if problem:
                report.unmapped += 1
                report.name(file, row.line, problem)
            yield file, row.line, message
