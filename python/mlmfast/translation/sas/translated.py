"""`from_sas`: the text of a PROC MIXED step as a call here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd

from mlmfast.errors import DataError, FormulaError, MlmError, ModelError
from mlmfast.model import lmm
from mlmfast.translation.call_text import call_text, literal
from mlmfast.translation.findings import Findings
from mlmfast.translation.preparation import (
    LevelsAsTheyCome,
    by_groups,
    pandas_frame,
    with_columns,
)
from mlmfast.translation.sas.model import Plan, plan_of
from mlmfast.translation.sas.results import (
    DegreesByEffect,
    SasResults,
    by_effect,
    by_group,
    results_of,
)
from mlmfast.translation.sas.rows import SasRows
from mlmfast.translation.sas.statements.linear import LinearStatement
from mlmfast.translation.sas.statements.step import read_step

if TYPE_CHECKING:
    from mlmfast.arrays import FloatArray
    from mlmfast.result import LMMResult


class SasByGroups(dict[Any, SasResults]):
    """Results by the levels of BY.

    Attributes
    ----------
    problems : dict
        Levels that have no fit, with the reason.
    """

    def __init__(self, found: Mapping[Any, SasResults], problems: Mapping[Any, str]) -> None:
        super().__init__(found)
        self.problems = dict(problems)

    def __repr__(self) -> str:
        lost = [f"--- {level} ---\nno fit: {why}" for level, why in self.problems.items()]
        return "\n\n".join([by_group(self), *lost])


class SasStep:
    """A PROC MIXED step as a call of mlmfast: prints as code, runs when called with data.

    Attributes
    ----------
    code : str
        The call, and what comes after it, as Python.
    unmapped : tuple of str
        What has no counterpart; with what is in ``blocking`` the fit would be another one.
    blocking : tuple of str
        Of ``unmapped`` those for which a call is refused.
    notes, ignored : tuple of str
        What to know; what prints or saves there and has no effect on numbers.
    """

    def __init__(self, text: str) -> None:
        self._step = read_step(text)
        self._found = Findings()
        self._plan: Plan = plan_of(self._step, self._found)
        _note(self._step.classes, self._plan, self._found, self._step)

    @property
    def blocking(self) -> tuple[str, ...]:
        """What is not mapped and would change the fit."""
        return tuple(self._found.lost)

    @property
    def unmapped(self) -> tuple[str, ...]:
        """What is not mapped."""
        return (*self._found.lost, *self._found.left_out)

    @property
    def notes(self) -> tuple[str, ...]:
        """What to know."""
        return tuple(self._found.notes)

    @property
    def ignored(self) -> tuple[str, ...]:
        """What has no effect on numbers."""
        return tuple(self._found.ignored)

    @property
    def code(self) -> str:
        """The step as Python; ``sas`` is this object where ESTIMATE and CONTRAST need it."""
        plan = self._plan
        lines = ["import mlmfast as mlm"]
        if any(isinstance(p, LevelsAsTheyCome) for p in plan.preparations):
            lines.append("import pandas as pd")
        lines += [step.code("data") for step in plan.preparations]
        if self._step.by:
            by = literal(list(self._step.by))
            lines.append(f"for _, data in data.groupby({by}, dropna=False):")
        body = [f"fit = {call_text('mlm.lmm', plan.formula, 'data', plan.arguments)}"]
        body += self._after()
        indent = "    " if self._step.by else ""
        lines += [indent + line for part in body for line in part.split("\n")]
        return "\n".join(lines)

    def _after(self) -> list[str]:
        plan = self._plan
        level = plan.covariance_level
        own_level = "" if level == 0.95 else f"level={literal(level)}"
        lines = [f"fit.covtest({own_level})"] if plan.covtest else []
        chisq = ", chisq=True" if plan.chisq else ""
        for kind in plan.types:
            lines.append(f'tests = fit.anova(type={kind}, definition="SAS"{chisq})')
            lines += ["tests.components"] if plan.components else []
        lines += [self._linear_code(statement) for statement in plan.linear]
        for means in plan.means:
            asked = self._asked(means.label, "lsmeans")
            lines += means.code(f"sas.ddf(fit, {asked})" if self._by_effect else None)
        if plan.posterior is not None:
            given = ", ".join(f"{k}={literal(v)}" for k, v in plan.posterior.items())
            lines.append(f"fit.posterior({given})")
        return lines

    def _linear_code(self, statement: LinearStatement) -> str:
        """An ESTIMATE or CONTRAST as a call, or as a comment where a call cannot say it."""
        label = literal(statement.label)
        if statement.rows[0].random:
            return f"# {label}: see estimates of sas(data), random effects"
        if statement.tail:
            return f"# {label}: see estimates of sas(data), a one-sided test"
        asked = self._asked(statement.label, statement.kind)
        arguments = [f"sas.rows(fit, {asked})"]
        if statement.df is not None:
            arguments.append(f"ddf={literal(statement.df)}")
        elif self._by_effect:
            arguments.append(f"ddf=sas.ddf(fit, {asked})")
        if statement.alpha is not None:
            arguments.append(f"level={literal(1.0 - statement.alpha)}")
        return f"fit.{statement.kind}({', '.join(arguments)})"

    def _asked(self, label: str, kind: str) -> str:
        """A label as an argument, with the kind where several have it."""
        more = f", kind={literal(kind)}" if self._plan.is_ambiguous(label) else ""
        return literal(label) + more

    @property
    def _by_effect(self) -> bool:
        ddf = self._plan.arguments.get("ddf")
        return ddf is not None and by_effect(ddf)

    def _statement(self, label: str, kind: str | None) -> LinearStatement | None:
        every = (own for own in self._plan.linear if kind in {None, own.kind})
        return next((own for own in every if own.label == label), None)

    def rows(self, fit: LMMResult, label: str, kind: str | None = None) -> list[FloatArray]:
        """Rows over the coefficients of a fit of an ESTIMATE or CONTRAST, by its label.

        A label that comes again has a number, ``'x (2)'``; ``kind`` is "estimate" or "contrast",
        where both have it.

        Raises
        ------
        ModelError
            Where there is no such statement, or it is not estimable.
        """
        statement = self._statement(label, kind)
        if statement is None:
            known = ", ".join(repr(s.label) for s in self._plan.linear) or "there is none"
            raise ModelError(f"no ESTIMATE or CONTRAST statement is labelled {label!r} ({known})")
        divisor = statement.divisor
        made = self._rows(fit)
        return [made(row, label) / divisor for row in statement.rows]

    def ddf(self, fit: LMMResult, label: str, kind: str | None = None) -> Any:
        """Degrees of freedom of an ESTIMATE, a CONTRAST or the LS-means of an effect.

        By counts PROC MIXED takes those of the effect, or of the last one named; None where the
        method goes its own way. ``kind`` is "estimate", "contrast" or "lsmeans", where several
        have the label.
        """
        degrees = DegreesByEffect(fit, self._plan)
        statement = self._statement(label, kind)
        if statement is None:
            effects = {own.label: own.effect for own in self._plan.means}
            return degrees.of_label(effects.get(label, label))
        if statement.option("df") is not None:
            return statement.df
        rows = self._rows(fit)
        return degrees.of_effects(
            [rows.effect_of(effect) for row in statement.rows for effect, _ in row.fixed]
        )

    def __call__(self, data: object) -> SasResults | SasByGroups:
        """Fit the model to data, and compute what the step asks for.

        Parameters
        ----------
        data
            Any data frame, or a dict of arrays; names of columns in any case, as in SAS.

        Returns
        -------
        SasResults, or with BY a dict of them; a missing value of BY is a group, as there: None.

        Raises
        ------
        ModelError
            Where something of the step that changes the fit is not mapped.
        """
        if self._found.lost:
            raise ModelError(
                f"the step cannot be run as it is: {'; '.join(self._found.lost)}. Take the call "
                "as text (.code) and change it"
            )
        frame = with_columns(pandas_frame(data), self._plan.columns, folds_case=True)
        self._check_numbers(frame)
        if not self._step.by:
            return self._run(frame)
        found: dict[Any, SasResults] = {}
        problems: dict[Any, str] = {}
        for key, own in by_groups(frame, self._step.by):
            attempt = self._attempt(own)
            if isinstance(attempt, str):
                problems[key] = attempt
            else:
                found[key] = attempt
        if not found:
            raise ModelError(f"no BY group could be fitted: {next(iter(problems.values()))}")
        return SasByGroups(found, problems)

    def _attempt(self, frame: pd.DataFrame) -> SasResults | str:
        """The results of a group, or why there are none."""
        try:
            return self._run(frame)
        except MlmError as error:
            return str(error)

    def _check_numbers(self, frame: pd.DataFrame) -> None:
        """Refuse text that is no CLASS variable, as PROC MIXED does."""
        step = self._step
        statements = [step.model, *step.random] if step.model else list(step.random)
        names = {n for own in statements for e in own.effects for n in e.covariates(step.classes)}
        for name in sorted(names):
            if not pd.api.types.is_numeric_dtype(frame[name]):
                raise DataError(
                    f"{name!r} holds {frame[name].dtype} values and is no CLASS variable; add it "
                    "to the CLASS statement, or make numbers of it"
                )

    def _run(self, frame: pd.DataFrame) -> SasResults:
        plan = self._plan
        for step in plan.preparations:
            frame = step(frame)
        fit = lmm(plan.formula, frame, **plan.arguments)
        rows = self._rows(fit) if plan.linear else None
        random = tuple(
            effect
            for own in self._step.random
            if own.option("subject", "sub") is None
            for effect in own.effects
        )
        return results_of(fit, plan, plan.linear, rows, random)

    def _rows(self, fit: LMMResult) -> SasRows:
        return SasRows(fit, self._plan.effects, self._levels(fit))

    def _levels(self, fit: LMMResult) -> Mapping[str, tuple[str, ...]]:
        """Levels of the CLASS variables in the order of PROC MIXED's columns."""
        source = fit._needs_source("levels")
        assert source.frame is not None
        frame = source.frame.frame
        out = {}
        for name in self._step.classes:
            if not frame.has(name):
                continue
            levels = frame.factor(name).levels
            last = self._plan.reference.get(name)
            if last is not None:
                last = last or levels[0]
                levels = (*(level for level in levels if level != last), last)
            out[name] = levels
        return out

    def __str__(self) -> str:
        return "\n".join([self.code, *self._found.comments()])

    def __repr__(self) -> str:
        return str(self)


def _note(classes: Mapping[str, Any], plan: Plan, found: Findings, step: Any) -> None:
    for own in [*step.random, *([step.repeated] if step.repeated else [])]:
        option = own.option("subject", "sub")
        names = [token.text for token in (option.value or ())] if option else []
        numeric = [n for n in names if n.isidentifier() and n not in classes]
        if numeric:
            found.notes.append(
                f"SUBJECT={numeric[0]} is no CLASS variable: PROC MIXED begins a subject where the "
                "value changes; here rows of one value are one subject, wherever they stand"
            )
    if plan.linear:
        found.notes.append(
            "coefficients go by the levels of CLASS variables in sorted order, as there, or in "
            "the order that a categorical column declares"
        )
    if step.weight:
        found.notes.append("rows with a weight of 0 or below are refused; PROC MIXED drops them")
    if plan.preparations and any(
        step.repeated and p.code("d").find("cumcount") > 0 for p in plan.preparations
    ):
        found.notes.append("REPEATED names no effect: rows of a subject are numbered as they stand")


def from_sas(text: str) -> SasStep:
    """Translate a PROC MIXED step to the call here; the text is read, nothing in it is run.

    CLASS, MODEL, RANDOM, REPEATED, LSMEANS, ESTIMATE, CONTRAST, PARMS, PRIOR, WEIGHT and BY
    statements are understood, with the options that have a counterpart; the rest is listed.

    Parameters
    ----------
    text
        From ``proc mixed`` to ``run;``; other statements around it are passed over.

    Returns
    -------
    SasStep
        Prints as code, with what it could not map as comments; called with data it fits the model
        and computes tests, LS-means, estimates and contrasts.

    Raises
    ------
    FormulaError
        Where the text is no PROC MIXED step, holds macros, or breaks off.

    Examples
    --------
    >>> import mlmfast as mlm
    >>> step = mlm.from_sas('''
    ...     proc mixed data=sleep covtest;
    ...       class Subject;
    ...       model Reaction = Days / solution ddfm=kr;
    ...       random intercept Days / type=un subject=Subject g;
    ...       estimate 'a week' Days 7;
    ...     run;''')
    >>> print(step.code)
    import mlmfast as mlm
    fit = mlm.lmm(
        "Reaction ~ Days + (1 + Days | Subject)",
        data,
        ddf="kenward-roger",
        absorb=False,
    )
    fit.covtest()
    tests = fit.anova(type=3, definition="SAS")
    fit.estimate(sas.rows(fit, "a week"))
    >>> results = step(mlm.load_sleepstudy())
    >>> results.estimates.round(3)[["label", "estimate", "se", "df"]]
        label  estimate      se    df
    0  a week    73.271  10.821  17.0
    """
    if not isinstance(text, str):
        raise FormulaError(f"from_sas takes the text of a step, not {type(text).__name__}")
    return SasStep(text)
