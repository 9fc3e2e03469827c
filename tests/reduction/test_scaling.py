"""A column alone is centred and scaled to the bits that it has among many."""

import math

import numpy as np
import pytest

import mlmfast as mlm
import mlmfast._core as core
from mlmfast.data import statistics
from mlmfast.data.statistics import column_statistics, in_memory, mean_and_spread
from mlmfast.handed_out import read_only
from mlmfast.reduction.scaling import _center_and_scale, scale_columns


def columns():
    rng = np.random.default_rng(0)
    sizes = [(e, f) for e in range(-300, 300, 75) for f in (-400, -5, 0, 8, 200)]
    out = [rng.normal(size=50) * 10.0**e + 10.0**f for e, f in sizes]
    out += [np.zeros(50), np.full(50, 3.0), np.full(50, np.nan), np.r_[np.inf, np.ones(49)]]
    return [*out, np.full(50, 1e308), np.repeat([-1.7e308, 1.7e308], 25)]


@pytest.mark.parametrize("centred", [True, False])
def test_one_column_has_the_bits_of_many(centred):
    own = columns()
    raw = core.column_statistics([in_memory(column) for column in own], 50)
    mean, spread = mean_and_spread(raw, np.array([column[0] for column in own]), 50)
    found = column_statistics(own)
    np.testing.assert_array_equal([one.mean for one in found], mean)
    np.testing.assert_array_equal([one.spread for one in found], spread)
    centers, scales = _center_and_scale(mean, spread, centred)
    for one, center, scale in zip(scale_columns(own, centred), centers, scales, strict=True):
        assert one.scale == scale
        assert one.center == center or (math.isnan(one.center) and math.isnan(center))


@pytest.mark.parametrize("lock", [False, True])
def test_columns_of_a_matrix_are_read_where_they_lie(lock):
    matrix = np.arange(12.0).reshape(4, 3)
    columns = [matrix[:, 1], matrix[1:, 2], matrix[::2, 0]]
    for column in map(read_only, columns) if lock else columns:
        memory, offset, stride = in_memory(column)
        assert np.shares_memory(memory, matrix)
        assert memory[offset::stride][: len(column)].tolist() == column.tolist()
    backwards = matrix[::-1, 0]
    assert in_memory(backwards)[0].tolist() == backwards.tolist()


def _refuse(columns):
    raise AssertionError(f"{len(columns)} columns are looked at once more")


def test_columns_of_arrays_are_looked_at_once(monkeypatch):
    rng = np.random.default_rng(1)
    X = np.column_stack([np.ones(60), rng.normal(size=(60, 2))])
    groups = np.repeat(np.arange(12), 5)
    y = rng.normal(size=60) + 3.0 * (rng.normal(size=(12, 3))[groups] * X).sum(axis=1)
    model = mlm.LMM.from_arrays(y, X, groups=groups, Z=X)
    monkeypatch.setattr(statistics, "column_statistics", _refuse)
    assert all(c is None or np.shares_memory(c, X) for c in model._design.x)
    assert np.isfinite(model.fit().llf)


@pytest.mark.parametrize("n", [1, 5, 9000])
@pytest.mark.parametrize("shifted", [False, True])
def test_copied_columns_have_the_statistics_of_each(n, shifted):
    rng = np.random.default_rng(n)
    matrix = rng.normal(size=(n, 67)) * 10.0 ** rng.integers(-5, 5, 67)
    less = rng.normal(size=n) if shifted else None
    copied = statistics.StackedColumns.copy_of(matrix, less)
    own = matrix if less is None else matrix - less[:, None]
    np.testing.assert_array_equal(copied.values, own.T)
    np.testing.assert_array_equal(copied.raw, statistics.StackedColumns.of(own.T).raw)
    assert not np.shares_memory(copied.values, matrix)


def test_what_is_no_place_for_a_copy_is_refused():
    matrix = np.ones((3, 2))
    with pytest.raises(ValueError, match="no place"):
        core.copy_responses(matrix, np.empty((2, 3)))
    with pytest.raises(ValueError, match="offset"):
        core.copy_responses(matrix, np.empty((3, 2)), np.ones(2))
