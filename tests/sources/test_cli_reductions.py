"""Files of any number on the command line: fit, reduce, merge, fit --from."""

import numpy as np
import pandas as pd
import pytest

import mlmfast as mlm
from mlmfast.cli.commands import main

FORMULA = "Reaction ~ Days + (Days | Subject)"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path, data = tmp_path_factory.mktemp("sleep"), mlm.load_sleepstudy()
    data["site"] = np.where(np.arange(180) % 3 == 0, "north", "south")
    for k in range(3):
        data[k * 60 : (k + 1) * 60].to_csv(path / f"site{k}.csv", index=False)
        data[k * 60 : (k + 1) * 60].to_parquet(path / f"site{k}.parquet")
    return path


def run(*arguments):
    return main([str(argument) for argument in arguments])


def check(path, digits=12, **options):
    expected = mlm.lmm(FORMULA, mlm.load_sleepstudy(), **options)
    fit = mlm.load(path)
    assert abs(fit.llf / expected.llf - 1) < 10.0**-digits
    assert fit.nobs == 180


@pytest.mark.parametrize("data", ["*.parquet", "site?.csv"])
def test_a_pattern_is_fitted(data, folder, tmp_path):
    out = tmp_path / "fit.json"
    assert run("fit", folder / data, FORMULA, "--out", out, "--quiet") == 0
    check(out)
    assert mlm.load(out).ranef["Subject"].shape == (18, 2)


def test_rows_are_reduced_within_a_memory_limit(folder, capsys):
    arguments = ("--memory", "1GB", "--workers", "2", "--method", "ML", "--ddf", "residual")
    assert run("fit", folder / "*.parquet", FORMULA, *arguments) == 0
    expected = mlm.lmm(FORMULA, mlm.load_sleepstudy(), method="ML", ddf="residual")
    printed = capsys.readouterr().out
    assert f"{expected.deviance:.1f}" in printed
    assert "180" in printed


def test_sites_reduce_and_the_whole_is_fitted(folder, tmp_path, capsys):
    formula = "Reaction ~ Days + site + (Days | Subject)"
    for k in range(3):
        own = ("--levels", "site=south,north", "--out", tmp_path / f"{k}.arrow")
        assert run("reduce", folder / f"site{k}.csv", formula, *own) == 0
    assert "60 rows in 1 part (6 Subject): " in capsys.readouterr().out
    parts = [tmp_path / f"{k}.arrow" for k in range(3)]
    assert run("merge", *parts, "--out", tmp_path / "all.arrow") == 0
    assert "180 rows in 3 parts (18 Subject): " in capsys.readouterr().out
    assert run("fit", "--from", tmp_path / "all.arrow", "--ddf", "kenward-roger") == 0
    data = pd.concat([pd.read_csv(folder / f"site{k}.csv") for k in range(3)])
    data["site"] = pd.Categorical(data["site"], ["south", "north"])
    expected = mlm.lmm(formula, data, ddf="kenward-roger")
    printed = capsys.readouterr().out
    assert f"{expected.params['sitenorth']:.3f}" in printed
    assert f"{expected.bse['sitenorth']:.3f}" in printed
    again = (tmp_path / "all.arrow", parts[0], "--out", tmp_path / "twice.arrow")
    assert run("merge", *again) == 2
    assert "comes twice" in capsys.readouterr().err


def test_a_reduction_goes_on_and_takes_over_a_coding(folder, tmp_path, capsys):
    first = ("--out", tmp_path / "a.arrow", "--resume", tmp_path / "kept")
    assert run("reduce", folder / "*.parquet", FORMULA, *first) == 0
    assert len(list((tmp_path / "kept").iterdir())) == 3
    assert run("reduce", folder / "*.parquet", FORMULA, *first) == 0
    other = ("--out", tmp_path / "b.arrow", "--plan", tmp_path / "a.arrow", "--no-labels")
    assert run("reduce", folder / "site1.parquet", FORMULA, *other) == 0
    assert mlm.load_reduction(tmp_path / "b.arrow").nobs == 60
    least = ("--out", tmp_path / "c.arrow", "--min-cluster-size", "11")
    assert run("reduce", folder / "site1.parquet", FORMULA, *least) == 2
    assert "no cluster has 11 rows or more" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("fit",), "give data and a formula, or a reduction: mlmfast fit --from FILE"),
        (("fit", "rows.csv"), "give data and a formula"),
        (("fit", "rows.csv", "y ~ x", "--from", "a.arrow"), "has its data in it"),
        (("fit", "--from", "a.arrow", "--weights", "w"), "has its weights in it"),
        (("fit", "--from", "a.arrow", "--memory", "1GB"), "--memory is for reading rows"),
        (("fit", "--from", "a.arrow", "--sep", ";", "--na", "raise"), "--sep, --na is for reading"),
        (
            ("fit", "a.csv", "y ~ x", "--memory", "1GB", "--method", "type3"),
            "from its rows, by lmm",
        ),
        (("fit", "--from", "none.arrow"), "there is no file 'none.arrow'"),
        (("fit", "none/*.csv", "y ~ x"), "no file matches none/*.csv"),
        (("fit", "a.csv", "y ~ x", "--memory", "4GB", "--factor", "x"), "--factor goes with one"),
        (("fit", "a.csv", "y ~ x", "--memory", "lots"), "memory is 'lots'; give a size"),
        (("fit", "a.csv", "y ~ x", "--workers", "0"), "--workers is 0; give a number"),
        (("reduce", "a.csv", "y ~ x", "--out", "a", "--levels", "x"), "--levels takes COL=A,B"),
    ],
)
def test_refusals(arguments, told, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.csv").write_text("y,x\n1,2\n2,4\n4,1\n3,9\n")
    assert main(list(arguments)) == 2
    assert told in capsys.readouterr().err


def test_a_residual_covariance_is_reduced(tmp_path):
    data = mlm.load_sleepstudy()
    data["late"] = (data["Days"] > 4).astype(int)
    own = data[data["Days"].isin([2, 7])]
    own.to_csv(tmp_path / "two.csv", index=False)
    residual = "us(late | Subject)"
    arguments = ("--residual", residual, "--out", tmp_path / "two.arrow")
    assert run("reduce", tmp_path / "two.csv", "Reaction ~ Days", *arguments) == 0
    fit = mlm.load_reduction(tmp_path / "two.arrow").fit()
    expected = mlm.lmm("Reaction ~ Days", own, residual=residual)
    assert abs(fit.llf / expected.llf - 1) < 1e-12
