"""Degrees of freedom between and within subjects as PROC MIXED has them, and given by term."""

import itertools

import numpy as np
import pandas as pd
import pytest

import mlmfast as mlm
from mlmfast.degrees_of_freedom import METHODS, known_name
from mlmfast.errors import DataError, FormulaError, ModelError

from ..fits import lmm


def crossed_within(n_subjects=8, b=3, c=4, seed=1):
    """Two factors crossed within subjects, one between them."""
    generator = np.random.default_rng(seed)
    rows = list(itertools.product(range(n_subjects), range(b), range(c)))
    data = pd.DataFrame(rows, columns=["s", "b", "c"])
    data["y"] = generator.normal(size=n_subjects)[data["s"]] + generator.normal(size=len(data))
    data["a"] = np.where(data["s"] < n_subjects // 2, "a1", "a2")
    data["x"] = data["c"] + generator.normal(size=len(data))
    return data.assign(**{name: name + data[name].astype(str) for name in "sbc"})


def denominators(fit):
    return fit.anova(type=3, definition="SAS").frame["DenDF"].to_dict()


@pytest.mark.parametrize("shared", ["residual", "random"])
def test_two_factors_within_subjects_have_the_classical_parts(shared):
    data = crossed_within()
    by = {}
    if shared == "residual":
        data["bc"] = data["b"] + data["c"]
        by = {"residual": "cs(bc | s)"}
    formula = "y ~ a * b * c" + ("" if by else " + (1 | s)")
    found = denominators(lmm(formula, data, ddf="between-within-sas", **by))
    # (s - a)(b - 1) and so on, of the analysis of variance of a split plot with two sub-units.
    assert found == {
        "a": 6.0, "b": 12.0, "c": 18.0, "a:b": 12.0, "a:c": 18.0, "b:c": 36.0, "a:b:c": 36.0,
    }  # fmt: skip
    theirs = denominators(lmm(formula, data, ddf="between-within", **by))
    assert set(theirs.values()) == {6.0, 66.0}


def test_one_factor_within_subjects_has_what_is_left():
    """57 subjects in three programmes, seven times: 54 and 324 (Littell et al. 1996, chapter 3)."""
    data = crossed_within(57, 7, 1)
    data["a"] = np.array(["p", "q", "r"])[data["s"].str[1:].astype(int) % 3]
    fit = lmm("y ~ a * b", data, residual="ar1(b | s)", ddf="between-within-sas")
    assert denominators(fit) == {"a": 54.0, "b": 324.0, "a:b": 324.0}
    assert fit.df["(Intercept)"] == 54.0
    sas = mlm.from_sas("""proc mixed; class a b s; model y = a b a*b;
        repeated b / sub=s type=ar(1);""")
    assert denominators(sas(data).fit) == denominators(fit)


def test_a_latin_square_within_subjects():
    """Six subjects in a 3 x 3 square: the error of the analysis of variance has 8."""
    data = pd.DataFrame(
        [(s, a, (a + s) % 3) for s in range(6) for a in range(3)], columns=["s", "a", "p"]
    )
    data["y"] = np.random.default_rng(2).normal(size=18) + data["s"] % 2
    data = data.assign(a=data["a"].astype(str), p=data["p"].astype(str), s=data["s"].astype(str))
    fit = lmm("y ~ a + p", data, residual="cs(a | s)", ddf="between-within-sas")
    assert denominators(fit) == {"a": 8.0, "p": 8.0}


@pytest.mark.parametrize("seed", range(4))
def test_parts_of_incomplete_data_are_ranks(seed):
    data = crossed_within(seed=seed)
    data = data.sample(frac=0.7, random_state=seed).sort_index()
    fit = lmm("y ~ a * b + c + x + (1 | s)", data, ddf="between-within-sas")
    design = pd.get_dummies(data[["b", "c"]]).to_numpy(dtype=float)
    is_a = (data["a"] == "a2").to_numpy(dtype=float)[:, None]
    X = np.hstack([design, is_a, is_a * design[:, :3], data[["x"]].to_numpy()])

    def cells(*names):
        return pd.get_dummies(data[list(names)].agg("-".join, axis=1)).to_numpy(dtype=float)

    def rank(*parts):
        return np.linalg.matrix_rank(np.hstack([X, *parts]))

    def added(name):
        return rank(cells("s"), cells("s", name)) - rank(cells("s"))

    within = len(data) - 8 - (rank() - 2)
    assert denominators(fit) == {
        "a": 6.0, "b": added("b"), "c": added("c"), "a:b": added("b"), "x": within,
    }  # fmt: skip


def test_unstructured_residuals_have_the_subjects_alone():
    data = crossed_within(12, 3, 1)
    formula = "y ~ a * b"
    fit = lmm(formula, data, residual="us(b | s)", ddf="between-within-sas")
    assert set(denominators(fit).values()) == {10.0}
    other = lmm(formula, data, residual="toep(b | s)", ddf="between-within-sas")
    assert denominators(other) == {"a": 10.0, "b": 20.0, "a:b": 20.0}
    two = data[data["s"].isin(["s0", "s6"])]
    with pytest.raises(ModelError, match="ddf='between-within-sas' leaves 0"):
        lmm("y ~ a", two, ddf="between-within-sas", residual="ar1(b | s)")


def test_words_of_proc_mixed():
    words = {
        "kr": "kenward-roger",
        "DDFM=KR(FIRSTORDER)": "kenward-roger-linear",
        "kenwardroger2": "kenward-roger-2009",
        "satterth": "satterthwaite",
        "sat": "satterthwaite",
        "contain": "containment",
        "res": "residual",
        "bw": "between-within",
        "betwithin": "between-within",
        "bw-sas": "between-within-sas",
        "none": "asymptotic",
    }
    assert {word: known_name(word) for word in words} == words
    assert all(known_name(name) == name for name in METHODS)


def test_numbers_by_term():
    data = crossed_within()
    plain = lmm("y ~ a * b + x + (1 | s)", data)
    fit = lmm("y ~ a * b + x + (1 | s)", data, ddf={"a": 6, "b*a": 12})
    table, expected = denominators(fit), denominators(plain)
    assert (table["a"], table["a:b"]) == (6.0, 12.0)
    assert {name: table[name] for name in ("b", "x")} == {
        name: expected[name] for name in ("b", "x")
    }
    frame, other = (own.anova(type=3, definition="SAS").frame for own in (fit, plain))
    np.testing.assert_array_equal(frame["F value"], other["F value"])
    assert fit.df["aa2"] == 6.0
    assert fit.df["x"] == plain.df["x"]
    np.testing.assert_array_equal(fit.bse, plain.bse)
    # A contrast has the smallest number of what it involves.
    mixed = fit.contrast({"x": 1, "aa2": 1})
    assert mixed.df == min(6.0, plain.contrast({"x": 1, "aa2": 1}).df)
    assert fit.contrast(["aa2", "bb1"]).f.df_den <= 6.0
    assert "given by term, else Satterthwaite" in str(fit.summary())
    loaded = mlm.load(fit.to_json())
    assert loaded.df.equals(fit.df)
    assert loaded.ddf == fit.ddf
    assert fit.emmeans("a").frame["df"].max() <= 12.0


def test_other_methods_by_term():
    data = crossed_within()
    formula = "y ~ a * b + x + (1 | s)"
    fit = lmm(formula, data, ddf={"x": "residual", None: "kr"})
    roger = lmm(formula, data, ddf="kenward-roger")
    np.testing.assert_array_equal(fit.bse, roger.bse)
    expected = {**denominators(roger), "x": len(data) - 7.0}
    assert denominators(fit) == pytest.approx(expected, rel=1e-10)
    both = denominators(lmm(formula, data, ddf={"a": 5, None: "containment"}))
    assert both == {**denominators(lmm(formula, data, ddf="containment")), "a": 5.0}
    sas = mlm.from_sas("""proc mixed; class a b s; model y = a b a*b x / ddf=5,.,.,77 ddfm=kr;
        random int / sub=s;""")
    assert denominators(sas(data).fit)["x"] == 77.0
    assert denominators(sas(data).fit)["a"] == 5.0
    assert denominators(sas(data).fit)["b"] == pytest.approx(expected["b"], rel=1e-7)
    arrays = mlm.LMM.from_arrays(
        data["y"], data[["x"]].assign(one=1.0).to_numpy(), groups=data["s"], names=["x", "one"]
    )
    assert arrays.fit(ddf={"x": 9}).df["x"] == 9.0
    batch = mlm.LMM(formula, data).fit_many(data[["y"]].to_numpy(), ddf={"a": 5})
    assert batch.df[0, list(batch.names).index("aa2")] == 5.0


@pytest.mark.parametrize(
    ("ddf", "message"),
    [
        ({"A": 5}, "'A' is no term of the fixed part"),
        ({"a:x": 5}, "'a:x' is no term of the fixed part"),
        ({"a": -1}, "degrees of freedom must be positive"),
        ({"a": "satterthwaite"}, "of a single term is not offered"),
        ({"a": "satterwhite"}, "did you mean 'satterthwaite'"),
        ({None: "kr"}, "ddf names no term"),
        ({"a": 5, None: 7}, "name a method for the terms"),
        ({5: 5}, "ddf has the key 5"),
        ({"a": {"x": 5}}, "ddf of a term is {'x': 5}"),
        ({"a": [5]}, r"ddf of a term is \[5\]"),
        ({"a": None}, "ddf of a term is None"),
        ("{not json", "is no method of degrees of freedom"),
    ],
)
def test_what_is_refused(ddf, message):
    with pytest.raises((ModelError, DataError, FormulaError), match=message):
        lmm("y ~ a * b + x + (1 | s)", crossed_within(), ddf=ddf)


def test_kenward_roger_for_the_others_needs_reml():
    with pytest.raises(ModelError, match="needs a REML fit"):
        lmm("y ~ a + (1 | s)", crossed_within(), method="ML", ddf={"a": 5, None: "kr"})


def test_no_degrees_by_term_beside_a_factor_that_is_eliminated():
    """They were left out of the tests of coefficients, without a word."""
    data = crossed_within()
    formula = "y ~ x + b + (1 | c)"
    own = {"x": 5, None: "satterthwaite"}
    with pytest.raises(ModelError, match="by term is not offered beside a factor that is"):
        lmm(formula, data, absorb=True, ddf=own)
    fit = lmm(formula, data, absorb=True)
    asked = (
        lambda: fit.anova(ddf=own),
        lambda: fit.contrast({"x": {"x": 1.0}}, ddf=own),
        lambda: fit.predict(data.head(2), interval="confidence", ddf=own),
    )
    for ask in asked:
        with pytest.raises(ModelError, match="by term is not offered beside a factor that is"):
            ask()
    plain = lmm(formula, data, absorb=False, ddf=own)
    assert plain.anova().frame.loc["x", "DenDF"] == 5.0
    # Means are tested with the levels as columns, which have their terms.
    found, expected = fit.emmeans("1", ddf=own).frame, plain.emmeans("1").frame
    numbers = ["emmean", "SE", "df", "lower", "upper"]
    np.testing.assert_allclose(found[numbers], expected[numbers], rtol=1e-7)


def test_joint_tests_say_that_a_factor_is_eliminated():
    fit = lmm("y ~ x + b + (1 | c)", crossed_within(), absorb=True)
    with pytest.raises(ModelError, match=r"'b' is eliminated.*anova\(\)"):
        mlm.joint_tests(fit)


def test_between_within_as_sas_of_a_reduction_is_that_of_the_rows():
    """Each part's share was taken of the condensed rows, by an array of another shape."""
    data = crossed_within()
    formula = "y ~ a * b + x + (1 | s)"
    fit = mlm.reduce(formula, [data.head(40), data.iloc[40:]]).fit()
    found = fit.anova(ddf="between-within-sas").frame["DenDF"]
    expected = lmm(formula, data).anova(ddf="between-within-sas").frame["DenDF"]
    assert found.to_dict() == expected.to_dict()


def test_batches_studies_and_power_take_numbers_by_term():
    data = mlm.load_sleepstudy()
    data["part"] = np.where(data["Subject"].astype(str) < "335", "a", "b")
    given = {"Days": 9, None: "kenward-roger"}
    formula = "Reaction ~ Days + (1 | Subject)"
    each = mlm.fit_each(formula, data, by="part", ddf=given)
    for part, df in zip("ab", each.df, strict=True):
        own = mlm.lmm(formula, data[data["part"] == part], ddf=given)
        np.testing.assert_allclose(df, own.df, rtol=1e-9)
    batch = mlm.LMM(formula, data).fit_many(data[["Reaction"]].to_numpy())
    assert batch.df(given)[0, 1] == 9
    assert batch.tests(np.eye(2), ddf=given).df[0, 1] == 9
    power = mlm.power(mlm.lmm(formula, data), "Days", n=5, seed=1, ddf=given)
    assert "ddf 9 for Days, else kenward-roger" in repr(power)
