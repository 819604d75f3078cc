"""Plans that are made once for all tests of a Spark session. Every scan makes its own, which takes longer than most tests run."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from promolake.core.flow import Ingest
from promolake.engine import scan
from promolake.engine.parsing import Parser
from promolake.engine.prepared import Part, Prepared


@contextmanager
def shared_plans(room: Path) -> Iterator[None]:
    """Within it a scan of flows that were planned before takes that plan, whose files stand in `room` instead of the home's spool."""
    made: dict[Hashable, Any] = {}

    def parser(spark: SparkSession, spool: Path, ingests: Sequence[Ingest], key: bytes) -> Parser:
        wanted = (tuple(ingests), key)
        if wanted not in made:
            made[wanted] = _Open(spark, room / f"{len(made)}", ingests, key)
        return made[wanted]

    def prepared(spark: SparkSession, spool: Path, parts: Mapping[str, Part], tasks: int) -> Prepared:
        wanted = tuple((name, tuple(part.schemas), part.function) for name, part in parts.items())
        if wanted not in made:
            made[wanted] = Prepared(spark, room / f"{len(made)}", parts, tasks=tasks)
        return made[wanted]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scan, "Parser", parser)
        patch.setattr(scan, "Prepared", prepared)
        yield


class _Open(Parser):
    """A parser that stays open for the next scan."""

    def close(self) -> None:
        pass
