"""Tail of a weighted sum of chi-squared variables over another chi-squared variable."""

from __future__ import annotations

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.running.scipy_on_use import special

#: A weight over the largest that is left out; terms are summed until this little is left.
_NO_WEIGHT, _LEFT = 1e-4, 1e-14
_MOST_TERMS = 1_000_000


def ratio_tail(weights: FloatArray, ratio: float, df: float) -> float:
    """P(sum w_i Z_i^2 > ratio chi^2(df) / df), or P(sum w_i Z_i^2 > ratio) for infinite df.

    The sum is a mixture of b chi^2(m + 2 j), b the least weight, whose shares are the coefficients
    of prod_i (b / w_i)^(1/2) (1 - (1 - b / w_i) s)^(-1/2): all terms are positive, so that small
    probabilities keep their digits.

    References: Ruben (1962), Annals of Mathematical Statistics 33, 542-570.

    Examples
    --------
    >>> round(ratio_tail(np.ones(2), 2 * 3.0, 10.0), 6)
    0.095367
    """
    weights = weights[weights > _NO_WEIGHT * weights.max()]
    least, m = float(weights.min()), len(weights)
    shares = _shares(1.0 - least / weights) * float(np.sqrt(np.prod(least / weights)))
    halves = 0.5 * m + np.arange(len(shares))
    if np.isinf(df):
        tails = special.gammaincc(halves, 0.5 * ratio / least)
    else:
        tails = special.betainc(0.5 * df, halves, 1.0 / (1.0 + ratio / (least * df)))
    return float(min(shares @ tails + max(1.0 - shares.sum(), 0.0), 1.0))


def _shares(rates: FloatArray) -> FloatArray:
    """Coefficients of prod (1 - r_i s)^(-1/2), as many as count.

    From its logarithmic derivative: j a_j = sum_{l<=j} c_l a_{j-l}, c_l = sum_i r_i^l / 2, which
    is a recurrence of the order of the different rates.
    """
    different, counts = np.unique(rates[rates > 0.0], return_counts=True)
    if not different.size:
        return np.ones(1)
    # Plain numbers: there are two or three rates, and up to hundreds of thousands of terms.
    pairs = list(zip(different.tolist(), (0.5 * counts).tolist(), strict=True))
    total = float(np.prod((1.0 - different) ** (-0.5 * counts)))
    sums, out, reached, last = [0.0] * len(pairs), [1.0], 1.0, 1.0
    while reached < total * (1.0 - _LEFT) and len(out) < _MOST_TERMS:
        # s_i(j) = sum_l r_i^l a_{j-l}
        whole = 0.0
        for i, (rate, half) in enumerate(pairs):
            sums[i] = rate * (sums[i] + last)
            whole += half * sums[i]
        last = whole / len(out)
        out.append(last)
        reached += last
    return np.array(out)
