"""The door to Great Expectations: frames against expectations, and the pages a person can open. No value of a row passes it."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

os.environ["GX_ANALYTICS_ENABLED"] = "false"  # read when it is imported

import great_expectations as gx
import pandas as pd
from great_expectations.core import ExpectationSuiteValidationResult, ExpectationValidationResult
from great_expectations.core.batch import Batch
from great_expectations.core.run_identifier import RunIdentifier
from great_expectations.data_context.types.base import ProgressBarsConfig
from great_expectations.data_context.types.resource_identifiers import ExpectationSuiteIdentifier, ValidationResultIdentifier
from great_expectations.expectations.expectation import Expectation
from pyspark.sql import DataFrame

from promolake.quality.findings import Finding
from promolake.quality.pages import made_local, write_overview

SITE = "docs"
UNEVALUATED = "It could not be evaluated."
# Counts need their own pass: with them, Great Expectations also fetches the values that broke each expectation, one Spark job each.
_WHETHER = {"result_format": "BOOLEAN_ONLY"}
_HOW_MANY = {"result_format": "BASIC", "exclude_unexpected_values": True, "partial_unexpected_count": 1}


class Suites:
    """The suites of one audit, named by `audit_id`; their pages go to `docs` and are made by `build`."""

    def __init__(self, docs: Path, audit_id: str, audited_at: datetime) -> None:
        logging.getLogger("great_expectations").setLevel(logging.ERROR)
        self._docs = docs
        self._run = RunIdentifier(run_name=audit_id, run_time=audited_at)
        self._context = gx.get_context(mode="ephemeral")
        self._context.enable_analytics(False)
        self._context.variables.progress_bars = ProgressBarsConfig(globally=False)
        for name in list(self._context.get_site_names()):  # its own would go to a temporary directory
            self._context.delete_data_docs_site(name)
        self._context.add_data_docs_site(SITE, _site(docs))
        self._spark = self._context.data_sources.add_spark("lake", persist=False)
        self._pandas = self._context.data_sources.add_pandas("books")

    def validated(
        self, name: str, rows: DataFrame | pd.DataFrame, expectations: Sequence[Expectation], row_count: int
    ) -> list[ExpectationValidationResult]:
        """The result of each expectation, in their order, with how many of the rows break it, never which or what."""
        source = self._spark if isinstance(rows, DataFrame) else self._pandas
        definition = source.add_dataframe_asset(name).add_batch_definition_whole_dataframe("all")
        batch = definition.get_batch({"dataframe": rows})
        suite = self._context.suites.add(gx.ExpectationSuite(name=name, expectations=list(expectations)))
        found = batch.validate(suite, result_format=_WHETHER)
        by_id = {result.expectation_config.id: result for result in found.results}
        for expectation in suite.expectations:
            result = by_id[expectation.id]
            if result.success:
                result.result = {"element_count": row_count, "unexpected_count": 0, "unexpected_percent": 0.0}
            else:
                _count(batch, expectation, result)
        found.results = [by_id[expectation.id] for expectation in suite.expectations]
        self._keep(name, found)
        return found.results

    def build(self, audited_at: datetime, findings: dict[str, list[Finding]], notes: Sequence[str]) -> None:
        """Writes the pages; `findings` are of each suite."""
        self._context.build_data_docs(site_names=[SITE])
        made_local(self._docs)
        write_overview(self._docs, audited_at, findings, notes)

    def _keep(self, name: str, found: ExpectationSuiteValidationResult) -> None:
        found.meta |= {"run_id": self._run, "validation_time": self._run.run_time}
        suite = ExpectationSuiteIdentifier(name=name)
        result = ValidationResultIdentifier(expectation_suite_identifier=suite, run_id=self._run, batch_identifier=name)
        self._context.validation_results_store.set(result, found)


def _count(batch: Batch, expectation: Expectation, result: ExpectationValidationResult) -> None:
    """Adds to a broken expectation's result how many rows break it, and takes out what an exception said: it may quote a value."""
    counted = result if _raised(result.exception_info) else batch.validate(expectation, result_format=_HOW_MANY)
    if _raised(counted.exception_info):
        result.exception_info = {"raised_exception": True, "exception_message": UNEVALUATED, "exception_traceback": UNEVALUATED}
        result.result = {}
    else:
        result.result = {key: value for key, value in counted.result.items() if key.endswith(("_count", "_percent"))}


def _raised(info: dict[str, Any] | None) -> bool:
    """Whether Great Expectations met an exception; it keeps one such record, or one for each metric."""
    parts = [info or {}, *(part for part in (info or {}).values() if isinstance(part, dict))]
    return any(part.get("raised_exception") for part in parts)


def _site(docs: Path) -> dict[str, Any]:
    return {
        "class_name": "SiteBuilder",
        "store_backend": {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(docs)},
        "site_index_builder": {"class_name": "DefaultSiteIndexBuilder"},
        "show_how_to_buttons": False,
    }
