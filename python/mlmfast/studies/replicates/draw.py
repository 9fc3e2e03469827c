"""Data drawn for replicates, each from a stream of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mlmfast.errors import DataError
from mlmfast.simulation.streams import Streams
from mlmfast.simulation.study_design import StudyDesign
from mlmfast.studies.plan.conditions import Condition
from mlmfast.studies.plan.generator import takes_rng
from mlmfast.studies.plan.plan import Plan
from mlmfast.studies.replicates.data_set import DataSet

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
        self._streams = Streams(plan.seed, condition.words)
        self._generate, self._condition = plan.generate, condition
        self._design = _design(plan.generate, condition)
        fixed = self._design is not None and not self._design.redraws_rows
        self._rows = DataSet(self._design.data) if self._design is not None and fixed else None

    def draw(self, replicate: int) -> DataSet:
        """The data of one replicate.

        Raises
        ------
        Exception
            Whatever the generator raises; DataError for what is no data set.
        """
        [found] = self.some([replicate])
        if isinstance(found, Exception):
            raise found
        return found

    def some(self, replicates: Sequence[int]) -> list[DataSet | Exception]:
        """The data of several, or what the generator raised."""
        if self._rows is None or self._design is None:
            return [self._one(replicate) for replicate in replicates]
        out: list[DataSet | Exception] = []
        step = max(1, _AT_A_TIME // self._design.nobs)
        for k in range(0, len(replicates), step):
            part = replicates[k : k + step]
            responses = self._design.responses(self._streams, part[0], len(part))
            name = self._design.response
            out += [self._rows.with_column(name, responses[:, i]) for i in range(len(part))]
        return out

    def _one(self, replicate: int) -> DataSet | Exception:
        rng = self._streams(replicate)
        try:
            given: Any = self._design
            if given is None:
                given = self._generate(dict(self._condition.values), rng)
            return DataSet(given.draw(rng) if isinstance(given, StudyDesign) else given)
        except Exception as error:
            return error


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
