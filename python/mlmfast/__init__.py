"""mlmfast: Gaussian linear mixed models by ML and REML, fast and exact.

>>> import mlmfast as mlm
>>> fit = mlm.lmm("Reaction ~ Days + (Days | Subject)", mlm.load_sleepstudy())
>>> fit.varcorr["Subject"].round(2)
             (Intercept)   Days
(Intercept)       612.09   9.60
Days                9.60  35.07
"""

from mlmfast import mvn
from mlmfast._core import __version__
from mlmfast.batch import FitBatch
from mlmfast.certificate import Certificate
from mlmfast.compare_fits import Comparison, compare
from mlmfast.compare_structures import compare_structures
from mlmfast.covariance import structures
from mlmfast.datasets import load_sleepstudy
from mlmfast.emmeans import joint_tests
from mlmfast.errors import (
    AliasedWarning,
    ComparisonError,
    ConvergenceWarning,
    DataError,
    FormulaError,
    MlmError,
    ModelError,
    NonEstimableWarning,
    RelationshipWarning,
    SingularFitWarning,
    SpacingWarning,
)
from mlmfast.model import LMM, lmm
from mlmfast.newton import NewtonOptions
from mlmfast.result import LMMResult
from mlmfast.storage import load

__all__ = [
    "LMM",
    "AliasedWarning",
    "Certificate",
    "Comparison",
    "ComparisonError",
    "ConvergenceWarning",
    "DataError",
    "FitBatch",
    "FormulaError",
    "LMMResult",
    "MlmError",
    "ModelError",
    "NewtonOptions",
    "NonEstimableWarning",
    "RelationshipWarning",
    "SingularFitWarning",
    "SpacingWarning",
    "__version__",
    "compare",
    "compare_structures",
    "joint_tests",
    "lmm",
    "load",
    "load_sleepstudy",
    "mvn",
    "structures",
]
