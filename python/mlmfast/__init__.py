"""mlmfast: Gaussian linear mixed models by ML and REML, fast and exact.

>>> import mlmfast as mlm
>>> fit = mlm.lmm("Reaction ~ Days + (Days | Subject)", mlm.load_sleepstudy())
>>> fit.varcorr["Subject"].round(2)
             (Intercept)   Days
(Intercept)       612.09   9.60
Days                9.60  35.07
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from mlmfast._core import __version__
from mlmfast.errors import (
    AliasedWarning,
    ComparisonError,
    ConvergenceWarning,
    DataError,
    DifferentContrastsWarning,
    FormulaError,
    MixedVersionsWarning,
    MlmError,
    ModelError,
    NonEstimableWarning,
    RelationshipWarning,
    SingularFitWarning,
    SpacingWarning,
    SuspectValueWarning,
)

if TYPE_CHECKING:
    from mlmfast import mvn
    from mlmfast.batch.fit_batch import FitBatch
    from mlmfast.by_size import lmm
    from mlmfast.catalogue.codes import warning_codes
    from mlmfast.compare_structures import compare_structures
    from mlmfast.covariance.names import structures
    from mlmfast.data.datasets import load_sleepstudy
    from mlmfast.fitted.certificates.certificate import Certificate
    from mlmfast.imputation.pooling.pool import pool
    from mlmfast.inference.comparison.compare import Comparison, compare
    from mlmfast.inference.emmeans.effect_tests import joint_tests
    from mlmfast.inference.permutation.permutation_test import permutation_test
    from mlmfast.low_level.reduction import Reduction
    from mlmfast.many_data_sets.fit_each import fit_each
    from mlmfast.mergeable.reduce import reduce
    from mlmfast.mergeable.reduction import load_reduction
    from mlmfast.model import LMM
    from mlmfast.newton.options import NewtonOptions
    from mlmfast.power_analysis.detectable_effect import detectable_effect
    from mlmfast.power_analysis.power import power
    from mlmfast.power_analysis.sample_size import sample_size
    from mlmfast.relationships.pedigree import Pedigree, pedigree
    from mlmfast.relationships.precision import Precision, precision
    from mlmfast.result import LMMResult, load
    from mlmfast.simulation.make import design
    from mlmfast.simulation.study_design import StudyDesign
    from mlmfast.studies.plan.method import Method
    from mlmfast.studies.result import StudyResult, load_study
    from mlmfast.studies.study import Study
    from mlmfast.translation.r.translated import from_r
    from mlmfast.translation.sas.translated import from_sas
    from mlmfast.validation.run import validate

__all__ = [
    "LMM",
    "AliasedWarning",
    "Certificate",
    "Comparison",
    "ComparisonError",
    "ConvergenceWarning",
    "DataError",
    "DifferentContrastsWarning",
    "FitBatch",
    "FormulaError",
    "LMMResult",
    "Method",
    "MixedVersionsWarning",
    "MlmError",
    "ModelError",
    "NewtonOptions",
    "NonEstimableWarning",
    "Pedigree",
    "Precision",
    "Reduction",
    "RelationshipWarning",
    "SingularFitWarning",
    "SpacingWarning",
    "Study",
    "StudyDesign",
    "StudyResult",
    "SuspectValueWarning",
    "__version__",
    "compare",
    "compare_structures",
    "design",
    "detectable_effect",
    "fit_each",
    "from_r",
    "from_sas",
    "joint_tests",
    "lmm",
    "load",
    "load_reduction",
    "load_sleepstudy",
    "load_study",
    "mvn",
    "pedigree",
    "permutation_test",
    "pool",
    "power",
    "precision",
    "reduce",
    "sample_size",
    "structures",
    "validate",
    "warning_codes",
]

#: Imported when they are asked for: `import mlmfast` stays quick, and `mlmfast.Reduction` needs
#: NumPy alone.
_LATER = {
    "Certificate": "mlmfast.fitted.certificates.certificate",
    "LMM": "mlmfast.model",
    "LMMResult": "mlmfast.result",
    "NewtonOptions": "mlmfast.newton.options",
    "Reduction": "mlmfast.low_level.reduction",
    "Pedigree": "mlmfast.relationships.pedigree",
    "Precision": "mlmfast.relationships.precision",
    "lmm": "mlmfast.by_size",
    "load": "mlmfast.result",
    "load_reduction": "mlmfast.mergeable.reduction",
    "reduce": "mlmfast.mergeable.reduce",
    "load_sleepstudy": "mlmfast.data.datasets",
    "structures": "mlmfast.covariance.names",
    "Comparison": "mlmfast.inference.comparison.compare",
    "Method": "mlmfast.studies.plan.method",
    "Study": "mlmfast.studies.study",
    "StudyResult": "mlmfast.studies.result",
    "load_study": "mlmfast.studies.result",
    "FitBatch": "mlmfast.batch.fit_batch",
    "StudyDesign": "mlmfast.simulation.study_design",
    "compare": "mlmfast.inference.comparison.compare",
    "compare_structures": "mlmfast.compare_structures",
    "fit_each": "mlmfast.many_data_sets.fit_each",
    "from_r": "mlmfast.translation.r.translated",
    "from_sas": "mlmfast.translation.sas.translated",
    "joint_tests": "mlmfast.inference.emmeans",
    "detectable_effect": "mlmfast.power_analysis.detectable_effect",
    "pedigree": "mlmfast.relationships.pedigree",
    "permutation_test": "mlmfast.inference.permutation.permutation_test",
    "pool": "mlmfast.imputation.pooling.pool",
    "power": "mlmfast.power_analysis.power",
    "precision": "mlmfast.relationships.precision",
    "sample_size": "mlmfast.power_analysis.sample_size",
    "validate": "mlmfast.validation.run",
    "warning_codes": "mlmfast.catalogue.codes",
}

#: Packages whose name is public, and those that stand beside another package.
_PACKAGES = (
    "design", "low_level", "maketables", "marginaleffects", "mvn", "sklearn", "stargazer",
    "statsmodels",
)  # fmt: skip


#: Functions of other programs, and what does the same here.
_ELSEWHERE = {
    "GEE": "mlm.lmm(formula, data, residual='cs(visit | subject)') and robust('CR0') of its fit",
    "Lmer": "mlm.lmm(formula, data)",
    "MixedLM": "mlm.lmm(formula, data), or mlmfast.statsmodels.MixedLM",
    "gls": "mlm.lmm(formula, data, residual='ar1(visit | subject)')",
    "lme": "mlm.lmm(formula, data)",
    "lmer": "mlm.lmm(formula, data)",
    "mixedlm": "mlm.lmm(formula, data), or mlmfast.statsmodels.mixedlm",
    "mmrm": "mlm.lmm(formula, data, residual='us(visit | subject)')",
}


def __getattr__(name: str) -> Any:
    """A public name that is imported on its first use."""
    if name in _PACKAGES:
        return import_module(f"mlmfast.{name}")
    if name not in _LATER:
        instead = f"; use {_ELSEWHERE[name]}" if name in _ELSEWHERE else ""
        raise AttributeError(f"module 'mlmfast' has no attribute {name!r}{instead}")
    module = import_module(_LATER[name])
    found = getattr(module, name, module)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATER})
