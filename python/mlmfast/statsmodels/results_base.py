"""Results of a fit with statsmodels' names; containers are put on by a wrapper."""

from __future__ import annotations

from typing import Any

from mlmfast.statsmodels.results import means as _means
from mlmfast.statsmodels.results import prediction as _prediction
from mlmfast.statsmodels.results import profile as _profile
from mlmfast.statsmodels.results import summary as _summary
from mlmfast.statsmodels.results import term_tests as _term_tests
from mlmfast.statsmodels.results.arrays import ResultArrays


class MixedLMResultsBase(ResultArrays):
    """What a fit found; see `mlmfast.statsmodels.MixedLMResults`."""

    emmeans = _means.emmeans
    predict = _prediction.predict
    get_prediction = _prediction.get_prediction
    profile_re = _profile.profile_re
    summary = _summary.summary
    wald_test_terms = _term_tests.wald_test_terms

    def bootstrap(self, *_: Any, **__: Any) -> Any:
        """Refused: statsmodels draws rows, whatever their group."""
        raise NotImplementedError(
            "rows drawn one by one are no sample of groups; results.lmm.bootstrap(n, seed) draws "
            "from the model"
        )

    def t_test_pairwise(self, *_: Any, **__: Any) -> Any:
        """Refused: `mlmfast.lmm` has pairwise comparisons with adjusted p-values."""
        raise NotImplementedError(
            "pairwise comparisons: results.emmeans(name).contrast('pairwise'), or t_test with a "
            "row for each pair"
        )
