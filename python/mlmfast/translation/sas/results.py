"""A translated step run on data: the fit, tests of effects, means, ESTIMATE and CONTRAST."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pandas as pd

from mlmfast.degrees_of_freedom import GivenByTerm, method_of
from mlmfast.errors import MlmError, ModelError
from mlmfast.translation.sas.model import Plan
from mlmfast.translation.sas.random_rows import random_weights
from mlmfast.translation.sas.rows import SasRows
from mlmfast.translation.sas.statements.effects import Effect
from mlmfast.translation.sas.statements.linear import LinearStatement

if TYPE_CHECKING:
    from mlmfast.result import LMMResult

#: Methods by counts, for which PROC MIXED takes the degrees of freedom of an effect's test.
BY_EFFECT = ("containment", "between-within-sas")


@dataclass(frozen=True)
class SasResults:
    """What a PROC MIXED step says, in the order of its listing.

    Attributes
    ----------
    fit : LMMResult
    tests : tests of effects by type, `AnovaTable`
    covtest : Wald tests of covariance parameters, or None without COVTEST
    estimates, contrasts : DataFrame, a row a statement
        label; estimate, se, df, statistic, p_value, lower, upper; or num_df, den_df, f, p_value.
        By UPPER and LOWER p is Pr > t and Pr < t, and the interval what that test does not
        reject, open to one side. A label that comes again has a number, ``'x (2)'``.
    lsmeans, differences, slices : by effect
        An effect that comes again has its AT values or a number, ``'arm at Days=9'``.
    components : by type of the tests the t test of each row, by LCOMPONENTS; empty without it
    posterior : draws by PRIOR, `Posterior`, or None without it
    problems : statements that have no result, with the reason
    """

    fit: LMMResult
    tests: dict[int, Any]
    covtest: Any
    estimates: pd.DataFrame
    contrasts: pd.DataFrame
    lsmeans: dict[str, Any]
    differences: dict[str, Any]
    slices: dict[str, list[Any]]
    problems: dict[str, str]
    posterior: Any = None
    components: Mapping[int, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        parts = [str(self.fit.summary())]
        parts += [] if self.covtest is None else [str(self.covtest)]
        for kind, table in self.tests.items():
            parts.append(repr(table))
            if kind in self.components:
                parts.append(f"Components of type {kind} tests\n{self.components[kind]!r}")
        for title, frame in (("Estimates", self.estimates), ("Contrasts", self.contrasts)):
            parts += [f"{title}\n{frame.to_string(index=False)}"] if len(frame) else []
        for effect, means in self.lsmeans.items():
            parts.append(f"Least squares means: {effect}\n{means!r}")
            if effect in self.differences:
                parts.append(f"Differences: {effect}\n{self.differences[effect]!r}")
            parts += [f"Slices: {effect}\n{table!r}" for table in self.slices.get(effect, [])]
        parts += [] if self.posterior is None else [repr(self.posterior)]
        parts += [f"No result of {label!r}: {why}" for label, why in self.problems.items()]
        return "\n\n".join(parts)


def results_of(
    fit: LMMResult,
    plan: Plan,
    statements: tuple[LinearStatement, ...],
    rows: Any,
    random: tuple[Effect, ...],
) -> SasResults:
    """Everything the step asks for, of a fit."""
    problems: dict[str, str] = {}
    tests = {kind: _tests(fit, plan, kind, problems) for kind in plan.types}
    tests = {kind: table for kind, table in tests.items() if table is not None}
    degrees = DegreesByEffect(fit, plan)
    found: dict[str, list[dict[str, Any]]] = {"estimate": [], "contrast": []}
    for statement in statements:
        row = _attempt(
            problems,
            plan.name_of(statement),
            _linear,
            fit,
            statement,
            rows,
            random,
            degrees,
        )
        found[statement.kind] += [] if row is None else [row]
    means: dict[str, Any] = {}
    differences: dict[str, Any] = {}
    slices: dict[str, list[Any]] = {}
    for asked in plan.means:
        own = _attempt(
            problems,
            f"LSMEANS {asked.label}",
            asked.with_degrees(degrees.of_label(asked.effect)),
            fit,
        )
        if own is None:
            continue
        means[asked.label] = own[0]
        differences |= {} if own[1] is None else {asked.label: own[1]}
        slices |= {asked.label: own[2]} if own[2] else {}
    return SasResults(
        fit,
        tests,
        fit.covtest(level=plan.covariance_level) if plan.covtest else None,
        pd.DataFrame(found["estimate"]),
        pd.DataFrame(found["contrast"]),
        means,
        differences,
        slices,
        problems,
        None if plan.posterior is None else _posterior(problems, fit, plan.posterior),
        {kind: table.components for kind, table in tests.items()} if plan.components else {},
    )


def _posterior(problems: dict[str, str], fit: LMMResult, arguments: Mapping[str, Any]) -> Any:
    return _attempt(problems, "PRIOR", lambda: fit.posterior(**arguments))


def _attempt(problems: dict[str, str], label: str, make: Any, *arguments: Any) -> Any:
    """What is made, or None with the reason among the problems."""
    try:
        return make(*arguments)
    except MlmError as error:
        problems[label] = str(error)
        return None


def _tests(fit: LMMResult, plan: Plan, kind: int, problems: dict[str, str]) -> Any:
    def make() -> Any:
        return fit.anova(type=kind, definition="SAS", chisq=plan.chisq)

    return _attempt(problems, f"tests of type {kind}", make)


def _names(effect: str) -> tuple[str, ...]:
    """The variables of an effect in one order: ``b*a`` is ``a*b``."""
    return tuple(sorted(re.findall(r"[^*()\s]+", effect)))


def by_effect(ddf: Any) -> bool:
    """Whether a method gives effects numbers, alone or beside those of DDF=."""
    method = method_of(ddf)
    own = (
        method.other if isinstance(method, GivenByTerm) else getattr(type(method), "name", "given")
    )
    return own in BY_EFFECT


class DegreesByEffect:
    """Degrees of freedom of effects, where PROC MIXED takes them from the tests of effects.

    By containment and between-within an ESTIMATE has those of the last effect that it names, and
    LS-means those of their effect (SAS/STAT User's Guide, ESTIMATE and LSMEANS statements).
    """

    def __init__(self, fit: LMMResult, plan: Plan) -> None:
        self._by_names: dict[tuple[str, ...], float] = {}
        if not by_effect(fit.ddf):
            return
        table = fit.anova(type=3, definition="SAS").frame if len(plan.effects) > 1 else None
        if table is None:
            return
        for effect in plan.effects:
            names = frozenset(effect.names)
            for label, df in table["DenDF"].items():
                if frozenset(str(label).replace("`", "").split(":")) == names:
                    self._by_names[_names(str(effect))] = float(df)

    def of_label(self, label: str) -> float | None:
        """Those of an effect as the step writes it; None where the method goes its own way."""
        return self._by_names.get(_names(label))

    def of_effects(self, effects: list[Effect]) -> float | None:
        """Those of the last effect named."""
        return self.of_label(str(effects[-1])) if effects else None


def _linear(
    fit: LMMResult,
    statement: LinearStatement,
    rows: SasRows,
    random: tuple[Effect, ...],
    degrees: DegreesByEffect,
) -> dict[str, Any]:
    """One ESTIMATE or CONTRAST."""
    divisor = statement.divisor
    matrix = [rows(row, statement.label) / divisor for row in statement.rows]
    named = [rows.effect_of(effect) for row in statement.rows for effect, _ in row.fixed]
    ddf: Any = degrees.of_effects(named) if statement.df is None else statement.df
    if statement.kind == "contrast":
        if any(row.random for row in statement.rows):
            raise ModelError("CONTRAST with random effects; ESTIMATE takes one row at a time")
        return _test(fit, statement.label, matrix, ddf)
    weights = random_weights(fit, statement.rows[0].random, random, rows.classes, divisor)
    # The one limit of a level is one of the two of a level with twice the rest.
    alpha = (0.05 if statement.alpha is None else statement.alpha) * (2 if statement.tail else 1)
    made = fit.estimate(matrix[0], ddf=ddf, level=1.0 - alpha, random=weights)
    names = ("estimate", "se", "df", "statistic", "p_value", "lower", "upper")
    row = {name: getattr(made, name) for name in names}
    return {"label": statement.label, **_one_sided(row, statement.tail)}


def _one_sided(row: dict[str, Any], tail: str) -> dict[str, Any]:
    """A row with p and limits of the one-sided test: Pr > t by UPPER, Pr < t by LOWER."""
    if not tail:
        return row
    beyond = row["statistic"] > 0 if tail == "upper" else row["statistic"] < 0
    half = row["p_value"] / 2
    open_side = {"upper": math.inf} if tail == "upper" else {"lower": -math.inf}
    return {**row, "p_value": half if beyond else 1.0 - half, **open_side}


def _test(fit: LMMResult, label: str, matrix: list[Any], ddf: Any) -> dict[str, Any]:
    made = fit.contrast(matrix, ddf=ddf)
    if made.f is None:
        t, df = made.statistic, made.df
        return {"label": label, "num_df": 1, "den_df": df, "f": t**2, "p_value": made.p_value}
    own = made.f
    return {
        "label": label,
        "num_df": own.df_num,
        "den_df": own.df_den,
        "f": own.statistic,
        "p_value": own.pvalue,
    }


def by_group(found: Mapping[Any, SasResults]) -> str:
    """Results of BY groups, one after the other."""
    return "\n\n".join(f"--- {label} ---\n{own!r}" for label, own in found.items())
