"""statsmodels' `MixedLM` and `mixedlm`, with its names, arguments and shapes, fitted by mlmfast.

Scripts move by one import, ``import mlmfast.statsmodels as smf``, or by `install`, which puts these
behind ``statsmodels.formula.api``. Works without statsmodels too, whose classes are bases of these
where it is installed. docs/STATSMODELS.md lists what differs.

>>> import mlmfast as mlm, mlmfast.statsmodels as smf
>>> data = mlm.load_sleepstudy()
>>> fit = smf.mixedlm("Reaction ~ Days", data, groups=data["Subject"], re_formula="~Days").fit()
>>> fit.params.index.tolist()
['Intercept', 'Days', 'Group Var', 'Group x Days Cov', 'Days Var']
>>> round(fit.llf, 4)
-871.8141
"""

from mlmfast.statsmodels.classes import MixedLM, MixedLMResults, MixedLMResultsWrapper
from mlmfast.statsmodels.errors import (
    ConvergenceWarning,
    IgnoredArgumentWarning,
    MissingDataError,
    PatsyFormulaError,
    SingularDesignError,
    SingularMatrixWarning,
)
from mlmfast.statsmodels.install import install, uninstall
from mlmfast.statsmodels.parameters import MixedLMParams, VCSpec

#: `MixedLM.from_formula`.
mixedlm = MixedLM.from_formula

__all__ = [
    "ConvergenceWarning",
    "IgnoredArgumentWarning",
    "MissingDataError",
    "MixedLM",
    "MixedLMParams",
    "MixedLMResults",
    "MixedLMResultsWrapper",
    "PatsyFormulaError",
    "SingularDesignError",
    "SingularMatrixWarning",
    "VCSpec",
    "install",
    "mixedlm",
    "uninstall",
]
