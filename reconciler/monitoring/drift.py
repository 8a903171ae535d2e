"""Whether columns are still distributed as they were: Evidently's metrics with the tests that the manifest chose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from reconciler.model.monitoring import Found
from reconciler.model.values import JSON
from reconciler.monitoring.chance import finite, guessed
from reconciler.monitoring.kinds import Kind
from reconciler.monitoring.report import Answers, Shown
from reconciler.monitoring.table import Table
from reconciler.monitoring.units import suggestion
from reconciler.monitoring.words import change, figure
from schemas.checks import Compared, Drift

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from evidently.core.metric_types import Metric

FOR: Mapping[str, frozenset[Kind]] = {
    **dict.fromkeys(("ks", "wasserstein", "anderson", "cramer_von_mises", "mannw", "t_test", "ed", "es"), frozenset[Kind]({"number"})),
    **dict.fromkeys(("chisquare", "z", "TVD"), frozenset[Kind]({"category"})),
    **dict.fromkeys(("psi", "jensenshannon", "hellinger", "kl_div"), frozenset[Kind]({"number", "category"})),
    **dict.fromkeys(("perc_text_content_drift", "abs_text_content_drift"), frozenset[Kind]({"text"})),
}
"""What each of Evidently's tests is for; a column of another kind is judged by `auto`."""
PROBABILITIES = frozenset(("ks", "anderson", "cramer_von_mises", "mannw", "t_test", "es", "chisquare", "z", "TVD"))
"""Tests whose score is a probability: small is bad."""
COMPARED: tuple[Kind, ...] = ("number", "category", "text", "embedding")
AUTO: Mapping[Kind, str] = {
    "number": "Wasserstein",
    "category": "Jensen-Shannon",
    "text": "domain classifier",
    "embedding": "domain classifier",
}


@dataclass(frozen=True, slots=True)
class Moved:
    """One column after its test."""

    column: str
    kind: Kind
    test: str
    score: float
    limit: float
    drifted: bool

    @property
    def over(self) -> float:
        """By how much it is over its limit; for the order of columns."""
        if self.test in PROBABILITIES:
            return self.limit / max(self.score, 1e-300)
        return self.score / self.limit if self.limit else self.score


@dataclass(frozen=True, slots=True)
class Judged:
    found: Found
    moved: tuple[Moved, ...] = ()


def inputs(table: Table, asked: Drift, shown: Shown) -> Judged:
    """The check `drift`."""
    names = [name for name in asked.columns or (*table.kinds, *table.missing) if name not in asked.ignore]
    unknown = [name for name in names if name not in table.kinds and name not in table.missing]
    if not set(names) - set(unknown):
        return Judged(Found("drift", "hold", f"nothing to compare: {_listed(unknown) or 'no column'} is in the reference"))
    return judge("drift", table, names, asked, shown, tests=asked.tests, share=asked.share, unknown=unknown)


def judge(
    check: str,
    table: Table,
    names: Sequence[str],
    asked: Compared,
    shown: Shown,
    *,
    tests: Mapping[str, str] | None = None,
    share: float = 0.0,
    unknown: Sequence[str] = (),
    means: bool = False,
) -> Judged:
    """These columns of a table. `means`: of numbers only the mean is compared."""
    empty = [name for name in names if name in table.seen.columns and not table.seen[name].notna().any()]
    missing = [name for name in names if name in table.missing] + empty
    here = [name for name in names if name in table.kinds and name not in empty]
    chance = asked.false_alarms / max(1, len(here))  # Bonferroni (Dunn 1961, JASA 56:52-64)
    shape = _lengths(table, here)
    chosen = {name: _chosen(shape.kinds[name], (tests or {}).get(name, asked.test), asked, chance, means) for name in here}
    moved, broken = _asked(shape, chosen, shown, share if check == "drift" else None, chance)
    drifted = sorted((each for each in moved if each.drifted), key=lambda each: (-each.over, each.column))
    columns = [{"column": name, "what": "missing", "from": "there", "to": "not there"} for name in missing]
    columns += [_told(each, table) for each in drifted]
    whole, bad = len(missing) + len(moved), len(missing) + len(drifted)
    if broken and not (whole and bad > share * whole):
        return Judged(Found(check, "hold", f"could not be computed: {_faults(broken)}", tuple(columns)), tuple(moved))
    said = _said(whole, columns, [f"not computed: {_faults(broken)}"] if broken else [], unknown)
    units = suggestion(table, [each.column for each in drifted])
    verdict = "fail" if bad > share * whole else "pass"
    return Judged(Found(check, verdict, said, tuple(columns), units if verdict == "fail" else ""), tuple(moved))  # type: ignore[arg-type]


def _lengths(table: Table, names: Sequence[str]) -> Table:
    """With texts that are all of the same few words as what is left to compare of them: how long they are."""
    from reconciler.monitoring.beyond import wordless

    short = [name for name in names if table.kinds[name] == "text" and wordless(table.normal[name], table.seen[name])]
    if not short:
        return table
    normal, seen = (each.assign(**{name: each[name].str.len() for name in short}) for each in (table.normal, table.seen))
    return replace(table, normal=normal, seen=seen, kinds={**table.kinds, **dict.fromkeys(short, "number")})


def _chosen(kind: Kind, test: str, asked: Compared, chance: float, means: bool) -> tuple[str, str, float]:
    """Evidently's name of the test, its name for people, its limit."""
    from evidently.legacy.calculations.stattests.registry import get_registered_stattest
    from evidently.legacy.core import ColumnType

    from reconciler.monitoring import beyond

    if test != "auto" and kind in FOR[test]:
        column_type = ColumnType({"number": "num", "category": "cat"}.get(kind, "text"))
        limit = asked.threshold if asked.threshold is not None else get_registered_stattest(test, column_type).default_threshold
        return test, test, float(limit)
    match kind:
        case "number" if means:
            return beyond.mean_test(chance), "distance of means", asked.min_effect
        case "number":
            return beyond.number_test(chance), AUTO[kind], asked.min_effect
        case "category":
            return beyond.category_test(chance), AUTO[kind], asked.min_effect
        case "text":
            return beyond.text_test(chance), AUTO[kind], 0.5 + asked.min_effect / 2
        case _:
            return "", AUTO["embedding"], 0.5 + asked.min_effect / 2


def _asked(
    table: Table, chosen: Mapping[str, tuple[str, str, float]], shown: Shown, share: float | None, chance: float
) -> tuple[list[Moved], dict[str, str]]:
    from evidently.metrics import DriftedColumnsCount, ValueDrift
    from evidently.tests import lte

    names = [name for name in chosen if table.kinds[name] != "embedding"]
    metrics: dict[str, Metric] = {name: ValueDrift(column=name, method=chosen[name][0], threshold=chosen[name][2]) for name in names}
    more: list[Metric] = []
    if share is not None and names:
        methods, limits = ({name: chosen[name][place] for name in names} for place in (0, 2))
        more = [
            DriftedColumnsCount(
                columns=names, per_column_method=methods, per_column_threshold=limits, drift_share=share, share_tests=[lte(share)]
            )
        ]
    kinds = {name: table.kinds[name] for name in names}
    answers = shown.ask([*more, *metrics.values()], kinds, table.seen[names], table.normal[names])
    moved = [each for name in names if (each := _moved(name, kinds[name], chosen[name], answers, metrics[name])) is not None]
    broken = {name: answers.why(metric) for name, metric in metrics.items() if answers.why(metric)}
    for name in chosen:
        if table.kinds[name] == "embedding":
            found = _embedding(name, *table.vectors[name], chosen[name][2], chance, shown)
            moved += [found] if found is not None else []
            broken |= {name: "the classifier failed"} if found is None else {}
    return moved, broken


def _moved(name: str, kind: Kind, chosen: tuple[str, str, float], answers: Answers, metric: Metric) -> Moved | None:
    value = answers.value(metric)
    if value is None:
        return None
    score = finite(value)
    if score is None:  # some tests of one value against the same one
        score = 1.0 if chosen[1] in PROBABILITIES else 0.0
    return Moved(name, kind, chosen[1], score, chosen[2], answers.failed(metric))


def _embedding(name: str, normal: np.ndarray, seen: np.ndarray, limit: float, chance: float, shown: Shown) -> Moved | None:
    """Evidently's classifier, which is to tell the two sides apart by their embeddings, in units of the reference's spread."""
    from evidently.metrics import EmbeddingsDrift
    from evidently.metrics.embeddings import ModelDriftMethod

    limit_ = max(limit, guessed(len(normal) // 2, len(seen) // 2, chance))
    then, now = _scaled(normal, normal), _scaled(seen, normal)
    metric = EmbeddingsDrift(embeddings_name=name, drift_method=ModelDriftMethod(threshold=limit_))
    answers = shown.ask([metric], {}, now, then, embeddings={name: list(then.columns)})
    score = finite(answers.value(metric))
    return None if score is None else Moved(name, "embedding", AUTO["embedding"], score, limit_, score >= limit_)


def _scaled(vectors: np.ndarray, normal: np.ndarray) -> pd.DataFrame:
    """Sorted, because the order of the rows must not matter."""
    import numpy as np
    import pandas as pd

    spread = normal.std(axis=0)
    scaled = (vectors - normal.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    return pd.DataFrame(scaled[np.lexsort(scaled.T[::-1])], columns=[f"e{place}" for place in range(vectors.shape[1])])


# --- in words ----------------------------------------------------------------------------------------------------------


def _told(moved: Moved, table: Table) -> dict[str, JSON]:
    was, is_ = (
        ("", "") if moved.kind == "embedding" else change(table.kinds[moved.column], table.normal[moved.column], table.seen[moved.column])
    )
    told: dict[str, Any] = {"column": moved.column, "what": "drifted", "test": moved.test, "score": moved.score, "limit": moved.limit}
    return {**told, "from": was, "to": is_}


def _said(whole: int, columns: Sequence[Mapping[str, JSON]], more: Sequence[str], unknown: Sequence[str]) -> str:
    said = f"{len(columns)} of {whole} column{'s' if whole != 1 else ''} drifted"
    if columns:
        first = columns[0]
        why = "missing" if first["what"] == "missing" else f"{first['test']} {figure(first['score'])}, limit {figure(first['limit'])}"
        said += f"; first: {first['column']} ({why})"
    elif whole:
        said = f"none of {whole} column{'s' if whole != 1 else ''} drifted"
    return "; ".join([said, *more, *([f"not in the reference: {_listed(unknown)}"] if unknown else [])])


def _faults(broken: Mapping[str, str]) -> str:
    name, why = next(iter(broken.items()))
    return f"{name}: {why}" + (f", and {len(broken) - 1} more" if len(broken) > 1 else "")


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:5])
