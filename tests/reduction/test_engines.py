"""The four engines of the core behind one interface."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from mlmfast import _core

N = 60
RANDOM = np.random.default_rng(3)
OUTER = np.arange(N, dtype=np.int32) % 6
INNER = (np.arange(N, dtype=np.int32) * 7 // 3) % 5
ONE = (None, 0.0, 1.0)


def column(values):
    return ((np.ascontiguousarray(values), 0, 1), 0.0, 1.0)


ROWS = {
    "x": [ONE, column(RANDOM.normal(size=N))],
    "y": [column(RANDOM.normal(size=N)), column(RANDOM.normal(size=N))],
    "noise": [0.0, 0.0],
}


def levels(n):
    return {"z": [[ONE]] * n, "terms": [[(1, "orthonormal")]] * n, **ROWS}


def nested():
    return _core.NestedReduction(_core.Nesting(N, [OUTER], [6]), **levels(1))


def crossed():
    crossing = _core.Crossing(N, [OUTER, INNER], [6, 5], [1, 1], "cheaper")
    return _core.CrossedReduction(crossing, **levels(2))


def dense(n=2):
    codes, units = [OUTER, INNER][:n], [6, 5][:n]
    together = np.zeros(N, dtype=np.int32)
    return _core.DenseReduction(codes, units, together, 1, [None] * n, **levels(n))


def iterative():
    return _core.IterativeReduction([OUTER, INNER], [6, 5], exact=True, **levels(2))


ENGINES = {"nested": nested, "crossed": crossed, "dense": dense, "iterative": iterative}


def covariances(engine, a=1):
    return [np.full((a, 1, 1), 0.3 + 0.4 * level) for level in range(len(engine.bases))]


def entries(engine):
    return [(level, 0, 0) for level in range(len(engine.bases))]


ASKED = {
    "within": lambda e: e.within,
    "visit_moments": lambda e: e.visit_moments(0),
    "likelihood_derivatives": lambda e: e.likelihood_derivatives(
        covariances(e), [0], entries(e), True
    ),
    "information_second_derivatives": lambda e: e.information_second_derivatives(
        covariances(e), 0, entries(e)
    ),
    "conditional": lambda e: e.conditional(covariances(e), 0, np.zeros(2)),
    "prediction_error": lambda e: e.prediction_error(
        covariances(e),
        0,
        [np.zeros(3, dtype=np.int32) for _ in e.bases],
        [np.ones((3, 1)) for _ in e.bases],
    ),
}


@pytest.mark.parametrize("name", ENGINES)
def test_an_engine_is_named_and_refuses_what_it_does_not_offer(name):
    engine = ENGINES[name]()
    assert isinstance(engine, _core.Engine)
    assert engine.name == name
    for method, ask in ASKED.items():
        if engine.offers(method):
            ask(engine)
        else:
            with pytest.raises(NotImplementedError, match=f"{name} engine does not offer {method}"):
                ask(engine)


def test_only_the_dense_engine_offers_everything():
    lacking = {
        name: [method for method in ASKED if not make().offers(method)]
        for name, make in ENGINES.items()
    }
    assert lacking == {
        "nested": ["prediction_error"],
        "crossed": ["visit_moments"],
        "dense": [],
        "iterative": list(ASKED),
    }


def test_a_misspelt_question_is_refused():
    with pytest.raises(ValueError, match="conditionl is none of"):
        nested().offers("conditionl")


@pytest.mark.parametrize(
    ("fast", "slow"),
    [(nested, lambda: dense(1)), (crossed, dense), (iterative, dense)],
    ids=["nested", "crossed", "iterative"],
)
@pytest.mark.parametrize("reml", [True, False])
def test_engines_agree_with_the_dense_one(fast, slow, reml):
    ours, theirs = fast(), slow()
    g, fits = covariances(ours, 2), [0, 1]
    assert_allclose(ours.ols, theirs.ols, rtol=1e-10)
    for mine, other in zip(ours.solve(g, fits), theirs.solve(g, fits), strict=True):
        assert_allclose(mine, other, rtol=1e-8, atol=1e-10)
    found = ours.evaluate(g, fits, entries(ours), reml, True)
    expected = theirs.evaluate(g, fits, entries(theirs), reml, True)
    assert_allclose(found[0], expected[0], rtol=1e-10)
    assert_allclose(found[1], expected[1], rtol=1e-7, atol=1e-9)
    assert_allclose(
        ours.information_derivatives(g[:0] + [m[:1] for m in g], 0, entries(ours)),
        theirs.information_derivatives([m[:1] for m in g], 0, entries(theirs)),
        rtol=1e-7,
        atol=1e-9,
    )
