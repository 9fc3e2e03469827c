"""`mlmfast power plan.toml`: the same numbers as the call, and every key checked."""

import json
from pathlib import Path

import pandas as pd
import pytest

import mlmfast as mlm
from mlmfast.cli.commands import main

EXAMPLES = Path(__file__).parents[2] / "examples" / "power"
PLAN = {
    "design": {
        "formula": "y ~ x + (1 | g)",
        "levels": {"g": 10, "x": {"from": 0, "to": 3}},
        "params": {"x": 0.5},
        "icc": 0.2,
        "sigma": 1.0,
    },
    "power": {"test": "x", "along": "g", "values": [4, 8], "n": 30, "seed": 3},
}
DESIGN = {"levels": {"g": 10, "x": range(4)}, "params": {"x": 0.5}, "icc": 0.2, "sigma": 1}


def written(folder, plan):
    path = folder / "plan.json"
    path.write_text(json.dumps(plan))
    return str(path)


def changed(**tables):
    return {key: value for key, value in {**PLAN, **tables}.items() if value is not None}


def test_a_plan_gives_the_numbers_of_the_call(tmp_path, capsys):
    out = tmp_path / "curve.csv"
    assert main(["power", written(tmp_path, PLAN), "--out", str(out)]) == 0
    design = mlm.design("y ~ x + (1 | g)", **DESIGN)
    expected = mlm.power(design, "x", along="g", values=[4, 8], n=30, seed=3)
    assert capsys.readouterr().out == f"{expected}\n"
    pd.testing.assert_frame_equal(pd.read_csv(out), pd.DataFrame(expected))


def test_toml_is_the_same(tmp_path, capsys):
    pytest.importorskip("tomllib", reason="plans in TOML need Python 3.11, or tomli")
    path = tmp_path / "plan.toml"
    path.write_text(
        '[design]\nformula = "y ~ x + (1 | g)"\nicc = 0.2\nsigma = 1\nparams = {x = 0.5}\n'
        "levels = {g = 10, x = {from = 0, to = 3}}\n"
        '[power]\ntest = "x"\nalong = "g"\nvalues = [4, 8]\nn = 30\nseed = 3\n'
    )
    assert main(["power", str(path)]) == 0
    first = capsys.readouterr().out
    assert main(["power", written(tmp_path, PLAN)]) == 0
    assert capsys.readouterr().out == first
    path.write_text("[design\n")
    assert main(["power", str(path)]) == 2
    assert "is not valid TOML" in capsys.readouterr().err


def test_sample_size_and_smallest_effect(tmp_path, capsys):
    asked = {"test": "x", "along": "g", "n": 30, "seed": 3}
    assert main(["power", written(tmp_path, changed(power=None, sample_size=asked))]) == 0
    assert "Smallest number for power 0.8" in capsys.readouterr().out
    asked = {"test": "x", "n": 30, "seed": 3}
    assert main(["power", written(tmp_path, changed(power=None, detectable_effect=asked))]) == 0
    assert "Smallest effect found with power 0.8" in capsys.readouterr().out


def test_a_plan_from_data(tmp_path, capsys):
    mlm.load_sleepstudy().to_csv(tmp_path / "sleep.csv", index=False)
    fit = {"data": "sleep.csv", "formula": "Reaction ~ Days + (Days | Subject)"}
    asked = {"test": "Days", "n": 20, "seed": 1, "set": {"Days": 4}}
    assert main(["power", written(tmp_path, {"fit": fit, "power": asked})]) == 0
    expected = mlm.power(mlm.lmm(fit["formula"], mlm.load_sleepstudy()), **asked)
    assert capsys.readouterr().out == f"{expected}\n"


def test_a_picture(tmp_path):
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    picture = tmp_path / "curve.png"
    assert main(["power", written(tmp_path, PLAN), "--plot", str(picture), "--quiet"]) == 0
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        (changed(power={"tset": "x"}), "[power] of the plan has the key 'tset'"),
        (changed(pwoer={}), "did you mean 'power'?"),
        (changed(power=None), "the plan has none of [power], [sample_size]"),
        (changed(sample_size={"test": "x"}), "it has one"),
        (changed(design=None), "the plan needs one of [design] and [fit]"),
        (changed(power={"along": "g"}), "[power] of the plan needs test"),
        (changed(power={"test": "X"}), "did you mean 'x'?"),
        (changed(power={"test": "x", "along": "g", "values": {"from": 1}}), "is no range"),
        (changed(power=[1]), "it is a table"),
        (changed(design={"levels": {"g": 3}}), "needs formula"),
        (changed(design=None, fit={"formula": "y ~ x"}), "needs data"),
        (changed(design={**PLAN["design"], "sigmma": 2}), "did you mean 'sigma'?"),
    ],
)  # fmt: skip
def test_bad_plans(tmp_path, capsys, plan, message):
    assert main(["power", written(tmp_path, plan)]) == 2
    assert message in capsys.readouterr().err


def test_files_that_are_not_there(tmp_path, capsys):
    assert main(["power", str(tmp_path / "none.toml")]) == 2
    assert "cannot be read" in capsys.readouterr().err
    plan = written(tmp_path, PLAN)
    assert main(["power", plan, "--out", str(tmp_path / "no" / "curve.csv")]) == 2
    assert "cannot write" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["trial.toml", "classes.toml", "sleep.json"])
def test_the_worked_plans_are_valid(name):
    """Read and prepared, with few replicates."""
    if name.endswith("toml"):
        pytest.importorskip("tomllib", reason="plans in TOML need Python 3.11, or tomli")
    from mlmfast.cli.plans import read_plan
    from mlmfast.cli.power import _source

    plan = read_plan(str(EXAMPLES / name))
    source = _source(plan, EXAMPLES)
    asked = plan.get("power", plan.get("sample_size"))
    few = {key: asked[key] for key in ("test", "ddf", "set") if key in asked}
    assert mlm.power(source, n=20, seed=1, **few)["n_failed"].iloc[0] == 0
