"""What subjects would have had after an event: means and covariances by strategy.

Carpenter, Roger and Kenward (2013) Journal of Biopharmaceutical Statistics 23, 1352, section 4.3.
"""

from __future__ import annotations

from difflib import get_close_matches

import numpy as np

from mlmfast.arrays import BoolArray, FloatArray
from mlmfast.errors import ModelError

#: Names of the strategies, and other programs' words for them.
STRATEGIES = {
    "MAR": "missing at random",
    "J2R": "jump to reference",
    "CR": "copy reference",
    "CIR": "copy increments in reference",
    "LMCF": "last mean carried forward",
    "delta": "missing at random, delta added",
}
_SPELLINGS = {"JR": "J2R", "JTR": "J2R", "ALMCF": "LMCF", "OLMCF": "LMCF", "DELTA": "delta"}
#: Those that need a reference arm.
OF_REFERENCE = frozenset({"J2R", "CR", "CIR"})


def strategy_name(given: object) -> str:
    """Name of a strategy as it is kept.

    Raises
    ------
    ModelError
        For a word that is none.

    Examples
    --------
    >>> strategy_name("jr"), strategy_name("J2R")
    ('J2R', 'J2R')
    """
    text = str(given).upper()
    name = _SPELLINGS.get(text, text)
    if isinstance(given, str) and name in STRATEGIES:
        return name
    near = get_close_matches(text, [*STRATEGIES, *_SPELLINGS], n=1)
    hint = f"; did you mean {_SPELLINGS.get(near[0], near[0])!r}?" if near else ""
    known = ", ".join(f"{name!r} ({what})" for name, what in STRATEGIES.items())
    raise ModelError(f"strategy is {given!r}{hint}; use one of {known}")


def distribution(
    strategy: str,
    own: tuple[FloatArray, FloatArray],
    reference: tuple[FloatArray, FloatArray],
    event: int,
) -> tuple[FloatArray, FloatArray]:
    """Mean and covariance of a subject's responses at all J visits.

    Parameters
    ----------
    strategy
        Name of it.
    own, reference
        Means (m, J) and covariances (m, J, J) by the subject's arm and by the reference arm, for
        each of m draws of the parameters.
    event
        Position of the first visit that the event affects; J for none.

    Raises
    ------
    ModelError
        For LMCF from the first visit on, where there is no last mean.
    """
    mean, V = own
    size = mean.shape[-1]
    if strategy in {"MAR", "delta"} or event >= size:
        return own
    if strategy == "CR" or (event == 0 and strategy != "LMCF"):
        return reference
    if event == 0:
        raise ModelError(
            "LMCF has no last mean for a subject whose event is at the first visit; take 'MAR' or "
            "'CR', or leave such subjects out"
        )
    after = mean.copy()
    if strategy == "LMCF":
        after[:, event:] = mean[:, event - 1 : event]
        return after, V
    after[:, event:] = reference[0][:, event:]
    if strategy == "CIR":
        after[:, event:] += (mean - reference[0])[:, event - 1 : event]
    return after, _joined(V, reference[1], event)


def _joined(V: FloatArray, R: FloatArray, event: int) -> FloatArray:
    """The own covariance before the event, the reference's of what follows given it."""
    if V is R:
        return V
    a, b = slice(None, event), slice(event, None)
    slope = np.linalg.solve(R[:, a, a], R[:, a, b]).mT
    out = np.empty_like(V)
    out[:, a, a] = V[:, a, a]
    out[:, b, a] = slope @ V[:, a, a]
    out[:, a, b] = out[:, b, a].mT
    out[:, b, b] = R[:, b, b] - slope @ (R[:, a, a] - V[:, a, a]) @ slope.mT
    return out


def conditional(
    mean: FloatArray, V: FloatArray, y: FloatArray, missing: BoolArray
) -> tuple[FloatArray, FloatArray]:
    """Mean and covariance of missing responses given those observed, for each draw.

    Parameters
    ----------
    mean, V : shapes (m, J), (m, J, J)
    y : shape (J,); entries of missing visits are not looked at
    missing : shape (J,), bool

    Examples
    --------
    >>> V = np.array([[[4.0, 2.0], [2.0, 4.0]]])
    >>> found = conditional(np.zeros((1, 2)), V, np.array([2.0, 0.0]), np.array([False, True]))
    >>> found[0].tolist(), found[1].tolist()
    ([[1.0]], [[[3.0]]])
    """
    seen = ~missing
    if not seen.any():
        return mean[:, missing], V[:, missing][:, :, missing]
    cross = V[:, seen][:, :, missing]
    slope = np.linalg.solve(V[:, seen][:, :, seen], cross).mT
    away = (y[seen] - mean[:, seen])[:, :, None]
    centre = mean[:, missing] + (slope @ away)[..., 0]
    rest = V[:, missing][:, :, missing] - slope @ cross
    return centre, np.asarray((rest + rest.mT) / 2)
