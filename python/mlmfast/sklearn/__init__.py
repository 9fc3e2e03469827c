"""scikit-learn's interface: ``from mlmfast.sklearn import MixedModelRegressor``."""

from mlmfast.sklearn.regressor import MixedModelRegressor

__all__ = ["MixedModelRegressor"]
