"""Streams made together are those that numpy makes one by one, and so is what they draw."""

import pickle

import numpy as np
import pytest

import mlmfast as mlm
from mlmfast._core import draw_streams
from mlmfast.simulation import movable_generator
from mlmfast.simulation.streams import Parts, Streams

SEEDS = [
    0,
    7,
    2**40 + 3,
    2**200 + 17,
    [1, 2**35, 3],
    np.random.SeedSequence(5, spawn_key=(9, 2**33)),
    np.random.SeedSequence(5, pool_size=8),
]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("condition", [0, (123456789, 987654321), 2**40])
def test_streams_are_those_of_numpy(seed, condition):
    streams = Streams(seed, condition)
    own = seed if isinstance(seed, np.random.SeedSequence) else np.random.SeedSequence(seed)
    key = condition if isinstance(condition, tuple) else (condition,)
    together = streams.parts(3, 3)
    drawn = {p: [generator.random(3) for generator in together.at(p)] for p in (0, 1, 5)}
    for k, generator in enumerate(streams.some(3, 3)):
        sequence = np.random.SeedSequence(
            own.entropy, spawn_key=(*own.spawn_key, *key, 3 + k), pool_size=own.pool_size
        )
        alone = np.random.PCG64DXSM(sequence)
        assert generator.bit_generator.state == alone.state
        assert streams(3 + k).bit_generator.state == alone.state
        for part, found in drawn.items():
            wanted = Parts(np.random.Generator(np.random.PCG64DXSM(sequence)))(part).random(3)
            np.testing.assert_array_equal(found[k], wanted)


def test_numbers_are_those_of_numpys_generators():
    streams = Streams(11, (5, 6))
    # A normal number of the tail comes once in 2,000, one between two layers once in 100.
    kinds = [("normal", 3000), ("uniform", 70), ("normal", 1)]
    for part in (0, 2):
        together = streams.parts(3, 40).numbers(part, kinds)
        for k in (0, 17, 39):
            generator = Parts(streams(3 + k))(part)
            wanted = [
                generator.standard_normal(n) if kind == "normal" else generator.random(n)
                for kind, n in kinds
            ]
            np.testing.assert_array_equal(together[k], np.concatenate(wanted))
            np.testing.assert_array_equal(
                together[k], Parts(streams(3 + k)).numbers(part, kinds)[0]
            )
        assert (np.abs(together[:, :3000]) > 3.6541528853610088).sum() > 10
    far = Streams(11).parts(2**32 - 2, 4).numbers(1, [("normal", 5)])
    for k, own in enumerate(far):
        wanted = Parts(Streams(11)(2**32 - 2 + k))(1).standard_normal(5)
        np.testing.assert_array_equal(own, wanted)
    assert streams.parts(3, 2).numbers(0, []).shape == (2, 0)


def test_what_the_core_cannot_draw_is_refused():
    states = np.array([[1, 2, 3, 5]], dtype=np.uint64)
    with pytest.raises(ValueError, match="no kind"):
        draw_streams(states, [("gamma", 3)])
    with pytest.raises(ValueError, match="four columns"):
        draw_streams(states[:, :3], [("normal", 3)])


@pytest.mark.parametrize("in_memory", [True, False])
def test_a_generator_is_put_to_states(in_memory, monkeypatch):
    if not in_memory:
        monkeypatch.setattr(movable_generator, "_order", lambda: None)
    words = np.array([[2**63 + 1, 7, 2**62, 3], [5, 2**64 - 1, 9, 11]], dtype=np.uint64)
    for (high, low, high_inc, low_inc), found in zip(
        words.tolist(), movable_generator.generators_at(words), strict=True
    ):
        alone = np.random.PCG64DXSM(0)
        state = {"state": (high << 64) | low, "inc": (high_inc << 64) | low_inc}
        alone.state = {**alone.state, "state": state}
        assert found.bit_generator.state == alone.state
        # A half of a number is left over.
        wanted = np.random.Generator(alone).integers(0, 100, 3, dtype=np.int32)
        np.testing.assert_array_equal(found.integers(0, 100, 3, dtype=np.int32), wanted)


def test_a_stream_is_a_generator_like_any_other():
    generator = Streams(1, 4)(17)
    sequence = np.random.SeedSequence(1, spawn_key=(4, 17))
    assert generator.bit_generator.seed_seq.spawn_key == (4, 17)
    wanted = np.random.Generator(np.random.PCG64DXSM(sequence)).spawn(2)[1].random(3)
    np.testing.assert_array_equal(generator.spawn(2)[1].random(3), wanted)
    again = pickle.loads(pickle.dumps(generator))
    np.testing.assert_array_equal(again.random(3), Streams(1, 4)(17).random(3))
    far = Streams(1)(2**33 + 1)
    sequence = np.random.SeedSequence(1, spawn_key=(0, 2**33 + 1))
    assert far.bit_generator.state == np.random.PCG64DXSM(sequence).state


DESIGNS = {
    "slopes": {
        "formula": "y ~ t + x + z + (x | g)",
        "levels": {"g": 8, "t": [0, 1], "r": 3},
        "between": {"z": "g"},
        "covariates": {"x": "normal(1, 2)", "z": "binary(0.3)"},
        "params": {"t": 0.5, "x": 0.2},
        "varcorr": {"g": [[1, 0.2], [0.2, 0.5]]},
    },
    "bases and missing responses": {
        "formula": "y ~ poly(x, 2) + log(u) + (1 | g)",
        "levels": {"g": 8, "r": 5},
        "covariates": {"x": "normal(1, 2)", "u": "uniform(1, 2)"},
        "params": {"log(u)": 0.5},
        "varcorr": {"g": 1},
        "missing": {"mcar": 0.1},
    },
    "dropout": {
        "formula": "y ~ x + (1 | g)",
        "levels": {"g": 8, "r": [0, 1, 2, 3]},
        "covariates": {"x": "normal(1, 2)"},
        "params": {"x": 0.5},
        "varcorr": {"g": 1},
        "missing": {"dropout": 0.5, "subject": "g", "time": "r"},
    },
    "dropout after what was seen": {
        "formula": "y ~ r + (1 | g)",
        "levels": {"g": 8, "r": [0, 1, 2, 3]},
        "params": {"r": 0.5},
        "varcorr": {"g": 1},
        "missing": {"mar": 0.5, "subject": "g", "time": "r"},
    },
    "effects and errors of other distributions": {
        "formula": "y ~ r + (1 | g)",
        "levels": {"g": 8, "r": [0, 1, 2, 3]},
        "params": {"r": 0.5},
        "varcorr": {"g": 1},
        "errors": "t(5)",
        "random_effects": "chi2(3)",
    },
}


@pytest.mark.parametrize("name", DESIGNS)
def test_what_is_drawn_together_is_what_each_draws(name):
    design = mlm.design(**DESIGNS[name], sigma=1)
    streams = Streams(3, (1, 2))
    together = design.drawn_columns(streams, 5, 4)
    for i in range(4):
        one = design.draw(streams(5 + i))
        for column, values in together.items():
            np.testing.assert_array_equal(values[i], one[column])
    # And what a study makes of them does not depend on the neighbours.
    method = mlm.Method(DESIGNS[name]["formula"])
    estimand = list(DESIGNS[name]["params"])[-1]
    from mlmfast.studies.plan.plan import Chunk
    from mlmfast.studies.replicates.chunk import chunk_table

    study = mlm.Study({"sigma": [1.0]}, design, {"m": method}, [estimand], 30, seed=1)
    rows = chunk_table(study._plan, Chunk(0, 0, 30)).to_pandas()
    for k in (1, 20):
        alone = study.rows(0, k)
        for column in ("estimate", "std_error", "df", "p_value"):
            assert alone[column].iloc[0] == rows[column].iloc[k]
