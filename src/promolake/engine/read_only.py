"""Sessions that can only ask: every plan of theirs is looked at before it runs, and what is no query over registered tables is refused.

Spark has no read-only mode: a client of its Thrift server could write, drop, read any file by its path, or start a program. What Spark has
is a place for checks of an analysed plan (SparkSessionExtensions.injectCheckRule); the check is here, in Python, called by the JVM.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from py4j.java_gateway import JavaObject
from py4j.protocol import Py4JJavaError
from pyspark.java_gateway import ensure_callback_server_started
from pyspark.sql import SparkSession

# What BI tools send to find their way, by the plan's class: nothing here changes anything or reads a row.
_LOOKING_AROUND = {
    "DescribeColumn",
    "DescribeColumnCommand",
    "DescribeDatabaseCommand",
    "DescribeFunction",
    "DescribeFunctionCommand",
    "DescribeNamespace",
    "DescribeQueryCommand",
    "DescribeRelation",
    "DescribeTableCommand",
    "ExplainCommand",
    "SetCatalogAndNamespace",
    "SetNamespaceCommand",
    "ShowCatalogsCommand",
    "ShowColumns",
    "ShowColumnsCommand",
    "ShowCurrentNamespaceCommand",
    "ShowDeltaTableColumnsCommand",
    "ShowFunctions",
    "ShowFunctionsCommand",
    "ShowNamespaces",
    "ShowNamespacesCommand",
    "ShowTables",
    "ShowTablesCommand",
    "ShowViews",
    "ShowViewsCommand",
}
# Where rows may come from beside tables: the query itself, and what no SQL can name (Delta reads its own log with plans of the session).
_ROWS = {"CTERelationRef", "CommandResult", "ExternalRDD", "LocalRelation", "LogicalRDD", "OneRowRelation", "Range", "UnionLoopRef"}
_LOG_OF_DELTA = "DeltaLogFileIndex"
_RUNS_CODE = ("reflect", "java_method", "try_reflect")
# Of this process's environment, what the JVM is given: a statement that says ${env:NAME} has the variable's value put in.
_ENVIRONMENT = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "JAVA_HOME", "PYTHONPATH", "PYSPARK_PYTHON", "PROMOLAKE_JARS")
_THE_SERVER_SETS = {"spark.sql.hive.version", "spark.sql.datetime.java8API.enabled"}  # in each client's session
_REFUSED = "Only queries over the tables and views of the lake are answered here."


def hide_environment() -> None:
    """Takes every variable but a few harmless ones from this process, before its JVM starts: no secret may be asked for by its name."""
    for name in os.environ.keys() - set(_ENVIRONMENT):
        del os.environ[name]


def only_asking(spark: SparkSession) -> None:
    """From now on new sessions of this process (`newSession`, clients of its Thrift server) can only ask; `spark` itself is as before.

    What the check cannot make out is refused. A refusal is a java.lang.SecurityException in the client.
    """
    gateway = spark.sparkContext._gateway
    gateway.python_parameters.propagate_java_exceptions = True  # a refusal reaches the client as it is, without Python's traceback
    ensure_callback_server_started(gateway)
    jvm = spark._jvm
    spark._jsparkSession.extensions().injectCheckRule(_PerSession(jvm, _settings(jvm, spark._jsparkSession)))
    functions = jvm.org.apache.spark.sql.catalyst.analysis.FunctionRegistry.builtin()
    for name in _RUNS_CODE:
        functions.dropFunction(jvm.org.apache.spark.sql.catalyst.FunctionIdentifier(name))


def _allowed(plan: JavaObject, command: JavaObject) -> bool:
    if _kind(plan) in _LOOKING_AROUND:
        return True
    if _kind(plan) == "SetCommand":  # asking for a setting, not giving one
        return plan.kv().isEmpty() or plan.kv().get()._2().isEmpty()
    if plan.containsPattern(command):
        return False
    return all(_harmless(node) for root in (plan, *_each(plan.subqueriesAll())) for node in _nodes(root))


def _harmless(node: JavaObject) -> bool:
    kind = _kind(node)
    if kind == "LogicalRelation":
        return node.catalogTable().isDefined() or _is_log_of_delta(node.relation())
    return kind in _ROWS or (kind != "ScriptTransformation" and node.children().nonEmpty())


def _is_log_of_delta(relation: JavaObject) -> bool:
    """Whether Delta itself reads its log: a file named by its path, be it one of a log, has another index."""
    return _kind(relation) == "HadoopFsRelation" and _kind(relation.location()) == _LOG_OF_DELTA


def _nodes(plan: JavaObject) -> Iterator[JavaObject]:
    yield plan
    for child in _each(plan.children()):
        yield from _nodes(child)


def _each(sequence: JavaObject) -> Iterator[JavaObject]:
    return (sequence.apply(n) for n in range(sequence.length()))


def _kind(node: JavaObject) -> str:
    return node.getClass().getSimpleName()


class _Check:
    """LogicalPlan => Unit, called for every analysed plan of a session."""

    def __init__(self, jvm: Any) -> None:
        self._jvm = jvm
        self._command = jvm.org.apache.spark.sql.catalyst.trees.TreePattern.COMMAND()

    def apply(self, plan: JavaObject) -> None:
        if not _allowed(plan, self._command):
            raise _refusal(self._jvm, _REFUSED)

    class Java:
        implements = ("scala.Function1",)


class _PerSession:
    """SparkSession => (LogicalPlan => Unit), called before a session's first plan is analysed.

    By then a client has given its session what settings it likes, as parts of its JDBC address. With some of them merely naming a table
    does something: a catalog of its own opens a database wherever its settings say.
    """

    def __init__(self, jvm: Any, settings: dict[str, str]) -> None:
        self._jvm = jvm
        self._ours = settings
        self._check = _Check(jvm)

    def apply(self, session: JavaObject) -> _Check:
        theirs = {name: value for name, value in _settings(self._jvm, session).items() if name.startswith("spark.")}
        changed = sorted(name for name, value in theirs.items() if name not in _THE_SERVER_SETS and self._ours.get(name) != value)
        if changed:
            raise _refusal(self._jvm, f"The connection sets {', '.join(changed)}: the settings here are the server's.")
        return self._check

    class Java:
        implements = ("scala.Function1",)


def _settings(jvm: Any, session: JavaObject) -> dict[str, str]:
    return dict(jvm.scala.jdk.javaapi.CollectionConverters.asJava(session.conf().getAll()))


def _refusal(jvm: Any, sentence: str) -> Py4JJavaError:
    return Py4JJavaError(sentence, jvm.java.lang.SecurityException(sentence))
