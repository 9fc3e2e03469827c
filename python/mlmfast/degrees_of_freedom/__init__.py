"""Denominator degrees of freedom of t and F tests, by the names of ``ddf=``.

One file a method: a subclass of `DegreesOfFreedom` with a name is found by it.

========================  ===========================================================  ==========
``ddf=``                  what                                                         as in
========================  ===========================================================  ==========
satterthwaite             W from the observed information                              SAS,
                                                                                       lmerTest,
                                                                                       mmrm
kenward-roger             adjusted covariance with second derivatives of V by SAS's    SAS KR
                          parameters; W observed
kenward-roger-linear      the same without second derivatives                          SAS
                                                                                       KR(LINEAR)
kenward-roger-expected    without second derivatives; W from the expected information  pbkrtest
                          of all elements of G
kenward-roger-2009        the bias of the covariance parameters removed too            SAS KR2
containment               smallest rank of the random effects that contain the term    SAS CONTAIN
between-within            n - rank(X) split between and within subjects                mmrm
between-within-sas        the same, effect by effect                                   SAS BW
residual                  n - rank(X)                                                  SAS
asymptotic                z and chi-squared tests                                      lme4
a number                  that number for every test                                   SAS DDF=
a dict by term            its numbers, another method for the other terms              SAS DDF=
========================  ===========================================================  ==========

Observed and expected information coincide for balanced data; in unbalanced data the degrees of
freedom differ, 77.4 and 70.0 for the intercept of nlme's IGF data with a random intercept. The
term with second derivatives depends on how V is parameterised: for an unstructured residual
covariance it is 0 by SAS's parameters and takes 1.6 % off mmrm's standard error in its example data
(0.6511 instead of 0.6613). The page docs/DEGREES_OF_FREEDOM.md has the figures, what is done on the
boundary, and how well each method keeps the size of a test (``benches/calibration.py``).

With a Kenward-Roger name, standard errors and all tests use the adjusted covariance, as PROC MIXED
prints them.
"""

from __future__ import annotations

import json
import pkgutil
from collections.abc import Mapping
from difflib import get_close_matches
from importlib import import_module
from numbers import Real
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from mlmfast.degrees_of_freedom.asymptotic import Asymptotic
from mlmfast.degrees_of_freedom.base import METHODS, ByCounts, DegreesOfFreedom, TestBasis, no_rows
from mlmfast.degrees_of_freedom.between_within import BetweenWithin
from mlmfast.degrees_of_freedom.between_within_sas import BetweenWithinSAS
from mlmfast.degrees_of_freedom.containment import Containment
from mlmfast.degrees_of_freedom.fitted_rows import FittedRows
from mlmfast.degrees_of_freedom.given_number import GivenByTerm, GivenNumber, by_term
from mlmfast.degrees_of_freedom.kenward_roger import (
    KenwardRoger,
    KenwardRoger2009,
    KenwardRogerExpected,
    KenwardRogerLinear,
)
from mlmfast.degrees_of_freedom.residual import Residual
from mlmfast.degrees_of_freedom.satterthwaite import Satterthwaite
from mlmfast.errors import ModelError

if TYPE_CHECKING:
    from mlmfast.fitted.record import FitRecord

for _module in pkgutil.iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")

__all__ = [
    "METHODS",
    "Asymptotic",
    "BetweenWithin",
    "BetweenWithinSAS",
    "ByCounts",
    "Containment",
    "DegreesOfFreedom",
    "FittedRows",
    "GivenByTerm",
    "GivenNumber",
    "KenwardRoger",
    "KenwardRoger2009",
    "KenwardRogerExpected",
    "KenwardRogerLinear",
    "Residual",
    "Satterthwaite",
    "TestBasis",
    "basis_of",
    "ddf_text",
    "ddf_words",
    "known_name",
    "method_of",
    "no_rows",
]


#: What ``ddf=`` takes.
Ddf: TypeAlias = str | float | Mapping[Any, str | float]


def method_of(ddf: Ddf) -> DegreesOfFreedom:
    """The method that a value of ``ddf=`` names.

    Parameters
    ----------
    ddf : a name of `METHODS` or another program's, in any case, a positive number, or a dict of
        these by term, with the method of the other terms under None.

    Raises
    ------
    ModelError
        For an unknown name, or a number that is not positive.

    Examples
    --------
    >>> method_of("satterthwaite").label, method_of("KR").label, method_of(12).label
    ('Satterthwaite', 'Kenward-Roger', 'given')
    >>> method_of({"arm": 12, None: "KR"}).label
    'given by term, else Kenward-Roger'
    """
    if isinstance(ddf, str) and ddf.startswith("{"):
        return _read_by_term(ddf)
    name = known_name(ddf)
    if name is not None:
        return METHODS[name]()
    if isinstance(ddf, Mapping):
        return by_term({name: _one_of(value) for name, value in ddf.items()})
    if isinstance(ddf, Real) and not isinstance(ddf, bool):
        return GivenNumber(float(ddf))
    number = _number(ddf)
    if number is not None:
        return GivenNumber(number)
    hint = f"; did you mean {near!r}?" if (near := _nearest(str(ddf))) else ""
    raise ModelError(
        f"ddf={ddf!r} is not known{hint} (available: {', '.join(METHODS)}, or a number)"
    )


def _one_of(value: object) -> str | float:
    """A number, or a name of `METHODS`."""
    if not isinstance(value, str | Real) or (isinstance(value, str) and value.startswith("{")):
        raise ModelError(f"ddf of a term is {value!r}; give a number, or the name of a method")
    found = method_of(value)  # type: ignore[arg-type]
    return found.value if isinstance(found, GivenNumber) else type(found).name


def _read_by_term(text: str) -> DegreesOfFreedom:
    """What `GivenByTerm.key` wrote."""
    try:
        read = json.loads(text)
        given = {**read["terms"], None: read["other"]}
    except (ValueError, KeyError, TypeError):
        raise ModelError(f"ddf={text!r} is no method of degrees of freedom") from None
    return method_of(given)


def known_name(ddf: object) -> str | None:
    """The name of `METHODS` that a value of ``ddf=`` is, or is another program's word for.

    Examples
    --------
    >>> known_name("DDFM=KR(LINEAR)"), known_name("betwithin"), known_name("12")
    ('kenward-roger-linear', 'between-within', None)
    """
    if not isinstance(ddf, str):
        return None
    if ddf in METHODS:
        return ddf
    plain = _letters(ddf)
    own = {_letters(method): method for method in METHODS}
    return {**_ELSEWHERE, **own}.get(plain.removeprefix("ddfm"))


def ddf_text(ddf: Ddf) -> str:
    """A value of ``ddf=`` as fits and reports hold it: a name of `METHODS`, or a number.

    Examples
    --------
    >>> ddf_text("KR"), ddf_text(12)
    ('kenward-roger', '12')
    """
    name = known_name(ddf)
    if name is None and isinstance(ddf, Mapping):
        found = method_of(ddf)
        assert isinstance(found, GivenByTerm), "a dict"
        return found.key
    return name or str(ddf)


def ddf_words(ddf: Ddf) -> str:
    """A value of ``ddf=`` as a sentence says it.

    Examples
    --------
    >>> ddf_words("KR"), ddf_words({"arm": 12, None: "kr"})
    ('kenward-roger', '12 for arm, else kenward-roger')
    """
    method = method_of(ddf)
    if not isinstance(method, GivenByTerm):
        return ddf_text(ddf)
    numbers = (f"{v:g}" if isinstance(v, float) else v for _, v in method.given)
    named = [f"{v} for {name}" for v, (name, _) in zip(numbers, method.given, strict=True)]
    return f"{', '.join(named)}, else {method.other}"


def _letters(name: str) -> str:
    return "".join(c for c in name.lower() if c.isalnum())


#: What other programs call the methods, in lower case without blanks, hyphens and brackets.
_ELSEWHERE = {
    "kr": "kenward-roger",
    "kenrog": "kenward-roger",
    "krlinear": "kenward-roger-linear",
    "krfirstorder": "kenward-roger-linear",
    "kenwardrogerfirstorder": "kenward-roger-linear",
    "kr2": "kenward-roger-2009",
    "kenwardroger2": "kenward-roger-2009",
    "pbkrtest": "kenward-roger-expected",
    "sat": "satterthwaite",
    "satterth": "satterthwaite",
    "lmertest": "satterthwaite",
    "bwsas": "between-within-sas",
    "betwithinsas": "between-within-sas",
    "bw": "between-within",
    "betweenwithin": "between-within",
    "betwithin": "between-within",
    "contain": "containment",
    "con": "containment",
    "res": "residual",
    "resid": "residual",
    "none": "asymptotic",
    "z": "asymptotic",
    "wald": "asymptotic",
    "normal": "asymptotic",
}


def _nearest(name: str) -> str | None:
    """The method that a name not known most likely means."""
    plain = _letters(name)
    own = {_letters(method): method for method in METHODS}
    known = {**_ELSEWHERE, **own}
    near = get_close_matches(plain, known, n=1, cutoff=0.6)
    return known[near[0]] if near else None


def basis_of(rows: FittedRows | None, record: FitRecord, ddf: str) -> TestBasis:
    """What tests of a fit under a method need.

    Parameters
    ----------
    rows : the fit with its rows; None for a loaded one.
    record : the estimates.
    ddf : name of the method, or a number as text.

    Raises
    ------
    ModelError
        Where the method does not apply, or needs rows that a loaded fit lacks.
    """
    method = method_of(ddf)
    method.check(record.method == "REML")
    if rows is not None:
        return method.tested(rows)
    if not isinstance(method, ByCounts):
        raise ModelError(
            f"tests with ddf={ddf!r} need the rows of the data, and a loaded fit holds none; it "
            f"has what ddf={record.ddf!r} needs, the method it was fitted with, and what methods "
            "need that were used before it was saved, by fit.contrast(..., ddf=) or the like"
        )
    degrees = np.full(record.rank, method.of_counts(record.n_obs, record.rank))
    return TestBasis(ddf, record.vcov, record.vcov, by_coefficient=degrees)


def _number(text: object) -> float | None:
    """A number that a saved fit holds as text."""
    try:
        return float(text) if isinstance(text, str) else None
    except ValueError:
        return None
