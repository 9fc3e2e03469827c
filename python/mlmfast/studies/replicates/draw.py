"""Data drawn for one replicate, from a stream of its own."""

from __future__ import annotations

from typing import Any

from mlmfast.simulation.streams import stream
from mlmfast.studies.plan.conditions import Condition
from mlmfast.studies.plan.plan import Plan
from mlmfast.studies.replicates.data_set import DataSet


def draw(plan: Plan, condition: Condition, replicate: int) -> DataSet:
    """The data of one replicate: the same whenever and wherever it is drawn.

    Raises
    ------
    Exception
        Whatever the generator raises; DataError for what is no data set.
    """
    rng = stream(plan.seed, condition.words, replicate)
    given: Any = plan.generate(dict(condition.values), rng)
    return DataSet(given)
