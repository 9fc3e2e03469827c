"""Estimated marginal means, contrasts between them, and joint tests."""

from mlmfast.emmeans.joint import JointTests, joint_tests
from mlmfast.emmeans.means import EMMeans, emmeans
from mlmfast.emmeans.tables import Contrasts

__all__ = ["Contrasts", "EMMeans", "JointTests", "emmeans", "joint_tests"]
