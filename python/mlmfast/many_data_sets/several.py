"""Several outcomes and several formulas, each a batch of fits, as one batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mlmfast.batch.fit_batch import FitBatch
from mlmfast.batch.merge import Layout, failed, merged
from mlmfast.data.frame import Frame
from mlmfast.errors import DataError, FormulaError, MlmError
from mlmfast.formula.functions import variables_of
from mlmfast.formula.mixed_formula import parse_formula
from mlmfast.model import LMM
from mlmfast.running.progress_bar import ProgressBar

#: Fits a formula to the levels of ``by``, or to tables.
FitTables = Callable[[str], FitBatch]
#: Names of the columns that tell the fits apart.
FORMULA, RESPONSE = "formula", "response"


@dataclass(frozen=True)
class Several:
    """Formulas by name, and the outcomes that each is fitted to.

    Attributes
    ----------
    formulas
        By name.
    responses
        Outcomes; empty where each formula has its own.
    """

    formulas: dict[str, str]
    responses: tuple[str, ...]

    @classmethod
    def of(cls, formula: Any, responses: Any) -> Several | None:
        """What a user gives; None for one formula with its own response.

        Raises
        ------
        FormulaError, DataError

        Examples
        --------
        >>> Several.of("y ~ x + (1 | g)", ["u", "v"]).responses
        ('u', 'v')
        """
        several = isinstance(formula, list | tuple | Mapping)
        if not several and responses is None:
            return None
        if not several:
            formula = [formula]
        named = formula if isinstance(formula, Mapping) else {text: text for text in formula}
        if not named:
            raise FormulaError("there is no formula; give one, a list or a dict of them")
        for text in named.values():
            if not isinstance(text, str):
                raise FormulaError(f"a formula is {text!r}; give text such as 'y ~ x + (1 | g)'")
        if not isinstance(formula, Mapping) and len(named) < len(formula):
            raise FormulaError("a formula is given twice")
        outcomes = () if responses is None else _names(responses)
        return cls({str(name): text for name, text in named.items()}, outcomes)

    @property
    def told_apart_by(self) -> tuple[str, ...]:
        """Columns that tell the fits apart."""
        return (FORMULA, RESPONSE) if len(self.formulas) > 1 else (RESPONSE,)

    def check_by(self, by: Any) -> None:
        """Refuse columns to cut the data by that are named as those that tell the fits apart.

        Raises
        ------
        DataError
        """
        names = by if isinstance(by, Sequence) and not isinstance(by, str) else [by]
        for name in names:
            if name in self.told_apart_by:
                raise DataError(
                    f"by={name!r} is also the column that tells fits of several formulas or "
                    f"responses apart; rename it in the data, as {name + '_'!r}"
                )

    def __iter__(self) -> Iterator[tuple[str, str, str]]:
        """Name of the formula, response, and the formula of that response."""
        for name, text in self.formulas.items():
            if not self.responses:
                yield name, parse_formula(text).response, text
            for response in self.responses:
                yield name, response, with_response(text, response)


def _names(responses: Any) -> tuple[str, ...]:
    given = [responses] if isinstance(responses, str) else responses
    if not isinstance(given, Sequence) or not all(isinstance(name, str) for name in given):
        raise DataError(f"responses is {responses!r}; give a list of names of columns")
    if not given or len(set(given)) < len(given):
        raise DataError(f"responses is {responses!r}; give each outcome once, one at least")
    return tuple(given)


def with_response(formula: str, response: str) -> str:
    """A formula with another left side.

    Examples
    --------
    >>> with_response("y ~ x + (1 | g)", "z"), with_response("~ x", "z")
    ('z ~ x + (1 | g)', 'z ~ x')
    """
    _, tilde, right = formula.partition("~")
    if not tilde:
        raise FormulaError(f"{formula!r} has no ~; write 'y ~ x + (1 | g)'")
    return f"{response} ~ {right.strip()}"


def fit_several(several: Several, fit: FitTables) -> FitBatch:
    """Each formula and response by ``fit``, as one batch; formulas vary slowest."""
    found = [(name, response, _tried(fit, text)) for name, response, text in several]
    return _joined(several, found)


def fit_responses(
    several: Several,
    data: Any,
    arguments: Mapping[str, Any],
    how: Mapping[str, Any],
    progress: bool | None = None,
) -> FitBatch:
    """Formulas and responses on one table: responses that share rows share one reduction."""
    frame = Frame.from_native(data)
    own = {name: value for name, value in arguments.items() if name != "formula"}
    found: list[tuple[str, str, FitBatch | MlmError]] = []
    n_fits = len(several.formulas) * max(len(several.responses), 1)
    with ProgressBar("fits", n_fits, progress) as bar:
        for name, text in several.formulas.items():
            outcomes = several.responses or (parse_formula(text).response,)
            parts: dict[str, FitBatch | MlmError] = {}
            for group in _by_rows(frame, outcomes):
                parts |= zip(group, _together(frame, text, group, own, how), strict=True)
                bar.advance(len(group))
            found += [(name, response, parts[response]) for response in outcomes]
    return _joined(several, found)


def _by_rows(frame: Frame, responses: Sequence[str]) -> list[list[str]]:
    """Responses that are missing in the same rows; what is no plain column stands alone."""
    groups: dict[Any, list[str]] = {}
    for name in responses:
        plain = variables_of(name) == (name,) and frame.has(name) and frame.is_numeric(name)
        key = np.isnan(frame.numeric(name)).tobytes() if plain else name
        groups.setdefault(key, []).append(name)
    return list(groups.values())


def _together(
    frame: Frame,
    formula: str,
    responses: Sequence[str],
    arguments: Mapping[str, Any],
    how: Mapping[str, Any],
) -> list[FitBatch | MlmError]:
    """The fit of each response, all from one model."""
    try:
        model = LMM(with_response(formula, responses[0]), frame, **arguments)
        if len(responses) == 1:
            # A function of columns, perhaps: as the model has it.
            columns, used = {responses[0]: model.design.y}, model._frame
            index = None if used is None else used.frame.index
        else:
            columns, index = {name: frame.numeric(name) for name in responses}, frame.index
        Y = pd.DataFrame(columns, index=index)
        # The bar is that of all of them.
        batch = model.fit_many(Y, **how, progress=False)
    except (FormulaError, DataError):
        raise
    except MlmError as error:
        return [error] * len(responses)
    layout = Layout.of([batch])
    return [merged([batch], np.array([k]), layout) for k in range(len(responses))]


def _tried(fit: FitTables, text: str) -> FitBatch | MlmError:
    try:
        return fit(text)
    except (FormulaError, DataError):
        raise
    except MlmError as error:
        return error


def _joined(several: Several, found: Sequence[tuple[str, str, FitBatch | MlmError]]) -> FitBatch:
    batches = [batch for _, _, batch in found if isinstance(batch, FitBatch)]
    if not batches:
        raise next(batch for _, _, batch in found if isinstance(batch, MlmError))
    layout = Layout.of(batches)
    like = batches[0]
    whole = [
        replace(failed(layout, 1, like.method, str(batch)), ddf=like.ddf)
        if isinstance(batch, MlmError)
        else batch
        for _, _, batch in found
    ]
    out = merged(whole, np.arange(sum(len(batch) for batch in whole)), layout)
    by: dict[str, list[Any]] = {name: [] for name in (*several.told_apart_by, *like.by)}
    labels: list[str] = []
    for (name, response, _), batch in zip(found, whole, strict=True):
        if FORMULA in several.told_apart_by:
            by[FORMULA] += [name] * len(batch)
        by[RESPONSE] += [response] * len(batch)
        for key in like.by:
            by[key] += list(batch.by.get(key, [None] * len(batch)))
        stem = [name] * (len(several.formulas) > 1) + [response]
        levels = batch.responses if like.by else ("",) * len(batch)
        labels += [": ".join([*stem, *([level] if level else [])]) for level in levels]
    columns: dict[str, NDArray[Any]] = {
        key: np.array(values, dtype=object) for key, values in by.items()
    }
    return replace(out.named(tuple(labels)), by=columns)
