"""LMM: a model prepared once, fitted as often as wanted."""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.covariance import STRUCTURES
from mlmfast.criterion.criterion import criterion_of
from mlmfast.degrees_of_freedom import DegreesOfFreedom, method_of
from mlmfast.design.design import Design
from mlmfast.design.factors.grouping import GroupingFactor
from mlmfast.design.model_frame import ModelFrame, build_model_frame
from mlmfast.design.residual.record import ResidualRecord
from mlmfast.errors import AliasedWarning, ConvergenceWarning, ModelError, SingularFitWarning
from mlmfast.fitted.absorbed.estimates import absorbed_record
from mlmfast.fitted.certificate import Certificate
from mlmfast.fitted.estimates import Estimates, estimates_of
from mlmfast.fitted.make_record import term_parameters
from mlmfast.fitted.monte_carlo import monte_carlo_error
from mlmfast.fitted.record import FitRecord, GroupRecord, TermRecord
from mlmfast.fitted.residual_record import residual_record, scale_record
from mlmfast.fitted.source import FitSource
from mlmfast.fitting.covariance_fit import CovarianceFit
from mlmfast.fitting.fit import fit_covariance
from mlmfast.fitting.moment_starts import residual_start
from mlmfast.fitting.parms_request import start_matrix, start_variance
from mlmfast.fitting.undetermined.names import n_determined, undetermined_of, with_untold
from mlmfast.fitting.undetermined.record import ERRORS_DEPEND, UndeterminedRecord
from mlmfast.newton import NewtonOptions
from mlmfast.reduction.options import CrossedSettings, Engine, read_options
from mlmfast.reduction.reduce import reduce_design
from mlmfast.reduction.reduced_model import ReducedModel
from mlmfast.result import LMMResult

if TYPE_CHECKING:
    from mlmfast.batch.fit_batch import FitBatch


class LMM:
    """A linear mixed model y = X beta + Z g + e for given data.

    Reading, factor coding and the reduction of the rows happen once; `fit` and `fit_many` then
    work on the reduction alone.

    Parameters
    ----------
    formula
        lme4's formula language, for example ``"y ~ x + (x | g)"``.
    data
        pandas, polars or pyarrow frame, any that narwhals reads, or a dict of arrays.
    residual
        Covariance of the residuals within subjects, such as ``"us(visit | subject)"`` or, with
        parameters of its own for each arm, ``"ar1(visit | arm / subject)"``; see `structures`.
        Independent residuals of one variance by default. Structures that go by the order of the
        visits count numbers, dates and times in units of their greatest common step, and levels
        one by one, those that a categorical declares and no row has too; ``factor(visit)`` counts
        any column level by level.
    residual_scale
        What residual standard deviations are multiplied by, on top of ``residual``: a factor
        (``"sex"``, nlme's varIdent: ratios to its first level), ``"power(x)"`` (varPower,
        |x|^delta), ``"exp(x)"`` (varExp, exp(delta x)), ``"power(x | sex)"`` for a delta by level,
        or a product such as ``"sex * exp(x)"``. `sigma` is then that at scale 1: of the first
        level, where the covariate is 1 (power) or 0 (exp).
    lin
        Known matrices A_1, ..., A_q of ``residual="lin(visit | subject)"``, R = sum theta_k A_k: a
        list of arrays in the order of the visits' levels, or of data frames with the visits as
        labels. A visit that no row has is left out.
    weights, offset
        Column name or array. Var(e) = sigma^2 / weight; the offset is added to X beta.
    cov
        Known relationship matrices by grouping factor, ``{"animal": A}``: the covariance of the
        effects is A (x) G. A labelled data frame; a pair (labels, matrix), dense or sparse; or an
        array in the order of the factor's levels. Levels without rows are predicted too (`ranef`).
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

    #: Whether a fixed factor shall be eliminated, whatever the engine.
    _absorb: bool = False

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
        self._arguments: dict[str, Any] = {
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
        self._frame: ModelFrame | None = build_model_frame(data=data, **self._arguments)
        self._absorb = bool(absorb)
        if absorb is None:
            # Of some of the rows the factor may have fewer levels.
            self._arguments["absorb"] = self._frame.design.absorbed is not None
        self._design = self._frame.design
        self._reductions: dict[Engine, ReducedModel] = {}
        self._timings = {"design": time.perf_counter() - started}

    @classmethod
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
        cov : known relationship matrices by name of a factor ("group" where ``groups`` has none)

        Examples
        --------
        >>> import mlmfast as mlm
        >>> d = mlm.load_sleepstudy()
        >>> X = np.column_stack([np.ones(180), d["Days"]])
        >>> fit = mlm.LMM.from_arrays(d["Reaction"], X, groups=d["Subject"], Z=X).fit()
        >>> round(fit.llf, 4)
        -871.8141
        """
        from mlmfast.design.from_arrays import design_from_arrays

        started = time.perf_counter()
        model = cls.__new__(cls)
        model._frame, model._arguments = None, {}
        model._reductions = {}
        model._design = design_from_arrays(y, X, groups, Z, names, weights, offset, cov)
        model._timings = {"design": time.perf_counter() - started}
        return model

    @classmethod
    def from_design(cls, design: Design) -> LMM:
        """A model from a `mlmfast.design.Design`, without formula or data frame."""
        return cls._of_design(design, None)

    @classmethod
    def _of_design(cls, design: Design, frame: ModelFrame | None) -> LMM:
        """A model from a design, and how that was read."""
        model = cls.__new__(cls)
        model._frame, model._design, model._timings = frame, design, {}
        model._reductions, model._arguments = {}, {}
        return model

    @classmethod
    def _of(cls, source: FitSource) -> LMM:
        """The model that a fit was made from."""
        model = cls.__new__(cls)
        model._frame, model._design, model._timings = source.frame, source.design, {}
        model._reductions, model._arguments = {None: source.model}, {}
        return model

    @property
    def design(self) -> Design:
        """Columns of y, X and Z."""
        return self._design

    def _reduced(self, engine: Engine) -> ReducedModel:
        """The rows reduced for an engine; kept for the next fit."""
        if engine not in self._reductions:
            started = time.perf_counter()
            self._reductions[engine] = reduce_design(self._design, engine=engine)
            self._timings["reduce"] = time.perf_counter() - started
        return self._reductions[engine]

    def _for_engine(self, engine: Engine) -> LMM:
        """The model as an engine takes it: an absorbed factor as columns where it needs these."""
        takes = engine is None or isinstance(engine, CrossedSettings)
        if self._design.absorbed is None or takes or self._frame is None or self._absorb:
            return self
        from mlmfast.absorbed_as_columns import with_columns

        model = LMM.from_design(self._design)
        model._frame = with_columns(self._frame)
        model._design = model._frame.design
        model._arguments = {**self._arguments, "absorb": False}
        model._timings = dict(self._timings)
        return model

    def fit(
        self,
        method: str = "REML",
        start: Mapping[str, Any] | FloatArray | None = None,
        options: NewtonOptions | Mapping[str, Any] | None = None,
        ddf: str | float | None = None,
        *,
        hold: Mapping[str, float] | None = None,
        bounds: Mapping[str, tuple[float | None, float | None]] | None = None,
        grid: Mapping[str, Sequence[float]] | Sequence[Mapping[str, float]] | None = None,
    ) -> LMMResult:
        """Fit by restricted ("REML") or full ("ML") maximum likelihood.

        Covariance parameters are named as `profile` names them, ``sd_x|g``, ``cor_x.y|g`` and
        ``sigma``, or by ``var_x|g``, ``cov_x.y|g`` and ``Residual`` (variances and covariances),
        or as `residual_parameters` names those of a residual structure.

        Parameters
        ----------
        method
            "REML" or "ML".
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
            "containment", "between-within", "residual", "asymptotic" (z), or a number. With the
            "kenward-roger..." standard errors are adjusted too. `mlmfast.degrees_of_freedom` says
            which is whose.
        hold
            Covariance parameters kept at these values, such as ``{"Residual": 1.0}`` (HOLD= of PROC
            MIXED's PARMS). They do not count as parameters in AIC. A correlation is refused where
            the model without one of its effects has the larger likelihood.
        bounds
            (lower, upper) by parameter, None for no bound; `LMMResult.held` names those reached.
        grid
            Starting values to try: a dict of lists, whose combinations are tried, or a list of
            dicts. The best is the start; the table is `LMMResult.parms`.

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
        """
        method = read_method(method)
        if ddf is not None:
            _check_ddf(ddf, method)
        engine, settings = read_options(options)
        model = self._for_engine(engine)
        reduced = model._reduced(engine)
        if ddf is None:
            ddf = "asymptotic" if reduced.is_vast else "satterthwaite"
        degrees = _check_ddf(ddf, method)
        started = time.perf_counter()
        theta, named = (None, {}) if start is None else _starts(reduced, method, start)
        parms = None
        if named or _is_given(hold) or _is_given(bounds) or grid is not None:
            from mlmfast.fitting.parms import fit_with_parms
            from mlmfast.fitting.parms_request import Parms

            if reduced.iterative is not None:
                raise ModelError(
                    "the iterative engine takes no start by parameter name, hold=, bounds= or "
                    "grid=; leave them out, or fit with options={'engine': 'crossed'}"
                )
            held_at: Mapping[str, float] = {} if hold is None else hold
            wishes = Parms(named, held_at, {} if bounds is None else bounds, grid)
            parms = fit_with_parms(reduced, method, settings, theta, wishes)
            covariance = parms.covariance
            estimates = estimates_of(
                reduced, covariance.criterion, covariance.theta, parms.log_sigma2
            )
        else:
            covariance = fit_covariance(reduced, method, settings, theta)
            estimates = estimates_of(reduced, covariance.criterion, covariance.theta)
        held = () if parms is None else tuple(parms.held)
        record = model._record(reduced, method, covariance, estimates, str(ddf), held)
        if hold:
            record = replace(record, n_theta=record.n_theta - len(hold))
        timings = {**model._timings, "iterate": time.perf_counter() - started}
        source = FitSource(reduced, covariance.criterion, covariance.theta, model._frame, parms)
        result = _kind_of_result(record)(record, source, timings)
        if degrees.eager:
            result._basis()
        _warn(result)
        return result

    def fit_many(
        self,
        Y: Any,
        method: str = "REML",
        options: NewtonOptions | Mapping[str, Any] | None = None,
        ddf: str | float | None = None,
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
        method, options, ddf
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
        >>> import pandas as pd, mlmfast as mlm
        >>> data = mlm.load_sleepstudy()
        >>> Y = pd.DataFrame({"seconds": data["Reaction"] / 1000, "holes": data["Reaction"]})
        >>> Y.loc[:3, "holes"] = np.nan
        >>> batch = mlm.LMM("Reaction ~ Days + (Days | Subject)", data).fit_many(Y)
        >>> batch.nobs.tolist(), batch.status.tolist()
        ([180, 176], ['converged', 'converged'])
        """
        from mlmfast.batch.patterns import fit_patterns
        from mlmfast.batch.tests import with_ddf
        from mlmfast.design.responses import read_responses

        method, ddf = read_method(method), "satterthwaite" if ddf is None else ddf
        _check_ddf(ddf, method)
        engine, settings = read_options(options)
        model = self._for_engine(engine)
        own = None if model._frame is None else model._frame.frame
        used, index = (None, None) if own is None else (own.rows_used, own.whole.index)
        responses = read_responses(Y, model._design, used, index)
        batch = fit_patterns(model, responses, method, engine, settings)
        return with_ddf(replace(batch, _options=options), ddf)

    def as_recorded(
        self,
        batch: FitBatch,
        reduced: ReducedModel,
        covariance: CovarianceFit,
        estimates: Estimates,
    ) -> FitBatch:
        """A batch of one fit, judged as the single fit is: by the parameters at an end too."""
        from mlmfast.batch.fit_batch import status_of

        record = self._record(reduced, batch.method, covariance, estimates, str(batch.ddf))
        converged, singular = np.array([record.converged]), np.array([record.singular])
        status = status_of(converged, singular)
        return replace(batch, converged=converged, singular=singular, status=status)

    def _record(
        self,
        reduced: ReducedModel,
        method: str,
        covariance: CovarianceFit,
        estimates: Estimates,
        ddf: str,
        held: Sequence[str] = (),
    ) -> FitRecord:
        design, frame = self._design, self._frame
        singular = dict(zip(reduced.order, covariance.singular[0], strict=False))
        natural = term_parameters(reduced, covariance, estimates)
        open_ended = undetermined_of(reduced, covariance, held)
        groups, terms = _groups_and_terms(design, frame, estimates, singular, natural)
        terms = with_untold(terms, groups, open_ended, reduced, covariance, held)
        newton, elsewhere = covariance.newton, covariance.n_elsewhere
        residual = residual_record(reduced, covariance.criterion, covariance.theta)
        certificate = Certificate(
            newton_decrement=float(newton.decrement[0]),
            min_hessian_eigenvalue=float(newton.min_eigenvalue[0]),
            boundary=(
                *_boundary(groups, terms, open_ended),
                *_residual_boundary(reduced, covariance, residual, open_ended),
            ),
            n_evaluations=int(covariance.n_evaluations[0]),
            n_iterations=int(newton.n_iterations[0]),
            engine=reduced.engine_name,
            n_elsewhere=0 if elsewhere is None else int(elsewhere[0]),
        )
        return FitRecord(
            formula=None if frame is None else frame.formula.text,
            method=method,
            response=design.response,
            offsets=() if frame is None else frame.formula.offsets,
            weighted=design.weights is not None,
            offset_given=frame is not None and frame.offset_given,
            n_obs=design.n_obs,
            n_dropped=design.n_dropped,
            x_names=design.x_names,
            terms_of_x=((), ()) if frame is None else (frame.terms, frame.term_of_column),
            kept=tuple(int(j) for j in reduced.kept),
            beta=estimates.beta[0],
            vcov=estimates.vcov[0],
            sigma2=float(estimates.sigma2[0]),
            residual=residual,
            deviance=float(estimates.deviance[0]),
            n_theta=n_determined(covariance, open_ended),
            groups=groups,
            terms=terms,
            levels=reduced.levels or tuple(range(len(design.factors))),
            certificate=certificate,
            converged=bool(newton.converged[0]) and certificate.is_minimum,
            ddf=ddf,
            fixed_spec=None if frame is None else frame.fixed,
            monte_carlo=monte_carlo_error(reduced, covariance.criterion, covariance.theta),
            residual_scale=scale_record(reduced, covariance.criterion, covariance.theta),
            undetermined=open_ended,
            absorbed=absorbed_record(reduced, covariance.criterion, covariance.theta, estimates),
        )


def lmm(
    formula: str,
    data: object,
    *,
    residual: str | None = None,
    residual_scale: str | None = None,
    lin: Any = None,
    cov: Mapping[str, Any] | None = None,
    method: str = "REML",
    weights: Any = None,
    offset: Any = None,
    contrasts: Mapping[str, Any] | None = None,
    na_action: str = "drop",
    absorb: bool | None = None,
    start: Mapping[str, Any] | None = None,
    options: NewtonOptions | Mapping[str, Any] | None = None,
    ddf: str | float | None = None,
    hold: Mapping[str, float] | None = None,
    bounds: Mapping[str, tuple[float | None, float | None]] | None = None,
    grid: Mapping[str, Sequence[float]] | Sequence[Mapping[str, float]] | None = None,
) -> LMMResult:
    """Fit a linear mixed model; `LMM` and `LMM.fit` document the arguments.

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

    >>> related = 0.5 * np.eye(18) + 0.5
    >>> fit = mlm.lmm("Reaction ~ Days + (1 | Subject)", data, cov={"Subject": related})
    >>> round(fit.sigma, 4), round(float(fit.varcorr["Subject"].iloc[0, 0]), 1)
    (30.9912, 2756.4)
    """
    # Refused before any data are read.
    method = read_method(method)
    if ddf is not None:
        _check_ddf(ddf, method)
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
    return model.fit(method, start, options, ddf, hold=hold, bounds=bounds, grid=grid)


def read_method(method: str) -> str:
    """Read the method of estimation: "REML" or "ML".

    Raises
    ------
    ModelError
    """
    if not isinstance(method, str) or method.upper() not in {"REML", "ML"}:
        raise ModelError(f"method is {method!r}; use 'REML' or 'ML'")
    return method.upper()


def _is_given(wishes: object) -> bool:
    """Whether something is asked of parameters; what it is asked by is looked at later."""
    return wishes is not None and not (isinstance(wishes, Mapping) and not wishes)


def _kind_of_result(record: FitRecord) -> type[LMMResult]:
    """What holds a fit, by whether a factor is absorbed."""
    if record.absorbed is None:
        return LMMResult
    from mlmfast.absorbed_result import AbsorbedResult

    return AbsorbedResult


def _check_ddf(ddf: str | float, method: str) -> DegreesOfFreedom:
    found = method_of(ddf)
    found.check(method == "REML")
    return found


def _group(factor: GroupingFactor) -> GroupRecord:
    """A grouping factor with the levels that its relationship matrix adds."""
    related = factor.relationship
    if related is None:
        return GroupRecord(factor.name, factor.columns, factor.labels)
    labels = (*factor.labels, *related.extra)
    return GroupRecord(factor.name, factor.columns, labels, True, len(related.extra))


def _groups_and_terms(
    design: Design,
    frame: ModelFrame | None,
    estimates: Estimates,
    singular: Mapping[int, Any],
    natural: Sequence[tuple[tuple[str, ...], FloatArray]],
) -> tuple[tuple[GroupRecord, ...], tuple[TermRecord, ...]]:
    groups = tuple(map(_group, design.factors))
    terms = tuple(
        TermRecord(
            group=term.factor,
            names=term.names,
            structure=term.structure.keyword,
            text=term.text,
            covariance=estimates.covariances[t][0],
            singular=bool(singular[t]),
            spec=None if frame is None else frame.random[t],
            parameter_names=natural[t][0],
            parameters=natural[t][1],
        )
        for t, term in enumerate(design.random)
    )
    return groups, terms


def _boundary(
    groups: tuple[GroupRecord, ...],
    terms: tuple[TermRecord, ...],
    open_ended: UndeterminedRecord | None,
) -> tuple[str, ...]:
    """Name what is on the boundary: variances of 0, else covariances of deficient rank.

    Variances at 0 because the data do not determine them are named as that.
    """
    out: list[str] = []
    held = set() if open_ended is None else set(open_ended.absorbed)
    for term in terms:
        if not term.singular:
            continue
        group = groups[term.group].name
        zero = [
            name
            for name, variance in zip(term.names, np.diag(term.covariance), strict=True)
            if variance == 0.0
        ]
        left = len(term.names) - len(zero)
        kind = STRUCTURES[term.structure]
        if left == 0 and not kind.named_by_effects:
            if not any(f"{name} | {group}" in held for name in term.parameter_names):
                out.append(f"variance of {term.text} is 0")
            continue
        out.extend(
            f"variance of {name} by {group} is 0"
            for name in zero
            if f"Var({name}) | {group}" not in held
        )
        if not kind.variances_alone and left > 1:
            what = "correlation is +-1" if left == 2 else "covariance matrix is singular"
            if not (zero or term.unseen) or _is_deficient(term, zero):
                out.append(f"{what} for {', '.join(term.names)} by {group}")
    return tuple(out)


def _residual_boundary(
    reduced: ReducedModel,
    covariance: CovarianceFit,
    residual: ResidualRecord | None,
    open_ended: UndeterminedRecord | None,
) -> list[str]:
    """Name residual covariances that are singular, and terms that cannot be told apart."""
    untold = [] if open_ended is None else list(open_ended.messages)
    if reduced.profiled:
        return untold
    from mlmfast.fitted.boundary_messages import name_edges
    from mlmfast.fitting.confounding import (
        errors_depend,
        flat_directions,
        name_confounded,
        name_flat,
        name_unseen,
        name_vanishing_scale,
        name_without_bound,
        singular_residual,
    )

    newton = covariance.newton
    out = name_confounded(reduced, covariance.confounded)
    if covariance.without_bound:
        return out + name_without_bound(reduced, residual)
    if untold:
        return out + (name_unseen(reduced) or untold)
    at_end = bool(covariance.singular_residual)
    out += singular_residual(reduced, residual, bool(newton.converged[0]), at_end)
    if not out and newton.converged[0]:
        out = name_edges(reduced, covariance.criterion, covariance.theta)
    if not out and not newton.converged[0]:
        out = name_vanishing_scale(reduced, covariance.criterion, covariance.theta)
    if not out and newton.converged[0] and newton.min_eigenvalue[0] < 1e-4:
        flat = flat_directions(covariance.criterion, covariance.theta)
        out = (name_unseen(reduced) if flat else []) or name_flat(reduced, flat)
        if flat and errors_depend(covariance.criterion, covariance.theta):
            out.append(ERRORS_DEPEND)
    return out


def _is_deficient(term: TermRecord, zero: list[str]) -> bool:
    """Whether effects whose covariances the data tell have a singular covariance matrix."""
    keep = [i for i, name in enumerate(term.names) if name not in zero]
    unseen = {frozenset(pair) for pair in term.unseen}
    pairs = [pair for pair in combinations(keep, 2) if frozenset(pair) not in unseen]
    sets = [keep] if len(pairs) == len(keep) * (len(keep) - 1) // 2 else [list(p) for p in pairs]
    return any(_is_singular(term.covariance[np.ix_(own, own)]) for own in sets)


def _is_singular(covariance: FloatArray) -> bool:
    sd = np.sqrt(np.diag(covariance))
    return bool(np.linalg.eigvalsh(covariance / np.outer(sd, sd))[0] < 1e-8)


def _starts(
    reduced: ReducedModel, method: str, start: Mapping[str, Any] | FloatArray
) -> tuple[FloatArray | None, dict[str, Any]]:
    """theta of the matrices in ``start``, if there are any, and the values of single parameters."""
    if not isinstance(start, Mapping):
        return starting_theta(reduced, method, start), {}
    groups = {factor.name for factor in reduced.design.factors}
    matrices = {name: value for name, value in start.items() if name in groups}
    named = {name: value for name, value in start.items() if name not in groups}
    if matrices and reduced.profiled and "Residual" in named:
        matrices["Residual"] = named.pop("Residual")
    return starting_theta(reduced, method, matrices) if matrices else None, named


def starting_theta(
    reduced: ReducedModel, method: str, start: Mapping[str, Any] | FloatArray
) -> FloatArray:
    """Starting covariance matrices in the parameters of the iteration, shape (1, n_theta)."""
    if not isinstance(start, Mapping):
        raise ModelError("start is a mapping from grouping factors to covariance matrices")
    residual = start_variance(start.get("Residual", 1.0))
    criterion = criterion_of(reduced, method)
    unit, theta = residual, np.empty((1, criterion.n_theta))
    if reduced.design.residual is not None:
        # Its own start for the residual covariance, and units of the response instead of sigma^2.
        theta = residual_start(reduced, criterion, np.zeros(1, dtype=np.intp))
        unit = reduced.response_unit
    taken: dict[str, int] = {}
    known = {factor.name for factor in reduced.design.factors}
    unknown = sorted(set(start) - known - {"Residual"})
    if unknown:
        raise ModelError(f"start names {unknown[0]!r}; grouping factors: {', '.join(known)}")
    for position in np.argsort(reduced.order):
        block = reduced.blocks[position]
        term = reduced.design.random[reduced.order[position]]
        group = reduced.design.factors[term.factor].name
        first = taken.get(group, 0)
        taken[group] = first + block.structure.size
        if group not in start:
            raise ModelError(f"start has no covariance matrix for grouping factor {group!r}")
        own = [t for t in reduced.design.random if t.factor == term.factor]
        full = start_matrix(group, start[group], [name for t in own for name in t.names])
        stretch = slice(first, taken[group])
        k = np.linalg.inv(reduced.effects_map(int(position)))
        relative = k @ full[stretch, stretch] @ k.T / unit
        if not np.isfinite(relative).all() or np.linalg.eigvalsh(relative)[0] < -1e-8:
            raise ModelError(f"the matrix to start {group!r} from is not a covariance matrix")
        theta[:, criterion.theta_slices[int(position)]] = block.structure.theta(relative[None])
    return theta


def _warn(result: LMMResult) -> None:
    """At most one warning of each kind, with the remedy."""
    if result.aliased:
        warnings.warn(
            f"columns of X left out because they depend on earlier ones: "
            f"{', '.join(result.aliased)}",
            AliasedWarning,
            stacklevel=4,
        )
    if not result.converged:
        named = "; ".join(result.certificate.boundary)
        remedy = "simplify the random effects, or start from other values"
        if named:
            remedy = f"{named}. Use a structure with fewer parameters"
        warnings.warn(
            "the fit did not reach a certified minimum (decrement "
            f"{result.certificate.newton_decrement:.1e}): {remedy}",
            ConvergenceWarning,
            stacklevel=4,
        )
    elif result.singular:
        found = result._record.undetermined
        what = "singular fit"
        if found is not None and set(result.certificate.boundary) <= set(found.messages):
            what = "the data do not determine all covariance parameters"
        valid = "Estimates and standard errors of the fixed effects are valid"
        depend = found is not None and found.errors_depend
        if depend or ERRORS_DEPEND in result.certificate.boundary:
            valid = "Fixed effects and standard errors that depend on them are a choice, no result"
        warnings.warn(
            f"{what}: {'; '.join(result.certificate.boundary)}. {valid}; "
            "consider a simpler covariance structure",
            SingularFitWarning,
            stacklevel=4,
        )
