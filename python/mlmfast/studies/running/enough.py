"""Whether the finished replicates of a condition are enough."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mlmfast.studies.performance.measures import Sample, measured
from mlmfast.studies.performance.samples import COLUMNS, columns_of, samples
from mlmfast.studies.plan.plan import Chunk, Plan
from mlmfast.studies.running.folder import Folder

_SHARES = ("coverage", "power")
#: Level of the tests that `power` counts.
_ALPHA = 0.05


def has_enough(plan: Plan, folder: Folder, condition: int, finished: Sequence[Chunk]) -> bool:
    """Whether all Monte Carlo errors asked for are reached, for every method and estimand."""
    own = plan.conditions[condition]
    table = folder.read([folder.file(own, chunk) for chunk in finished], COLUMNS)
    if table is None:
        return False
    methods = list(plan.methods)
    found = samples(columns_of(table), methods, plan.truths[condition], _ALPHA, methods[0], False)
    answers = [_reached(plan, sample) for _, _, sample in found]
    told = [answer for answer in answers if answer is not None]
    return bool(told) and all(told)


def _reached(plan: Plan, sample: Sample) -> bool | None:
    """None where a method has nothing to measure: it does not hold up the others."""
    told = False
    for name, wanted in plan.stop_at.items():
        value, mcse = measured(sample, name)
        if np.isnan(value):
            continue
        told = True
        if name in _SHARES:
            # A share of 0 or 1 has an error too: two successes and two failures are added.
            share = (value * sample.n + 2.0) / (sample.n + 4.0)
            mcse = float(np.sqrt(share * (1.0 - share) / (sample.n + 4.0)))
        if not mcse <= wanted:
            return False
    return True if told else None
