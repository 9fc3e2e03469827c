"""Pedigrees: relationships by the tabular method, published examples, forms of input, refusals."""

import copy
import pickle

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from numpy.testing import assert_allclose
from scipy import sparse

import mlmfast as mlm
from mlmfast.cli.commands import main
from mlmfast.data.frame import Frame
from mlmfast.design.factors.known_precision import KnownPrecision
from mlmfast.errors import DataError, ModelError
from mlmfast.fitting.undetermined import search
from mlmfast.reduction import reduced_model

from ..dense import log_likelihood
from ..fits import lmm
from ..general_models import animals


def parents_of(n, founders, reach, seed, selfing=0.0, unknown=0.0):
    """Sire and dam of each animal among the `reach` before it, (n, 2); -1 where unknown."""
    rng = np.random.default_rng(seed)
    parents = np.full((n, 2), -1)
    for k in range(founders, n):
        parents[k] = rng.choice(np.arange(max(0, k - reach), k), 2, replace=False)
        if rng.uniform() < selfing:
            parents[k, 1] = parents[k, 0]
        parents[k, rng.uniform(size=2) < unknown] = -1
    return parents


def tabular(parents):
    """A row by row: an animal is half of each parent (Henderson 1976)."""
    n = len(parents)
    a = np.zeros((n + 1, n + 1))
    for k, (sire, dam) in enumerate(parents):
        a[k, :k] = a[:k, k] = 0.5 * (a[sire, :k] + a[dam, :k])
        a[k, k] = 1.0 + 0.5 * a[sire, dam]
    return a[:n, :n]


def table(parents, labels, rows=None):
    names = np.array([*labels, None], dtype=object)
    frame = pd.DataFrame(
        {"id": names[:-1], "sire": names[parents[:, 0]], "dam": names[parents[:, 1]]}
    )
    return frame if rows is None else frame.iloc[rows].reset_index(drop=True)


def labels_of(n):
    return [f"a{k:03d}" for k in range(n)]


PEDIGREES = {
    "random": {"n": 120, "founders": 8, "reach": 40, "seed": 1},
    "selfing": {"n": 80, "founders": 3, "reach": 10, "seed": 2, "selfing": 0.4},
    "unknown parents": {"n": 150, "founders": 5, "reach": 150, "seed": 3, "unknown": 0.3},
    "few in a generation": {"n": 400, "founders": 4, "reach": 6, "seed": 4, "unknown": 0.05},
}


@pytest.mark.parametrize("name", PEDIGREES)
def test_relationships_are_those_of_the_tabular_method(name):
    parents = parents_of(**PEDIGREES[name])
    a, labels = tabular(parents), labels_of(len(parents))
    pedigree = mlm.pedigree(table(parents, labels))
    assert pedigree.labels == tuple(labels)
    assert_allclose(pedigree.inbreeding, np.diag(a) - 1.0, atol=1e-14)
    assert_allclose(pedigree.relationship(), a, atol=1e-13)
    some = [7, 3, len(a) - 1]
    found = pedigree.relationship([labels[k] for k in some])
    assert_allclose(found, a[np.ix_(some, some)], atol=1e-14)
    assert_allclose(pedigree.inverse.toarray() @ a, np.eye(len(a)), atol=1e-9)
    assert (pedigree.inverse != pedigree.inverse.T).nnz == 0
    assert pedigree.logdet == pytest.approx(np.linalg.slogdet(a)[1], rel=1e-10)


def test_many_generations_of_few_are_listed_by_pairs():
    """Each animal descends from all before it, so that ancestors are too many to be traced."""
    parents = parents_of(2500, 4, 30, 5)
    found = mlm.pedigree(table(parents, labels_of(len(parents)))).inbreeding
    assert_allclose(found, np.diag(tabular(parents)) - 1.0, atol=1e-13)


def test_rows_may_stand_in_any_order():
    parents = parents_of(**PEDIGREES["unknown parents"])
    labels = labels_of(len(parents))
    ordered = mlm.pedigree(table(parents, labels))
    mixed = mlm.pedigree(table(parents, labels, np.random.default_rng(1).permutation(len(labels))))
    place = {label: k for k, label in enumerate(mixed.labels)}
    for label, own in zip(mixed.labels, mixed.parents, strict=True):
        assert all(parent < place[label] for parent in own)
    assert_allclose(mixed.inbreeding[labels], ordered.inbreeding, atol=1e-15)
    assert_allclose(mixed.relationship(labels), ordered.relationship(), atol=1e-14)


FORMS = {
    "missing": ({"sire": ["s", None], "dam": ["d", "s"]}, {}),
    "blanks": ({"sire": ["s", " "], "dam": ["d", "s"]}, {}),
    "zeros": ({"sire": ["s", "0"], "dam": ["d", "s"]}, {}),
    "SAS": ({"sire": ["s", "."], "dam": ["d", "s"]}, {}),
    "ASReml": ({"sire": ["s", "*"], "dam": ["d", "s"]}, {}),
    "R": ({"sire": ["s", "NA"], "dam": ["d", "s"]}, {}),
    "text of NaN": ({"sire": ["s", "nan"], "dam": ["d", "s"]}, {}),
    "zeros of a register": ({"sire": ["s", "0000"], "dam": ["d", "s"]}, {}),
    "zeros read as decimals": ({"sire": ["s", "0.0"], "dam": ["d", "s"]}, {}),
    "a word": ({"sire": ["s", "Unknown"], "dam": ["d", "s"]}, {}),
    "a dash": ({"sire": ["s", "-"], "dam": ["d", "s"]}, {}),
    "another code": ({"sire": ["s", "??"], "dam": ["d", "s"]}, {"unknown": "??"}),
}


@pytest.mark.parametrize("name", FORMS)
def test_unknown_parents_are_coded_as_other_programs_do(name):
    columns, arguments = FORMS[name]
    found = mlm.pedigree({"id": ["a", "b"], **columns}, **arguments)
    assert found.labels == ("s", "d", "a", "b")
    assert found.n_without_rows == 2
    assert found.parents.tolist() == [[-1, -1], [-1, -1], [0, 1], [-1, 0]]


def test_a_word_for_unknown_is_an_animal_where_the_table_has_it():
    found = mlm.pedigree({"id": ["unk", "b"], "sire": [None, "unk"], "dam": [None, None]})
    assert found.parents.tolist() == [[-1, -1], [0, -1]]
    columns = {"id": ["b"], "sire": ["unk"], "dam": [None]}
    assert mlm.pedigree(columns, unknown="?").labels == ("unk", "b")


def test_frames_of_other_libraries_and_numbers_are_the_same():
    columns = {"id": [3, 4, 5], "sire": [1.0, 1.0, 4.0], "dam": [2.0, np.nan, 3.0]}
    frame = pl.DataFrame({"id": [3, 4, 5], "sire": [1, 1, 4], "dam": [2, None, 3]})
    kinds = [columns, pd.DataFrame(columns), frame, frame.to_arrow()]
    found = [mlm.pedigree(kind) for kind in kinds]
    assert {one.labels for one in found} == {("1", "2", "3", "4", "5")}
    assert {one.inbreeding["5"] for one in found} == {0.125}
    renamed = frame.rename({"id": "animal", "sire": "father", "dam": "mother"})
    other = mlm.pedigree(renamed, id="animal", sire="father", dam="mother")
    assert other.inbreeding.to_dict() == found[0].inbreeding.to_dict()
    from_zero = {"id": [0, 1, 2, 3], "sire": [-1, -1, 0, 0], "dam": [-1, -1, 1, 2]}
    assert mlm.pedigree(from_zero, unknown=-1).inbreeding["3"] == 0.25


def test_what_a_pedigree_says_of_itself():
    plants = mlm.pedigree({"id": ["x", "y"], "sire": ["p", "x"], "dam": ["q", "x"]})
    assert repr(plants) == (
        "Pedigree of 4 animals: 2 without known parents (2 of them without a row), 1 inbred (mean "
        "0.5, largest 0.5), 1 both sire and dam"
    )
    frame = plants.to_frame()
    assert frame["sire"].tolist()[2:] == ["p", "x"]
    assert frame["sire"].isna().tolist()[:2] == [True, True]
    for other in (pickle.loads(pickle.dumps(plants)), copy.deepcopy(plants)):
        assert_allclose(other.relationship(), plants.relationship())
    inverse = plants.inverse
    inverse.data[:] = 0.0
    assert plants.inverse.toarray()[3, 3] == 2.0
    with pytest.raises(ValueError, match="read-only"):
        plants.parents[0] = 1


def test_pruning_keeps_relationships():
    parents = parents_of(**PEDIGREES["selfing"])
    labels = labels_of(len(parents))
    whole = mlm.pedigree(table(parents, labels))
    kept = ["a030", "a041"]
    pruned = whole.prune(kept)
    assert set(kept) < set(pruned.labels) < set(labels)
    assert_allclose(pruned.relationship(kept), whole.relationship(kept), atol=1e-14)
    again = mlm.pedigree(pruned.to_frame())
    assert_allclose(again.inbreeding, pruned.inbreeding, atol=1e-15)


REFUSED = {
    "a loop": (
        {"id": ["a", "b", "c"], "sire": ["c", "a", "b"], "dam": [None] * 3},
        r"'b' is among its own ancestors in the pedigree: 'b', parent of 'c', parent of 'a', "
        "parent of 'b'",
    ),
    "its own parent": ({"id": ["a"], "sire": ["a"], "dam": [None]}, "'a' is its own parent"),
    "two accounts": (
        {"id": ["a", "b", "a"], "sire": ["s", "s", "t"], "dam": ["d", "d", "d"]},
        r"'a' has other parents in row 3 of the pedigree \('t' and 'd'\) than in row 1 "
        r"\('s' and 'd'\)",
    ),
    "one account of less": (
        {"id": ["a", "a"], "sire": ["s", None], "dam": ["d", "d"]},
        r"row 2 of the pedigree \(unknown and 'd'\)",
    ),
    "an animal without a name": (
        {"id": ["a", None], "sire": [None, "a"], "dam": [None, None]},
        "row 2 of the pedigree has no 'id'",
    ),
    "numbered from 0": (
        {"id": [0, 1], "sire": [-1, 0], "dam": [-1, -1]},
        r"an animal '0' in 'id', which stands for an unknown parent; .*unknown=\[-1\]",
    ),
    "a negative number": (
        {"id": [1, 2], "sire": [-1, 1], "dam": [-1, -1]},
        r"'sire' has the negative number -1, .*unknown=\[0, -1\]",
    ),
    "a parent with a blank": (
        {"id": ["a", "b"], "sire": [None, " a"], "dam": [None, None]},
        "'sire' or 'dam' has ' a' beside 'a', which would be two animals",
    ),
    "a parent with decimals": (
        {"id": ["1", "2"], "sire": [None, "1.0"], "dam": [None, None]},
        "'sire' or 'dam' has '1.0' beside '1'",
    ),
    "a founder in two ways": (
        {"id": ["a", "b"], "sire": ["s", "s "], "dam": [None, None]},
        "'sire' or 'dam' has 's ' beside 's'",
    ),
    "no such column": ({"animal": ["a"], "sire": [None], "dam": [None]}, "no column 'id'"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_no_pedigree_says_is_refused(name):
    data, message = REFUSED[name]
    with pytest.raises(DataError, match=message):
        mlm.pedigree(data)


def test_what_cannot_be_is_refused():
    line = {"id": [*range(1, 41)], "sire": [None, *range(1, 40)], "dam": [None, *range(1, 40)]}
    with pytest.raises(ModelError, match="copy of its parents to rounding"):
        mlm.pedigree(line)
    line = {name: values[:30] for name, values in line.items()}
    assert mlm.pedigree(line).inbreeding.iloc[-1] == 1.0 - 2.0**-29
    twice = {"id": ["a", "a"], "sire": ["s", "s"], "dam": ["d", "d"]}
    assert mlm.pedigree(twice).labels == ("s", "d", "a")
    with pytest.raises(DataError, match="no animal 'x'"):
        mlm.pedigree(twice).relationship(["a", "x"])


def test_names_that_differ_in_more_than_spelling_are_two_animals():
    founders = {"id": ["x"], "sire": ["1.1"], "dam": ["1.10"]}
    assert mlm.pedigree(founders).labels == ("1.1", "1.10", "x")
    numbers = mlm.pedigree({"id": [1, 2], "sire": [0, 1], "dam": [0, 0]})
    assert numbers.relationship(1).shape == (1, 1)


# -- published -----------------------------------------------------------------------------------

#: Mrode (2014), Linear Models for the Prediction of Animal Breeding Values, 3rd ed.
CALVES = {
    "id": [1, 2, 3, 4, 5, 6, 7, 8],
    "sire": [None, None, None, 1, 3, 1, 4, 3],
    "dam": [None, None, None, None, 2, 2, 5, 6],
}
GAIN = {
    "animal": [4, 5, 6, 7, 8],
    "sex": ["male", "female", "female", "male", "male"],
    "gain": [4.5, 2.9, 3.9, 3.5, 5.0],
}


def test_the_inverse_is_the_published_one():
    """Section 2.4: A^-1 with inbreeding of the pedigree of table 2.1, three decimals printed."""
    pedigree = mlm.pedigree({"id": [3, 4, 5, 6], "sire": [1, 1, 4, 5], "dam": [2, None, 3, 2]})
    expected = [
        [1.833, 0.500, -1.000, -0.667, 0.000, 0.000],
        [0.500, 2.033, -1.000, 0.000, 0.533, -1.067],
        [-1.000, -1.000, 2.500, 0.500, -1.000, 0.000],
        [-0.667, 0.000, 0.500, 1.833, -1.000, 0.000],
        [0.000, 0.533, -1.000, -1.000, 2.533, -1.067],
        [0.000, -1.067, 0.000, 0.000, -1.067, 2.133],
    ]
    assert_allclose(pedigree.inverse.toarray(), expected, atol=5.1e-4)


def test_breeding_values_are_the_published_ones():
    """Example 3.1: variances of 20 and 40, solutions of the mixed-model equations."""
    fit = lmm(
        "gain ~ 0 + sex + (1 | animal)",
        pd.DataFrame(GAIN),
        cov={"animal": mlm.pedigree(CALVES)},
        hold={"sd_(Intercept)|animal": 20**0.5, "sigma": 40**0.5},
    )
    assert_allclose(fit.params[["sexmale", "sexfemale"]], [4.358, 3.404], atol=5.1e-4)
    expected = [0.098, -0.019, -0.041, -0.009, -0.186, 0.177, -0.249, 0.183]
    found = fit.ranef["animal"].loc[[str(k) for k in range(1, 9)], "(Intercept)"]
    assert_allclose(found, expected, atol=5.1e-4)


# -- models --------------------------------------------------------------------------------------


def own_pedigree():
    """The pedigree of `general_models.animals`, whose A that has as a matrix."""
    rng = np.random.default_rng(1)
    parents = np.full((40, 2), -1)
    for k in range(8, 40):
        parents[k] = rng.choice(k, 2, replace=False)
    return mlm.pedigree(table(parents, [f"a{k:02d}" for k in range(40)]))


def known_inverse():
    _, a = animals()
    pedigree = own_pedigree()
    return mlm.precision(a.index, pedigree.inverse)


MODELS = {
    "animal": ("y ~ x + (1 | animal)", {}),
    "permanent environment": ("y ~ x + (1 | animal) + (1 | pe) + (1 | herd)", {"method": "ML"}),
    "slopes": ("y ~ x + (x | animal) + (1 | herd)", {"weights": "w"}),
    "repeated records": ("y ~ x + (1 | animal)", {"residual": "ar1(time | animal)"}),
    "dense": ("y ~ x + (1 | animal)", {"options": {"engine": "dense"}}),
    "unbounded": ("y ~ x + (1 | animal)", {"bounded": False}),
}


def test_the_pedigree_is_that_of_the_matrix():
    _, a = animals()
    assert_allclose(own_pedigree().relationship(a.index), a, atol=1e-15)


@pytest.mark.parametrize("given", [own_pedigree, known_inverse])
@pytest.mark.parametrize("name", MODELS)
def test_a_fit_is_that_of_the_matrix(name, given):
    formula, arguments = MODELS[name]
    data, a = animals(slope=0.6)
    fit = lmm(formula, data, cov={"animal": given()}, **arguments)
    other = lmm(formula, data, cov={"animal": a}, **arguments)
    by_inverse = name in {"animal", "permanent environment", "slopes"}
    assert fit.certificate.engine.startswith("crossed" if by_inverse else "dense")
    assert fit.llf == pytest.approx(other.llf, abs=1e-10)
    for attribute in ("params", "bse", "df", "fittedvalues"):
        assert_allclose(getattr(fit, attribute), getattr(other, attribute), rtol=1e-8)
    assert set(fit.ranef["animal"].index) == set(a.index)
    assert_allclose(fit.ranef["animal"].loc[a.index], other.ranef["animal"].loc[a.index], atol=1e-8)
    for label in ("a00", "a20"):
        assert_allclose(fit.ranef_cov["animal"][label], other.ranef_cov["animal"][label], atol=1e-8)
    assert_allclose(fit.V(), other.V(), rtol=1e-9, atol=1e-12)
    new = data.iloc[:3].assign(animal=["a00", "a20", "a03"])
    for kind in ("confidence", "prediction"):
        bands = [one.predict(new, interval=kind) for one in (fit, other)]
        assert_allclose(*bands, rtol=1e-8)
    sums = {"animal": {"a00": {"(Intercept)": 1}, "a33": {"(Intercept)": -1}}}
    estimates = [one.estimate("x", random=sums) for one in (fit, other)]
    assert estimates[0].se == pytest.approx(estimates[1].se, rel=1e-8)
    assert_allclose(fit.resid("studentised"), other.resid("studentised"), rtol=1e-7)


def test_a_fit_by_its_pedigree_answers_everything(tmp_path):
    data, a = animals()
    fit = lmm("y ~ x + (1 | animal)", data, cov={"animal": own_pedigree()})
    other = lmm("y ~ x + (1 | animal)", data, cov={"animal": a})
    assert "by a known matrix with 6 levels without rows" in str(fit.summary())
    assert_allclose(fit.caic(), other.caic(), rtol=1e-9)
    assert_allclose(fit.r2(), other.r2(), rtol=1e-9)
    assert_allclose(fit.resid("scaled"), other.resid("scaled"), atol=1e-8)
    assert_allclose(fit.conf_int(method="profile"), other.conf_int(method="profile"), rtol=1e-5)
    (tmp_path / "fit.json").write_text(fit.to_json(), encoding="utf-8")
    loaded = mlm.load(tmp_path / "fit.json")
    assert_allclose(loaded.ranef["animal"], fit.ranef["animal"], rtol=0)
    assert np.isfinite(fit.bootstrap(20, seed=1).conf_int()).all(axis=None)
    batch = mlm.LMM("y ~ x + (1 | animal)", data, cov={"animal": own_pedigree()}).fit_many(
        fit.simulate(3, seed=2)
    )
    assert batch.converged.all()
    with pytest.raises(ModelError, match="says nothing of other levels; simulate on the rows"):
        mlm.power(fit, "x", along="animal", values=[60], n=5)


def test_simulated_effects_have_the_relationships_of_the_pedigree():
    data, _ = animals(per_animal=1)
    fit = lmm("y ~ 1 + (1 | animal)", data, cov={"animal": own_pedigree()})
    V, Y = fit.V().to_numpy(), fit.simulate(4000, seed=3)
    root = np.linalg.cholesky(V)
    white = np.linalg.solve(root, Y - fit.params.iloc[0])
    covariance = white @ white.T / Y.shape[1]
    # 4000 draws: entries of a sample covariance of white noise have standard deviation 0.016.
    assert np.abs(covariance - np.eye(len(V))).max() < 0.1
    assert np.abs(fit.simulate(2, seed=3) - Y[:, :2]).max() == 0.0


def test_families_without_common_descendants_are_independent():
    """Parents are joined by offspring in the inverse; where these have no records, no more."""
    parents = {
        "id": ["x", "y", "child", "u", "v", "calf"],
        "sire": [None, None, "x", None, None, "u"],
        "dam": [None, None, "y", None, None, "v"],
    }
    rng = np.random.default_rng(1)
    animal = np.repeat(["x", "y", "u", "v", "calf"], 4)
    data = pd.DataFrame({"animal": animal, "y": rng.normal(size=20), "x": rng.normal(size=20)})
    data["y"] += np.repeat(2.0 * rng.normal(size=5), 4)
    pedigree = mlm.pedigree(parents)
    fit = lmm("y ~ x + (1 | animal)", data, cov={"animal": pedigree}, options={"engine": "dense"})
    # x and y alone, u, v and calf together.
    assert fit._source.model.core.size[0] == 3
    other = lmm("y ~ x + (1 | animal)", data, cov={"animal": pedigree.relationship()})
    assert fit.llf == pytest.approx(other.llf, abs=1e-10)
    by_family = np.repeat(["x", "y", "u"], [4, 4, 12])
    assert_allclose(*(one.robust("CR0", cluster=by_family).bse for one in (fit, other)), rtol=1e-8)
    own, its = (one.ranef["animal"].loc["child"] for one in (fit, other))
    assert_allclose(own, its, atol=1e-9)


def test_models_from_arrays_and_names_that_a_pedigree_lacks():
    data, a = animals()
    X = np.column_stack([np.ones(len(data)), data["x"]])
    groups = {"animal": data["animal"]}
    fits = [
        mlm.LMM.from_arrays(data["y"], X, groups=groups, cov={"animal": known}).fit()
        for known in (a, own_pedigree())
    ]
    assert fits[0].llf == pytest.approx(fits[1].llf, abs=1e-9)
    with pytest.raises(DataError, match=r"cov\['animal'\] lacks 1 level\(s\) of the data: 'zz'"):
        mlm.lmm(
            "y ~ x + (1 | animal)",
            data.assign(animal=data["animal"].where(data.index > 2, "zz")),
            cov={"animal": own_pedigree()},
        )


def test_the_command_line_reads_a_pedigree(tmp_path, capsys):
    data, a = animals()
    data.to_csv(tmp_path / "data.csv", index=False)
    a.to_csv(tmp_path / "a.csv")
    own_pedigree().to_frame().fillna({"sire": "0", "dam": "."}).to_csv(
        tmp_path / "p.csv", index=False
    )
    given = ["fit", str(tmp_path / "data.csv"), "y ~ x + (1 | animal)"]
    assert main([*given, "--cov", f"animal={tmp_path / 'a.csv'}"]) == 0
    expected = capsys.readouterr().out
    assert main([*given, "--pedigree", f"animal={tmp_path / 'p.csv'}"]) == 0
    found = capsys.readouterr().out
    assert found.splitlines()[-6:] == expected.splitlines()[-6:]
    both = ["--cov", f"animal={tmp_path / 'a.csv'}", "--pedigree", f"animal={tmp_path / 'p.csv'}"]
    assert main([*given, *both]) == 2
    assert "both name 'animal'" in capsys.readouterr().err
    assert main([*given, "--pedigree", "p.csv"]) == 2
    assert "FACTOR=FILE" in capsys.readouterr().err
    # What is read part by part, or reduced, has no relationships.
    pedigree = ["--pedigree", f"animal={tmp_path / 'p.csv'}"]
    assert main([*given, *pedigree, "--memory", "1GB"]) == 2
    assert "--pedigree goes with one file that is read at once" in capsys.readouterr().err
    reduction = str(tmp_path / "data.arrow")
    assert main(["reduce", given[1], "y ~ x + (1 | animal)", "--out", reduction]) == 0
    assert main(["fit", "--from", reduction, *pedigree]) == 2
    assert "has its pedigree in it; leave them out" in capsys.readouterr().err


# -- precisions ----------------------------------------------------------------------------------


def grid(n, kappa):
    """Precision of a field over n x n sites: kappa I plus the graph's Laplacian."""
    path = sparse.diags_array([[-1.0] * (n - 1)] * 2, offsets=[1, -1])
    steps = sparse.kron(path, sparse.eye_array(n)) + sparse.kron(sparse.eye_array(n), path)
    return sparse.csr_array(steps + sparse.diags_array(kappa - steps.sum(axis=1)))


def test_a_precision_is_its_inverse():
    Q = grid(12, 0.3)
    labels = [f"s{k}" for k in range(144)]
    A = np.linalg.inv(Q.toarray())
    field = mlm.precision(labels, Q)
    assert_allclose(field.variances, np.diag(A), rtol=1e-12)
    assert field.logdet == pytest.approx(np.linalg.slogdet(A)[1], rel=1e-12)
    assert_allclose(field.root.over(np.arange(144)), A, atol=1e-13)
    dense = mlm.precision(pd.DataFrame(Q.toarray(), index=labels, columns=labels))
    assert (dense.inverse != field.inverse).nnz == 0
    rng = np.random.default_rng(2)
    site = np.repeat(np.arange(20, 144), 3)
    y = 1.5 * (np.linalg.cholesky(A) @ rng.normal(size=144))[site] + rng.normal(size=len(site))
    data = pd.DataFrame({"y": y, "site": np.array(labels)[site]})
    fits = [lmm("y ~ 1 + (1 | site)", data, cov={"site": known}) for known in (field, (labels, A))]
    assert fits[0].llf == pytest.approx(fits[1].llf, abs=1e-9)
    assert_allclose(fits[0].ranef["site"].loc[labels], fits[1].ranef["site"].loc[labels], atol=1e-8)


WRONG = {
    "indefinite": (["a", "b"], [[1.0, 2.0], [2.0, 1.0]], ModelError, "not positive definite"),
    "intrinsic": (list(range(16)), grid(4, 0.0), ModelError, "intrinsic field"),
    "asymmetric": (["a", "b"], [[1.0, 0.5], [0.1, 1.0]], ModelError, "precision is not symmetric"),
    "no labels": (np.eye(2), None, DataError, "needs labels"),
    "labels too few": (["a"], np.eye(2), DataError, "1 labels for a matrix of 2"),
    "a label twice": (["a", "a"], np.eye(2), DataError, "'a' twice"),
    "not square": (["a", "b"], np.ones((2, 3)), DataError, r"\(2, 3\)"),
    "missing": (["a", "b"], [[np.nan, 0], [0, 1]], DataError, "missing or infinite"),
    "complex": (["a", "b"], np.eye(2) * (1 + 1j), DataError, "not a matrix of numbers"),
    "a label missing": (["a", None], np.eye(2), DataError, "label 2 is missing"),
    "labels second": (np.eye(2), ["a", "b"], DataError, "labels come before it"),
    "one half": (["a", "b"], [[2.0, 0.0], [-1.0, 2.0]], ModelError, "give both"),
    "one sparse half": (
        ["a", "b"],
        sparse.csc_array([[2.0, -1.0], [0.0, 2.0]]),
        ModelError,
        "give both",
    ),
}
LABELS = {
    "pandas": (pd.Index([1.0, 2.0]), ("1", "2")),
    "single precision": (np.array([1, 2], np.float32), ("1", "2")),
    "polars": (pl.Series([1.0, 2.0]), ("1", "2")),
    "polars categories": (pl.Series(["a", "b"], dtype=pl.Categorical), ("a", "b")),
    "arrow": (pa.array([1.0, 2.0]), ("1", "2")),
    "arrow dictionary": (pa.array(["a", "b"]).dictionary_encode(), ("a", "b")),
    "arrow chunks": (pa.chunked_array([[1], [2]]), ("1", "2")),
    "days": (pd.to_datetime(["2020-01-01", "2020-01-02"]), ("2020-01-01", "2020-01-02")),
}


@pytest.mark.parametrize("name", LABELS)
def test_labels_are_those_that_a_column_of_them_has(name):
    given, expected = LABELS[name]
    assert mlm.precision(given, np.eye(2)).labels == expected
    data = {"g": given if name != "pandas" else given.to_numpy(), "y": [1.0, 2.0]}
    assert Frame.from_native(data).factor("g").levels == expected


@pytest.mark.parametrize("kind", ["csr", "csc", "coo", "bsr", "dok", "lil", "dia"])
def test_sparse_matrices_of_every_kind_are_read_and_left_as_they_are(kind):
    dense = np.array([[2.0, -1.0, 0.0], [-1.0, 2.0, -1.0], [0.0, -1.0, 2.0]])
    matrix = getattr(sparse, f"{kind}_array")(dense)
    found = mlm.precision(["a", "b", "c"], matrix)
    assert_allclose(found.variances, np.diag(np.linalg.inv(dense)), rtol=1e-14)
    assert_allclose(matrix.toarray(), dense, rtol=0)


@pytest.mark.parametrize("name", WRONG)
def test_what_is_no_precision_is_refused(name):
    labels, matrix, kind, message = WRONG[name]
    with pytest.raises(kind, match=message):
        mlm.precision(labels, matrix)


def test_a_saved_fit_names_a_pedigree_and_does_not_hold_it():
    data, _ = animals()
    pedigree = own_pedigree()
    fit = lmm("y ~ x + (1 | animal)", data, cov={"animal": pedigree})
    assert fit.manifest["call"]["cov"] == {"animal": repr(pedigree)}


def test_a_large_pedigree_is_fitted_without_all_its_relationships(monkeypatch):
    """Where the information at G = 0 may be singular too, which takes the whole of A."""
    data, _ = animals()
    formula, arguments = "y ~ x + (1 | animal) + (1 | herd)", {"cov": {"animal": own_pedigree()}}
    fit = lmm(formula, data, **arguments)
    monkeypatch.setattr(reduced_model, "LARGEST_EXACT", 10)
    monkeypatch.setattr(search, "_is_suspect", lambda *_: True)
    monkeypatch.setattr(search, "_with_variance", lambda *_: pytest.fail("it takes the whole of A"))
    large = lmm(formula, data, **arguments)
    assert large.ddf == "asymptotic"
    assert large.llf == pytest.approx(fit.llf, abs=1e-9)
    assert_allclose(large.bse, fit.bse, rtol=1e-7)


def test_a_residual_structure_takes_the_relationships_of_animals_with_records(monkeypatch):
    """Not of all 3,000 to each other; the others' breeding values are those of the matrix."""
    parents = parents_of(3000, 20, 200, 7)
    labels = labels_of(3000)
    pedigree = mlm.pedigree(table(parents, labels))
    rng = np.random.default_rng(4)
    animal = np.repeat(rng.choice(np.arange(2000, 3000), 30, replace=False), 4)
    effects = dict(zip(animal.tolist(), rng.normal(size=len(animal)), strict=True))
    data = pd.DataFrame(
        {
            "animal": np.array(labels)[animal],
            "time": np.tile(np.arange(4), 30),
            "y": rng.normal(size=120) + 2.0 * np.array([effects[k] for k in animal.tolist()]),
        }
    )
    formula, arguments = "y ~ 1 + (1 | animal)", {"residual": "ar1(time | animal)"}
    kept = [labels[k] for k in [*np.unique(animal).tolist(), 5, 2500]]
    matrix = pedigree.relationship(dict.fromkeys(kept))
    other = lmm(formula, data, cov={"animal": matrix}, **arguments)
    sizes = []
    over = KnownPrecision.over
    monkeypatch.setattr(
        KnownPrecision, "over", lambda self, levels: sizes.append(len(levels)) or over(self, levels)
    )
    fit = lmm(formula, data, cov={"animal": pedigree}, **arguments)
    assert max(sizes) == 30
    assert fit.llf == pytest.approx(other.llf, abs=1e-9)
    own, its = (one.ranef["animal"].loc[matrix.index] for one in (fit, other))
    assert_allclose(own, its, atol=1e-8)
    for label in ("a005", "a2500", data["animal"][0]):
        assert_allclose(fit.ranef_cov["animal"][label], other.ranef_cov["animal"][label], rtol=1e-7)


def test_slopes_of_few_related_animals_reach_the_lower_of_two_minima():
    """The first start ends at a correlation of -1, 0.6 below the maximum of the likelihood."""
    rng = np.random.default_rng(319)
    parents, labels = parents_of(30, 5, 30, 319), labels_of(30)
    animal, x = rng.integers(0, 30, 60), rng.normal(size=60)
    effects = np.linalg.cholesky(tabular(parents)) @ rng.normal(size=(30, 2))
    y = 1 + x + 1.5 * effects[animal, 0] + effects[animal, 1] * x + rng.normal(size=60)
    data = pd.DataFrame({"y": y, "x": x, "animal": np.array(labels)[animal]})
    cov = {"animal": mlm.pedigree(table(parents, labels))}
    formula = "y ~ x + (x | animal)"
    fit = mlm.lmm(formula, data, cov=cov)
    # By BFGS from several starts on the dense likelihood.
    assert fit.llf == pytest.approx(-115.950414, abs=2e-6)
    X = np.column_stack([np.ones(60), x])
    assert log_likelihood(y, X, fit.V().to_numpy(), "REML") == pytest.approx(fit.llf, abs=1e-8)
    matrix = mlm.lmm(formula, data, cov={"animal": cov["animal"].relationship()})
    assert matrix.llf == pytest.approx(fit.llf, abs=1e-8)
    batch = mlm.LMM(formula, data, cov=cov).fit_many(np.column_stack([y + x, y]))
    assert batch.llf[1] == fit.llf
    assert (batch.params[1] == fit.params).all()
