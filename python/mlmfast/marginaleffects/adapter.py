"""A fit as a model of marginaleffects."""

from __future__ import annotations

import sys
from functools import partial
from importlib.metadata import version
from types import FrameType
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from mlmfast.arrays import FloatArray
from mlmfast.degrees_of_freedom import method_of
from mlmfast.errors import ModelError
from mlmfast.fitted.fitted import Fitted
from mlmfast.inference.robust.covariance import KINDS, robust_covariance
from mlmfast.inference.robust.kinds import cov_params
from mlmfast.information.undetermined_effects import known_entries
from mlmfast.marginaleffects.derivatives import Coefficients
from mlmfast.marginaleffects.package import imported
from mlmfast.marginaleffects.rows import design_rows, model_data, response, variables
from mlmfast.words import is_one_of

if TYPE_CHECKING:
    _Model: Any = object
    _Vault: Any
else:
    _classes = imported("classes")
    _Model, _Vault = _classes.ModelAbstract, _classes.ModelVault

#: Rows of X whose degrees of freedom are looked at.
_MOST_ROWS = 200
#: Functions of marginaleffects that ask for variables and take them for such; and the one that
#: looks coefficients up among them, with its argument. Of any other it is not known which it does.
_ASKING = ("sanitize_variables", "sanitize_newdata")
_JOINT = ("joint_hypotheses", "joint_index")


class FitModel(_Model):  # type: ignore[misc]
    """A fit as marginaleffects takes it; `model` makes it.

    Predictions are x'beta with the offset, of the population. Standard errors are by ``vcov=True``,
    those of the fit's tests (with ``ddf="kenward-roger"`` adjusted); by any kind that
    `LMMResult.cov_params` knows, such as ``vcov="CR2"``; or by a matrix.

    marginaleffects has one number of degrees of freedom for a model: it is the smallest of those of
    the coefficients and of the rows of X (200 of them at most), by the fit's ``ddf``, and with a
    cluster-robust covariance not above the smallest of its own. It errs on the wide side;
    `LMMResult.contrast`, `emmeans` and `estimate` have one for each comparison.

    Joint tests by name are refused: marginaleffects counts a factor or an interaction once in the
    list that it looks names up in, and tests the coefficients at those places. `LMMResult.anova`
    tests terms, `LMMResult.contrast` sets of coefficients; ``joint=True`` and ``joint=[positions]``
    are served, by the covariance of the fit's tests: marginaleffects leaves ``vcov`` out there, so
    that another one is refused. What a later version of marginaleffects looks up among the
    variables in functions that are not known is refused too.

    Examples
    --------
    >>> import mlmfast as mlm
    >>> from marginaleffects import predictions, datagrid
    >>> fit = mlm.lmm("Reaction ~ Days + (Days | Subject)", mlm.load_sleepstudy())
    >>> found = predictions(FitModel(fit), newdata=datagrid(model=FitModel(fit), Days=[0, 9]))
    >>> found["estimate"].round(2).to_list(), round(FitModel(fit).get_df(), 6)
    ([251.41, 345.61], 17.0)
    """

    def __init__(self, fit: Fitted) -> None:
        if fit._record.absorbed is not None:
            raise ModelError(
                "a factor of the fixed part is eliminated in this fit, and marginaleffects needs "
                "its coefficients; fit with absorb=False"
            )
        self._smallest: dict[str | None, float] = {}
        self._kind: str | None = None
        record = fit._record
        vault = _Vault(
            coef=Coefficients.of(record.beta, fit._errors),
            coefnames=np.array([record.x_names[j] for j in record.kept]),
            # A function: as text it would be read by formulaic, which knows no random effects.
            formula=partial(_matrices, fit),
            modeldata=model_data(fit),
            package="mlmfast",
            variable_names=[response(fit), *variables(fit)],
        )
        super().__init__(fit, vault)

    def get_exog(self, newdata: Any) -> FloatArray:
        """Rows of X for new data, the offset behind the coefficients' columns."""
        return design_rows(self.model, newdata)

    def get_predict(self, params: FloatArray, newdata: FloatArray) -> pl.DataFrame:
        """Predictions of rows that `get_exog` gave."""
        estimate = newdata[:, :-1] @ np.asarray(params, dtype=np.float64) + newdata[:, -1]
        rowid = pl.Series(range(len(estimate)), dtype=pl.Int32)
        return pl.DataFrame({"rowid": rowid, "estimate": estimate})

    def get_vcov(self, vcov: Any = True) -> FloatArray | None:
        """Covariance of the coefficients: of the fit's tests, or of a kind by name.

        Raises
        ------
        ModelError
            For a kind that is not known.
        """
        fit: Fitted = self.model
        if vcov is None or vcov is False:
            return None
        if vcov is True:
            self._kind = None
            basis = fit._basis()
            return np.array(known_entries(basis.moves, basis.vcov))
        if not isinstance(vcov, str):
            raise ModelError(
                f"vcov is {vcov!r}; use True, False, a kind of cov_params such as 'CR2' or a matrix"
            )
        kept = list(fit._record.kept)
        found = cov_params(fit, vcov).to_numpy()[np.ix_(kept, kept)]
        self._kind = vcov if is_one_of(vcov, KINDS) else None
        return np.array(found)

    def get_df(self) -> float:
        """Degrees of freedom of all that is said with the covariance last asked for."""
        if None not in self._smallest:
            self._smallest[None] = self._of_model()
        if self._kind is not None and self._kind not in self._smallest:
            robust = robust_covariance(self.model, self._kind, None)
            degrees = robust.df(np.eye(self.model._record.rank))
            self._smallest[self._kind] = float(np.nanmin(degrees))
        return min(self._smallest[None], self._smallest[self._kind])

    @property
    def df_resid(self) -> float:
        """`get_df`, under the name by which tests and intervals find it."""
        return self.get_df()

    def _of_model(self) -> float:
        fit: Fitted = self.model
        basis, rank = fit._basis(), fit._record.rank
        rows = np.unique(design_rows(fit, self.get_modeldata())[:, :-1], axis=0)
        rows = rows[np.isfinite(rows).all(axis=1) & rows.any(axis=1)]
        chosen = np.linspace(0, len(rows) - 1, min(_MOST_ROWS, len(rows))).astype(np.intp)
        degrees = method_of(fit.ddf).of_rows(basis, np.vstack([np.eye(rank), rows[chosen]]))
        return float(np.nanmin(degrees))

    def find_predictors(self) -> list[str]:
        """Variables of the fixed part; coefficients to a joint test, which goes by their places.

        Raises
        ------
        ModelError
            For a joint test by name or with another covariance, and where it cannot be told whether
            it is a joint test.
        """
        caller = sys._getframe(1)
        if not _is_theirs(caller) or caller.f_code.co_name in _ASKING:
            return list(self.vault.variable_names[1:])
        _check_joint_test(caller)
        return list(self.vault.coefnames)


def _is_theirs(frame: FrameType | None) -> bool:
    """Whether a call comes from marginaleffects itself."""
    name = "" if frame is None else str(frame.f_globals.get("__name__", ""))
    return name.partition(".")[0] == "marginaleffects"


def _check_joint_test(caller: FrameType) -> None:
    """Refuse what is no joint test of coefficients by their positions and the fit's covariance."""
    function, argument = _JOINT
    if caller.f_code.co_name != function or argument not in caller.f_locals:
        raise ModelError(
            f"marginaleffects {version('marginaleffects')} asks for the variables in "
            f"{caller.f_globals.get('__name__')}.{caller.f_code.co_name}, where they were not "
            "asked for before: it could take their places for those of coefficients and test "
            "others; use fit.anova(), fit.contrast([...]) or fit.predict(), or a version that is "
            "known (0.6.0)"
        )
    asked = caller.f_locals[argument]
    named = asked if isinstance(asked, list | tuple) else [asked]
    if any(isinstance(name, str) for name in named):
        raise ModelError(
            f"joint={asked!r} is by name, and marginaleffects would test the coefficients that "
            "stand where these variables stand, which with factors or interactions are others; "
            "use fit.anova() for terms, fit.contrast([...]) for coefficients, or positions"
        )
    above = caller.f_back
    if above is not None and _is_theirs(above) and above.f_locals.get("vcov", True) is not True:
        raise ModelError(
            f"vcov={above.f_locals['vcov']!r} is left out of joint tests by marginaleffects, which "
            "go by the fit's own covariance; use fit.robust(kind).contrast(rows)"
        )


def _matrices(fit: Fitted, newdata: Any) -> tuple[None, FloatArray]:
    """What marginaleffects asks of a formula: no response, and the rows of X."""
    return None, design_rows(fit, newdata)
