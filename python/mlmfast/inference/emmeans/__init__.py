"""Estimated marginal means, contrasts between them, and joint tests."""

from mlmfast.inference.emmeans.effect_tests import joint_tests
from mlmfast.inference.emmeans.joint import JointTests
from mlmfast.inference.emmeans.means import EMMeans, emmeans
from mlmfast.inference.emmeans.tables import Contrasts

__all__ = ["Contrasts", "EMMeans", "JointTests", "emmeans", "joint_tests"]
