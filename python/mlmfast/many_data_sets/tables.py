"""The tables that fit_each is given, once what concerns all of them is checked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mlmfast.data.frame import Frame
from mlmfast.design.input_columns import variables_used
from mlmfast.design.residual.scale import parse_scale
from mlmfast.errors import DataError, MlmError
from mlmfast.formula.mixed_formula import parse_formula
from mlmfast.formula.residual_formula import parse_residual
from mlmfast.many_data_sets.data_sets import Frames, Levels
from mlmfast.sources.frame_of import frame_of
from mlmfast.sources.open_source import is_source


def read_tables(data: Any, by: Any, arguments: Mapping[str, Any]) -> Levels | Frames:
    """The data sets, once what concerns all of them is checked."""
    if arguments["na_action"] not in {"drop", "raise"}:
        raise DataError(f"na_action is {arguments['na_action']!r}; use 'drop' or 'raise'")
    names = _names(arguments["formula"], arguments)
    if by is not None:
        frame = Frame.from_native(data)
        for name in names:
            frame.missing(name)
        return Levels.of(frame, by, arguments)
    if not is_sequence(data):
        raise DataError(
            "fit_each needs by=, the column whose levels are fitted, or a sequence of tables"
        )
    frames = Frames(list(data), arguments, tuple(names))
    _check_some(frames, names)
    return frames


def read_source(data: Any, by: Any, formulas: Sequence[str], arguments: Mapping[str, Any]) -> Any:
    """One table as it is; of a source the columns of the models and of ``by``, in memory.

    A list of frames is a source of which they are the parts. What passes once is read once,
    whatever number of formulas there is.
    """
    if isinstance(data, list | tuple) and not data:
        raise DataError("data is an empty sequence of tables")
    if not is_source(data):
        return data
    names = [name for text in formulas for name in _names(text, arguments)]
    cut = [by] if isinstance(by, str) else by if isinstance(by, Sequence) else []
    names += [name for name in cut if isinstance(name, str)]
    return frame_of(data, list(dict.fromkeys(names)))


def _names(formula: str, arguments: Mapping[str, Any]) -> list[str]:
    """Columns that a model reads."""
    residual, scale = arguments["residual"], arguments["residual_scale"]
    return list(
        variables_used(
            parse_formula(formula),
            None if residual is None else parse_residual(residual),
            None if scale is None else parse_scale(scale),
            (arguments["weights"], arguments["offset"]),
        )
    )


def is_sequence(data: Any) -> bool:
    """Whether data are several tables."""
    return isinstance(data, list | tuple | Iterator)


def _check_some(frames: Frames, names: Sequence[str]) -> None:
    """Refuse no tables at all, arguments by row, and a column that no table has."""
    if len(frames) == 0:
        raise DataError("data is an empty sequence of tables")
    for role in ("weights", "offset"):
        if frames.arguments[role] is not None and not isinstance(frames.arguments[role], str):
            raise DataError(f"{role} of several tables must be the name of a column of each")
    lacking = set(names)
    for position in range(len(frames)):
        try:
            frame = frames.frame(position)
        except MlmError:
            continue
        lacking -= set(frame.columns)
        if not lacking:
            return
    for position in range(len(frames)):
        try:
            frame = frames.frame(position)
        except MlmError:
            continue
        frame.missing(next(name for name in names if name in lacking))
