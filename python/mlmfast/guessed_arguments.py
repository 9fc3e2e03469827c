"""What to write where somebody calls a function with an argument that another program has."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, TypeVar, cast

from mlmfast.errors import UnknownArgumentError
from mlmfast.words import did_you_mean

_Called = TypeVar("_Called", bound=Callable[..., Any])

#: Arguments of R's packages, statsmodels, PROC MIXED and scikit-learn, in lower case with ``_`` for
#: a dot: what says the same here. A text is said of functions that have the argument before its
#: ``=``, one that starts with a space of any.
ELSEWHERE: dict[str, tuple[str, ...]] = {
    "adjust": (" give it to what compares, emmeans(...).contrast('pairwise', adjust='tukey')",),
    "allow_new_levels": ("new_levels='population'",),
    "alpha": ("level=0.95 for alpha=0.05",),
    "beta": ("params={'(Intercept)': 1.0, 'x': 0.5}", "set={'x': 0.5}"),
    "control": ("options={'max_iter': 500}",),
    "correlation": ("residual='ar1(visit | subject)' for corAR1(form = ~ visit | subject)",),
    "cov_type": ("robust='CR2'", " a fit's cov_params('CR2') and robust('CR2') are robust"),
    "covariance": ("residual='us(visit | subject)'",),
    "ddfm": ("ddf='kenward-roger'",),
    "df": ("ddf=12 or ddf='kenward-roger'",),
    "df_method": ("ddf='kenward-roger'",),
    "dispformula": ("residual_scale='g' or residual_scale='exp(x)'",),
    "disp": (" nothing is printed while a fit iterates; leave it out",),
    "effect": ("set={'x': 0.5}", "params={'x': 0.5}"),
    "effects": ("set={'x': 0.5}", "params={'x': 0.5}"),
    "exog": ("newdata=data",),
    "exog_re": ("Z=...", " random effects stand in the formula, (x | g)"),
    "family": (" the response is Gaussian with the identity link here; leave it out",),
    "fixed": ("formula='y ~ x + (x | g)'",),
    "formula_": ("formula=...",),
    "full_output": (" a fit's certificate says how it ended; leave it out",),
    "group_by": ("by='g'", "groups=..."),
    "groupby": ("by='g'", "groups=..."),
    "groups": (" grouping factors stand in the formula, (1 | g)",),
    "group": ("by='g'", "groups=...", " grouping factors stand in the formula, (1 | g)"),
    "link": (" the response is Gaussian with the identity link here; leave it out",),
    "lmer_df": ("ddf='kenward-roger'",),
    "maxiter": ("options={'max_iter': 500}",),
    "max_iter": ("options={'max_iter': 500}",),
    "missing": ("na_action='drop' or na_action='raise'",),
    "mode": ("ddf='kenward-roger'",),
    "n_jobs": (" the core uses all processors that RAYON_NUM_THREADS allows; leave it out",),
    "n_sim": ("n=1000",),
    "nagq": (" the likelihood is exact without quadrature; leave it out",),
    "nobound": ("bounded=False",),
    "nsim": ("n=1000",),
    "optimizer": (" every fit is by Newton-Raphson; leave it out",),
    "parm": (" take rows of the table, .loc[['x']]",),
    "random": (" random effects stand in the formula, (x | g) for random = ~ x | g",),
    "random_state": ("seed=1",),
    "re_form": ("ranef=False for re.form = NA",),
    "re_formula": (
        "Z=...",
        " random effects stand in the formula, (x | g) for re_formula='~x'",
    ),
    "reml": ("method='ML' for False, 'REML' for True",),
    "repeated": ("residual='ar1(visit | subject)'",),
    "se_fit": ("interval='confidence'",),
    "start_params": ("start={'g': [[1.0]]}",),
    "subject": ("residual='us(visit | subject)'",),
    "subset": (" give the rows themselves, such as data[data['x'] > 0]",),
    "tol": ("options={'tolerance': 1e-9}",),
    "typ": ("type=3",),
    "type": ("kind='pearson'", " predictions are of the response"),
    "vc_formula": (" random effects stand in the formula, (1 | a/b) for factors within factors",),
    "vcov": (" a fit's cov_params('CR2') and robust('CR2') are robust",),
    "verbose": (" nothing is printed while a fit iterates; leave it out",),
}


#: Arguments of `LMM.fit`, which what makes a model does not take.
_OF_FIT = {"method", "reml", "start", "options", "ddf", "hold", "bounds", "grid", "bounded"}


def told(fitted_later: bool = False) -> Callable[[_Called], _Called]:
    """Have a function, or the making of a class, say what to write for an unknown argument.

    Parameters
    ----------
    fitted_later
        Whether it gives something that has a method ``fit``.

    Examples
    --------
    >>> @told()
    ... def fit(data, *, method="REML"):
    ...     return method
    >>> fit(1, method="ML")
    'ML'
    >>> fit(1, reml=False)
    Traceback (most recent call last):
        ...
    mlmfast.errors.UnknownArgumentError: fit() has no argument 'reml'; write method='ML' ...
    """

    def decorated(called: _Called) -> _Called:
        if isinstance(called, type):
            made: Any = called
            made.__init__ = _told(made.__init__, called.__name__, fitted_later)
            return called
        return _told(called, called.__name__, fitted_later)

    return decorated


def told_as_method(function: _Called) -> _Called:
    """`told` for a function that is a method of what it takes first, whatever that is called."""
    return _told(function, function.__name__, bound=True)


def _told(function: _Called, name: str, fitted_later: bool = False, bound: bool = False) -> _Called:
    parameters = list(inspect.signature(function).parameters.values())
    kinds = [parameter.kind for parameter in parameters]
    if inspect.Parameter.VAR_KEYWORD in kinds:
        # Whoever gets them refuses them.
        return function
    first = bound or parameters[0].name in {"self", "cls"}
    own = [parameter.name for parameter in parameters[first:]]
    known = frozenset(own)
    most = sum(kind is not inspect.Parameter.KEYWORD_ONLY for kind in kinds)
    if inspect.Parameter.VAR_POSITIONAL in kinds:
        most = sys.maxsize

    @wraps(function)
    def call(*arguments: Any, **named: Any) -> Any:
        if len(arguments) > most:
            raise UnknownArgumentError(
                f"{name}() takes {_listed(own[: most - first])} by position; "
                "name every other argument"
            )
        if not known.issuperset(named):
            unknown = next(word for word in named if word not in known)
            if fitted_later and unknown.casefold() in _OF_FIT:
                raise UnknownArgumentError(
                    f"{name}() has no argument {unknown!r}; {name}(...).fit() takes it"
                )
            raise unknown_argument(name, unknown, own)
        return function(*arguments, **named)

    return cast(_Called, call)


def unknown_argument(function: str, argument: str, own: Sequence[str]) -> UnknownArgumentError:
    """The error for an argument that a function does not have among its own.

    Examples
    --------
    >>> str(unknown_argument("predict", "se.fit", ["newdata", "interval"]))
    "predict() has no argument 'se.fit'; write interval='confidence'"
    """
    return UnknownArgumentError(
        f"{function}() has no argument {argument!r}{_instead(argument, own)}"
    )


def _listed(names: Sequence[str]) -> str:
    return " and ".join([*filter(None, [", ".join(names[:-1])]), *names[-1:]]) or "nothing"


def _instead(unknown: str, own: Sequence[str]) -> str:
    """What to write for an argument, as the end of a sentence."""
    word = unknown.casefold().replace(".", "_")
    for text in (*((f"{word}=...",) if word in own else ()), *ELSEWHERE.get(word, ())):
        if text.startswith(" "):
            return f";{text}"
        if text.partition("=")[0] in own:
            return f"; write {text}"
    return did_you_mean(unknown, own, 0.6) or f"; it has {_listed(own)}"
