"""One-sided tests, tests of equivalence, non-inferiority and non-superiority."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.distributions import lower_tail, upper_quantile
from mlmfast.errors import DataError, ModelError
from mlmfast.inference.multiplicity.adjustments import STEPWISE, sidak, stepwise
from mlmfast.inference.multiplicity.one_sided import OneSidedMaximumT

#: What users write, and R's emmeans understands.
_SIDES = {
    "two-sided": 0,
    "both": 0,
    "equivalence": 0,
    "=": 0,
    "!=": 0,
    "left": -1,
    "less": -1,
    "<": -1,
    "lower": -1,
    "nonsuperiority": -1,
    "non-superiority": -1,
    "right": 1,
    "greater": 1,
    ">": 1,
    "upper": 1,
    "noninferiority": 1,
    "non-inferiority": 1,
    "superiority": 1,
}
#: Adjustments of sizes of statistics alone, and what stands for them.
_TWO_SIDED_ONLY = frozenset({"tukey", "dunnett", "mvt", "simulation", "scheffe"})


@dataclass(frozen=True)
class Hypothesis:
    """What a row of a table is tested for.

    With a margin delta > 0: both sides, H0 abs(theta - null) >= delta (equivalence, by two
    one-sided tests); left, H0 theta >= null + delta (non-superiority); right, H0 theta <= null -
    delta (non-inferiority).

    Attributes
    ----------
    null, delta
        Value tested for; margin.
    side
        0 for both, -1 for less, 1 for greater.
    """

    null: float = 0.0
    delta: float = 0.0
    side: int = 0

    @property
    def is_plain(self) -> bool:
        """Whether it is the two-sided test without a margin."""
        return self.side == 0 and self.delta == 0.0

    @property
    def note(self) -> str:
        """What was tested."""
        null, delta = f"{self.null:g}", f"{self.delta:g}"
        if self.is_plain:
            return f"Tests of a difference from {null}"
        if self.side == 0:
            return f"Tests of equivalence with a margin of {delta}: |difference from {null}| < it"
        if self.delta:
            kind = "non-superiority" if self.side < 0 else "non-inferiority"
            return f"Tests of {kind} with a margin of {delta}, null {null}"
        return f"One-sided tests: {'less' if self.side < 0 else 'greater'} than {null}"


def hypothesis(null: object, delta: object, side: object) -> Hypothesis:
    """Read what a user asks to test.

    Raises
    ------
    DataError
        For a negative margin, a null that is no number or a side that is none.

    Examples
    --------
    >>> hypothesis(0, 2, "noninferiority")
    Hypothesis(null=0.0, delta=2.0, side=1)
    """
    numbers: list[float] = []
    for name, value in (("null", null), ("delta", delta)):
        is_number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
        if not is_number or not np.isfinite(value):  # type: ignore[call-overload]
            raise DataError(f"{name} is {value!r}; give a finite number")
        numbers.append(float(value))  # type: ignore[arg-type]
    if numbers[1] < 0:
        raise DataError(f"delta is {numbers[1]:g}; give the margin as a positive number")
    found = side if side in (-1, 0, 1) else _SIDES.get(str(side).lower())
    if found is None:
        raise DataError(
            f"side is {side!r}; use 'two-sided' (with delta=: equivalence), 'less' "
            "('nonsuperiority') or 'greater' ('noninferiority')"
        )
    return Hypothesis(numbers[0], numbers[1], int(found))


def one_sided_adjustment(adjust: str, asked: bool, side: int = 0) -> str:
    """The adjustment for one-sided tests: Sidak's for those of sizes, as in R's emmeans.

    Dunnett's is one-sided where it is asked for by name, and there is one side.

    Raises
    ------
    ModelError
        Where one of sizes was asked for by name.
    """
    if adjust not in _TWO_SIDED_ONLY or (asked and side and adjust in {"dunnett", "mvt"}):
        return adjust
    if asked:
        raise ModelError(
            f"adjust={adjust!r} is of the sizes of statistics, and these tests are one-sided; use "
            "'sidak', 'bonferroni', 'holm', 'hochberg', 'hommel', 'BH', 'none', or with a side and "
            "a control 'dunnett'"
        )
    return "sidak"


def sided_tests(
    difference: FloatArray,
    se: FloatArray,
    df: FloatArray,
    asked: Hypothesis,
    adjust: str,
    level: float,
    correlation: FloatArray | None = None,
) -> dict[str, FloatArray]:
    """t, p and limits of a family.

    Parameters
    ----------
    difference : shape (m,), estimates less the null.
    se, df : shape (m,).
    asked, adjust, level
        The hypothesis; an adjustment for one-sided tests; level of the limits.
    correlation : shape (m, m), of the estimates; for "dunnett" and "mvt".

    Returns
    -------
    dict
        ``t_ratio``, ``p_value``, ``lower`` and ``upper`` (of the difference). One-sided tests
        have one limit. Equivalence has the two limits of level 2 level - 1 (each that of one of
        the two tests): within the margin where p < 1 - level.

    Examples
    --------
    >>> test = sided_tests(np.array([0.5]), np.ones(1), np.array([np.inf]),
    ...                    Hypothesis(delta=3.0), "none", 0.95)
    >>> {name: round(float(value[0]), 4) for name, value in test.items()}
    {'t_ratio': -2.5, 'p_value': 0.0062, 'lower': -1.1449, 'upper': 2.1449}
    """
    m = len(difference)
    with np.errstate(divide="ignore", invalid="ignore"):
        if asked.side == 0:
            t = (np.abs(difference) - asked.delta) / se
            p = lower_tail(t, df)
        else:
            t = (difference + asked.side * asked.delta) / se
            p = lower_tail(-asked.side * t, df)
    share = (1.0 - level) / m if adjust in STEPWISE or adjust == "bonferroni" else 1.0 - level
    if adjust == "sidak":
        p, share = sidak(p, m), -np.expm1(np.log(level) / m)
    elif adjust == "bonferroni":
        p = np.minimum(m * p, 1.0)
    elif adjust in STEPWISE:
        p = stepwise(p, adjust)
    half = upper_quantile(share, df) * se
    if adjust in {"dunnett", "mvt"} and m > 1:
        assert correlation is not None, "asked for with it"
        exact = OneSidedMaximumT(correlation)
        pairs = list(zip((asked.side * t).tolist(), df.tolist(), strict=True))
        p = np.array([exact.upper_tail(value, own) for value, own in pairs])
        half = se * [exact.critical_value(1.0 - level, own) for own in df.tolist()]
    endless = np.full(m, np.inf)
    return {
        "t_ratio": t,
        "p_value": p,
        "lower": difference - half if asked.side >= 0 else -endless,
        "upper": difference + half if asked.side <= 0 else endless,
    }
