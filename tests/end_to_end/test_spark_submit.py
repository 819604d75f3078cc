"""The job as a cluster runs it: plain spark-submit, the package from a wheel, nothing installed but the requirements."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import day as days
from promolake import settings as configuration
from promolake.cli.agreement import compared, held, promised
from promolake.engine.jars import jar_home, java
from promolake.engine.lakehouse import Lakehouse
from promolake.gold.attributed_orders import TABLE as ATTRIBUTED
from promolake.local.broker import Broker
from promolake.silver.orders import FLOW as ORDERS

REPOSITORY = Path(__file__).parents[2]
PER_TOPIC = 50
TELLS_WHERE_IT_IS = '\nprint("promolake is", __file__, flush=True)\n'


@pytest.fixture
def day(tmp_path: Path) -> Iterator[days.Day]:
    own = Broker(tmp_path / "broker")
    own.start(print, tied=True)
    yield days.sent(own.status().bootstrap, PER_TOPIC)
    own.stop()


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    """The package, built offline from a copy that also tells where it was loaded from."""
    copy = tmp_path / "copy"
    shutil.copytree(REPOSITORY / "src", copy / "src", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(REPOSITORY / "pyproject.toml", copy)
    with (copy / "src" / "promolake" / "__init__.py").open("a") as package:
        package.write(TELLS_WHERE_IT_IS)
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path / "dist")]
    done = subprocess.run(build, cwd=copy, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = (tmp_path / "dist").glob("promolake-*.whl")
    return built


@pytest.mark.broker
def test_spark_submit_with_the_wheel_takes_a_day_into_gold(day: days.Day, wheel: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    submit = [str(Path(sys.executable).parent / "spark-submit"), "--properties-file", "conf/spark-defaults.conf"]
    submit += ["--conf", f"spark.jars.ivy={jar_home()}", "--py-files", str(wheel), "pipelines/run.py", "--home", str(home), "--once"]
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "SPARK_HOME")}
    environment |= {"PYSPARK_PYTHON": sys.executable, "PROMOLAKE_KAFKA__BOOTSTRAP": day.bootstrap}
    environment |= {"JAVA_HOME": str(java().resolve().parent.parent)}
    done = subprocess.run(submit, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{wheel.name}/promolake/__init__.py" in done.stdout
    lake = Lakehouse(configuration.load(home).lake)
    assert [row for row in compared(promised(day.truth), {}, held(lake)) if not row.agrees] == []
    paid = lake.read(ORDERS.table, ["event_id"], "status = 'PAID'")["event_id"].to_pylist()
    assert sorted(lake.read(ATTRIBUTED, ["event_id"])["event_id"].to_pylist()) == sorted(paid)
    assert paid
