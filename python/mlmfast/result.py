"""LMMResult: what a fit says, in pandas containers named as statsmodels names them.

A table of contents: each name is a function of a fit, which stands in the package it belongs to.
"""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING, Any

from mlmfast.fitted.guessed_names import missing_attribute
from mlmfast.guessed_arguments import told_as_method
from mlmfast.handed_out import handed_out
from mlmfast.report import varcorr as _varcorr
from mlmfast.running.first_use import FunctionsOnUse, property_of
from mlmfast.typed_calls import TypedCalls

if TYPE_CHECKING:
    from mlmfast import plots as _plots
    from mlmfast.clusters import matrices as _matrices
    from mlmfast.clusters import simulate as _simulate
    from mlmfast.diagnostics import influence as _influence
    from mlmfast.diagnostics import residuals as _residuals
    from mlmfast.fitted.residual import at_points as _residual_at_points
    from mlmfast.fitted.residual import covariance as _residual_covariance
    from mlmfast.imputation import impute as _impute
    from mlmfast.inference.comparison import compare as _compare
    from mlmfast.inference.comparison import conditional_aic as _conditional_aic
    from mlmfast.inference.comparison import information_criteria as _information_criteria
    from mlmfast.inference.comparison import ranova as _ranova
    from mlmfast.inference.comparison import variance_tests as _variance_tests
    from mlmfast.inference.contrasts import contrast as _contrast
    from mlmfast.inference.emmeans import means as _means
    from mlmfast.inference.emmeans.trends import emtrends as _emtrends
    from mlmfast.inference.intervals import conf_int as _conf_int
    from mlmfast.inference.intervals import covtest as _covtest
    from mlmfast.inference.intervals import derived as _derived
    from mlmfast.inference.intervals import parameter_table as _parameter_table
    from mlmfast.inference.intervals import shares_of_variance as _shares_of_variance
    from mlmfast.inference.intervals.profile import profile as _profile
    from mlmfast.inference.resampling import bootstrap as _bootstrap
    from mlmfast.inference.resampling import posterior as _posterior
    from mlmfast.inference.robust import kinds as _kinds
    from mlmfast.inference.robust import robust as _robust
    from mlmfast.moments import mean_squares as _mean_squares
    from mlmfast.prediction import effect_estimates as _effect_estimates
    from mlmfast.prediction import prediction as _prediction
    from mlmfast.prediction import ranef as _ranef
    from mlmfast.report import fit_warnings as _fit_warnings
    from mlmfast.report import html as _html
    from mlmfast.report import maketables as _maketables
    from mlmfast.report import summary as _summary
    from mlmfast.report import tidy as _tidy
    from mlmfast.saving import kept_state as _kept_state
    from mlmfast.saving import manifest as _manifest
    from mlmfast.saving import storage as _storage
    from mlmfast.smooths import smooth as _smooth
    from mlmfast.smooths import table as _smooth_table
else:
    _functions_of = partial(FunctionsOnUse, as_method=told_as_method)
    _plots = _functions_of("mlmfast.plots")
    _matrices = _functions_of("mlmfast.clusters.matrices")
    _simulate = _functions_of("mlmfast.clusters.simulate")
    _influence = _functions_of("mlmfast.diagnostics.influence")
    _residuals = _functions_of("mlmfast.diagnostics.residuals")
    _residual_at_points = _functions_of("mlmfast.fitted.residual.at_points")
    _residual_covariance = _functions_of("mlmfast.fitted.residual.covariance")
    _impute = _functions_of("mlmfast.imputation.impute")
    _anova = _functions_of("mlmfast.inference.anova.anova")
    _compare = _functions_of("mlmfast.inference.comparison.compare")
    _conditional_aic = _functions_of("mlmfast.inference.comparison.conditional_aic")
    _information_criteria = _functions_of("mlmfast.inference.comparison.information_criteria")
    _ranova = _functions_of("mlmfast.inference.comparison.ranova")
    _variance_tests = _functions_of("mlmfast.inference.comparison.variance_tests")
    _contrast = _functions_of("mlmfast.inference.contrasts.contrast")
    _means = _functions_of("mlmfast.inference.emmeans.means")
    _emtrends = _functions_of("mlmfast.inference.emmeans.trends.emtrends")
    _bootstrap = _functions_of("mlmfast.inference.resampling.bootstrap")
    _posterior = _functions_of("mlmfast.inference.resampling.posterior")
    _conf_int = _functions_of("mlmfast.inference.intervals.conf_int")
    _covtest = _functions_of("mlmfast.inference.intervals.covtest")
    _derived = _functions_of("mlmfast.inference.intervals.derived")
    _parameter_table = _functions_of("mlmfast.inference.intervals.parameter_table")
    _profile = _functions_of("mlmfast.inference.intervals.profile.profile")
    _shares_of_variance = _functions_of("mlmfast.inference.intervals.shares_of_variance")
    _kinds = _functions_of("mlmfast.inference.robust.kinds")
    _robust = _functions_of("mlmfast.inference.robust.robust")
    _mean_squares = _functions_of("mlmfast.moments.mean_squares")
    _effect_estimates = _functions_of("mlmfast.prediction.effect_estimates")
    _prediction = _functions_of("mlmfast.prediction.prediction")
    _ranef = _functions_of("mlmfast.prediction.ranef")
    _fit_warnings = _functions_of("mlmfast.report.fit_warnings")
    _html = _functions_of("mlmfast.report.html")
    _maketables = _functions_of("mlmfast.report.maketables")
    _summary = _functions_of("mlmfast.report.summary")
    _tidy = _functions_of("mlmfast.report.tidy")
    _kept_state = _functions_of("mlmfast.saving.kept_state")
    _manifest = _functions_of("mlmfast.saving.manifest")
    _storage = _functions_of("mlmfast.saving.storage")
    _smooth = _functions_of("mlmfast.smooths.smooth")
    _smooth_table = _functions_of("mlmfast.smooths.table")


class LMMResult(TypedCalls):
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

    cov_params = _kinds.cov_params
    conf_int = _conf_int.conf_int
    robust = _robust.robust
    contrast = _contrast.contrast
    estimate = _effect_estimates.estimate
    emmeans = _means.emmeans
    emtrends = _emtrends.emtrends

    # -- covariance parameters -----------------------------------------------------------------

    covariance_parameters = handed_out(_parameter_table.covariance_parameters)
    cov_theta = _parameter_table.cov_theta
    covtest = _covtest.covtest
    mean_squares = property_of(_mean_squares.mean_squares)
    profile = _profile.profile
    bootstrap = _bootstrap.bootstrap
    posterior = _posterior.posterior
    derived = _derived.derived
    icc = _shares_of_variance.icc
    r2 = _shares_of_variance.r2
    residual_parameters = handed_out(_residual_covariance.residual_parameters)
    residual_cov = handed_out(_residual_covariance.residual_cov)
    residual_corr = handed_out(_residual_covariance.residual_corr)
    residual_cov_at = _residual_at_points.residual_cov_at

    # -- random effects ------------------------------------------------------------------------

    varcorr = handed_out(_varcorr.varcorr)
    ranef = handed_out(_ranef.ranef)
    ranef_cov = handed_out(_ranef.ranef_cov)
    test_variance = _variance_tests.variance_test
    ranova = _ranova.ranova

    # -- smooth terms --------------------------------------------------------------------------

    smooths = property_of(_smooth_table.smooths)
    smooth = _smooth.smooth

    # -- comparison ----------------------------------------------------------------------------

    information_criteria = _information_criteria.information_criteria
    caic = _conditional_aic.caic
    _compared = _compare.compare

    # -- what rows say -------------------------------------------------------------------------

    fittedvalues = handed_out(_prediction.fittedvalues)
    resid = _residuals.resid
    influence = _influence.influence
    impute = _impute.impute
    simulate = _simulate.simulate
    G = _matrices.G
    R = _matrices.R
    Z = _matrices.Z
    V = _matrices.V
    X = _matrices.X
    marginal = _matrices.marginal

    # -- reports -------------------------------------------------------------------------------

    warnings = property_of(_fit_warnings.warnings_of)
    summary = _summary.summary
    tidy = _tidy.tidy
    glance = _tidy.glance
    plot = property_of(_plots.plot)
    _repr_html_ = _html.fit_html

    __maketables_coef_table__ = property_of(_maketables.coefficient_table)
    __maketables_depvar__ = property_of(_maketables.response)
    __maketables_stat__ = _maketables.statistic
    __maketables_default_stat_keys__ = property_of(_maketables.shown)
    __maketables_vcov_info__ = property_of(_maketables.errors)
    __maketables_fixef_string__ = property_of(_maketables.no_levels)

    def __repr__(self) -> str:
        return str(self.summary())

    if not TYPE_CHECKING:
        # Their types, which depend on the arguments, are those of `TypedCalls`.
        anova, predict = _anova.anova, _prediction.predict

        def __getattr__(self, name: str) -> Any:
            raise missing_attribute(name, dir(type(self)))

    # -- saving --------------------------------------------------------------------------------

    to_json = _storage.to_json
    manifest = property_of(_manifest.manifest)
    remove_data = _kept_state.remove_data
    nbytes = property_of(_kept_state.nbytes)
    __getstate__ = _kept_state.state_of


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
    found = _storage.read_fit(path_or_text)
    fit = LMMResult(found.record, None, found.timings, found.effects)
    fit.__dict__.update(found.answers)
    return fit
