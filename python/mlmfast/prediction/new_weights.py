"""Weights of new rows: given, or in the column that the fit had them from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlmfast.arrays import BoolArray, FloatArray
from mlmfast.data.finite import check_weights
from mlmfast.data.frame import Frame
from mlmfast.design.input_columns import input_column
from mlmfast.errors import DataError, ModelError

if TYPE_CHECKING:
    from mlmfast.fitted.fitted import Fitted


def weights_argument(fit: Fitted, frame: Frame, weights: Any, what: str) -> str | FloatArray | None:
    """A column of the frame, or one number a row; None for a fit without weights.

    Raises
    ------
    DataError, ModelError
        Where the fit had none and some are given, and where it had and there are none.
    """
    if weights is not None:
        if not fit._record.weighted:
            raise DataError("weights are given for newdata, but the fit had none")
        return input_column(weights, "weights", frame)
    if not fit._record.weighted:
        return None
    source = fit._source
    column = None if source is None or source.frame is None else source.frame.weights
    if column is None or not frame.has(column):
        raise ModelError(
            f"{what} depends on the weights of new rows, and newdata hold none; pass weights= (a "
            "column name of newdata, or one number a row)"
        )
    return column


def weights_of_rows(
    given: str | FloatArray | None, kept: Frame, complete: BoolArray
) -> FloatArray | None:
    """Weights of the rows without missing values, ``kept``, which ``complete`` marks."""
    if isinstance(given, str):
        return check_weights(kept.numeric(given), given)
    return None if given is None else check_weights(given[complete], "weights")
