"""What is kept of a residual covariance once it is fitted: plain numbers and names."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.handed_out import freeze


@dataclass(frozen=True)
class ResidualRecord:
    """The residual covariance of a fit.

    Attributes
    ----------
    text
        As written.
    structure
        Keyword.
    subject
        Name of the subjects' factor.
    n_subjects
        Number of subjects.
    visits, arms
        Labels of the visits and of the groups with parameters of their own.
    covariances : shape (n_arms, n_visits, n_visits)
    parameter_names
        Names of the natural parameters, one arm after the other.
    parameters : shape (n_parameters,)
    step
        Value of one step, for a structure by lag over numbers; 0 for visits that are levels or
        times, 1 for points.
    unseen
        Entries (arm, a, b) of visits whose covariance no data tell; ``covariances`` has a stand-in
        there, and so have ``parameters`` where ``unseen_parameters`` has their position.
    zero_parameters
        Positions of parameters that are held at 0 or have come there, which ``parameters`` may have
        up to rounding.
    zero_variances
        Visits (arm, a) whose variance is 0, which ``covariances`` may have up to rounding.
    """

    text: str
    structure: str
    subject: str
    n_subjects: int
    visits: tuple[str, ...]
    arms: tuple[str, ...]
    covariances: FloatArray
    parameter_names: tuple[str, ...]
    parameters: FloatArray
    step: float = 1.0
    unseen: tuple[tuple[int, int, int], ...] = ()
    unseen_parameters: tuple[int, ...] = ()
    zero_parameters: tuple[int, ...] = ()
    zero_variances: tuple[tuple[int, int], ...] = ()

    @property
    def told(self) -> FloatArray:
        """``covariances`` as reported: NaN where no data tell them, and 0 where they are."""
        if not self.unseen and not self.zero_variances:
            return self.covariances
        out = self.covariances.copy()
        for arm, a in self.zero_variances:
            out[arm, a] = out[arm, :, a] = 0.0
        for arm, a, b in self.unseen:
            out[arm, a, b] = out[arm, b, a] = np.nan
        return out

    @property
    def told_parameters(self) -> FloatArray:
        """``parameters`` as reported: NaN where no data tell them, and 0 where they are held so."""
        out = self.parameters.copy()
        out[list(self.zero_parameters)] = 0.0
        out[list(self.unseen_parameters)] = np.nan
        return out

    def __post_init__(self) -> None:
        freeze(self, "covariances", "parameters")


@dataclass(frozen=True)
class ScaleRecord:
    """The residual standard deviations of a fit that differ from row to row.

    Attributes
    ----------
    text
        As written.
    names
        Names of the parameters.
    is_ratio
        Whether each is a ratio of standard deviations rather than an exponent delta.
    parameters : shape (n_parameters,)
    levels
        Labels of the levels of each factor of the scale; one empty label without levels.
    """

    text: str
    names: tuple[str, ...]
    is_ratio: tuple[bool, ...]
    parameters: FloatArray
    levels: tuple[tuple[str, ...], ...]

    def __post_init__(self) -> None:
        freeze(self, "parameters")

    @property
    def logarithms(self) -> FloatArray:
        """Logarithms of the ratios, and the exponents, shape (n_parameters,)."""
        ratio = np.array(self.is_ratio)
        return np.where(ratio, np.log(np.where(ratio, self.parameters, 1.0)), self.parameters)
