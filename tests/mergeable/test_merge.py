"""Reductions are merged by label, kept in files, and refused where they do not belong together."""

import json
import pickle

import numpy as np
import pyarrow as pa
import pytest

import mlmfast as mlm
from mlmfast.errors import DataError

from .data import in_parts, relative, rows

FORMULA = "y ~ f + t + (t | g)"
LEVELS = {"f": ["a", "b", "c"]}
TO_THE_END = {"tolerance": 1e-18}


@pytest.fixture(scope="module")
def data():
    return rows()


@pytest.fixture(scope="module")
def sites(data):
    """Five places that each reduce their own rows; clusters are in several of them."""
    return [mlm.reduce(FORMULA, [part], levels=LEVELS) for part in in_parts(data, 300)]


@pytest.fixture(scope="module")
def expected(data):
    return mlm.lmm(FORMULA, data, options=TO_THE_END)


def test_merged_places_give_the_fit_of_all_rows(sites, expected):
    for merged in (
        mlm.Reduction.merge(sites),
        sum(sites[1:], sites[0]),
        (sites[4] + sites[1]) + (sites[0] + (sites[3] + sites[2])),
    ):
        fit = merged.fit(options=TO_THE_END)
        assert merged.nobs == expected.nobs
        assert merged.n_groups == expected.n_groups
        assert len(merged.parts) == 5
        assert relative(fit.params, expected.params, 1e-1) < 1e-12
        assert relative(fit.bse, expected.bse) < 1e-12
        assert abs(fit.llf - expected.llf) < 1e-12 * abs(expected.llf)


def test_a_reduction_is_the_likelihood_of_its_rows(sites, data):
    """The same class of answers as from arrays: deviance, gradient, estimates."""
    merged = mlm.Reduction.merge(sites)
    kept = data.dropna()
    X = np.column_stack([np.ones(len(kept)), kept.f == "b", kept.f == "c", kept.t])
    Z = np.column_stack([np.ones(len(kept)), kept.t])
    whole = mlm.low_level.Reduction(kept.y, X, groups={"g": kept.g}, Z={"g": Z})
    theta = np.array([1.2, 0.1, 0.3, 2.5])
    for method in ("REML", "ML"):
        assert relative([merged.deviance(theta, method)], [whole.deviance(theta, method)]) < 1e-12
        assert relative(merged.gradient(theta, method), whole.gradient(theta, method), 1.0) < 1e-10
    assert relative(merged.gls(theta).beta, whole.gls(theta).beta, 1e-1) < 1e-11
    assert relative([merged.gls(theta).rss], [whole.gls(theta).rss]) < 1e-12
    assert relative(merged.estimate().theta, whole.estimate().theta) < 1e-6


def test_a_part_comes_once(sites):
    mark, name = next(iter(sites[1].parts.items()))
    with pytest.raises(DataError, match=rf"the part {mark} \({name}\) comes twice"):
        mlm.Reduction.merge([*sites, sites[1]])


def test_other_models_are_not_merged(data, sites):
    part = [data[:300]]
    with pytest.raises(DataError, match=r"formula is .* in one and"):
        sites[0] + mlm.reduce("y ~ f + (t | g)", part, levels=LEVELS)
    with pytest.raises(
        DataError, match=r"'f' was coded by other levels: a, b, c in one reduction, b, a, c in"
    ):
        sites[0] + mlm.reduce(FORMULA, part, levels={"f": ["b", "a", "c"]})
    with pytest.raises(DataError, match="weights is None in one and 'w'"):
        sites[0] + mlm.reduce(FORMULA, part, levels=LEVELS, weights="w")
    with pytest.raises(DataError, match=r"other rows in each reduction.*plan="):
        mlm.reduce("y ~ scale(t) + (1 | g)", [data[:700]]) + mlm.reduce(
            "y ~ scale(t) + (1 | g)", [data[700:]]
        )
    with pytest.raises(TypeError):
        sites[0] + 1
    with pytest.raises(DataError, match="nothing to merge"):
        mlm.Reduction.merge([])


def test_one_plan_codes_rows_elsewhere(data):
    formula = "y ~ scale(t) + f + (1 | g)"
    first = mlm.reduce(formula, [data[:900]])
    second = mlm.reduce(formula, [data[900:]], plan=first.plan)
    assert (first + second).nobs == 1497


# -- files ---------------------------------------------------------------------------------------


def test_a_file_holds_all_of_it(sites, expected, tmp_path):
    merged = mlm.Reduction.merge(sites)
    path = tmp_path / "sites.arrow"
    merged.save(path)
    again = mlm.load_reduction(path)
    assert repr(again) == repr(merged)
    assert again.parts == merged.parts
    assert again.fit().params.equals(merged.fit().params)
    assert again.fit().emmeans("f").to_frame().equals(merged.fit().emmeans("f").to_frame())
    loaded = [mlm.load_reduction(_saved(site, tmp_path, k)) for k, site in enumerate(sites)]
    fit = mlm.Reduction.merge(loaded).fit(options=TO_THE_END)
    assert relative(fit.bse, expected.bse) < 1e-12
    assert pickle.loads(pickle.dumps(merged)).fit().params.equals(merged.fit().params)
    fit = merged.fit()
    copied = pickle.loads(pickle.dumps(fit))
    assert copied.ranef["g"].equals(fit.ranef["g"])
    assert copied.cov_params("kenward-roger").equals(fit.cov_params("kenward-roger"))


def _saved(reduction, folder, k):
    reduction.save(folder / f"{k}.arrow")
    return folder / f"{k}.arrow"


@pytest.mark.parametrize(
    "formula",
    ["y ~ poly(t, 2) + (1 | g / unit)", "y ~ t", "y ~ factor(t) * h + (1 | unit) + (1 | rater)"],
)
def test_files_of_other_models(data, formula, tmp_path):
    reduction = mlm.reduce(formula, in_parts(data))
    again = mlm.load_reduction(_saved(reduction, tmp_path, 0))
    assert again.fit().params.equals(reduction.fit().params)
    assert again.fit().llf == reduction.fit().llf


def test_an_empty_reduction_has_a_file(data, tmp_path):
    plan = mlm.reduce(FORMULA, [data]).plan
    nothing = mlm.reduce(FORMULA, [data[:0]], plan=plan)
    assert (nothing.nobs, nothing.n_rows, nothing.n_groups) == (0, 0, {"g": 0})
    again = mlm.load_reduction(_saved(nothing, tmp_path, 0))
    assert (again + mlm.reduce(FORMULA, [data], plan=plan)).nobs == 1497
    with pytest.raises(DataError, match="no rows are left"):
        nothing.fit()


def test_files_that_are_none_are_refused(sites, tmp_path):
    path = tmp_path / "x.arrow"
    with pytest.raises(DataError, match="there is no file"):
        mlm.load_reduction(path)
    path.write_bytes(b"no arrow at all")
    with pytest.raises(DataError, match="not a saved reduction"):
        mlm.load_reduction(path)
    sites[0].save(path)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(DataError, match="not a saved reduction"):
        mlm.load_reduction(path)
    _rewritten(path, pa.table({"a": [1]}))
    with pytest.raises(DataError, match="no reduction"):
        mlm.load_reduction(path)


def _rewritten(path, table):
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)


def _edited(reduction, path, change):
    """The file with its metadata changed by hand."""
    reduction.save(path)
    with pa.OSFile(str(path), "rb") as source:
        table = pa.ipc.open_file(source).read_all()
    meta = json.loads(table.schema.metadata[b"mlmfast_reduction"])
    changed = change(meta, table)
    table = changed if isinstance(changed, pa.Table) else table
    _rewritten(
        path, table.replace_schema_metadata({b"mlmfast_reduction": json.dumps(meta).encode()})
    )
    return path


def _dropped(meta, table):
    return table.slice(1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda meta, table: meta.update(version=99), "version 99"),
        (lambda meta, table: meta.pop("version"), "damaged"),
        (lambda meta, table: meta["plan"].update(formula="y ~ t + (t | g)"), "damaged"),
        (lambda meta, table: meta["plan"]["levels"]["f"]["labels"].pop(), "damaged"),
        (lambda meta, table: meta.update(n_obs=7), "damaged"),
        (lambda meta, table: meta.update(n_obs="many"), "damaged"),
        (lambda meta, table: meta.update(origin=[1.0]), "damaged"),
        (lambda meta, table: table.drop_columns(["value"]), "damaged"),
        (_dropped, "damaged"),
    ],
)
def test_files_that_were_changed_are_refused(sites, tmp_path, change, message):
    with pytest.raises(DataError, match=message):
        mlm.load_reduction(_edited(sites[0], tmp_path / "x.arrow", change))


# -- what leaves a place -------------------------------------------------------------------------


def test_small_clusters_stay(data):
    small = mlm.reduce(FORMULA, in_parts(data), min_cluster_size=35)
    sizes = data.dropna().groupby("g").size()
    kept = sizes[sizes >= 35].index
    assert 0 < len(kept) < 40
    assert small.n_groups == {"g": len(kept)}
    assert small.n_withheld == int(sizes[sizes < 35].sum())
    fit = small.fit(options=TO_THE_END)
    expected = mlm.lmm(FORMULA, data[data.g.isin(kept)], options=TO_THE_END)
    assert relative(fit.bse, expected.bse) < 1e-12
    with pytest.raises(DataError, match="no cluster has 5000 rows"):
        mlm.reduce(FORMULA, in_parts(data), min_cluster_size=5000)
    with pytest.raises(DataError, match="row by row: give 6 or more"):
        mlm.reduce(FORMULA, in_parts(data), min_cluster_size=3)


def test_labels_stay(data, tmp_path):
    """Sites without labels: clusters of different sites are different, whatever they are called."""
    formula = "y ~ f + t + (t | g)"
    halves = [data[:750], data[750:]]
    sites = [mlm.reduce(formula, [half], levels=LEVELS, labels=False) for half in halves]
    sites[0].save(tmp_path / "site.arrow")
    assert b"g17" not in (tmp_path / "site.arrow").read_bytes()
    apart = data.assign(g=np.where(np.arange(1500) < 750, "A", "B") + data.g)
    expected = mlm.lmm(formula, apart, options=TO_THE_END)
    fit = mlm.Reduction.merge(sites).fit(options=TO_THE_END)
    assert fit.n_groups == expected.n_groups
    assert relative(fit.bse, expected.bse) < 1e-12
    assert relative(np.sort(fit.ranef["g"]["t"]), np.sort(expected.ranef["g"]["t"]), 1e-2) < 1e-9
