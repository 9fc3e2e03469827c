"""Rows in any order, copied block by block before units are read, or left where they lie."""

import numpy as np
import pandas as pd
import pytest

import mlmfast as mlm
from tests.threads import output_for_any_number_of_threads

N, N_COLUMNS, N_GROUPS = 60_000, 40, 3_000
FORMULA = "y ~ " + " + ".join(f"x{k}" for k in range(N_COLUMNS)) + " + (x0 | g)"


def rows_in_any_order() -> pd.DataFrame:
    """More numbers, in columns of their own, than the caches hold."""
    rng = np.random.default_rng(5)
    x = rng.normal(size=(N, N_COLUMNS))
    g = rng.integers(0, N_GROUPS, N)
    y = x.sum(axis=1) + rng.normal(size=N_GROUPS)[g] * x[:, 0] + rng.normal(size=N)
    columns = {f"x{k}": x[:, k].copy() for k in range(N_COLUMNS)}
    return pd.DataFrame({**columns, "y": y, "g": g, "w": 1 + g % 3})


@pytest.mark.parametrize("weights", [None, "w"])
def test_rows_have_the_same_bits_without_room_for_a_copy(
    monkeypatch: pytest.MonkeyPatch, weights: str | None
) -> None:
    frame = rows_in_any_order()
    copied = mlm.lmm(FORMULA, frame, weights=weights)
    asked, empty = [], np.empty

    def none_for_many(shape: object, *rest: object, **options: object) -> object:
        if isinstance(shape, int) and shape > N * N_COLUMNS:
            asked.append(shape)
            raise MemoryError
        return empty(shape, *rest, **options)

    monkeypatch.setattr(np, "empty", none_for_many)
    lying = mlm.lmm(FORMULA, frame, weights=weights)
    assert asked == [N * (N_COLUMNS + 2)]
    assert lying.llf == copied.llf
    assert (lying.params == copied.params).all()
    assert np.array_equal(lying.cov_params(), copied.cov_params())
    # Sorted rows are never copied.
    asked.clear()
    mlm.lmm(FORMULA, frame.sort_values("g", kind="stable"), weights=weights)
    assert not asked


def test_threads_change_no_bit() -> None:
    output_for_any_number_of_threads(
        "import mlmfast as mlm\n"
        "from tests.reduction.test_row_order import FORMULA, rows_in_any_order\n"
        "fit = mlm.lmm(FORMULA, rows_in_any_order())\n"
        "print(fit.llf.hex(), [value.hex() for value in fit.params])\n"
    )
