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

_THREADS = " the core uses all processors that RAYON_NUM_THREADS allows; leave it out"
#: Arguments of R's packages, statsmodels, PROC MIXED and scikit-learn, in lower case with ``_`` for
#: a dot: what says the same here. A text is said of functions that have the argument before its
#: ``=``, one that starts with a space of any.
ELSEWHERE: dict[str, tuple[str, ...]] = {
    "accept_singular": (" a singular fit is given and called so; leave it out",),
    "adjust": (" give it to what compares, emmeans(...).contrast('pairwise', adjust='tukey')",),
    "allow_new_levels": ("new_levels='population'",),
    "alpha": ("level=0.95 for alpha=0.05", " intervals take it, conf_int(level=0.95)"),
    "animal": ("id='animal'",),
    "beta": ("params={'(Intercept)': 1.0, 'x': 0.5}", "set={'x': 0.5}"),
    "breaks": ("values=[10, 20]",),
    "by": (" mlm.fit_each(formula, data, by='g') fits each level",),
    "class": (" text is a factor, and factor(x) in the formula makes one of numbers",),
    "classes": (" text is a factor, and factor(x) in the formula makes one of numbers",),
    "control": ("options={'max_iter': 500}",),
    "convf": ("options={'tolerance': 1e-9}",),
    "convg": ("options={'tolerance': 1e-9}",),
    "convh": ("options={'tolerance': 1e-9}",),
    "cores": (_THREADS,),
    "correlation": ("residual='ar1(visit | subject)' for corAR1(form = ~ visit | subject)",),
    "cov_pen": (" no penalties are offered; leave it out",),
    "cov_type": ("robust='CR2'", " a fit's cov_params('CR2') and robust('CR2') are robust"),
    "covariance": ("residual='us(visit | subject)'",),
    "covtest": (" a fit's covtest() has standard errors of covariance parameters",),
    "ddfm": ("ddf='kenward-roger'",),
    "df": ("ddf=12 or ddf='kenward-roger'",),
    "df_method": ("ddf='kenward-roger'",),
    "disp": (" nothing is printed while a fit iterates; leave it out",),
    "dispformula": ("residual_scale='g' or residual_scale='exp(x)'",),
    "effect": ("set={'x': 0.5}", "params={'x': 0.5}"),
    "effects": ("set={'x': 0.5}", "params={'x': 0.5}"),
    "emp_start": ("start={'g': [[1.0]]}",),
    "empirical": (" a fit's robust('CR0') is SAS's empirical covariance",),
    "exog": ("newdata=data",),
    "exog_re": ("Z=...", " random effects stand in the formula, (x | g)"),
    "factors": (" text is a factor, and factor(x) in the formula makes one of numbers",),
    "family": (" the response is Gaussian with the identity link here; leave it out",),
    "father": ("sire='father'",),
    "fe_pen": (" no penalties are offered; leave it out",),
    "fixed": ("formula='y ~ x + (x | g)'",),
    "formula_": ("formula=...",),
    "ftol": ("options={'tolerance': 1e-9}",),
    "full_output": (" a fit's certificate says how it ended; leave it out",),
    "ginverse": ("cov={'animal': mlm.precision(labels, inverse)}",),
    "group": ("by='g'", "groups=...", " grouping factors stand in the formula, (1 | g)"),
    "group_by": ("by='g'", "groups=..."),
    "groupby": ("by='g'", "groups=..."),
    "groups": (" grouping factors stand in the formula, (1 | g)",),
    "gtol": ("options={'tolerance': 1e-9}",),
    "kinship": ("cov={'animal': A}",),
    "link": (" the response is Gaussian with the identity link here; leave it out",),
    "lmer_df": ("ddf='kenward-roger'",),
    "max_iter": ("options={'max_iter': 500}",),
    "maxiter": ("options={'max_iter': 500}",),
    "missing": ("na_action='drop' or na_action='raise'",),
    "mode": ("ddf='kenward-roger'",),
    "mother": ("dam='mother'",),
    "n_boot": ("n=1000",),
    "n_cores": (_THREADS,),
    "n_jobs": (_THREADS,),
    "n_sim": ("n=1000",),
    "nagq": (" the likelihood is exact without quadrature; leave it out",),
    "ncpus": (_THREADS,),
    "ngroups": (" grouping factors stand in the formula, (1 | g)",),
    "nobound": ("bounded=False",),
    "noint": (" y ~ 0 + x has no intercept",),
    "nsim": ("n=1000", " a fit's bootstrap(n=1000) and simulate(n=1000) draw"),
    "num_datasets": ("n=1000",),
    "optimizer": (" every fit is by Newton-Raphson; leave it out",),
    "parallel": (_THREADS,),
    "parm": (" take rows of the table, .loc[['x']]",),
    "parms": ("start={'g': [[1.0]]}, or grid= and hold=",),
    "ped": ("cov={'animal': mlm.pedigree(parents)}",),
    "pedigree": ("cov={'animal': mlm.pedigree(parents)}",),
    "permute": (" mlm.permutation_test(fit, 'x') permutes",),
    "prior": (" estimates are by likelihood, and a fit's posterior() draws; leave it out",),
    "priors": (" estimates are by likelihood, and a fit's posterior() draws; leave it out",),
    "r": ("n=1000",),
    "random": (" random effects stand in the formula, (x | g) for random = ~ x | g",),
    "random_state": ("seed=1",),
    "re_form": ("ranef=False for re.form = NA",),
    "re_formula": (
        "Z=...",
        " random effects stand in the formula, (x | g) for re_formula='~x'",
    ),
    "relmat": ("cov={'animal': A}",),
    "reml": ("method='ML' for False, 'REML' for True",),
    "repeated": ("residual='ar1(visit | subject)'",),
    "scoring": (" every fit is by Newton-Raphson; leave it out",),
    "se_fit": ("interval='confidence'",),
    "solution": (" a fit's summary() has the coefficients; leave it out",),
    "start_params": ("start={'g': [[1.0]]}",),
    "subject": ("residual='us(visit | subject)'",),
    "subset": (" give the rows themselves, such as data[data['x'] > 0]",),
    "tol": ("options={'tolerance': 1e-9}",),
    "typ": ("type=3",),
    "type": ("residual='us(visit | subject)' for TYPE=UN", " predictions are of the response"),
    "use_rfx": ("ranef=False for use_rfx=False",),
    "varlist": ("cov={'animal': A}",),
    "vc_formula": (" random effects stand in the formula, (1 | a/b) for factors within factors",),
    "vcov": (" a fit's cov_params('CR2') and robust('CR2') are robust",),
    "verbose": (" nothing is printed while a fit iterates; leave it out",),
    "xtol": ("options={'tolerance': 1e-9}",),
    "ziformula": (" the response is Gaussian; leave it out",),
}


#: What says the same in one function, by its name and the argument.
OF_FUNCTION = {
    "anova.force_orthogonal": " tests of type 3 are by contrasts of their own; leave it out",
    "bootstrap.fun": "statistic=...",
    "bootstrap.type": "kind='parametric'",
    "bootstrap.use_u": "kind='parametric', which draws random effects anew",
    "conf_int.which": " take rows of the table, .loc[['x']]",
    "contrast.r_matrix": "L=...",
    "contrast.reverse": " differences the other way round are .contrast('revpairwise')",
    "cov_params.type": "kind='CR2'",
    "emmeans.type": " means of a transformed response are taken back by .summary(type='response')",
    "influence.group": "cluster='g'",
    "influence.groups": "cluster='g'",
    "profile.parm": "which='sigma'",
    "resid.level": "kind='marginal' for level = 0",
    "resid.type": "kind='pearson'",
    "resid.scaled": "kind='pearson'",
    "robust.type": "kind='CR2'",
    "robust.vcov": "kind='CR2'",
    "summary.alpha": " intervals are conf_int(level=0.95)",
    "summary.correlation": " correlations of the estimates are those of cov_params()",
    "summary.ddf": " the fit has it, mlm.lmm(..., ddf='kenward-roger')",
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
        f"{function}() has no argument {argument!r}{_instead(function, argument, own)}"
    )


def _listed(names: Sequence[str]) -> str:
    return " and ".join([*filter(None, [", ".join(names[:-1])]), *names[-1:]]) or "nothing"


def _instead(function: str, unknown: str, own: Sequence[str]) -> str:
    """What to write for an argument, as the end of a sentence."""
    word = unknown.casefold().replace(".", "_")
    here = OF_FUNCTION.get(f"{function}.{word}")
    texts = [f"{word}=..."] if word in own else [here] if here is not None else []
    for text in (*texts, *ELSEWHERE.get(word, ())):
        if text.startswith(" "):
            return f";{text}"
        if text.partition("=")[0] in own:
            return f"; write {text}"
    return did_you_mean(unknown, own, 0.6) or f"; it has {_listed(own)}"
