"""One replicate tried before a study runs: what concerns all of them is said at once."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from itertools import islice, product

from mlmfast.batch.fit_batch import FitBatch
from mlmfast.errors import DataError, FormulaError, MlmError, ModelError
from mlmfast.studies.plan.method import Method
from mlmfast.studies.plan.plan import Plan
from mlmfast.studies.replicates.data_set import DataSet
from mlmfast.studies.replicates.draw import Source
from mlmfast.studies.replicates.fit_together import fit_together, is_sound
from mlmfast.studies.replicates.of_fits import why_not

#: Replicates of each condition tried for one that can be drawn.
_TRIES = 20
#: Data sets looked at for an estimand that the first has not.
_LOOKS = 10


def rehearse(plan: Plan) -> None:
    """Draw a data set and fit the mixed models of a plan to it.

    Raises
    ------
    DataError
        Where no data can be drawn in any condition, or lack a column that a method reads.
    FormulaError, ModelError
        For a formula that cannot be used, and estimands that no method has.
    """
    functions = any(not isinstance(method, Method) for method in plan.methods.values())
    unknown: dict[str, str] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for data in islice(_drawn(plan), _LOOKS):
            unknown = {}
            for name, method in plan.methods.items():
                if isinstance(method, Method):
                    _try(plan, name, method, data, unknown)
            # A data set may lack a level by chance: others are looked at before that is said.
            if functions or not any(unknown.values()):
                return
    for text in unknown.values():
        if text:
            raise ModelError(text)


def _drawn(plan: Plan) -> Iterator[DataSet]:
    """Some data sets, one after the other.

    Raises
    ------
    DataError
        Where there is none.
    """
    problem: Exception | None = None
    found = False
    tries = product(plan.conditions, range(min(_TRIES, plan.n_replicates)))
    for condition, replicate in tries:
        try:
            data = Source(plan, condition).draw(replicate)
        except Exception as error:
            problem = problem or error
            continue
        found = True
        yield data
    if not found:
        raise DataError(
            f"generate failed in every replicate tried of every condition; the first, of "
            f"({plan.conditions[0]}): {type(problem).__name__}: {problem}"
        ) from problem


def _try(plan: Plan, name: str, method: Method, data: DataSet, unknown: dict[str, str]) -> None:
    """Fit one method; notes estimands that it has not, by its words, and those it has by none."""
    [(_, batch)] = list(fit_together(method, [data]))
    if isinstance(batch, MlmError):
        if isinstance(batch, FormulaError | DataError):
            raise type(batch)(f"method {name!r}: {batch}")
        return
    for estimand in plan.estimands:
        text = _cannot(method, batch, estimand)
        if not text:
            unknown[estimand] = ""
        elif unknown.get(estimand) != "":
            unknown[estimand] = f"method {name!r}: {text}"


def _cannot(method: Method, batch: FitBatch, estimand: str) -> str:
    """Why a fit cannot have an estimand; empty where it can, or where that is the data's fault."""
    return why_not(method, batch, estimand) if is_sound(batch)[0] else ""
