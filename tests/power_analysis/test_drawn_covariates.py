"""Power where covariates are drawn anew: together, to the bit as each alone."""

import numpy as np
import pytest

import mlmfast as mlm
from mlmfast.simulation.streams import Streams

DESIGNS = {
    "intercepts": {"formula": "y ~ t * x + (1 | g)", "varcorr": {"g": 0.3}},
    "slopes": {"formula": "y ~ t + x + (x | g)", "varcorr": {"g": [[1, 0.2], [0.2, 0.5]]}},
    "bases": {"formula": "y ~ t + poly(x, 2) + (1 | g)", "varcorr": {"g": 0.3}},
    "missing": {"formula": "y ~ t + x + (1 | g)", "varcorr": {"g": 0.3}, "missing": {"mcar": 0.1}},
}


@pytest.mark.parametrize("name", DESIGNS)
@pytest.mark.parametrize("ddf", ["satterthwaite", "kenward-roger"])
def test_p_values_are_those_of_single_fits(name, ddf):
    design = mlm.design(
        **DESIGNS[name],
        levels={"g": 10, "t": [0, 1], "row": 2},
        covariates={"x": "normal(1, 2)"},
        params={"t": 0.4},
        sigma=1,
    )
    frame = mlm.power(design, "t", n=12, ddf=ddf, seed=3)
    streams = Streams(3, 0)
    pvalues = []
    for i in range(12):
        data = design.draw(streams(i))
        with np.errstate(all="ignore"):
            pvalues.append(_p(DESIGNS[name]["formula"], data, ddf))
    assert frame["power"].iloc[0] == np.mean(np.array(pvalues) <= 0.05)
    from mlmfast.power_analysis.analysis import Analysis
    from mlmfast.power_analysis.hypotheses import hypothesis

    analysis = Analysis(design, ddf=ddf)
    assert analysis._stacks == (name in {"intercepts", "slopes"})
    found = hypothesis(analysis, "t", None, 0, 3).outcome(streams, 0, 12)
    np.testing.assert_array_equal(found.pvalue, pvalues)


def _p(formula, data, ddf):
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return mlm.lmm(formula, data, ddf=ddf).pvalues["t"]
