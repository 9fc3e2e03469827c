"""LSMEANS statements as calls of `emmeans`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from mlmfast.errors import FormulaError
from mlmfast.translation.call_text import literal
from mlmfast.translation.findings import Findings
from mlmfast.translation.sas.linear import told_apart
from mlmfast.translation.sas.statements.effects import Effect, effects_of
from mlmfast.translation.sas.statements.options import Option, numbers
from mlmfast.translation.sas.statements.step import Effects
from mlmfast.translation.sas.statements.text import written

if TYPE_CHECKING:
    from mlmfast.result import LMMResult

_PRINTS = frozenset({"cl", "corr", "cov", "e", "singular", "plots", "plot", "lines"})
#: One-sided differences from a control, and adjustments that these have.
_SIDES = {"controll": "less", "controlu": "greater"}
_ONE_SIDED = frozenset({"none", "bonferroni", "sidak", "dunnett"})
_ADJUST = {
    "bon": "bonferroni",
    "bonferroni": "bonferroni",
    "dunnett": "dunnett",
    "scheffe": "scheffe",
    "sidak": "sidak",
    "simulate": "simulation",
    "t": "none",
    "tukey": "tukey",
    "tukeykramer": "tukey",
}


@dataclass(frozen=True)
class Means:
    """LS-means of one effect, with differences and slices if asked for.

    Attributes
    ----------
    label, effect : what tells it apart in results, and the effect as the statement writes it
    differences : arguments of ``contrast``, or None; with "side" of ``contrast`` and ``test``
    slices : for each slice the factors compared and those held
    """

    label: str
    effect: str
    factors: tuple[str, ...]
    arguments: Mapping[str, Any]
    differences: Mapping[str, Any] | None
    slices: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = field(default=())

    def with_degrees(self, ddf: float | None) -> Means:
        """The same with degrees of freedom, where none are given."""
        if ddf is None or "ddf" in self.arguments:
            return self
        return replace(self, arguments={**self.arguments, "ddf": ddf})

    def code(self, ddf: str | None = None) -> list[str]:
        """As lines of Python, with a text for the degrees of freedom."""
        more = "" if ddf is None or "ddf" in self.arguments else f", ddf={ddf}"
        means = f"fit.emmeans({_call(list(self.factors), self.arguments)}{more})"
        out = [means]
        if self.differences is not None:
            arguments = dict(self.differences)
            side = arguments.pop("side", None)
            how = f"side={literal(side)}, adjust={literal(arguments['adjust'])}"
            tested = "" if side is None else f".test({how})"
            called = _call(arguments.pop("method"), arguments)
            out.append(f"{means}.contrast({called}){tested}")
        for compared, held in self.slices:
            by = {"by": list(held), **self.arguments}
            out.append(f"fit.emmeans({_call(list(compared), by)}{more}).slices()")
        return out

    def __call__(self, fit: LMMResult) -> tuple[Any, Any, list[Any]]:
        """The means, their differences or None, and the slices."""
        means = fit.emmeans(list(self.factors), **self.arguments)
        differences = None if self.differences is None else self._differences(means)
        slices = [
            fit.emmeans(list(compared), by=list(held), **self.arguments).slices()
            for compared, held in self.slices
        ]
        return means, differences, slices

    def _differences(self, means: Any) -> Any:
        arguments = dict(self.differences or {})
        side = arguments.pop("side", None)
        made = means.contrast(**arguments)
        return made if side is None else made.test(side=side, adjust=arguments["adjust"])


def _call(first: Any, arguments: Mapping[str, Any]) -> str:
    first = first[0] if isinstance(first, list) and len(first) == 1 else first
    return ", ".join([literal(first), *(f"{k}={literal(v)}" for k, v in arguments.items())])


def means_of(
    statement: Effects, classes: Mapping[str, Any], found: Findings, model: Sequence[Effect] = ()
) -> list[Means]:
    """The effects of one LSMEANS statement; what cannot be said is left out, and entered.

    ``model`` are those of the MODEL statement: products of covariates stand at their averages
    there unless AT is given, and factors are nested where they are written so.
    """
    out = []
    try:
        arguments, differences, sliced = _options(statement, found)
        of_covariates = any(len(effect.covariates(classes)) > 1 for effect in model)
        if of_covariates and statement.option("at") is None:
            arguments.setdefault("covariates", "averaged")
        if len({name for effect in model for name in effect.factors(classes)}) > 1:
            arguments["nesting"] = _nests(model, classes) or False
        for effect in statement.effects:
            if effect.covariates(classes) or effect.is_intercept:
                raise FormulaError(f"{effect} is no effect of CLASS variables")
            # The last CLASS variable varies fastest there, the first factor here.
            names = effect.factors(classes)[::-1]
            slices = tuple(
                (tuple(n for n in names if n not in held), held)
                for held in sliced
                if set(held) < set(names)
            )
            out.append(Means(str(effect), str(effect), names, arguments, differences, slices))
    except FormulaError as error:
        found.left_out.append(f"'{statement.text}': {error}")
    return out


def _nests(model: Sequence[Effect], classes: Mapping[str, Any]) -> dict[str, list[str]]:
    """For each CLASS variable those that it is written to be nested in."""
    nests: dict[str, list[str]] = {}
    for effect in model:
        for name in effect.crossed:
            holders = [own for own in effect.nested if own in classes]
            if name in classes and holders:
                nests.setdefault(name, [])
                nests[name] += [own for own in holders if own not in nests[name]]
    return nests


def labelled(means: Sequence[Means]) -> tuple[Means, ...]:
    """The same with labels that differ: by AT values, else by a number."""
    effects = [own.effect for own in means]
    labels = [
        own.effect + _at_text(own.arguments.get("at"))
        if effects.count(own.effect) > 1
        else own.effect
        for own in means
    ]
    return tuple(
        replace(own, label=label) for own, label in zip(means, told_apart(labels), strict=True)
    )


def _at_text(at: Mapping[str, Any] | None) -> str:
    if not at:
        return ""
    values = {k: v if isinstance(v, list) else [v] for k, v in at.items()}
    return " at " + " ".join(f"{k}={','.join(f'{x:g}' for x in v)}" for k, v in values.items())


def _options(
    statement: Effects, found: Findings
) -> tuple[dict[str, Any], dict[str, Any] | None, list[tuple[str, ...]]]:
    level = 0.95
    at: dict[str, Any] = {}
    arguments: dict[str, Any] = {}
    adjust: str | None = None
    differences: dict[str, Any] | None = None
    slices: list[tuple[str, ...]] = []
    for option in statement.options:
        if option.name == "at" and option.value is None:
            found.notes.append("AT MEANS: the formula at the covariates' means, as emmeans does")
        elif option.name == "at" and option.value:
            values = list(numbers(option.value[1:]))
            at[option.value[0].text] = values[0] if len(values) == 1 else values
        elif option.name in {"om", "obsmargins"}:
            if option.value is not None:
                raise FormulaError("OM= with a data set: give the weights as at= or by hand")
            arguments.setdefault("weights", "proportional")
        elif option.name == "bylevel":
            arguments |= {"weights": "cells", "covariates": "by level"}
        elif option.name == "alpha":
            level = 1.0 - next(numbers(option.value or ()))
        elif option.name == "df":
            arguments["ddf"] = next(numbers(option.value or ()))
        elif option.name == "adjust":
            adjust = _adjustment(option)
        elif option.name in {"diff", "pdiff"}:
            differences = _differences(option)
        elif option.name == "slice":
            slices += [effect.names for effect in effects_of(option.value or ())]
        elif option.name in _PRINTS:
            found.ignored.append(f"{option} of LSMEANS")
        else:
            raise FormulaError(f"{option} has no counterpart")
    if at and arguments.get("covariates") == "by level":
        found.notes.append("BYLEVEL disables AT, there as here")
    elif at:
        arguments["at"] = at
    if level != 0.95:
        arguments["level"] = level
    if adjust is not None and differences is None:
        differences = _differences(Option("diff"))
    if adjust == "dunnett" and differences is not None:
        differences = _from_a_control(statement, differences)
    if differences is not None:
        control = differences["method"] == "trt.vs.ctrl"
        differences["adjust"] = adjust or "none"
        if "side" in differences and differences["adjust"] not in _ONE_SIDED:
            raise FormulaError(
                f"ADJUST={adjust} of one-sided differences has no counterpart; there are "
                f"{', '.join(sorted(_ONE_SIDED))}"
            )
        if adjust == "tukey" and control:
            raise FormulaError("ADJUST=TUKEY is for all differences, not for those from a control")
    return arguments, differences, slices


def _from_a_control(statement: Effects, differences: dict[str, Any]) -> dict[str, Any]:
    """By Dunnett differences are from the first level, unless DIFF= says otherwise."""
    asked = statement.option("diff", "pdiff")
    if asked is not None and asked.value is not None and differences["method"] == "pairwise":
        raise FormulaError(f"ADJUST=DUNNETT is for differences from a control, not for {asked}")
    return {**differences, "method": "trt.vs.ctrl"}


def _adjustment(option: Option) -> str:
    word = option.text.partition("(")[0]
    if word not in _ADJUST:
        raise FormulaError(f"{option} has no counterpart; there are {', '.join(_ADJUST)}")
    return _ADJUST[word]


def _differences(option: Option) -> dict[str, Any]:
    text = written(option.value or ())
    word, _, rest = text.partition("(")
    word = word.lower().strip()
    if word in {"", "all"}:
        return {"method": "pairwise"}
    if word in {"control", *_SIDES}:
        level = rest.rstrip(")").strip().strip("'\"")
        side = {"side": _SIDES[word]} if word in _SIDES else {}
        return {"method": "trt.vs.ctrl", **({"ref": level} if level else {}), **side}
    raise FormulaError(f"{option} has no counterpart; there are ALL, CONTROL, CONTROLL, CONTROLU")
