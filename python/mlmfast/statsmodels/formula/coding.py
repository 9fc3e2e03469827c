"""Which factors of which terms are coded in full, and in which order terms give their columns.

patsy's rules (its documentation, "From terms to matrices"): terms go by the numbers in them; a
term's columns span what earlier terms with the same numbers do not.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

from mlmfast.statsmodels.formula.terms import Term

#: A part of a term: for each categorical factor whether it is coded in full.
Coded = dict[str, bool]


def coded_terms(terms: Sequence[Term], numeric: frozenset[str]) -> list[tuple[Term, list[Coded]]]:
    """Terms in the order of their columns, each with its parts.

    Examples
    --------
    >>> coded_terms([(), ("x",), ("a", "b")], frozenset(["x"]))
    [((), [{}]), (('a', 'b'), [{'b': False}, {'a': False, 'b': True}]), (('x',), [{}])]
    """
    buckets: dict[frozenset[str], list[Term]] = {}
    for term in terms:
        buckets.setdefault(frozenset(term) & numeric, []).append(term)
    order = sorted(buckets, key=bool)
    out = []
    for bucket in order:
        used: set[frozenset[str]] = set()
        for term in sorted(buckets[bucket], key=len):
            categorical = [factor for factor in term if factor not in numeric]
            out.append((term, _parts(categorical, used)))
    return out


def _parts(categorical: list[str], used: set[frozenset[str]]) -> list[Coded]:
    subsets = [s for r in range(len(categorical) + 1) for s in combinations(categorical, r)]
    fresh = [subset for subset in subsets if frozenset(subset) not in used]
    used.update(map(frozenset, fresh))
    parts: list[Coded] = [dict.fromkeys(subset, False) for subset in fresh]
    while _absorb_one(parts):
        pass
    return parts


def _absorb_one(parts: list[Coded]) -> bool:
    """Let one part take in a shorter one, whose one factor less it then codes in full."""
    for short_at, short in enumerate(parts):
        for long_at in range(short_at + 1, len(parts)):
            long = parts[long_at]
            more = [factor for factor in long if factor not in short]
            same = all(long.get(factor) == full for factor, full in short.items())
            if len(more) == 1 and len(long) == len(short) + 1 and same and not long[more[0]]:
                parts[long_at] = {**long, more[0]: True}
                parts.pop(short_at)
                return True
    return False
