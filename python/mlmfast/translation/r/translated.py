"""`from_r`: the text of a call of lme4, nlme, mmrm, mgcv or glmmTMB as a call here."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from mlmfast.errors import DataError, FormulaError, ModelError
from mlmfast.formula.syntax import Call
from mlmfast.model import lmm
from mlmfast.translation.call_text import call_text
from mlmfast.translation.preparation import pandas_frame, with_columns
from mlmfast.translation.r.glmmtmb import glmmtmb
from mlmfast.translation.r.lme4 import lmer
from mlmfast.translation.r.mgcv import gam, gamm4
from mlmfast.translation.r.mmrm import mmrm
from mlmfast.translation.r.nlme import gls, lme
from mlmfast.translation.r.plan import RPlan
from mlmfast.translation.r.syntax import read_call

if TYPE_CHECKING:
    import pandas as pd

    from mlmfast.result import LMMResult

_FUNCTIONS: dict[str, Callable[[Call], RPlan]] = {
    "lmer": lmer,
    "lme": lme,
    "gls": gls,
    "mmrm": mmrm,
    "gam": gam,
    "gamm4": gamm4,
    "glmmTMB": glmmtmb,
}


class RCall:
    """A call of R as a call of mlmfast: prints as code, runs when called with data.

    Attributes
    ----------
    code : str
        The call as Python.
    unmapped : tuple of str
        What has no counterpart; with any of it the fit would be another one.
    notes, ignored : tuple of str
        What to know; what has no effect on numbers.
    """

    def __init__(self, text: str) -> None:
        call = read_call(text)
        if call.function not in _FUNCTIONS:
            raise FormulaError(
                f"{call.function}() is not understood; from_r reads lmer (lme4, lmerTest), lme and "
                "gls (nlme), mmrm, gam (mgcv), gamm4 and glmmTMB"
            )
        self._plan = _FUNCTIONS[call.function](call)

    @property
    def unmapped(self) -> tuple[str, ...]:
        """What is not mapped."""
        return (*self._plan.found.lost, *self._plan.found.left_out)

    @property
    def notes(self) -> tuple[str, ...]:
        """What to know."""
        return tuple(self._plan.found.notes)

    @property
    def ignored(self) -> tuple[str, ...]:
        """What has no effect on numbers."""
        return tuple(self._plan.found.ignored)

    @property
    def code(self) -> str:
        """The call as Python."""
        plan = self._plan
        lines = ["import mlmfast as mlm"]
        lines += [step.code(plan.data) for step in plan.preparations]
        lines.append(f"fit = {call_text('mlm.lmm', plan.formula, plan.data, plan.arguments)}")
        return "\n".join(lines)

    def __call__(self, data: object) -> LMMResult:
        """Fit the model to data, any frame or a dict of arrays.

        Raises
        ------
        ModelError
            Where something that changes the fit is not mapped.
        """
        if self._plan.found.lost:
            raise ModelError(
                f"the call cannot be run as it is: {'; '.join(self._plan.found.lost)}. Take the "
                "call as text (.code) and change it"
            )
        if self._plan.stops_at_missing is not None:
            _refuse_missing(pandas_frame(data), self._plan)
        if self._plan.preparations:
            data = with_columns(pandas_frame(data), self._plan.columns, folds_case=False)
            for step in self._plan.preparations:
                data = step(data)
        return lmm(self._plan.formula, data, **self._plan.arguments)

    def __str__(self) -> str:
        return "\n".join([self.code, *self._plan.found.comments()])

    def __repr__(self) -> str:
        return str(self)


def _refuse_missing(data: pd.DataFrame, plan: RPlan) -> None:
    """Stop where nlme does, which takes no rows away unless told to."""
    for name in plan.columns:
        count = int(data[name].isna().sum()) if name in data.columns else 0
        if count:
            raise DataError(
                f"column {name!r} has {count} missing values, at which {plan.stops_at_missing}() "
                "stops (na.fail is its default); write na.action = na.omit in the call for the "
                "fit to the other rows"
            )


def from_r(text: str) -> RCall:
    """Translate a call of lme4, nlme, mmrm, mgcv or glmmTMB; it is read, nothing in it is run.

    Parameters
    ----------
    text
        A call of ``lmer``, ``lme``, ``gls`` (with ``correlation=`` and ``weights=``), ``mmrm``,
        ``gam`` and ``gamm4`` (P-splines, ``bs = "ps"``) or ``glmmTMB`` (Gaussian), assigned to a
        name or not.

    Returns
    -------
    RCall
        Prints as code, with what it could not map as comments; called with data it gives the fit.

    Raises
    ------
    FormulaError
        Where the text is no such call, or holds a structure that there is not here.

    Examples
    --------
    >>> import mlmfast as mlm
    >>> call = mlm.from_r("lme(Reaction ~ Days, sleepstudy, random = ~ Days | Subject)")
    >>> print(call)
    import mlmfast as mlm
    fit = mlm.lmm("Reaction ~ Days + (Days | Subject)", sleepstudy, na_action="raise")
    # note: degrees of freedom are Satterthwaite's; nlme counts levels of groups, which is not
    offered
    >>> round(call(mlm.load_sleepstudy()).llf, 4)
    -871.8141
    """
    return RCall(text)
