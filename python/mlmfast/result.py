"""LMMResult: what a fit says, in pandas containers named as statsmodels names them."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mlmfast.arrays import FloatArray
from mlmfast.cached import cached_property
from mlmfast.confidence_level import check_level
from mlmfast.errors import ModelError
from mlmfast.fitted.fitted import Fitted
from mlmfast.fitted.random_effects import ByLevel, ConditionalEffects
from mlmfast.fitted.record import GroupRecord
from mlmfast.handed_out import copy_of, handed_out
from mlmfast.report.varcorr import VarCorr
from mlmfast.words import is_one_of

if TYPE_CHECKING:
    from mlmfast.batch.fit_batch import FitBatch
    from mlmfast.diagnostics.influence import Influence
    from mlmfast.inference.comparison.variance_tests import VarianceTest
    from mlmfast.inference.contrasts.contrast import Contrast
    from mlmfast.inference.emmeans import EMMeans
    from mlmfast.inference.intervals.bootstrap import Bootstrap
    from mlmfast.inference.intervals.covtest import CovarianceTests
    from mlmfast.inference.intervals.derived import ParameterValues
    from mlmfast.inference.intervals.profile import Profile
    from mlmfast.inference.robust.robust import RobustInference
    from mlmfast.mvn import MVN
    from mlmfast.plots import Plots
    from mlmfast.report.summary import Summary


class LMMResult(Fitted):
    """A fitted linear mixed model.

    Estimates are plain attributes; what takes work is computed when first asked for.

    Examples
    --------
    >>> import mlmfast as mlm
    >>> fit = mlm.lmm("Reaction ~ Days + (Days | Subject)", mlm.load_sleepstudy())
    >>> fit.params.round(3)
    (Intercept)    251.405
    Days            10.467
    dtype: float64
    >>> round(fit.llf, 4)
    -871.8141
    """

    # -- fixed effects -------------------------------------------------------------------------

    def cov_params(self, kind: str | None = None, *, cluster: object = None) -> pd.DataFrame:
        """Covariance of the fixed effects, (X'V^-1 X)^-1, as SAS and lme4 report it.

        Parameters
        ----------
        kind
            None or "model"; one of the names "kenward-roger...", for the covariance adjusted for
            the estimation of V; "CR0", "CR1", "CR2" or "CR3" for a cluster-robust one (`robust`).
        cluster
            The clusters of a cluster-robust covariance.

        Raises
        ------
        ModelError
            For a kind that is not available.
        """
        from mlmfast.inference.robust.kinds import covariance_of_kind

        matrix = covariance_of_kind(self, kind, cluster)
        return self._square(matrix)

    def robust(
        self, kind: str = "CR2", cluster: object = None, square_root: str | None = None
    ) -> RobustInference:
        """Cluster-robust standard errors, with Satterthwaite's degrees of freedom.

        Parameters
        ----------
        kind
            "CR0" (sandwich), "CR1" (times m / (m - 1)), "CR2" (bias-reduced: Bell and McCaffrey
            2002), "CR3" (near the jackknife).
        cluster
            A grouping factor of the model, a column of its data (several joined by ``:``), or one
            label a row used; by default the outermost grouping factor or subject.
        square_root
            Of CR2: "cholesky" (Pustejovsky and Tipton 2018; default without a residual structure)
            or "whitened" (as the R package mmrm; default with one).

        Raises
        ------
        ModelError, DataError
            For unknown words, or clusters the model says are correlated.
        """
        from mlmfast.inference.robust.robust import robust_inference

        return robust_inference(self, kind, cluster, square_root)

    def conf_int(
        self, level: float = 0.95, method: str = "wald", *, n: int = 1000, seed: Any = None
    ) -> pd.DataFrame:
        """Confidence intervals, columns ``lower`` and ``upper``.

        Parameters
        ----------
        level
            Between 0 and 1.
        method
            "wald" for the fixed effects, by the quantiles of t under ``ddf``; "profile" or "boot"
            for covariance parameters too, see `profile` and `bootstrap` (percentile intervals).
        n, seed
            Samples of the bootstrap, and its seed.

        Raises
        ------
        ModelError
            For an unknown method or a level outside (0, 1).
        """
        check_level(level)
        if not is_one_of(method, ("wald", "profile", "boot")):
            raise ModelError(f"conf_int(method={method!r}): use 'wald', 'profile' or 'boot'")
        if method == "profile":
            return self.profile().conf_int(level)
        if method == "boot":
            return self.bootstrap(n, seed).conf_int(level)
        from mlmfast.distributions import quantile

        half = self.bse * quantile(np.asarray(self.df, dtype=np.float64), level)
        return pd.DataFrame({"lower": self.params - half, "upper": self.params + half})

    def anova(
        self,
        *fits: Any,
        type: int | str = 3,
        ddf: Any = None,
        definition: str | None = None,
        chisq: bool = False,
        **comparison: Any,
    ) -> Any:
        """F tests of the terms of the fixed part, or with other fits likelihood-ratio tests.

        Parameters
        ----------
        *fits
            Other fits to compare with; see `mlmfast.compare`, which ``**comparison`` goes to.
        type
            1 (each term after those before it), 2 (after all that do not contain it) or 3
            (estimable functions of all cells; independent of contrasts and of cell counts).
        ddf
            Method for the denominator degrees of freedom; that of the fit by default.
        definition
            "SAS", "lmerTest", "mmrm": the hypotheses of PROC MIXED, from the design alone (type I
            and II orthogonal in the metric X'X), with the same F. They differ in the rows that
            stand for a hypothesis, on which Satterthwaite's degrees of freedom depend where there
            are several: differences from the last level, from the first, from the mean. By
            default "mmrm" for models with a residual structure alone, else "lmerTest". "car": R's
            car and nlme, type I and II in the metric X'V^-1 X, type III the coefficients of the
            contrasts the model was fitted with (what they determine free of the other terms, where
            columns are aliased); by rows that set no level apart. A linear model without random
            effects has the metric X'WX of its weights in all of them. But for car's type III no
            hypothesis depends on contrasts or on the order of levels, and F tests by Satterthwaite
            only through the rows.
        chisq
            Also chi-square tests, as the CHISQ option of PROC MIXED.

        Returns
        -------
        AnovaTable
            NumDF, DenDF, "F value" and "Pr(>F)" by term; ``.hypotheses`` holds the matrices.

        Examples
        --------
        >>> import mlmfast as mlm
        >>> fit = mlm.lmm("Reaction ~ Days + (Days | Subject)", mlm.load_sleepstudy())
        >>> fit.anova(ddf="asymptotic")
        Type III tests of fixed effects (lmerTest):
              NumDF  DenDF  F value    Pr(>F)
        Days      1    Inf   45.853  1.27e-11
        Degrees of freedom: asymptotic
        """
        from mlmfast.inference.anova.anova import anova

        if fits and isinstance(fits[0], LMMResult):
            from mlmfast.inference.comparison.compare import compare

            if (type, ddf, definition, chisq) != (3, None, None, False):
                raise ModelError("type, ddf, definition and chisq are not for comparing fits")
            return compare(self, *fits, **comparison)
        if len(fits) > 1 or comparison:
            raise ModelError("anova takes one type of test, or fits to compare with")
        return anova(self, fits[0] if fits else type, ddf, definition=definition, chisq=chisq)

    def emmeans(
        self,
        specs: Any,
        by: Any = None,
        at: Mapping[str, Any] | None = None,
        weights: str = "equal",
        *,
        ddf: Any = None,
        level: float = 0.95,
        adjust: str = "none",
    ) -> EMMeans:
        """Estimated marginal means (LS-means) over a reference grid of the fixed effects.

        The grid holds every combination of the levels of the factors; covariates stand at their
        mean over the rows used, offsets likewise, and what the formula makes of them (`poly(x, 2)`,
        `log(x)`, `I(x^2)`) is evaluated there.

        Parameters
        ----------
        specs
            Whose means: "trt", ["a", "b"], "a:b", "~ trt | visit", or "pairwise ~ trt | visit",
            which adds contrasts.
        by
            Factors that split the table into families.
        at
            Levels of factors to keep, values of covariates to set; a covariate with values may
            stand in specs and by.
        weights
            How the other factors are averaged: "equal", "proportional" (to their frequencies),
            "outer" (product of single frequencies), "cells" (frequencies within each mean), "flat"
            (equal over the cells that occur).
        ddf
            Method for the degrees of freedom; that of the fit by default.
        level, adjust
            Level of the intervals and their adjustment within each family.

        Returns
        -------
        EMMeans
            Prints as a table; ``.frame``, ``.contrast()``, ``.test()``, ``.slices()``, ``.plot()``.

        Raises
        ------
        DataError, ModelError
            For an unknown name or level, a covariate without values, or a model from arrays.

        Examples
        --------
        >>> import mlmfast as mlm
        >>> data = mlm.load_sleepstudy()
        >>> data["week"] = ["1" if day < 7 else "2" for day in data.Days]
        >>> fit = mlm.lmm("Reaction ~ week + (1 | Subject)", data)
        >>> fit.emmeans("week", ddf="asymptotic")
        week   emmean     SE   df    lower    upper
        1     282.693  9.222  Inf  264.618  300.767
        2     335.410  9.950  Inf  315.910  354.911
        Degrees of freedom: asymptotic; confidence level 0.95
        """
        from mlmfast.inference.emmeans import emmeans

        return emmeans(self, specs, by, at, weights, ddf=ddf, level=level, adjust=adjust)

    # -- likelihood ----------------------------------------------------------------------------

    def information_criteria(
        self, n: str = "observations", count: str = "all", *, convention: str | None = None
    ) -> pd.Series[float]:
        """AIC, AICc and BIC under either convention.

        Parameters
        ----------
        n
            Sample size in BIC and AICc: "observations" (R) or "clusters" (units of the outermost
            grouping factor; SAS's choice for BIC).
        count
            Parameters counted: "all" (R) or "covariance" (SAS under REML).
        convention
            "sas" for all three as PROC MIXED prints them, in place of ``n`` and ``count``: under
            REML covariance parameters alone are counted, under ML all; those on the boundary are
            not; AICc takes the rows (less the rank of X under REML), BIC the clusters (the levels
            of the first random effect where factors cross).

        Raises
        ------
        ModelError
            For another word, or clusters where there is no grouping factor.

        Examples
        --------
        >>> import mlmfast as mlm
        >>> fit = mlm.lmm("Reaction ~ Days + (Days | Subject)", mlm.load_sleepstudy())
        >>> fit.information_criteria(n="clusters", count="covariance").round(2).to_dict()
        {'AIC': 1751.63, 'AICc': 1754.71, 'BIC': 1755.19}
        """
        record = self._record
        if convention is not None:
            if not is_one_of(convention, ("sas",)):
                raise ModelError(f"convention is {convention!r}; use 'sas' or leave it out")
            return self._criteria_of_sas()
        if not (
            is_one_of(n, ("observations", "clusters")) and is_one_of(count, ("all", "covariance"))
        ):
            raise ModelError("n is 'observations' or 'clusters', count is 'all' or 'covariance'")
        if n == "clusters" and not record.groups:
            raise ModelError("the model has no grouping factor, so no clusters to count")
        if n == "clusters" and record.is_crossed:
            raise ModelError("grouping factors are crossed, so there are no clusters to count")
        size = self.nobs if n == "observations" else record.groups[record.levels[0]].n_levels
        k = record.n_parameters if count == "all" else record.n_covariance_parameters
        aic = self.deviance + 2.0 * k
        room = size - k - 1
        corrected = aic + 2.0 * k * (k + 1) / room if room > 0 else np.inf
        bic = self.deviance + k * np.log(size)
        return pd.Series({"AIC": aic, "AICc": corrected, "BIC": float(bic)})

    def _criteria_of_sas(self) -> pd.Series[float]:
        """SAS/STAT User's Guide, PROC MIXED, IC option: d parameters, n*, and s subjects."""
        from mlmfast.inference.intervals.covtest import parameter_table

        record = self._record
        reml = record.method == "REML"
        d = record.n_covariance_parameters - int(parameter_table(self).fixed.sum())
        d += 0 if reml else record.n_fixed
        size = self.nobs - (record.n_fixed if reml else 0)
        subjects = self.nobs
        if record.groups:
            first = record.terms[0].group if record.is_crossed else record.levels[0]
            subjects = len(record.groups[first].labels)
        room = size - d - 1
        values = {
            "AIC": self.deviance + 2.0 * d,
            "AICc": self.deviance + (2.0 * d * size / room if room > 0 else np.inf),
            "BIC": self.deviance + d * float(np.log(subjects)),
        }
        return pd.Series(values)

    def caic(self, method: str = "greven-kneib") -> pd.Series[float]:
        """Conditional AIC: conditional log-likelihood ``llf``, its ``df``, and ``caic``.

        For choosing among models by how they predict new responses of the same clusters.

        Parameters
        ----------
        method
            "greven-kneib" (covariances estimated) or "vaida-blanchard" (as if they were known).

        Examples
        --------
        >>> import mlmfast as mlm
        >>> fit = mlm.lmm("Reaction ~ Days + (Days | Subject)", mlm.load_sleepstudy())
        >>> fit.caic().round(2).to_dict()
        {'llf': -824.51, 'df': 30.25, 'caic': 1711.52}
        """
        from mlmfast.inference.comparison.conditional_aic import conditional_aic

        return conditional_aic(self._needs_source("conditional AIC"), self._record, method)

    # -- variances and random effects ----------------------------------------------------------

    @handed_out
    def residual_cov(self) -> pd.DataFrame | dict[str, pd.DataFrame] | None:
        """Residual covariance over visits at weight 1; None for independent residuals.

        A dict of frames by arm where arms have parameters of their own.

        Raises
        ------
        ModelError
            Where a structure spans too many points or times for one matrix; see
            `residual_cov_at` and `R`.

        Examples
        --------
        >>> import mlmfast as mlm
        >>> data = mlm.load_sleepstudy()
        >>> fit = mlm.lmm("Reaction ~ Days", data, residual="ar1(Days | Subject)")
        >>> fit.residual_cov.iloc[:2, :2].round(1)
                0       1
        0  2451.7  1961.3
        1  1961.3  2451.7
        """
        residual = self._record.residual
        if residual is None:
            return None
        if not residual.visits:
            raise ModelError(
                f"residual={residual.text!r} spans too many points or times for one matrix; "
                "residual_cov_at(points) gives the covariance at those you name, R(cluster) that "
                "of a subject's rows, residual_parameters what they follow from"
            )
        frames = {
            arm: pd.DataFrame(covariance, index=residual.visits, columns=residual.visits)
            for arm, covariance in zip(residual.arms, residual.covariances, strict=True)
        }
        return frames if len(frames) > 1 else frames[residual.arms[0]]

    def residual_cov_at(self, points: Any) -> pd.DataFrame | dict[str, pd.DataFrame]:
        """Residual covariance of one subject at any times or points, at weight 1.

        For structures whose covariance is a function of distances: spatial ones (``sp_exp``,
        ``car1``, ...) at any points, met by the fit or not, and ``ar1`` and ``arma11`` at whole
        steps of numbers, or at visits of the fit by name where these are levels or times. With
        `residual_scale`, at scale 1.

        Parameters
        ----------
        points
            Numbers for one coordinate; rows of numbers, or a data frame, for several. Visits
            that are levels or times as in the data of the fit.

        Returns
        -------
        One row and column a point; a dict of such frames by arm where arms have parameters of
        their own.

        Raises
        ------
        ModelError
            For independent residuals, or a structure over visits; see `residual_cov`.
        DataError
            For points that are no numbers, or visits that the fit has not.

        Examples
        --------
        >>> import mlmfast as mlm
        >>> data = mlm.load_sleepstudy()
        >>> fit = mlm.lmm("Reaction ~ Days", data, residual="car1(Days | Subject)")
        >>> fit.residual_cov_at([0, 0.5, 10]).iloc[0].round(1).tolist()
        [2451.7, 2192.8, 263.1]
        """
        from mlmfast.fitted.residual_at_points import covariances_at

        residual = self._record.residual
        if residual is None:
            raise ModelError("the model has no residual structure: residuals are independent")
        frames = covariances_at(residual, points)
        return frames if len(frames) > 1 else frames[residual.arms[0]]

    @handed_out
    def residual_corr(self) -> pd.DataFrame | dict[str, pd.DataFrame] | None:
        """Correlations of `residual_cov`; undetermined (NaN) where a variance is 0.

        Examples
        --------
        >>> import mlmfast as mlm
        >>> data = mlm.load_sleepstudy()
        >>> fit = mlm.lmm("Reaction ~ Days", data, residual="ar1(Days | Subject)")
        >>> fit.residual_corr.iloc[0, :3].round(3).tolist()
        [1.0, 0.8, 0.64]
        """
        from mlmfast.covariance.correlations import correlations

        covariances = self.residual_cov
        if covariances is None:
            return None
        frames = covariances if isinstance(covariances, dict) else {"": covariances}
        out = {
            arm: pd.DataFrame(correlations(c.to_numpy()), index=c.index, columns=c.columns)
            for arm, c in frames.items()
        }
        return out if isinstance(covariances, dict) else out[""]

    @handed_out
    def residual_parameters(self) -> pd.Series[float]:
        """Parameters of the residual covariance on their natural scale, as SAS names them.

        ``arm: name`` where arms have parameters of their own; the residual variance alone for
        independent residuals. Ratios of standard deviations and exponents of `residual_scale` last.
        """
        return pd.Series(dict(self._record.residual_parameters))

    @property
    def parms(self) -> pd.DataFrame | None:
        """Starts tried by ``grid=`` with their -2 log-likelihood; None without a grid."""
        parms = self._needs_source("parms").parms
        return None if parms is None else copy_of(parms.table)

    @cached_property
    def varcorr(self) -> VarCorr:
        """Covariances of the random effects by grouping factor; prints the residual's too."""
        return VarCorr(self._record)

    @handed_out
    def ranef(self) -> dict[str, pd.DataFrame]:
        """BLUPs by grouping factor: the conditional means E(g | y), one row a level.

        Levels of an interaction ``"a:b"`` are labelled ``"a1:b1"``; under lme4's name of it,
        ``ranef["b:a"]``, they are ``"b1:a1"``. NaN is what hangs on a covariance of effects that
        never meet in one level, which no data tell.
        """
        from mlmfast.fitted.random_effects import means_by_group

        return means_by_group(self._by_group())

    @handed_out
    def ranef_cov(self) -> dict[str, ByLevel]:
        """Conditional covariances Var(g | y) by grouping factor and level (lme4's postVar).

        Raises
        ------
        ModelError
            For a fit by the iterative engine, which has the means alone.
        """
        from mlmfast.fitted.random_effects import covariances_by_group

        return covariances_by_group(self._by_group())

    def _by_group(self) -> list[tuple[GroupRecord, list[str], ConditionalEffects]]:
        from mlmfast.prediction.undetermined_blups import told_effects

        record, effects = self._record, told_effects(self)
        return [
            (
                group,
                [name for term in record.terms_on(position) for name in term.names],
                effects[position],
            )
            for position, group in enumerate(record.groups)
            if record.terms_on(position)
        ]

    # -- state of the fit ----------------------------------------------------------------------

    # -- inference -----------------------------------------------------------------------------

    def contrast(
        self, L: object, rhs: object = 0.0, ddf: str | float | None = None, level: float = 0.95
    ) -> Contrast:
        """Test linear functions of the fixed effects: one row by t, several together by F.

        Parameters
        ----------
        L
            Text (``"Days = 10"``, ``"trtB - trtA"``), a dict from names of coefficients to weights,
            an array of shape (p,) or (m, p) over all columns of X, or a list or a dict (by label)
            of those. Rows that depend on others are left out of the F test.
        rhs
            Values under the hypothesis, added to what texts give.
        ddf
            Method of degrees of freedom; the fit's own by default.
        level
            Level of the intervals.

        Raises
        ------
        ModelError
            For rows that are not estimable or contradict each other, unknown names, wrong lengths.

        Examples
        --------
        >>> import mlmfast as mlm
        >>> fit = mlm.lmm("Reaction ~ Days + (Days | Subject)", mlm.load_sleepstudy())
        >>> test = fit.contrast("Days = 10")
        >>> round(test.statistic, 4), round(test.df, 4), round(test.pvalue, 4)
        (0.3023, 17.0, 0.7661)
        """
        from mlmfast.inference.contrasts.contrast import contrast

        return contrast(self, L, rhs, ddf, level)

    def estimate(
        self,
        L: object,
        rhs: object = 0.0,
        ddf: str | float | None = None,
        level: float = 0.95,
        *,
        random: Mapping[str, Any] | None = None,
    ) -> Contrast:
        """Estimate linear functions one by one, without a joint test; arguments as `contrast`.

        Parameters
        ----------
        random
            Weights of random effects to add to a single function of the fixed effects, by grouping
            factor, level and effect: ``{"Subject": {"308": {"Days": 1}}}``; a number in place of
            the last dict is the intercept's weight. As PROC MIXED's ESTIMATE with random effects
            after the bar: the standard error is that of the error of prediction, degrees of
            freedom as for intervals in `predict`.

        Examples
        --------
        >>> import mlmfast as mlm
        >>> fit = mlm.lmm("Reaction ~ Days + (Days | Subject)", mlm.load_sleepstudy())
        >>> days = {"day 0": "(Intercept)", "day 5": "(Intercept) + 5 * Days"}
        >>> fit.estimate(days).table["se"].round(3).to_dict()
        {'day 0': 6.825, 'day 5': 9.581}
        >>> slope = fit.estimate("Days", random={"Subject": {"308": {"Days": 1}}})
        >>> round(slope.estimate, 3), round(slope.se, 3), round(slope.df, 1)
        (19.666, 2.336, 70.3)
        """
        if random is not None:
            from mlmfast.prediction.effect_estimates import effect_estimate

            return effect_estimate(self, L, random, rhs, ddf, level)
        from mlmfast.inference.contrasts.contrast import contrast

        return contrast(self, L, rhs, ddf, level, joint=False)

    @handed_out
    def covariance_parameters(self) -> pd.Series[float]:
        """Covariance parameters on their natural scale: elements of G, then the residual's.

        Named as ``Var(Days) | Subject`` and ``Cov((Intercept), Days) | Subject``; parameters of
        structures, and of the residual, as PROC MIXED names them.

        Examples
        --------
        >>> import mlmfast as mlm
        >>> fit = mlm.lmm("Reaction ~ Days + (1 | Subject)", mlm.load_sleepstudy())
        >>> fit.covariance_parameters.round(2).to_dict()
        {'Var((Intercept)) | Subject': 1378.18, 'Residual': 960.46}
        """
        from mlmfast.inference.intervals.covtest import parameter_series

        return parameter_series(self)

    def cov_theta(self, information: str = "observed") -> pd.DataFrame:
        """Asymptotic covariance of `covariance_parameters`, the inverse of their information.

        Parameters
        ----------
        information
            "observed" (PROC MIXED's ASYCOV) or "expected".

        Raises
        ------
        ModelError
            For another word, or a loaded fit.
        """
        from mlmfast.inference.intervals.covtest import parameter_covariance

        return parameter_covariance(self, information)

    def covtest(self, information: str = "observed", level: float = 0.95) -> CovarianceTests:
        """Wald tests of the covariance parameters (PROC MIXED's COVTEST): see `CovarianceTests`.

        Examples
        --------
        >>> import mlmfast as mlm
        >>> fit = mlm.lmm("Reaction ~ Days + (1 | Subject)", mlm.load_sleepstudy())
        >>> fit.covtest().table["se"].round(3).to_dict()
        {'Var((Intercept)) | Subject': 505.768, 'Residual': 107.048}
        """
        from mlmfast.inference.intervals.covtest import covariance_tests

        return covariance_tests(self, information, level)

    # -- what rows say -------------------------------------------------------------------------

    @handed_out
    def fittedvalues(self) -> pd.Series[float]:
        """X beta + Z g + offset at the BLUPs, in the order of the rows used."""
        from mlmfast.prediction.prediction import fitted_values

        return fitted_values(self._needs_source("fitted values"), self._record, self._effects)

    def resid(self, kind: str = "raw") -> pd.Series[float]:
        """Residuals, one a row used.

        Parameters
        ----------
        kind
            "raw" (or "conditional"): y minus fitted; "pearson": raw over the residual standard
            deviation of its row, sigma / sqrt(w) or, with variances by visit,
            sigma_visit / sqrt(w); "studentised": raw over its own standard deviation, the root of
            the diagonal of R P R; "studentised-marginal": marginal over the root of the diagonal
            of V - X (X'V^-1 X)^-1 X' (both as SAS);
            "marginal": y - X beta; "scaled": L^-1 (y - X beta) with V = L L' within each cluster
            (SAS VCIRY), independent with variance 1 under the model.
        """
        from mlmfast.diagnostics.residuals import residuals

        return residuals(self, self._needs_source("residuals"), kind)

    @property
    def plot(self) -> Plots:
        """Plots of the fit: ``fit.plot.caterpillar()``, ``residuals``, ``qq``, ..."""
        from mlmfast.plots import Plots

        return Plots(self)

    def influence(self, cluster: object = None) -> Influence:
        """Cook's D, DFBETAS, MDFFITS, COVRATIO, PRESS, leverage by cluster and by observation.

        Exact for the fixed effects with the covariance parameters held at their estimates;
        ``influence().one_step()`` lets the covariance parameters follow by one step.

        Parameters
        ----------
        cluster
            Rows left out together, as in `robust`, or levels of a crossed or inner factor; by
            default the outermost grouping factor.

        Raises
        ------
        ModelError, DataError
            For clusters that are not known, or correlated rows that share more effects than memory
            holds.
        """
        from mlmfast.diagnostics.influence import influence

        return influence(self, cluster)

    def predict(
        self,
        newdata: object = None,
        *,
        ranef: bool = True,
        new_levels: str = "error",
        interval: str | None = None,
        level: float = 0.95,
        offset: object = None,
        conditional: bool = False,
        weights: object = None,
        ddf: str | float | None = None,
        nonestimable: str = "nan",
    ) -> Any:
        """Predictions for the rows used or for new data, in the container of the user's frame.

        Parameters
        ----------
        newdata
            Data with the columns of the formula, the response not needed; None for the rows used.
            A row with a missing value is predicted as NaN.
        ranef
            Add the random effects (conditional) or not (marginal).
        new_levels
            Levels not in the data: "error", or "population" for a random effect of 0.
        interval
            "confidence" for x'beta + z'g (x'beta if marginal), "prediction" for a new response
            (of a new cluster if marginal): a data frame with columns fit, lower and upper, by
            t quantiles with the degrees of freedom of the fit's ``ddf``. Satterthwaite's are
            2 v^2 / (g'W g), with v the whole variance of the error and g its exact derivatives by
            the covariance parameters; Kenward and Roger's also add to v what estimating the
            parameters costs (linear form); the other methods give those of x'beta. Normal
            quantiles serve where matrices would be too large: clusters of more than 2,000 rows,
            long series, crossed designs with thousands of levels. Conditional intervals need the
            rows of the fit, so a loaded fit has none.
        level
            Level of the interval.
        offset
            Offset of the new rows where the fit had one as an argument: a column name or an array.
        conditional
            Expected response given those observed, E[y | y_o] = x'beta + c V^-1 (y_o - X_o beta)
            (mmrm's ``conditional = TRUE``): what the random effects say and, with a residual
            covariance, the residuals of the same subject at other visits. A row that is observed
            itself returns its own response. Observed are the rows of the fit and those of newdata
            that hold a response; a subject of whom nothing is observed gets x'beta. Without
            newdata, all rows of the data, those left out for a missing response too.
            "confidence" is then for that expected value (uncertain by beta alone), "prediction"
            for the response, both by normal quantiles. Where no ``residual=`` tells rows apart by
            subject and visit, rows of newdata are new observations, and a response among them is
            not used.
        weights
            Weights of new rows under ``conditional``, for a fit with weights: a column name or an
            array; by default the column the fit had them from.
        ddf
            Degrees of freedom of the intervals; the fit's own by default. "asymptotic", normal
            quantiles, also serves the prediction intervals of a loaded fit.
        nonestimable
            New rows whose x'beta the data of the fit do not determine, such as a cell of an
            interaction that no row has: "nan", with a warning that names them, or "value" for what
            x and the coefficients kept happen to give, which depends on the coding.

        Warns
        -----
        NonEstimableWarning

        Examples
        --------
        >>> import mlmfast as mlm
        >>> fit = mlm.lmm("Reaction ~ Days + (Days | Subject)", mlm.load_sleepstudy())
        >>> new = pd.DataFrame({"Days": [10], "Subject": ["308"]})
        >>> fit.predict(new, interval="confidence").round(1)
             fit  lower  upper
        0  450.3  419.0  481.7

        A visit that was not observed, from the others of the subject:

        >>> data = mlm.load_sleepstudy().iloc[:-1]
        >>> fit = mlm.lmm("Reaction ~ Days", data, residual="ar1(Days | Subject)")
        >>> new = pd.DataFrame({"Days": [8, 9], "Subject": ["372"] * 2})
        >>> fit.predict(new, conditional=True, interval="prediction").round(1)
             fit  lower  upper
        0  369.1  369.1  369.1
        1  373.4  314.6  432.1
        """
        from mlmfast.prediction.prediction import predict

        return predict(
            self,
            newdata,
            ranef=ranef,
            new_levels=new_levels,
            interval=interval,
            level=level,
            offset=offset,
            conditional=conditional,
            weights=weights,
            ddf=ddf,
            nonestimable=nonestimable,
        )

    def profile(self, which: str | Sequence[str] | None = None) -> Profile:
        """Profile likelihood of fixed effects and covariance parameters; see `Profile`.

        ``which``: names, "fixed", "covariance", or None for all. Standard deviations are named
        ``sd_x|g``, correlations ``cor_x.y|g``, the residual's parameters as `residual_parameters`.
        """
        from mlmfast.inference.intervals.profile import profile

        return profile(self._needs_source("a profile"), which)

    def bootstrap(
        self, n: int = 1000, seed: Any = None, statistic: Callable[[FitBatch], Any] | None = None
    ) -> Bootstrap:
        """Parametric bootstrap: n responses drawn from the fit and refitted; see `Bootstrap`.

        ``statistic`` takes a `FitBatch` and returns one number (or k) for each fit; by default all
        fixed effects and covariance parameters.
        """
        from mlmfast.inference.intervals.bootstrap import bootstrap

        return bootstrap(self, n, seed, statistic)

    def test_variance(
        self,
        term: str | None = None,
        method: str | None = None,
        n: int | None = None,
        seed: Any = None,
    ) -> VarianceTest:
        """Test whether a random effect is needed: its variance is 0, a value on the boundary.

        Parameters
        ----------
        term
            ``sd_x|g``, one effect; or a term as written, or its grouping factor. It may be left out
            where the model has a single random effect.
        method
            "exact", "mixture" or "bootstrap"; the first that serves by default.
        n, seed
            Draws of the null distribution, and their seed.

        Examples
        --------
        >>> import mlmfast as mlm
        >>> fit = mlm.lmm("Reaction ~ Days + (Days | Subject)", mlm.load_sleepstudy())
        >>> test = fit.test_variance("sd_Days|Subject")
        >>> round(test.statistic, 3), test.df, test.method
        (42.837, 2, 'mixture')
        """
        from mlmfast.inference.comparison.variance_tests import only_effect, variance_test

        source = self._needs_source("a test of a variance")
        if term is None:
            term = only_effect(source.design)
        return variance_test(source, self._record, term, method, n, seed)

    def ranova(self) -> pd.DataFrame:
        """Likelihood-ratio tests of leaving out each random effect, as lmerTest's ``ranova``.

        ``Pr(>Chisq)`` is conservative, for a variance of 0 lies on the boundary; ``Pr(mixture)``
        allows for that.
        """
        from mlmfast.inference.comparison.variance_tests import ranova

        return ranova(self._needs_source("ranova"), self._record)

    def icc(
        self,
        interval: str = "delta",
        level: float = 0.95,
        *,
        n: int = 1000,
        seed: Any = None,
    ) -> pd.DataFrame:
        """Intraclass correlations with intervals: estimate, se, lower, upper.

        "adjusted": variance of the random effects over that and the residual's; "conditional":
        over the fixed effects' too (Nakagawa, Johnson and Schielzeth 2017, J. R. Soc. Interface
        14); of random slopes the mean variance over the rows (Johnson 2014, Methods Ecol. Evol.
        5:944). With several grouping factors the share of each.

        Parameters
        ----------
        interval
            "delta" (symmetric in the logit) or "bootstrap".
        level, n, seed
            Of the intervals.

        Examples
        --------
        >>> import mlmfast as mlm
        >>> fit = mlm.lmm("Reaction ~ Days + (1 | Subject)", mlm.load_sleepstudy())
        >>> fit.icc().round(3)
                     estimate     se  lower  upper
        adjusted        0.589  0.093  0.403  0.753
        conditional     0.424  0.093  0.259  0.608
        """
        return self._explained("icc", interval, level, n, seed)

    def r2(
        self,
        method: str = "nakagawa",
        interval: str = "delta",
        level: float = 0.95,
        *,
        n: int = 1000,
        seed: Any = None,
    ) -> pd.DataFrame:
        """Share of the variance that is explained, with intervals: estimate, se, lower, upper.

        Parameters
        ----------
        method
            "nakagawa": marginal (fixed effects) and conditional (with the random effects), random
            slopes by their mean variance over the rows (Nakagawa and Schielzeth 2013, Methods
            Ecol. Evol. 4:133; Johnson 2014). "rights-sterba": of the total, within-cluster and
            between-cluster variance, the shares of fixed effects within (f1) and between (f2)
            clusters, of random slopes by covariates within (v1) and between (v2), and of the
            clusters' means (m) (Rights and Sterba 2019, Psychol. Methods 24:309; 2021, New Dir.
            Child Adolesc. Dev. 175:65, where covariates are not centred by cluster).
        interval, level, n, seed
            As `icc`.

        Examples
        --------
        >>> import mlmfast as mlm
        >>> fit = mlm.lmm("Reaction ~ Days + (Days | Subject)", mlm.load_sleepstudy())
        >>> fit.r2()["estimate"].round(3).to_dict()
        {'marginal': 0.279, 'conditional': 0.799}
        """
        return self._explained(method, interval, level, n, seed)

    def derived(
        self,
        function: Callable[[ParameterValues], Any],
        method: str = "delta",
        level: float = 0.95,
        *,
        scale: str = "identity",
        n: int = 1000,
        seed: Any = None,
    ) -> pd.DataFrame:
        """Functions of the parameters with standard errors and intervals.

        Parameters
        ----------
        function
            Takes a mapping from names of parameters (fixed effects; ``sd_x|g``, ``var_x|g``,
            ``cor_x.y|g``, ``cov_x.y|g``, ``sigma``, ``Residual``, or the residual structure's) to
            their values, and returns a number or a dict of numbers. It is differentiated exactly:
            use operators and NumPy's functions.
        method
            "delta", "profile" (functions of covariance parameters) or "bootstrap".
        level
            Of the interval.
        scale
            "identity", "log" or "logit": where the delta method's interval is symmetric.
        n, seed
            Of the bootstrap.

        Examples
        --------
        >>> import mlmfast as mlm
        >>> fit = mlm.lmm("Reaction ~ Days + (1 | Subject)", mlm.load_sleepstudy())
        >>> def total(p):
        ...     return p["var_(Intercept)|Subject"] + p["Residual"]
        >>> fit.derived(total, "profile").round(1)
               estimate     se   lower   upper
        value    2338.6  514.8  1635.2  4013.5
        """
        from mlmfast.inference.intervals.derived import derived

        return derived(
            self,
            function,
            method=method,
            level=level,
            scale=scale,
            n=n,
            seed=seed,
        )

    def simulate(self, n: int = 1, seed: Any = None) -> FloatArray:
        """Draw new responses from the model, shape (nobs, n); random effects drawn anew.

        ``seed``: int, SeedSequence or Generator; a column is the same whatever ``n`` is.
        """
        from mlmfast.clusters.simulate import simulate

        return simulate(self._needs_source("a simulation"), self._record, n, seed)

    def G(self, term: str) -> pd.DataFrame:
        """Covariance matrix of a random-effects term, named as written or by grouping factor."""
        from mlmfast.clusters.matrices import term_covariance

        return term_covariance(self._record, term)

    def R(self, cluster: object = None, rows: object = None) -> pd.DataFrame:
        """Residual covariance of a cluster's rows, weights included.

        Rows of different subjects are uncorrelated. None means all rows, as in V, Z and X;
        ``rows`` takes some of the cluster's, by position, as in V and `marginal`.
        """
        from mlmfast.clusters.matrices import residual_covariance

        return residual_covariance(self._needs_source("R"), self._record, cluster, rows)

    def Z(self, cluster: object = None) -> pd.DataFrame:
        """Columns of Z that belong to a cluster, its rows only."""
        from mlmfast.clusters.matrices import random_matrix

        return random_matrix(self._needs_source("Z"), self._record, cluster)

    def V(self, cluster: object = None, rows: object = None) -> pd.DataFrame:
        """Marginal covariance Z G Z' + R of a cluster's rows, or of some: ``rows=range(100)``."""
        from mlmfast.clusters.matrices import marginal_covariance

        return marginal_covariance(self._needs_source("V"), self._record, cluster, rows)

    def X(self, cluster: object = None) -> pd.DataFrame:
        """Rows of X of a cluster."""
        from mlmfast.clusters.matrices import fixed_matrix

        return fixed_matrix(self._needs_source("X"), self._record, cluster)

    def marginal(self, cluster: object = None, rows: object = None) -> MVN:
        """Distribution N(X_i beta, V_i) of a cluster's responses, or of some: ``rows=[0, 1]``."""
        from mlmfast.clusters.matrices import marginal_distribution

        return marginal_distribution(self._needs_source("marginal"), self._record, cluster, rows)

    # -- reports -------------------------------------------------------------------------------

    def summary(self) -> Summary:
        """The fit as a statistician expects it printed; see also `tidy` and `glance`."""
        from mlmfast.report.summary import Summary

        return Summary(self)

    def tidy(self, effects: str = "all") -> pd.DataFrame:
        """One row a parameter; ``effects``: "all", "fixed" or "random"."""
        from mlmfast.report.tidy import tidy

        return tidy(self, effects)

    def glance(self) -> pd.DataFrame:
        """One row of whole-model figures."""
        from mlmfast.report.tidy import glance

        return glance(self)

    def to_json(self, path: Any = None) -> str:
        """Return the fit as JSON text, and write it to ``path`` if given; see `mlmfast.load`."""
        from mlmfast.saving.storage import to_json

        return to_json(self, path)

    def __repr__(self) -> str:
        return str(self.summary())

    def _repr_html_(self) -> str:
        from mlmfast.report.html import fit_html

        return fit_html(self)

    def __getstate__(self) -> dict[str, Any]:
        """What a pickle and a copy keep: see `remove_data` for one without rows."""
        from mlmfast.saving.kept_state import state_of

        return state_of(self)

    def remove_data(self) -> None:
        """Let go of the rows of the data, in place, as the method of statsmodels' results does.

        The fit is then what `mlmfast.load` gives back of a saved one: what needs no rows works as
        before, tests by the methods of degrees of freedom used so far and by those that need no
        rows. `nbytes` says what that saves.

        Examples
        --------
        >>> import mlmfast as mlm
        >>> fit = mlm.lmm("Reaction ~ Days + (Days | Subject)", mlm.load_sleepstudy())
        >>> before = fit.nbytes
        >>> fit.remove_data()
        >>> fit.nbytes < before, round(float(fit.pvalues["Days"]), 9)
        (True, 3.264e-06)
        """
        from mlmfast.saving.kept_state import remove_data

        remove_data(self)

    @property
    def nbytes(self) -> int:
        """Bytes of the fit's pickle: the columns of the data that it read, and the estimates."""
        from mlmfast.saving.kept_state import size_of

        return size_of(self)

    # -- help ----------------------------------------------------------------------------------

    def _explained(
        self, figure: str, interval: str, level: float, n: int, seed: Any
    ) -> pd.DataFrame:
        from mlmfast.inference.intervals.explained_variance import explained, stored_explained

        if self._source is None:
            return stored_explained(self, figure, interval, level)
        return explained(self, figure, interval, level, n, seed)


def load(path_or_text: str | os.PathLike[str]) -> LMMResult:
    """Read a fit that `LMMResult.to_json` wrote. No code is run.

    Parameters
    ----------
    path_or_text : a file, or the JSON text itself

    Raises
    ------
    DataError
        Where the file cannot be read, is no saved fit, or is of a version not known here.

    Examples
    --------
    >>> import mlmfast as mlm
    >>> fit = mlm.lmm("Reaction ~ Days + (Days | Subject)", mlm.load_sleepstudy())
    >>> mlm.load(fit.to_json()).llf == fit.llf
    True
    """
    from mlmfast.saving.storage import read_fit

    found = read_fit(path_or_text)
    fit = LMMResult(found.record, None, found.timings, found.effects)
    fit.__dict__.update(found.answers)
    return fit
