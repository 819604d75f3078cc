"""Reads the common topics to their ends and writes how many records there were."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path

from consuming import COMMON_TOPICS, Backlog


def main(lake: Path, bootstrap: str) -> None:
    counted: Counter[str] = Counter()
    backlog = Backlog(bootstrap, COMMON_TOPICS)
    while not backlog.is_read:
        counted.update(message.topic() for message in backlog.taken(50_000, 0.2))
    lake.mkdir(parents=True)
    (lake / "drained.json").write_text(json.dumps(counted))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
