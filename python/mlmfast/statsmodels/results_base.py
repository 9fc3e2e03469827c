"""Results of a fit with statsmodels' names; containers are put on by a wrapper."""

from __future__ import annotations

from mlmfast.statsmodels import prediction as _prediction
from mlmfast.statsmodels import profile as _profile
from mlmfast.statsmodels import summary as _summary
from mlmfast.statsmodels.result_arrays import ResultArrays


class MixedLMResultsBase(ResultArrays):
    """What a fit found; see `mlmfast.statsmodels.MixedLMResults`."""

    predict = _prediction.predict
    get_prediction = _prediction.get_prediction
    profile_re = _profile.profile_re
    summary = _summary.summary
