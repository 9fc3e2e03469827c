"""Plans in TOML, and the command that runs them."""

import sys
from pathlib import Path

import pytest

import mlmfast as mlm
from mlmfast.cli.commands import main

pytest.importorskip("tomllib")

EXAMPLES = Path(__file__).parents[2] / "examples"

PLAN = """
seed = 3
n_replicates = 5
generate = "own_generators.py:draw"
[conditions]
n_groups = [6]
[methods.REML]
formula = "y ~ t + (1 | g)"
[methods.OLS]
function = "own_generators.py:ols"
[estimands]
t = 0.5
"""

FUNCTIONS = """
import numpy as np

def draw(condition, rng):
    g = np.repeat(np.arange(condition["n_groups"]), 4)
    return {"y": rng.normal(size=g.size), "t": g % 2.0, "g": g}

def ols(data, condition):
    means = data.groupby("t")["y"].mean()
    return {"t": means[1.0] - means[0.0]}
"""


@pytest.fixture
def plan(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "own_generators.py").write_text(FUNCTIONS)
    file = tmp_path / "trial.toml"
    file.write_text(PLAN)
    yield file
    sys.modules.pop("own_generators", None)


def test_the_command_runs_a_plan_and_goes_on(plan, tmp_path, capsys):
    report = tmp_path / "report.html"
    assert main(["study", str(plan), "--shard", "2/2", "--quiet"]) == 0
    assert main(["study", str(plan), "--report", str(report)]) == 0
    out = capsys.readouterr().out
    assert "1 conditions, 5 of 5 replicates" in out
    assert "Coverage" in out
    assert "<img" in report.read_text()
    assert mlm.load_study(tmp_path / "trial").methods == ["REML", "OLS"]


def test_workers_give_the_same(plan, tmp_path):
    text = plan.read_text().replace("n_replicates = 5", "n_replicates = 5\nchunk = 2")
    plan.write_text(text)
    for workers in ("1", "2"):
        folder = str(tmp_path / workers)
        call = ["study", str(plan), "--quiet", "--workers", workers, "--folder", folder]
        assert main(call) == 0
    one, two = (mlm.load_study(tmp_path / name).replicates for name in ("1", "2"))
    assert one.equals(two)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("seed = 3", "sead = 3", "the key 'sead', which it does not take; did you mean 'seed'"),
        ("formula =", "formla =", "did you mean 'formula'"),
        ("n_replicates = 5", "", "the plan has no n_replicates"),
        ("[methods.OLS]", "[methods.OLS]\nddf = 3", "function goes alone"),
        ("generate =", "# generate =", "either generate"),
        (":draw", ":drew", "has no function 'drew'"),
        ("own_generators.py:draw", "others.py:draw", "there is no file"),
        ("own_generators.py:draw", "draw", "write 'file.py:function'"),
        ("[6]", "[6", "is not valid TOML"),
        ("[conditions]\nn_groups = [6]", "[conditions]", "no conditions"),
    ],
)
def test_plans_that_are_refused(plan, capsys, old, new, message):
    text = plan.read_text()
    assert old in text
    plan.write_text(text.replace(old, new, 1))
    assert main(["study", str(plan)]) == 2
    assert message in capsys.readouterr().err
    assert not plan.with_suffix("").exists()


def test_the_worked_plan(tmp_path):
    """The example, of fewer replicates: its design and its methods are understood."""
    text = (EXAMPLES / "cluster_trial.toml").read_text().replace("1900", "2")
    file = tmp_path / "plan.toml"
    file.write_text(text)
    assert main(["study", str(file), "--quiet"]) == 0
    result = mlm.load_study(tmp_path / "plan")
    assert len(result.n_finished) == 12
    assert {own["t"] for own in result.plan["truths"]} == {0, 0.5}
    assert result.replicates["error"].isna().all()
