"""Spark's own Thrift server in this process: JDBC and ODBC for BI tools over what is registered in the session's catalog."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from py4j.java_gateway import JavaObject
from pyspark.sql import SparkSession

from promolake.core.errors import EnvironmentProblem


def options(host: str, port: int, query_seconds: int) -> dict[str, str]:
    """What a session needs so that a Thrift server can be started in it that ends a query after so many seconds.

    Raises EnvironmentProblem where `host` is not this machine's or `port` is taken: Spark would say so after half a minute, in its log.
    """
    _refuse_what_cannot_be_bound(host, port)
    return {
        "spark.hadoop.hive.server2.thrift.bind.host": host,
        "spark.hadoop.hive.server2.thrift.port": str(port),
        "spark.sql.thriftServer.queryTimeout": f"{query_seconds}s",
        "spark.sql.thriftServer.interruptOnCancel": "true",  # else a task that is ended goes on until it looks up by itself
        "spark.databricks.delta.catalog.update.enabled": "true",  # else JDBC's getColumns finds tables without columns
        "spark.sql.variable.substitute": "false",  # ${env:NAME} in a statement stays text
    }


@contextmanager
def thrift_server(spark: SparkSession, derby_log: Path) -> Iterator[Callable[[], bool]]:
    """The server, stopped at the end; yields whether it still runs. Each client gets a session of its own.

    The server insists on a Derby database, in memory and never asked; where it is started it would leave a log.
    """
    spark._jvm.java.lang.System.setProperty("derby.stream.error.file", str(derby_log))
    server: JavaObject = spark._jvm.org.apache.spark.sql.hive.thriftserver.HiveThriftServer2.startWithSparkSession(
        spark._jsparkSession, False
    )
    try:
        yield lambda: server.getServiceState().toString() == "STARTED"
    finally:
        server.stop()


def _refuse_what_cannot_be_bound(host: str, port: int) -> None:
    try:
        with socket.create_server((host, port)):
            return
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise EnvironmentProblem(f"Port {port} of {host} is taken.", "Choose another with --port.") from None
        raise EnvironmentProblem(f"{host}:{port} cannot be bound: {error.strerror or error}.", "Choose another --host or --port.") from None
