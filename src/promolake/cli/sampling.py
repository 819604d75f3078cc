"""A small promotion day to try things on: `sample`. The notebooks share one."""

from __future__ import annotations

import typer

from promolake import settings as configuration
from promolake.cli import app, out, say
from promolake.core.errors import SettingsError
from promolake.local.reaching import reachable


@app.command()
def sample(context: typer.Context) -> None:
    """Make a small promotion day in the home, always the same: a real broker, every flow, about a minute; nothing when it is there."""
    settings = configuration.load(context.obj)
    # Never into somebody's Kafka.
    settings = settings.model_copy(update={"kafka": settings.kafka.model_copy(update={"bootstrap": ""})})
    if not (settings.home / "sample.json").exists():
        if settings.lake.exists():
            raise SettingsError(
                f"The home {settings.home} holds another lake, or half a sample.", "Remove it, or choose another with --home."
            )
        _make(settings)
    out.print(f"the sample promotion day is in {settings.home}", soft_wrap=True)


def _make(settings: configuration.Settings) -> None:
    from promolake.engine import kafka
    from promolake.engine.runner import Runner
    from promolake.engine.session import ended, session
    from promolake.hallway import HALLWAY
    from promolake.producers.sample import EVENING, NIGHT, send, write_report
    from promolake.producers.truth import Truth
    from promolake.sources import TOPICS

    configuration.writable_home(settings)
    truth, sent = Truth(), 0
    with reachable(settings, say) as bootstrap:
        kafka.ensure_topics(bootstrap, [topic.name for topic in TOPICS], settings.kafka.partitions)
        spark = session(settings, "promolake-sample", say)
        try:
            for acts in (EVENING, NIGHT):
                sent += send(acts, truth, bootstrap, say)
                Runner(settings, bootstrap, spark, HALLWAY, "main", say).run(once=True)
        finally:
            ended(spark)
    write_report(truth, sent, settings.home / "sample.json")
