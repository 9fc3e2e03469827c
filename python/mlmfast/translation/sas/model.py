"""A PROC MIXED step -> the call here, with what is to be computed after the fit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mlmfast.degrees_of_freedom import known_name
from mlmfast.formula.deparse import quote_name
from mlmfast.translation.findings import Findings
from mlmfast.translation.preparation import Levels, LevelsAsTheyCome, Preparation
from mlmfast.translation.sas.linear import linear_statements
from mlmfast.translation.sas.means import Means, labelled, means_of
from mlmfast.translation.sas.parms import parms_arguments
from mlmfast.translation.sas.prior import posterior_arguments
from mlmfast.translation.sas.random import random_terms
from mlmfast.translation.sas.repeated import residual_text
from mlmfast.translation.sas.statements.effects import Effect
from mlmfast.translation.sas.statements.linear import LinearStatement
from mlmfast.translation.sas.statements.options import Option, numbers
from mlmfast.translation.sas.statements.step import Step
from mlmfast.translation.sas.statements.text import written
from mlmfast.words import MOMENTS

#: Options of the PROC statement that print or say how the search goes.
_SILENT = frozenset(
    {"absolute", "asycorr", "asycov", "boundary", "cl", "convf", "convg", "convh", "data", "ic"}
    | {"info", "itdetails", "lognote", "maxfunc", "maxiter", "mmeq", "mmeqsol", "namelen"}
    | {"noclprint", "noinfo", "noitprint", "noprofile", "plots", "plot", "ratio", "scoring"}
    | {"singchol", "singres", "singular", "update", "sigiter"}
)
_REFUSED = {
    "empirical": "robust standard errors are fit.robust('CR0')",
    "anovaf": "its tests are not those of anova()",
}
_MODEL_SILENT = frozenset(
    {"s", "solution", "cl", "corrb", "covb", "covbi", "e", "e1", "e2", "e3", "intercept", "notest"}
    | {"singular", "xpvix", "xpvixi", "zeta", "fullx", "ddfm"}
)
_ELSEWHERE = {
    "outp": "fit.predict(), or fit.fittedvalues",
    "outpred": "fit.predict(), or fit.fittedvalues",
    "outpm": "fit.predict(ranef=False)",
    "outpredm": "fit.predict(ranef=False)",
    "residual": "fit.resid('pearson') and fit.plot.residuals()",
    "vciry": "fit.resid('scaled')",
    "influence": "fit.influence()",
}


@dataclass(frozen=True)
class Plan:
    """What a step is here.

    Attributes
    ----------
    arguments : of `mlmfast.lmm` beside formula and data
    effects : of the MODEL statement, the intercept first where there is one
    types : of the tests of effects
    covariance_level : of the limits of covariance parameters, by ALPHA= of PROC MIXED
    reference : levels that REF= puts last, by variable
    linear : ESTIMATE and CONTRAST statements
    components : whether LCOMPONENTS asks for the t test of each row of the tests of effects
    posterior : arguments of ``fit.posterior``, of PRIOR; None without it
    """

    formula: str
    arguments: dict[str, Any]
    preparations: tuple[Preparation, ...]
    effects: tuple[Effect, ...]
    means: tuple[Means, ...]
    types: tuple[int, ...]
    chisq: bool
    covtest: bool
    covariance_level: float
    reference: Mapping[str, str]
    columns: tuple[str, ...]
    linear: tuple[LinearStatement, ...]
    posterior: dict[str, Any] | None = None
    components: bool = False

    def is_ambiguous(self, label: str) -> bool:
        """Whether statements of several kinds have this label."""
        kinds = {own.kind for own in self.linear if own.label == label}
        return len(kinds) + any(label == own.label for own in self.means) > 1

    def name_of(self, statement: LinearStatement) -> str:
        """The label, with the kind where another statement has it too."""
        label = statement.label
        return f"{statement.kind.upper()} {label}" if self.is_ambiguous(label) else label


def plan_of(step: Step, found: Findings) -> Plan:
    """Translate a step; what cannot be said is entered among the findings."""
    assert step.model is not None, "the reader looked"
    _read_proc(step, found)
    _read_model_options(step, found)
    found.lost += [f"'{text}'" for text in step.unknown]
    found.ignored += [f"'{text}'" for text in step.ignored]
    linear = linear_statements(step.linear, found)
    terms = [term for own in step.random for term in random_terms(own, step.classes, found)]
    residual = residual_text(step.repeated, step.classes, found)
    intercept = step.model.option("noint") is None
    fixed = [effect.formula(step.classes) for effect in step.model.effects]
    head = ([] if intercept else ["0"]) + fixed or ["1"]
    formula = " + ".join([*head, *(term.text for term in terms)])
    contrasts, reference = _coding(step, found)
    arguments: dict[str, Any] = {
        "residual": residual.residual,
        "residual_scale": residual.scale,
        "method": _estimator(step),
        "bounded": False if _without_bounds(step) else None,
        "weights": step.weight,
        "contrasts": contrasts or None,
        "ddf": _ddf(step, found),
        "absorb": False if linear or step.prior or _has(step, "lcomponents") else None,
    }
    arguments = {k: v for k, v in arguments.items() if v is not None and (k, v) != _DEFAULT}
    arguments |= parms_arguments(step.parms, terms, residual, found)
    effects = (*([Effect(())] if intercept else []), *step.model.effects)
    own_effects = step.model.effects
    means = [m for own in step.lsmeans for m in means_of(own, step.classes, found, own_effects)]
    names = _columns(step)
    return Plan(
        f"{quote_name(step.response)} ~ {formula}",
        arguments,
        (
            *_levels(step, residual.levels),
            *([residual.number] if residual.number else []),
            *(term.check for term in terms if term.check is not None),
        ),
        effects,
        labelled(means),
        _types(step),
        step.model.option("chisq") is not None,
        _proc(step, "covtest") is not None,
        1.0 - _number(_proc(step, "alpha"), 0.05),
        reference,
        names,
        linear,
        posterior_arguments(step.prior, found),
        _has(step, "lcomponents"),
    )


_DEFAULT = ("method", "REML")
#: What METHOD= is here.
_METHODS = {"reml": "REML", "ml": "ML", **{name: name for name in MOMENTS}}


def _estimator(step: Step) -> str:
    """What METHOD= is here; without random effects all but ML give the residual mean square."""
    method = _METHODS.get(_method(step), "REML")
    return "REML" if method in MOMENTS and not step.random else method


def _without_bounds(step: Step) -> bool:
    """Whether NOBOUND stands in the PROC or the PARMS statement, and variances are bounded else."""
    if _method(step) in MOMENTS:
        return False
    options = [*step.options, *(step.parms[1] if step.parms is not None else ())]
    return any(option.name == "nobound" for option in options)


def _proc(step: Step, *names: str) -> Option | None:
    return next((o for o in step.options if o.name in names), None)


def _has(step: Step, name: str) -> bool:
    """Whether the MODEL statement has an option."""
    return step.model is not None and step.model.option(name) is not None


def _number(option: Option | None, default: float) -> float:
    return default if option is None else next(numbers(option.value or ()), default)


def _method(step: Step) -> str:
    option = _proc(step, "method")
    return "reml" if option is None else option.text


def _read_proc(step: Step, found: Findings) -> None:
    for option in step.options:
        if option.name in _REFUSED:
            found.lost.append(f"{option.name.upper()}: {_REFUSED[option.name]}")
        elif option.name in _SILENT:
            if option.name != "data":
                found.ignored.append(f"{option} of PROC MIXED")
            elif option.value and any(token.is_("(") for token in option.value):
                found.lost.append(f"{option}: apply the options of the data set to the data first")
        elif option.name == "order" and option.text not in {*_SORTED, "data"}:
            found.lost.append(f"{option} of PROC MIXED: order the levels in the data")
        elif option.name == "alpha" and _proc(step, "covtest") is None:
            _leave_out_limits(f"{option} of PROC MIXED", "fit.covtest", option, found)
        elif option.name not in {"method", "alpha", "covtest", "order", "dfbw", "nobound"}:
            found.lost.append(f"{option} of PROC MIXED")
    if _method(step) not in _METHODS:
        known = ", ".join(name.upper() for name in _METHODS)
        found.lost.append(f"METHOD={_method(step).upper()}: the methods here are {known}")


def _leave_out_limits(name: str, method: str, option: Option, found: Findings) -> None:
    """Enter limits that a step does not make, and who makes them; 0.95 is theirs anyway."""
    level = 1.0 - _number(option, 0.05)
    if level == 0.95:
        found.ignored.append(name)
    else:
        found.left_out.append(f"{name}: {method}(level={level:g})")


def _read_model_options(step: Step, found: Findings) -> None:
    assert step.model is not None
    for option in step.model.options:
        if option.name in _ELSEWHERE:
            found.left_out.append(f"{option} of MODEL: {_ELSEWHERE[option.name]}")
        elif option.name == "alpha":
            _leave_out_limits(f"{option} of MODEL", "fit.conf_int", option, found)
        elif option.name in _MODEL_SILENT:
            if option.name != "ddfm":
                found.ignored.append(f"{option} of MODEL")
        elif option.name not in {"noint", "chisq", "htype", "ddf", "lcomponents"}:
            found.lost.append(f"{option} of MODEL")


def _ddf(step: Step, found: Findings) -> Any:
    """DDFM= or the default, and DDF= over it for the effects that it gives numbers to."""
    assert step.model is not None
    method = _ddfm(step, found)
    option = step.model.option("ddf")
    given = [] if option is None else _numbers_or_missing(option, found)
    effects = [effect.formula(step.classes) for effect in step.model.effects]
    if len(given) > len(effects):
        found.lost.append(f"{option} has {len(given)} numbers for {len(effects)} effects")
    pairs = {e: x for e, x in zip(effects, given, strict=False) if x is not None}
    return {**pairs, None: method} if pairs else method


def _numbers_or_missing(option: Option, found: Findings) -> list[float | None]:
    """Numbers, None for a period."""
    out: list[float | None] = []
    for token in option.value or ():
        if token.kind == "number" and float(token.text) > 0:
            out.append(float(token.text))
        elif token.is_("."):
            out.append(None)
        elif not token.is_(","):
            found.lost.append(f"{option}: {token.text!r} is neither a positive number nor a period")
            return []
    return out


def _ddfm(step: Step, found: Findings) -> str:
    """DDFM=, DFBW, or PROC MIXED's default: by the statements that there are."""
    assert step.model is not None
    option = step.model.option("ddfm")
    between_within = _proc(step, "dfbw") is not None
    if option is None and between_within:
        return "between-within-sas"
    if option is None:
        if step.random:
            return "containment"
        return "between-within-sas" if step.repeated else "residual"
    name = known_name(option.text)
    name = "between-within-sas" if name == "between-within" else name
    if name is None:
        found.lost.append(f"{option}: no method of degrees of freedom here")
        return "satterthwaite"
    if between_within and name != "between-within-sas":
        found.lost.append(f"DFBW of PROC MIXED and {option} of MODEL: two methods; leave one out")
    return name


def _types(step: Step) -> tuple[int, ...]:
    assert step.model is not None
    option = step.model.option("htype")
    return (3,) if option is None else tuple(int(k) for k in numbers(option.value or ()))


def _fixed_factors(step: Step) -> tuple[str, ...]:
    assert step.model is not None
    used = {name for effect in step.model.effects for name in effect.names}
    return tuple(name for name in step.classes if name in used)


def _coding(step: Step, found: Findings) -> tuple[dict[str, str], dict[str, str]]:
    """Contrasts that give PROC MIXED's solution: against the last level, or that of REF=."""
    contrasts, reference = {}, {}
    for name in _fixed_factors(step):
        contrasts[name] = "contr.SAS"
        for option in step.classes[name]:
            level = written(option.value or ()).strip("'\"")
            if option.name == "ref" and level.lower() == "first":
                contrasts[name] = "contr.treatment"
                reference[name] = ""
            elif option.name == "ref" and level.lower() != "last":
                contrasts[name] = f"Treatment({level!r})"
                reference[name] = level
    _read_class_options(step, found)
    return contrasts, reference


def _read_class_options(step: Step, found: Findings) -> None:
    """Options of CLASS beside REF=; the order of levels matters in MODEL and REPEATED."""
    fixed = _fixed_factors(step)
    repeated = step.repeated.effects if step.repeated else ()
    ordered = {*fixed, *(name for effect in repeated for name in effect.names)}
    lost = []
    for name, options in step.classes.items():
        for option in options:
            if option.name in {"descending", "desc", "order"}:
                if option.text not in _SORTED and name in ordered:
                    lost.append(f"{option} of CLASS: order the levels in the data")
            elif option.name == "param":
                if option.text != "glm" and name in fixed:
                    lost.append(f"{option} of CLASS: the coding is PROC MIXED's own")
            elif option.name != "ref":
                lost.append(f"{option} of CLASS")
    found.lost += dict.fromkeys(lost)


_SORTED = frozenset({"formatted", "internal"})


def _levels(step: Step, visits: tuple[str, ...]) -> list[Preparation]:
    """CLASS variables whose levels matter, read as factors."""
    used = {*_fixed_factors(step), *visits}
    for own in step.random:
        used |= {name for effect in own.effects for name in effect.names}
    names = tuple(name for name in step.classes if name in used)
    order = _proc(step, "order")
    if order is not None and order.text == "data":
        return [LevelsAsTheyCome(name) for name in names]
    return [Levels(names)] if names else []


def _columns(step: Step) -> tuple[str, ...]:
    """Columns of the data that the step uses."""
    assert step.model is not None
    every = [step.response, *step.by, *([step.weight] if step.weight else [])]
    statements = [step.model, *step.random, *([step.repeated] if step.repeated else [])]
    for own in statements:
        every += [name for effect in own.effects for name in effect.names]
        for option in own.options:
            if option.name in {"subject", "sub", "group", "grp"}:
                every += [token.text for token in option.value or () if token.kind == "name"]
            if option.name == "local":
                every += [token.text for token in (option.value or ())[1:] if token.kind == "name"]
            if option.name == "type":
                every += [token.text for token in (option.value or ())[4:] if token.kind == "name"]
    return tuple(dict.fromkeys(every))
