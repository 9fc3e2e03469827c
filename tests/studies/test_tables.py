"""Tables of performance: wide frames, and great-tables where it is installed."""

import pytest

import mlmfast as mlm
from mlmfast.errors import DataError, MlmError


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    design = mlm.design("y ~ t + (1 | g)", levels={"g": 8, "t": [0, 1], "row": 3},
                        params={"t": 0.5}, icc=0.2, sigma=1)  # fmt: skip
    methods = {
        "Satterthwaite": mlm.Method("y ~ t + (1 | g)"),
        "z": mlm.Method("y ~ t + (1 | g)", ddf="asymptotic"),
    }
    study = mlm.Study({"n_g": [6, 8]}, design, methods, ["t", "(Intercept)"], 60, seed=1)
    return study.run(tmp_path_factory.mktemp("tables") / "s", progress=False)


def test_a_wide_table_has_the_values_of_the_long_one(result):
    wide = result.table(["coverage", "bias"], mcse=False)
    assert wide.index.names == ["n_g", "estimand"]
    assert wide.shape == (4, 4)
    long = result.performance(["coverage", "bias"])
    for row in long.itertuples():
        assert wide.loc[(row.n_g, row.estimand), (row.measure, row.method)] == row.value
    texts = result.table("coverage", "t")
    value = long[(long["measure"] == "coverage") & (long["estimand"] == "t")].iloc[0]
    first = texts.iloc[0, 0]
    assert first.startswith(f"{value['value']:.2f}"[:4])
    assert f"({value['mcse']:.3f})"[:5] in first
    assert list(result.table().columns.get_level_values(0).unique()) == [
        "bias", "empirical_se", "model_se", "coverage", "power",
    ]  # fmt: skip


def test_great_tables(result):
    pytest.importorskip("great_tables", reason="great-tables is an extra")
    html = result.to_gt(["coverage", "bias"], "t", title="A trial").as_raw_html()
    for text in ("A trial", "Coverage", "Bias", "Satterthwaite", "Monte Carlo", "60 replicates"):
        assert text in html
    assert result.table("coverage", "t").iloc[0, 0] in html
    assert "(Intercept)" in result.to_gt().as_raw_html()


def test_great_tables_is_an_extra(result, monkeypatch):
    from importlib import import_module as real

    def lacking(name, *rest):
        if name == "great_tables":
            raise ModuleNotFoundError(name)
        return real(name, *rest)

    monkeypatch.setattr("mlmfast.studies.performance.wide.import_module", lacking)
    with pytest.raises(MlmError, match=r"pip install 'mlmfast\[tables\]'"):
        result.to_gt()


def test_refusals(result):
    with pytest.raises(DataError, match="no estimand 'T'; did you mean 't'"):
        result.table(estimand="T")
    with pytest.raises(DataError, match="did you mean 'coverage'"):
        result.table("coverige")
