"""Evidently, asked. Each part of a report is a run of its own over the rows that it is about; what they showed becomes one snapshot."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from reconciler.monitoring.kinds import Kind

if TYPE_CHECKING:
    import pandas as pd
    from evidently.core.metric_types import Metric, MetricResult
    from evidently.core.report import Snapshot


@dataclass
class Shown:
    """What the parts of the report showed."""

    parts: list[Snapshot] = field(default_factory=list)
    broken: dict[str, str] = field(default_factory=dict)
    """Metric -> why it could not be computed."""

    def count(self, rows: int) -> None:
        """Only how many there were."""
        import pandas as pd
        from evidently.metrics import RowCount

        self.ask([RowCount(tests=[])], {}, pd.DataFrame({"row": range(rows)}), None)

    def ask(
        self, metrics: Sequence[Metric], kinds: Mapping[str, Kind], seen: pd.DataFrame, normal: pd.DataFrame | None, **mapping: Any
    ) -> Answers:
        """Compute these metrics. One that cannot be computed costs only itself; `mapping` goes into Evidently's data definition."""
        from evidently import DataDefinition, Dataset

        definition = DataDefinition(
            numerical_columns=[name for name, kind in kinds.items() if kind == "number"],
            categorical_columns=[name for name, kind in kinds.items() if kind == "category"],
            text_columns=[name for name, kind in kinds.items() if kind == "text"],
            **mapping,
        )
        with quiet():
            sides = [None if each is None else Dataset.from_pandas(each, definition) for each in (seen, normal)]
        part, broken = _run(list(metrics), *sides)
        self.broken |= broken
        if part is not None:
            self.parts.append(part)
        return Answers({} if part is None else part.metric_results, broken)


@dataclass(frozen=True)
class Answers:
    """The results of metrics."""

    results: Mapping[str, MetricResult]
    broken: Mapping[str, str]

    def value(self, metric: Metric) -> float | None:
        """Of a metric with one value; None when it could not be computed."""
        found: Any = self.results.get(metric.metric_id)
        return None if found is None else float(found.value)

    def mean(self, metric: Metric) -> float | None:
        """Of one that has a mean and a spread."""
        found: Any = self.results.get(metric.metric_id)
        return None if found is None else float(found.mean.value)

    def count(self, metric: Metric) -> int | None:
        """Of one that counts."""
        found: Any = self.results.get(metric.metric_id)
        return None if found is None else int(found.count.value)

    def by_label(self, metric: Metric) -> list[float] | None:
        """Of one that has a value for each class."""
        found: Any = self.results.get(metric.metric_id)
        return None if found is None else [float(each.value) for each in found.values.values()]

    def failed(self, metric: Metric) -> bool:
        """Whether its test says so."""
        from evidently.legacy.tests.base_test import TestStatus

        found: Any = self.results.get(metric.metric_id)
        return found is not None and any(each.status is TestStatus.FAIL for each in found.tests)

    def why(self, metric: Metric) -> str:
        return self.broken.get(metric.metric_id, "")


def _run(metrics: list[Metric], seen: Any, normal: Any) -> tuple[Snapshot | None, dict[str, str]]:
    """All at once; when that fails, one after the other to find those that do."""
    from evidently import Report

    broken: dict[str, str] = {}
    with quiet():
        for _ in range(2):
            if not metrics:
                return None, broken
            try:
                return Report(metrics, include_tests=True).run(seen, normal), broken
            except Exception:  # whatever a metric does not like about the data
                broken |= {each.metric_id: why for each in metrics if (why := _fault(each, seen, normal))}
                metrics = [each for each in metrics if each.metric_id not in broken]
    return None, broken


def _fault(metric: Metric, seen: Any, normal: Any) -> str:
    from evidently import Report

    try:
        Report([metric], include_tests=True).run(seen, normal)
    except Exception as error:
        return said(error)
    return ""


def said(error: BaseException) -> str:
    """An exception of somebody else's code, in one line."""
    text = " ".join(str(error).split())[:200]
    return f"{type(error).__name__}{f': {text}' if text else ''}"


@contextmanager
def quiet() -> Iterator[None]:
    """Without what the libraries remark on columns of one value and the like: what matters is in the result."""
    import numpy as np

    with warnings.catch_warnings(), np.errstate(all="ignore"), redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield
