"""A fit as a model of marginaleffects."""

from __future__ import annotations

import sys
from functools import partial
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
    are served.

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
        """Variables of the fixed part; coefficients to a joint test, which goes by their places."""
        caller = sys._getframe(1)
        if caller.f_code.co_name != "joint_hypotheses":
            return list(self.vault.variable_names[1:])
        asked = caller.f_locals.get("joint_index")
        named = [asked] if isinstance(asked, str) else asked
        if isinstance(named, list | tuple) and any(isinstance(name, str) for name in named):
            raise ModelError(
                f"joint={asked!r} is by name, and marginaleffects would test the coefficients that "
                "stand where these variables stand, which with factors or interactions are others; "
                "use fit.anova() for terms, fit.contrast([...]) for coefficients, or positions"
            )
        return list(self.vault.coefnames)


def _matrices(fit: Fitted, newdata: Any) -> tuple[None, FloatArray]:
    """What marginaleffects asks of a formula: no response, and the rows of X."""
    return None, design_rows(fit, newdata)
