"""`lmm` of what does not fit into memory is `reduce`, and its fit that of the rows."""

import pytest

import mlmfast as mlm
from mlmfast.errors import ModelError
from mlmfast.sources.frames import FramesSource

from .data import in_parts, relative, rows

TO_THE_END = {"tolerance": 1e-18}


class Vast(FramesSource):
    """Frames that say to be more than any memory."""

    @property
    def n_rows(self):
        """A number of rows."""
        return 10**13


@pytest.fixture(scope="module")
def data():
    return rows()


def vast(data):
    return Vast(in_parts(data), "vast frames", repeatable=True)


def test_what_does_not_fit_is_read_in_parts(data):
    formula = "y ~ f * t + (t | g)"
    expected = mlm.lmm(formula, data, ddf="kenward-roger", options=TO_THE_END)
    fit = mlm.lmm(formula, vast(data), ddf="kenward-roger", options=TO_THE_END)
    assert fit.nobs == expected.nobs
    assert relative(fit.bse, expected.bse) < 1e-12
    assert relative(fit.df, expected.df) < 1e-10
    with pytest.raises(ModelError, match="the rows themselves are needed"):
        fit.resid()


def test_what_cannot_be_read_in_parts_says_that_memory_lacks(data):
    for arguments in (
        {"residual_scale": "h"},
        {"residual": "us(t | unit)", "formula": "y ~ t + (1 | g)"},
        {"weights": data["w"]},
    ):
        call = {"formula": "y ~ t + (1 | g)", **arguments}
        with pytest.raises(MemoryError, match="reduce them part by part"):
            mlm.lmm(data=vast(data), **call)
