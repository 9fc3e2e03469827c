"""Hypotheses of terms where columns are aliased: properties of the model, not of its coding.

Right values: lmerTest 3.1-3 (`contestMD`, pbkrtest 0.5.2) for the crossover; R 4.2.2's `anova.lm`,
lme4 1.1-31, nlme 3.1-162, lmerTest and car 3.1-1 for the weighted models; else least squares on
dummy columns by projections.
"""

from itertools import permutations

import numpy as np
import pandas as pd
import pytest

import mlmfast as mlm
from mlmfast.errors import ModelError

DEFINITIONS = ("SAS", "lmerTest", "mmrm", "car")
CODINGS = ("contr.sum", "contr.helmert", "contr.poly", "contr.SAS", "contr.sdif")
SEQUENCES = (
    "high low placebo,low placebo high,placebo high low,placebo low high,high placebo low,"
    "low high placebo"
)

pytestmark = pytest.mark.filterwarnings("ignore::mlmfast.errors.AliasedWarning")


def crossover():
    rows = [
        (f"s{i}", str(period), treatment, sequence[period - 1] if period else "none")
        for i, sequence in enumerate(s.split() for s in SEQUENCES.split(",") * 2)
        for period, treatment in enumerate(sequence)
    ]
    data = pd.DataFrame(rows, columns=["id", "per", "trt", "carry"])
    effect = data["carry"].map({"none": 0.0, "high": 1.0, "low": 0.0, "placebo": -0.3})
    return data.assign(y=np.random.default_rng(1).normal(size=36) + effect)


def ordered(data, column, levels):
    return data.assign(**{column: pd.Categorical(data[column], categories=list(levels))})


@pytest.mark.parametrize("definition", DEFINITIONS)
@pytest.mark.parametrize("levels", list(permutations(["high", "low", "none", "placebo"])))
def test_carry_over_in_every_order_of_its_levels(definition, levels):
    fit = mlm.lmm("y ~ per + trt + carry + (1 | id)", ordered(crossover(), "carry", levels))
    for kind in (1, 2, 3):
        table = fit.anova(type=kind, definition=definition)
        row = table.frame.loc["carry"]
        assert row["NumDF"] == 2
        np.testing.assert_allclose(row["F value"], 4.77227389268, rtol=1e-6)
        np.testing.assert_allclose(row["DenDF"], 23.7126083101, rtol=1e-6)
        if kind > 1:
            # One of the two differences of periods is free of the first carry-over.
            assert table["NumDF"]["per"] == 1
            np.testing.assert_allclose(table["F value"]["trt"], 0.868243673905, rtol=1e-6)
    adjusted = fit.anova(definition=definition, ddf="kenward-roger-expected").frame.loc["carry"]
    np.testing.assert_allclose(adjusted["F value"], 4.43170092941, rtol=1e-6)
    np.testing.assert_allclose(adjusted["DenDF"], 23.7434878937, rtol=1e-6)


@pytest.mark.parametrize("definition", DEFINITIONS)
@pytest.mark.parametrize("levels", list(permutations("012")))
def test_periods_beside_carry_over(definition, levels):
    """The difference of the later periods, which least squares finds without the first."""
    data = crossover()
    later = mlm.lmm("y ~ per + trt + carry", data[data["per"] != "0"]).anova(type=3).frame
    fit = mlm.lmm("y ~ per + trt + carry", ordered(data, "per", levels))
    table = fit.anova(type=3, definition=definition)
    assert table["NumDF"].tolist() == [1, 2, 2]
    first = mlm.lmm("y ~ per + trt + carry", data).anova(type=3, definition="SAS")
    np.testing.assert_allclose(table["F value"], first["F value"], rtol=1e-9)
    assert later["NumDF"]["per"] == 1


def unbalanced(seed):
    """Three factors with empty cells, one nested, one aliased, a covariate of a factor's levels."""
    random = np.random.default_rng(seed)
    sizes = random.integers(2, 5, 3)
    cells = [cell for cell in np.ndindex(*sizes) if random.random() < 0.7]
    n = 48
    a, b, c = np.array(cells)[random.integers(0, len(cells), n)].T
    group = np.arange(n) % 8
    data = pd.DataFrame({"a": a, "b": b, "c": c}).astype(str).radd(["a", "b", "c"])
    return data.assign(
        within=data["a"] + data["b"],
        later=np.where(b == 0, "none", data["c"]),
        x=random.normal(size=n),
        ofa=random.normal(size=5)[a],
        w=random.integers(1, 6, n).astype(float),
        g=group.astype(str),
        y=random.normal(size=n) + random.normal(size=8)[group],
    )


FORMULAS = (
    "a + b + later",
    "a * b",
    "a * b * c",
    "a / within",
    "a + within",
    "ofa + a + b",
    "a + ofa * b",
    "x * a + later",
    "a + b + c + later + a:c",
    "b * later",
    "within + a * b",
)
FACTORS = ("a", "b", "c", "within", "later")


def table(data, formula, kind, definition, contrasts=None):
    fit = mlm.lmm(f"y ~ {formula} + (1 | g)", data, contrasts=contrasts, ddf="asymptotic")
    try:
        found = fit.anova(type=kind, definition=definition).frame[["NumDF", "F value"]]
    except ModelError:
        found = pd.DataFrame(columns=["NumDF", "F value"])
    found.index = [":".join(sorted(term.split(":"))) for term in found.index]
    return found.sort_index()


def factors_of(formula):
    return [name for name in FACTORS if name in formula.replace(":", " ").split(" ")]


@pytest.mark.parametrize("definition", DEFINITIONS)
@pytest.mark.parametrize("kind", [1, 2, 3])
@pytest.mark.parametrize("formula", FORMULAS)
def test_order_of_levels_and_coding_play_no_part(formula, kind, definition):
    for seed in (3, 7):
        random = np.random.default_rng(seed)
        data, own = unbalanced(seed), factors_of(formula)
        # car's type III is of the coefficients: of those of one coding, whatever the order.
        is_coded = definition == "car" and kind == 3
        coding = dict.fromkeys(own, "contr.sum") if is_coded else None
        first = table(data, formula, kind, definition, coding)
        for _ in range(2):
            moved = data
            for name in own:
                moved = ordered(moved, name, random.permutation(data[name].unique()))
            if not is_coded:
                coding = dict(zip(own, random.choice(CODINGS, len(own)).tolist(), strict=True))
            found = table(moved, formula, kind, definition, coding)
            pd.testing.assert_frame_equal(found, first, rtol=1e-6)


@pytest.mark.parametrize("definition", DEFINITIONS)
@pytest.mark.parametrize("kind", [2, 3])
@pytest.mark.parametrize("formula", FORMULAS)
def test_order_of_terms_plays_no_part_in_types_two_and_three(formula, kind, definition):
    data = unbalanced(5)
    coding = dict.fromkeys(factors_of(formula), "contr.sum")
    turned = " + ".join(reversed(formula.split(" + ")))
    turned = " * ".join(reversed(turned.split(" * "))) if " + " not in turned else turned
    pd.testing.assert_frame_equal(
        table(data, turned, kind, definition, coding),
        table(data, formula, kind, definition, coding),
        rtol=1e-6,
    )


def dummies(data, *names):
    """Indicators of the levels of factors crossed with each other."""
    cells = data[list(names)].agg("|".join, axis=1)
    return pd.get_dummies(cells).to_numpy(dtype=float)


def residual_squares(columns, y, weights):
    root = np.sqrt(weights)
    x = np.column_stack([np.ones(len(y)), *columns]) * root[:, None]
    rest = root * y - x @ (np.linalg.pinv(x, rcond=1e-10) @ (root * y))
    return rest @ rest, np.linalg.matrix_rank(x, tol=1e-8)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("definition", DEFINITIONS)
def test_types_one_and_two_are_drops_in_the_residual_sum_of_squares(definition, weighted):
    for seed in range(4):
        data = unbalanced(seed)
        y, w = data["y"].to_numpy(), data["w"].to_numpy() if weighted else np.ones(48)
        one, later, b = dummies(data, "a"), dummies(data, "later"), dummies(data, "b")
        both = dummies(data, "a", "later")
        fit = mlm.lmm("y ~ b + a * later", data, weights="w" if weighted else None)
        full, rank = residual_squares([b, one, later, both], y, w)
        without = {
            1: {"b": [], "a": [b], "later": [b, one], "a:later": [b, one, later]},
            2: {"b": [one, later, both], "a": [b, later], "later": [b, one]},
        }
        added = {"b": b, "a": one, "later": later, "a:later": both}
        for kind, smaller in without.items():
            found = fit.anova(type=kind, definition=definition, ddf="residual").frame
            for term, columns in smaller.items():
                before, r0 = residual_squares(columns, y, w)
                after, r1 = residual_squares([*columns, added[term]], y, w)
                if r1 == r0:
                    assert term not in found.index
                    continue
                assert found["NumDF"][term] == r1 - r0
                f = (before - after) / (r1 - r0) / (full / (48 - rank))
                np.testing.assert_allclose(found["F value"][term], f, rtol=1e-7)


@pytest.mark.parametrize("seed", range(4))
def test_type_three_of_car_is_what_the_columns_of_a_term_add(seed):
    data = unbalanced(seed)
    levels = {name: sorted(data[name].unique()) for name in ("a", "b")}
    sums = {}
    for name, own in levels.items():
        contrast = np.vstack([np.eye(len(own) - 1), -np.ones(len(own) - 1)])
        sums[name] = contrast[[own.index(level) for level in data[name]]]
    product = (sums["a"][:, :, None] * sums["b"][:, None, :]).reshape(48, -1)
    parts = {"a": sums["a"], "b": sums["b"], "a:b": product}
    y, w = data["y"].to_numpy(), np.ones(48)
    full, rank = residual_squares(parts.values(), y, w)
    fit = mlm.lmm("y ~ a * b", data, contrasts={"a": "contr.sum", "b": "contr.sum"})
    found = fit.anova(type=3, definition="car", ddf="residual").frame
    for term in parts:
        rest = [part for name, part in parts.items() if name != term]
        before, smaller = residual_squares(rest, y, w)
        if smaller == rank:
            assert term not in found.index
            continue
        assert found["NumDF"][term] == rank - smaller
        f = (before - full) / (rank - smaller) / (full / (48 - rank))
        np.testing.assert_allclose(found["F value"][term], f, rtol=1e-7)


def weighted_rows():
    text = (
        "1.2 0.4 3.1 2.2 0.9 1.7 2.8 0.3 1.1 2.5 3.3 0.8 1.9 2.1 0.6 1.4 2.9 3.0 0.2 1.0 2.7 1.6 "
        "0.5 2.4"
    )
    responses = (
        "5.1 4.9 6.2 6.6 3.9 4.4 5.0 5.8 7.1 7.3 6.0 6.5 4.1 3.2 5.5 5.9 6.8 7.7 6.1 5.2 2.9 3.8 "
        "4.6 4.0"
    )
    return pd.DataFrame(
        {
            "x": [float(number) for number in text.split()],
            "f": list("abcaba") * 4,
            "g": np.repeat(list("123456"), 4),
            "w": [1, 2, 3, 1, 4, 2, 1, 5, 2, 1, 3, 2, 1, 1, 2, 6, 1, 2, 3, 1, 2, 4, 1, 2],
            "y": [float(number) for number in responses.split()],
        }
    )


@pytest.mark.parametrize("definition", DEFINITIONS)
def test_type_one_of_a_weighted_linear_model_is_that_of_anova_lm(definition):
    fit = mlm.lmm("y ~ x * f", weighted_rows(), weights="w")
    found = fit.anova(type=1, definition=definition)
    expected = [0.0767306202978, 0.1590656373013, 0.3828848050715]
    np.testing.assert_allclose(found["F value"], expected, rtol=1e-9)
    arrays = weighted_rows()
    x = np.column_stack([np.ones(24), arrays["x"], arrays["f"] == "b", arrays["f"] == "c"])
    by_column = mlm.LMM.from_arrays(arrays["y"], x, weights=arrays["w"].to_numpy(float)).fit()
    same = mlm.lmm("y ~ x + f", arrays, weights="w")
    np.testing.assert_allclose(
        by_column.anova(type=1, definition=definition)["F value"].iloc[1],
        same.anova(type=1, definition=definition)["F value"].iloc[0],
        rtol=1e-9,
    )


@pytest.mark.parametrize(
    ("definition", "kind", "expected"),
    [
        # lmerTest sweeps X'X, whatever the weights.
        ("lmerTest", 1, [0.0244503677667, 0.8689080842866, 1.0399040543229]),
        ("lmerTest", 2, [0.0128194800752, 0.3179212869758, 1.0399040543229]),
        ("lmerTest", 3, [5.15501005784e-05, 0.317921286976, 1.03990405432]),
        # lme4's own anova and nlme's go by X'V^-1 X, and so does car.
        ("car", 1, [0.00940670133159, 0.76034227816825, 1.03990405432293]),
        ("car", 2, [0.00441401405272, 1.52068455633649 / 2, 2.07980810864585 / 2]),
    ],
)
def test_weighted_mixed_models_as_each_program(definition, kind, expected):
    fit = mlm.lmm("y ~ x * f + (1 | g)", weighted_rows(), weights="w")
    found = fit.anova(type=kind, definition=definition)["F value"]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_cells_without_rows_may_make_more_columns_than_there_are_rows():
    data = unbalanced(3).iloc[:26].reset_index(drop=True)
    nested = mlm.lmm("y ~ a / within + (1 | g)", data)
    assert len(nested.params) > 26
    cells = mlm.lmm("y ~ within + (1 | g)", data)
    assert nested.rank == cells.rank
    np.testing.assert_allclose(nested.llf, cells.llf, rtol=1e-9)


@pytest.mark.parametrize("n", [6, 1200])
def test_as_many_levels_as_rows_are_refused(n):
    data = pd.DataFrame({"f": [f"l{k}" for k in range(n)], "y": np.arange(n) ** 0.5})
    with pytest.raises(ModelError, match=f"{n} fixed-effect columns and {n} rows: nothing is left"):
        mlm.lmm("y ~ f", data)


def test_matrices_of_any_scale_are_tested_column_by_column():
    """The constant is not rounding beside a covariate in nanoseconds."""
    x = np.arange(20.0) % 7
    y = np.sin(np.arange(20.0) ** 2) + x
    tables = [
        mlm.LMM.from_arrays(y, np.column_stack([np.ones(20), x * scale])).fit().anova(type=3)
        for scale in (1.0, 1e12)
    ]
    np.testing.assert_allclose(tables[1]["F value"], tables[0]["F value"], rtol=1e-7)


def test_terms_that_are_all_confounded_are_refused_by_name():
    data = unbalanced(3).assign(same=lambda d: d["a"])
    fit = mlm.lmm("y ~ a + same + (1 | g)", data)
    assert fit.anova(type=1).index.tolist() == ["a"]
    with pytest.raises(ModelError, match="nothing to test: no part of a, same is estimable free"):
        fit.anova()


@pytest.mark.parametrize("kind", [1, 2, 3])
def test_satterthwaite_denominators_of_car_depend_on_no_order(kind):
    """Those of programs follow their rows, which set a level apart; these set none."""
    data = unbalanced(11)
    random = np.random.default_rng(0)
    tables, by_program = [], []
    for _ in range(4):
        moved = data
        for name in ("a", "b", "later"):
            moved = ordered(moved, name, random.permutation(data[name].unique()))
        fit = mlm.lmm(
            "y ~ a * b + later + (1 | g)",
            moved,
            contrasts=dict.fromkeys(("a", "b", "later"), "contr.sum"),
        )
        tables.append(fit.anova(type=kind, definition="car").frame)
        by_program.append(fit.anova(type=kind, definition="lmerTest")["DenDF"])
    assert (tables[0]["NumDF"] > 1).any()
    for other in tables[1:]:
        pd.testing.assert_frame_equal(other, tables[0], rtol=1e-6)
    assert np.ptp(np.array(by_program), axis=0).max() > 1e-3


def test_type_three_of_coefficients_says_that_it_depends_on_the_order():
    """car's own; every other test of these rows is the same in any order."""
    seen = [(a, b) for a in "pqr" for b in "uvw" if a + b != "qw"]
    cells = pd.DataFrame(seen, columns=["a", "b"])
    data = pd.concat([cells] * 6, ignore_index=True)
    data["y"], data["id"] = np.random.default_rng(2).normal(size=48), np.arange(48) // 8
    found = {}
    for definition in DEFINITIONS:
        for levels in (["p", "q", "r"], ["q", "r", "p"]):
            fit = mlm.lmm("y ~ a * b", ordered(data, "a", levels))
            table = fit.anova(type=3, definition=definition)
            assert (definition == "car") == any("order of levels" in note for note in table.notes)
            found.setdefault(definition, []).append(table.frame["F value"].to_numpy())
    for definition, (one, other) in found.items():
        assert np.allclose(one, other) == (definition != "car")
    whole = data.assign(b=np.tile(list("uv"), 24))
    assert len(mlm.lmm("y ~ b", whole).anova(type=3, definition="car").notes) == 1
