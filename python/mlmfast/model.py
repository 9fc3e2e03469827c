"""LMM: a model prepared once, fitted as often as wanted."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mlmfast.arrays import FloatArray
from mlmfast.degrees_of_freedom import Ddf
from mlmfast.design.design import Design
from mlmfast.design.model_frame import build_model_frame
from mlmfast.fitted.origin.source import FitSource
from mlmfast.fitted.record import FitRecord
from mlmfast.guessed_arguments import told
from mlmfast.newton.options import NewtonOptions
from mlmfast.prepared.fit_model import (
    BY_DEFAULT,
    Wishes,
    check_bounded,
    check_ddf,
    fit_model,
    method_by,
)
from mlmfast.prepared.model import PreparedModel
from mlmfast.result import LMMResult
from mlmfast.words import MOMENTS

if TYPE_CHECKING:
    from mlmfast.batch.fit_batch import FitBatch


@told(fitted_later=True)
class LMM(PreparedModel):
    """A linear mixed model y = X beta + Z g + e for given data.

    Reading, factor coding and the reduction of the rows happen once; `fit` and `fit_many` then
    work on the reduction alone.

    Parameters
    ----------
    formula
        lme4's formula language, for example ``"y ~ x + (x | g)"``. ``s(x, k=10, by=f)`` is a smooth
        term, a penalised B-spline (mgcv's ``bs="ps"``) whose curved part is a random effect:
        `LMMResult.smooths`, `LMMResult.smooth`. ``(1 | mm(a, b, weights=[u, v]))`` are levels of
        which a row has several, ``dummy(f, "level")`` an indicator, ``(x | a + b)`` two terms.
        ``us(x | g, by=arm)``, and so every structure, has a covariance at each level of ``arm``.
    data
        pandas, polars or pyarrow frame, any that narwhals reads, or a dict of arrays.
    residual
        Covariance of the residuals within subjects, such as ``"us(visit | subject)"`` or, with
        parameters of its own for each arm, ``"ar1(visit | arm / subject)"``; see `structures`.
        Independent residuals of one variance by default. Structures that go by the order of the
        visits count numbers, dates and times in units of their greatest common step, and levels
        one by one, those that a categorical declares and no row has too; ``factor(visit)`` counts
        any column level by level. ``"sp_exp(time | subject, nugget)"`` adds an error of each row,
        and takes subjects that have several rows at one point.
    residual_scale
        What residual standard deviations are multiplied by, on top of ``residual``: a factor
        (``"sex"``, nlme's varIdent: ratios to its first level), ``"power(x)"`` (varPower,
        |x|^delta), ``"exp(x)"`` (varExp, exp(delta x)), ``"constpower(x)"`` (varConstPower,
        c + |x|^p, where x may be 0), ``"power(x | sex)"`` for parameters by level, or a product
        such as ``"sex * exp(x)"``. `sigma` is then that at scale 1: of the first level, where the
        covariate is 1 (power) or 0 (exp).
    lin
        Known matrices A_1, ..., A_q of ``residual="lin(visit | subject)"``, R = sum theta_k A_k: a
        list of arrays in the order of the visits' levels, or of data frames with the visits as
        labels. A visit that no row has is left out.
    weights, offset
        Column name or array. Var(e) = sigma^2 / weight; the offset is added to X beta.
    cov
        Known relationships by grouping factor, ``{"animal": A}``: the covariance of the effects is
        A (x) G. A labelled data frame; a pair (labels, matrix), dense or sparse; an array in the
        order of the factor's levels; a pedigree (`mlmfast.pedigree`); or the inverse of A
        (`mlmfast.precision`). Levels without rows are predicted too (`ranef`).
    contrasts
        Contrast of each factor, treatment contrasts otherwise: R's (``{"f": "contr.sum"}``; a
        number counts levels from 1) or patsy's (``"Treatment(reference=2)"``, ``"Sum(omit='a')"``,
        ``"Poly(scores=[1, 2, 4])"``, ``"Helmert"``, ``"Diff"``; a number is the level of that
        value, else counts from 0), or a matrix with a row for each level. In a formula,
        ``C(f, Sum, levels=["b", "a"])``.
    na_action
        "drop" rows with a missing value in a variable used (they are counted), or "raise".
    absorb
        Whether the levels of a factor of the fixed part are eliminated instead of held as columns
        of X, with the same results: by default one of 300 levels or more that stands in one term
        by itself, coded by treatment contrasts. True takes the factor of most levels, False none.

    Examples
    --------
    >>> import mlmfast as mlm
    >>> model = mlm.LMM("Reaction ~ Days + (Days | Subject)", mlm.load_sleepstudy())
    >>> round(model.fit(method="ML").deviance, 3)
    1751.939
    """

    def __init__(
        self,
        formula: str,
        data: object,
        *,
        residual: str | None = None,
        residual_scale: str | None = None,
        lin: Any = None,
        cov: Mapping[str, Any] | None = None,
        weights: Any = None,
        offset: Any = None,
        contrasts: Mapping[str, Any] | None = None,
        na_action: str = "drop",
        absorb: bool | None = None,
    ) -> None:
        started = time.perf_counter()
        arguments: dict[str, Any] = {
            "formula": formula,
            "weights": weights,
            "offset": offset,
            "contrasts": contrasts,
            "na_action": na_action,
            "residual": residual,
            "residual_scale": residual_scale,
            "lin": lin,
            "cov": cov,
            "absorb": absorb,
        }
        frame = build_model_frame(data=data, **arguments)
        if absorb is None:
            # Of some of the rows the factor may have fewer levels.
            arguments["absorb"] = frame.design.absorbed is not None
        timings = {"design": time.perf_counter() - started}
        super().__init__(frame.design, frame, arguments, timings)
        self._absorb = bool(absorb)

    @classmethod
    @told(fitted_later=True)
    def from_arrays(
        cls,
        y: Any,
        X: Any,
        *,
        groups: Any = None,
        Z: Any = None,
        names: Any = None,
        weights: Any = None,
        offset: Any = None,
        cov: Mapping[str, Any] | None = None,
    ) -> LMM:
        """A model from matrices, without formula or data frame.

        The matrices are read when the model is first fitted, and not copied: leave them as they
        are until then.

        Parameters
        ----------
        y : shape (n,)
        X : shape (n, p), a column of ones included where an intercept is wanted
        groups : shape (n,), or a dict from the name of a factor to such an array
            Labels of any kind; factors may be nested or crossed.
        Z : shape (n, q), or a dict by factor; a random intercept where left out
        names : p names of the columns of X
        weights, offset : shape (n,)
        cov : known relationships by name of a factor ("group" where ``groups`` has none)

        Examples
        --------
        >>> import numpy as np, mlmfast as mlm
        >>> d = mlm.load_sleepstudy()
        >>> X = np.column_stack([np.ones(180), d["Days"]])
        >>> fit = mlm.LMM.from_arrays(d["Reaction"], X, groups=d["Subject"], Z=X).fit()
        >>> round(fit.llf, 4)
        -871.8141
        """
        from mlmfast.design.from_arrays import design_from_arrays

        started = time.perf_counter()
        model = cls.from_design(design_from_arrays(y, X, groups, Z, names, weights, offset, cov))
        model._timings["design"] = time.perf_counter() - started
        return model

    def __repr__(self) -> str:
        rows = f"{self._design.n_obs:,} rows"
        formula = self._arguments.get("formula")
        return f"<LMM of {rows if formula is None else f'{formula!r}, {rows}'}; fit() fits it>"

    @classmethod
    def from_design(cls, design: Design) -> LMM:
        """A model from a `mlmfast.design.Design`, without formula or data frame."""
        model = cls.__new__(cls)
        PreparedModel.__init__(model, design)
        return model

    @told()
    def fit(
        self,
        method: str = BY_DEFAULT,
        start: Mapping[str, Any] | FloatArray | None = None,
        options: NewtonOptions | Mapping[str, Any] | None = None,
        ddf: Ddf | None = None,
        *,
        hold: Mapping[str, float] | None = None,
        bounds: Mapping[str, tuple[float | None, float | None]] | None = None,
        grid: Mapping[str, Sequence[float]] | Sequence[Mapping[str, float]] | None = None,
        bounded: bool = True,
        REML: bool | None = None,
    ) -> LMMResult:
        """Fit by restricted ("REML") or full ("ML") maximum likelihood.

        Covariance parameters are named as `profile` names them, ``sd_x|g``, ``cor_x.y|g`` and
        ``sigma``, or by ``var_x|g``, ``cov_x.y|g`` and ``Residual`` (variances and covariances),
        or as `residual_parameters` names those of a residual structure. Names as reports print
        them, ``Var(x) | g``, ``sd__x`` and ``UN(2,1)``, are understood too, a pair in either order.

        Parameters
        ----------
        method
            "REML" or "ML"; "type1", "type2" or "type3" for variances of random intercepts from the
            mean squares of that type and their expectations (METHOD=TYPE1-3 of PROC MIXED:
            `LMMResult.mean_squares` is the table), "mivque0" for quadratic unbiased estimates. By
            moments a variance may be estimated as negative, and stays so.
        start
            Starting covariance matrices by grouping factor, as `varcorr` gives them, with
            ``"Residual"`` for the residual variance (1 if left out), and values of single
            parameters by name; moment estimates by default.
        options
            Settings of the iteration, and ``"engine"``: "nested", "crossed", "iterative" or "dense"
            instead of the one that the model calls for. "dense" holds the covariance matrix of rows
            that are correlated, some thousand of them, and serves any model. "iterative" solves by
            conjugate gradients with stochastic traces: the log-likelihood is an estimate, see
            `LMMResult.monte_carlo_error`; its ``"probes"`` are their number or "exact", and
            ``"seed"`` chooses them. With "crossed", ``"schur"`` is "dense" or "sparse" for the
            form of its factor instead of the cheaper one; the fit is the same.
        ddf
            Degrees of freedom of tests: "satterthwaite" (the default, but "asymptotic" by the
            iterative engine, which lacks what that needs, and with crossed factors of thousands of
            levels, where it costs far more than the fit), "kenward-roger" (PROC MIXED's),
            "kenward-roger-linear", "kenward-roger-expected" (pbkrtest's), "kenward-roger-2009",
            "containment", "between-within" (mmrm's), "between-within-sas", "residual", "asymptotic"
            (z), or a number; PROC MIXED's words ("kr", "sat", "bw", "contain", ...) are understood.
            A dict gives some terms their own, ``{"arm": 12, None: "satterthwaite"}``. With the
            "kenward-roger..." standard errors are adjusted too. `mlmfast.degrees_of_freedom` says
            which is whose.
        hold
            Covariance parameters kept at these values, such as ``{"Residual": 1.0}`` (HOLD= of PROC
            MIXED's PARMS). They do not count as parameters in AIC. A correlation is refused where
            the model without one of its effects has the larger likelihood.
        bounds
            (lower, upper) by parameter, None for no bound; `LMMResult.held` names those reached.
            (None, None) lets a variance of random effects be negative, as ``bounded`` does for all.
        grid
            Starting values to try: a dict of lists, whose combinations are tried, or a list of
            dicts. The best is the start; the table is `LMMResult.parms`.
        bounded
            False lets variances of random effects be negative, and matrices G indefinite, as long
            as V = Z G Z' + R is positive definite (NOBOUND of PROC MIXED): groups whose members
            are less alike than those of different groups. `certificate` names what is negative;
            parameters are then ``var_x|g`` and ``cov_x.y|g``, and a predicted random effect is
            G Z'V^-1 (y - X beta) as ever. For terms whose matrices are linear in their parameters:
            ``(x | g)``, ``(x || g)``, us, diag, homdiag, cs and toep. As in PROC MIXED a model
            without random effects is fitted as ever: of residual covariances R alone has to be
            positive definite, and that of ``cs`` may be negative either way.
        REML
            R's way to say ``method``: False for "ML".

        Raises
        ------
        ModelError
            For an unknown method or ddf, a ddf that the model cannot offer, a name that is no
            covariance parameter, and values outside a parameter's range.

        Warns
        -----
        ConvergenceWarning, SingularFitWarning, AliasedWarning

        Examples
        --------
        >>> import mlmfast as mlm
        >>> model = mlm.LMM("Reaction ~ Days + (Days | Subject)", mlm.load_sleepstudy())
        >>> fit = model.fit(hold={"cor_Days.(Intercept)|Subject": 0.0, "sigma": 30.0})
        >>> round(fit.sigma, 10), round(fit.llf, 3)
        (30.0, -875.206)

        Plots that compete: what one has of water, its neighbours lack.

        >>> import pandas as pd
        >>> d = pd.DataFrame({"y": [1.0, 5.0, 2.0, 4.5, 3.0, 2.5], "plot": [1, 1, 2, 2, 3, 3]})
        >>> fit = mlm.lmm("y ~ 1 + (1 | plot)", d, bounded=False)
        >>> fit.certificate.negative
        ('variance of (Intercept) by plot is negative (-1.8125)',)
        """
        wishes = Wishes(start, hold, bounds, grid, bounded)
        method = method_by(method, REML, moments=True)
        if method in MOMENTS:
            from mlmfast.moments.fit import fit_by_moments

            return fit_by_moments(self, result_of, method, options, ddf, wishes)
        return fit_model(self, result_of, method, options, ddf, wishes)

    @told()
    def fit_many(
        self,
        Y: Any,
        method: str = BY_DEFAULT,
        options: NewtonOptions | Mapping[str, Any] | None = None,
        ddf: Ddf | None = None,
        *,
        bounded: bool = True,
        REML: bool | None = None,
        progress: bool | None = None,
    ) -> FitBatch:
        """Fit many responses on this design.

        Parameters
        ----------
        Y : shape (nobs, n_fits)
            Responses, one a column, for the rows used or for all rows of the data, of which those
            that the model leaves out are left out; the model's offset is subtracted from each.
            Names of columns are kept; rows of a pandas object go by their labels. A value that is
            missing or masked drops its row for its response: that is fitted as the same call
            would on the rows left, `poly`, `scale` and the like evaluated there.
        method, options, ddf, bounded
            As `fit`; `FitBatch.df`, `FitBatch.pvalues` and, with the "kenward-roger...",
            `FitBatch.bse` go by ``ddf``, "satterthwaite" by default.

        Returns
        -------
        FitBatch
            Arrays with a leading axis of length n_fits. A failure stays as a row, whose ``status``
            says why; nothing warns. Where a fixed factor is eliminated (``absorb``), its
            coefficients hold the other columns of X.

        Examples
        --------
        >>> import numpy as np, pandas as pd, mlmfast as mlm
        >>> data = mlm.load_sleepstudy()
        >>> Y = pd.DataFrame({"seconds": data["Reaction"] / 1000, "holes": data["Reaction"]})
        >>> Y.loc[:3, "holes"] = np.nan
        >>> batch = mlm.LMM("Reaction ~ Days + (Days | Subject)", data).fit_many(Y)
        >>> batch.nobs.tolist(), batch.status.tolist()
        ([180, 176], ['converged', 'converged'])
        """
        from mlmfast.batch.fit_many import fit_many

        check_bounded(bounded)
        model = self if bounded else self._without_bounds()
        return fit_many(model, result_of, Y, method_by(method, REML), options, ddf, progress)


def result_of(
    record: FitRecord | Callable[[], FitRecord], source: FitSource, timings: Mapping[str, float]
) -> LMMResult:
    """What holds a fit, by whether a factor is absorbed."""
    if not isinstance(record, FitRecord) or record.absorbed is None:
        return LMMResult(record, source, timings)
    from mlmfast.absorbed_result import AbsorbedResult

    return AbsorbedResult(record, source, timings)


@told()
def lmm(
    formula: str,
    data: object,
    *,
    residual: str | None = None,
    residual_scale: str | None = None,
    lin: Any = None,
    cov: Mapping[str, Any] | None = None,
    method: str = BY_DEFAULT,
    weights: Any = None,
    offset: Any = None,
    contrasts: Mapping[str, Any] | None = None,
    na_action: str = "drop",
    absorb: bool | None = None,
    start: Mapping[str, Any] | None = None,
    options: NewtonOptions | Mapping[str, Any] | None = None,
    ddf: Ddf | None = None,
    hold: Mapping[str, float] | None = None,
    bounds: Mapping[str, tuple[float | None, float | None]] | None = None,
    grid: Mapping[str, Sequence[float]] | Sequence[Mapping[str, float]] | None = None,
    bounded: bool = True,
    REML: bool | None = None,
) -> LMMResult:
    """Fit a linear mixed model to rows in memory; see `mlmfast.by_size.lmm`, which calls this.

    Examples
    --------
    >>> import mlmfast as mlm
    >>> fit = mlm.lmm("Reaction ~ Days + (1 | Subject)", mlm.load_sleepstudy())
    >>> round(fit.sigma, 4)
    30.9912

    Residual standard deviations that grow with the days (nlme's varExp), over correlated residuals:

    >>> data = mlm.load_sleepstudy()
    >>> fit = mlm.lmm("Reaction ~ Days", data, residual="ar1(Days | Subject)",
    ...               residual_scale="exp(Days)")
    >>> fit.residual_parameters.round(3).to_dict()
    {'Variance': 953.206, 'AR(1)': 0.791, 'exp(Days)': 0.087}

    Subjects related by a known matrix, here all by one half:

    >>> import numpy as np
    >>> related = 0.5 * np.eye(18) + 0.5
    >>> fit = mlm.lmm("Reaction ~ Days + (1 | Subject)", data, cov={"Subject": related})
    >>> round(fit.sigma, 4), round(float(fit.varcorr["Subject"].iloc[0, 0]), 1)
    (30.9912, 2756.4)
    """
    # Refused before any data are read.
    method = method_by(method, REML, moments=True)
    if ddf is not None:
        check_ddf(ddf, method)
    check_bounded(bounded)
    model = LMM(
        formula,
        data,
        residual=residual,
        residual_scale=residual_scale,
        lin=lin,
        cov=cov,
        weights=weights,
        offset=offset,
        contrasts=contrasts,
        na_action=na_action,
        absorb=absorb,
    )
    return model.fit(
        method, start, options, ddf, hold=hold, bounds=bounds, grid=grid, bounded=bounded
    )
