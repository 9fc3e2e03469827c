"""Data drawn for replicates, each from a stream of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mlmfast.errors import DataError
from mlmfast.simulation.streams import Streams
from mlmfast.simulation.study_design import StudyDesign
from mlmfast.studies.plan.conditions import Condition
from mlmfast.studies.plan.generator import takes_rng
from mlmfast.studies.plan.plan import Plan
from mlmfast.studies.replicates.data_set import DataSet, SharedRows

#: Numbers in the responses that a design draws at a time.
_AT_A_TIME = 2_000_000


class Source:
    """What draws the data of one condition: the same of a replicate whenever it is drawn.

    Parameters
    ----------
    plan, condition
        A design is put under the condition once.
    """

    def __init__(self, plan: Plan, condition: Condition) -> None:
        self._streams = Streams(plan.seed, plan.words(condition))
        self._generate, self._condition = plan.generate, condition
        self._design = _design(plan.generate, condition)
        together = self._design is not None and self._design.draws_together
        self._rows = DataSet(self._design.data) if self._design is not None and together else None
        #: What the generator gave first: arrays equal to its own are not held again.
        self._first: DataSet | None = None

    def draw(self, replicate: int) -> DataSet:
        """The data of one replicate.

        Raises
        ------
        Exception
            Whatever the generator raises; DataError for what is no data set.
        """
        [found] = self.some(replicate, 1)
        if isinstance(found, Exception):
            raise found
        return found

    def shared(self, first: int, n: int) -> SharedRows | None:
        """The data of n replicates that differ in the columns a design draws; None for others."""
        design = self._design
        if self._rows is None or design is None:
            return None
        step = max(1, _AT_A_TIME // design.nobs)
        parts = [
            design.drawn_columns(self._streams, k, min(step, first + n - k))
            for k in range(first, first + n, step)
        ]
        if len(parts) == 1:
            return SharedRows(self._rows, parts[0])
        varying = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        return SharedRows(self._rows, varying)

    def some(self, first: int, n: int) -> Sequence[DataSet | Exception]:
        """The data of n replicates from number ``first`` on, or what the generator raised."""
        shared = self.shared(first, n)
        if shared is not None:
            return shared
        return [self._one(rng) for rng in self._streams.some(first, n)]

    @property
    def n_rows(self) -> int | None:
        """Rows of the design that all replicates share; None where they do not."""
        return None if self._rows is None or self._design is None else self._design.nobs

    def _one(self, rng: np.random.Generator) -> DataSet | Exception:
        try:
            given: Any = self._design
            if given is None:
                given = self._generate(dict(self._condition.values), rng)
            found = DataSet(
                given.draw(rng) if isinstance(given, StudyDesign) else given, self._first
            )
        except Exception as error:
            return error
        self._first = self._first or found
        return found


def _design(generate: Any, condition: Condition) -> StudyDesign | None:
    """The design of a condition, where it is one for all replicates."""
    if isinstance(generate, StudyDesign):
        return generate.under(condition.values)
    if takes_rng(generate):
        return None
    found = generate(dict(condition.values))
    if not isinstance(found, StudyDesign):
        raise DataError(
            f"generate takes the condition alone and returned {type(found).__name__}; return "
            "mlm.design(...), or take (condition, rng) and return a data frame"
        )
    return found
