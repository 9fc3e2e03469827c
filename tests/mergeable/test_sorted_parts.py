"""Parts of rows sorted by cluster: what they share is at their ends."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest

import mlmfast as mlm
from mlmfast.data.factor import code_integers, count_codes, translate_codes
from mlmfast.errors import DataError
from mlmfast.mergeable.condensed import rows as condensed
from mlmfast.mergeable.content import merge_contents
from mlmfast.mergeable.gathered import gathered, pack, unpack, whole
from mlmfast.mergeable.reduction import Reduction

from .data import in_parts, relative

FORMULA = "y ~ f * h + t + f:t + z + (t | g)"


@pytest.fixture(scope="module")
def data():
    """Clusters of 1 to 60 rows, in order; one of 500, which is longer than a part."""
    rng = np.random.default_rng(3)
    sizes = np.append(rng.integers(1, 60, 40), 500)
    g = np.repeat(np.cumsum(rng.integers(1, 9, 41)), rng.permutation(sizes))
    n = len(g)
    own = rng.normal(size=(41, 2))[np.unique(g, return_inverse=True)[1]]
    frame = pd.DataFrame(
        {
            "g": g,
            "t": rng.integers(0, 5, n).astype(float),
            "z": np.abs(np.sin(g)),
            "f": pd.Categorical(rng.choice(["b", "c", "a"], n), ["c", "a", "b"]),
            "h": rng.choice(["v", "u"], n),
        }
    )
    frame["y"] = own[:, 0] + own[:, 1] * frame.t + (frame.f == "a") * 0.5 + rng.normal(size=n)
    return frame


@pytest.mark.parametrize("size", [23, 100, 130, 799])
def test_ends_that_are_shared_are_put_together_and_nothing_else(data, size):
    plan = mlm.reduce(FORMULA, [data]).plan
    parts = [mlm.reduce(FORMULA, [p], plan=plan)._content.rows for p in in_parts(data, size)]
    assert condensed.ascend(parts)
    found, expected = condensed.merge_rows(parts), condensed._put_together(parts)
    for name in ("sizes", "counts", "values", "weights", "origin"):
        assert getattr(found, name).tobytes() == getattr(expected, name).tobytes(), name
    assert found.keys["g"].tolist() == expected.keys["g"].tolist()
    assert found.counts.tolist() == np.unique(data.g, return_counts=True)[1].tolist()
    # In any other order keys are looked up.
    assert not condensed.ascend(parts[::-1])


@pytest.mark.parametrize("weights", [None, "z"])
def test_sorted_parts_give_the_fit_of_all_rows(data, weights):
    expected = mlm.lmm(FORMULA, data, weights=weights)
    fit = mlm.reduce(FORMULA, in_parts(data, 190), weights=weights).fit()
    assert relative(fit.params, expected.params, 1e-1) < 1e-10
    assert relative(fit.bse, expected.bse) < 1e-10
    assert abs(fit.llf - expected.llf) < 1e-12 * abs(expected.llf)


@pytest.fixture(scope="module")
def shuffled():
    """300 clusters of 10 rows, in random order: a part has few rows of any."""
    rng = np.random.default_rng(4)
    g, t = np.repeat(np.arange(300), 10), np.tile(np.arange(10.0), 300)
    effects = rng.normal(size=(300, 2))[g]
    y = effects[:, 0] + effects[:, 1] * t + rng.normal(size=3000)
    return pd.DataFrame({"y": y, "t": t, "g": g}).sample(frac=1.0, random_state=5)


def test_rows_in_random_order_wait_until_merging_pays(shuffled):
    formula = "y ~ t + (t | g)"
    plan = mlm.reduce(formula, [shuffled]).plan
    parts = [(mlm.reduce(formula, [p], plan=plan)._content,) for p in in_parts(shuffled, 200)]
    assert len(gathered(parts[:4])) == 4
    assert len(gathered(parts)) == 1
    kept = unpack(pack(gathered(parts[:4])))
    assert [own.rows.values.tobytes() for own in kept] == [
        own.rows.values.tobytes() for (own,) in parts[:4]
    ]
    expected = mlm.lmm(formula, shuffled)
    fit = Reduction(whole(gathered([gathered(parts[:4]), *parts[4:]]))).fit()
    assert relative(fit.params, expected.params) < 1e-10
    assert abs(fit.llf - expected.llf) < 1e-12 * abs(expected.llf)


def test_files_in_random_order_give_the_same_bits_by_an_executor(shuffled, tmp_path):
    for k, part in enumerate(in_parts(shuffled, 200)):
        part.to_parquet(tmp_path / f"part-{k:02d}.parquet")
    with ThreadPoolExecutor(2) as threads:
        a, b = (
            mlm.reduce("y ~ t + (t | g)", tmp_path, executor=own)._content.rows
            for own in (None, threads)
        )
    assert a.values.tobytes() == b.values.tobytes()
    assert a.weights.tobytes() == b.weights.tobytes()


def test_parts_of_another_origin_are_put_together(data):
    """Of constants that were taken off columns: reductions of several calls have their own."""
    a, b = (
        data[:400].assign(z=lambda own: own.z + 1e6),
        data[400:].assign(z=lambda own: own.z + 2e6),
    )
    both = [mlm.reduce("y ~ z + (1 | g)", [part])._content for part in (a, b)]
    assert not condensed.ascend([own.rows for own in both])
    expected = mlm.lmm("y ~ z + (1 | g)", pd.concat([a, b]))
    fit = Reduction(merge_contents(both)).fit()
    assert relative(fit.params, expected.params) < 1e-9


def test_a_level_that_the_plan_lacks_is_named(data):
    plan = mlm.reduce(FORMULA, [data], levels={"f": ["c", "a", "b"], "h": ["u", "v"]}).plan
    other = data.assign(h=np.where(np.arange(len(data)) == 11, "w", data.h))
    with pytest.raises(DataError, match="'h' has the level 'w'"):
        mlm.reduce(FORMULA, [other], plan=plan)


def test_codes_are_those_of_numpy():
    rng = np.random.default_rng(8)
    for n_codes in (1, 5, 3000):
        codes = rng.integers(-1, n_codes, 5000).astype(np.int32)
        expected = np.bincount(codes + 1, minlength=n_codes + 1)[1:]
        np.testing.assert_array_equal(count_codes(codes, n_codes), expected)
        table = rng.permutation(n_codes).astype(np.int32)
        np.testing.assert_array_equal(translate_codes(codes, table), np.append(table, -1)[codes])
    for numbers in (np.sort(codes), codes, np.sort(codes)[::-1]):
        distinct, found = code_integers(numbers.astype(np.int64))
        known, expected = np.unique(numbers, return_inverse=True)
        np.testing.assert_array_equal(distinct, known)
        np.testing.assert_array_equal(found, expected)
