"""The multivariate normal distribution, with its algebra in matrix form."""

from mlmfast.mvn.distribution import MVN
from mlmfast.mvn.linear_gaussian import joint_linear_gaussian, normal

__all__ = ["MVN", "joint_linear_gaussian", "normal"]
