"""Tables on the command line: what Python prints, of data in any text form and of saved fits."""

import io

import pandas as pd
import pytest

import mlmfast as mlm
from mlmfast.cli import commands as cli

FORMULA = "Reaction ~ Days + arm + (Days | Subject)"
FORMS = {
    "comma.csv": {},
    "european.csv": {"sep": ";", "decimal": ","},
    "tabs.txt": {"sep": "\t"},
    "blanks.dat": {"sep": " "},
    "bars.csv.gz": {"sep": "|", "decimal": ","},
}


def data():
    frame = mlm.load_sleepstudy()
    return frame.assign(arm=["abc"[int(subject) % 3] for subject in frame["Subject"]])


@pytest.fixture(scope="module")
def fit():
    return mlm.lmm(FORMULA, data())


@pytest.fixture
def folder(tmp_path, fit, monkeypatch):
    for name, form in FORMS.items():
        data().to_csv(tmp_path / name, index=False, **form)
    fit.to_json(tmp_path / "fit.json")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run(capsys):
    def run(*arguments):
        try:
            status = cli.main(arguments)
        except SystemExit as end:
            status = end.code
        return status, *capsys.readouterr()

    return run


@pytest.mark.parametrize("name", FORMS)
def test_a_table_in_any_form_gives_the_same_tests(run, folder, fit, name):
    status, out, err = run("anova", name, FORMULA)
    assert (status, err) == (0, "")
    assert out == f"{fit.anova()}\n"


def test_what_is_said_of_the_form_is_taken(run, folder):
    text = data().rename(columns={"Days": "Days, counted"})
    text.to_csv("odd.txt", sep=";", index=False)
    status, out, err = run(
        "anova", "odd.txt", "Reaction ~ `Days, counted` + (1 | Subject)", "--sep", ";"
    )
    assert (status, err) == (0, "")
    assert "Days, counted" in out
    data().to_csv("tab.csv", sep="\t", decimal=",", index=False)
    assert run("anova", "tab.csv", FORMULA, "--sep", "tab", "--decimal", ",")[0] == 0


def test_standard_input_is_looked_at_too(run, folder, fit, monkeypatch):
    class Stdin:
        buffer = io.BytesIO((folder / "european.csv").read_bytes())

    monkeypatch.setattr("sys.stdin", Stdin)
    assert run("anova", "-", FORMULA)[1] == f"{fit.anova()}\n"


def test_options_of_the_tests(run, folder, fit):
    out = run("anova", "comma.csv", FORMULA, "--type", "2", "--chisq", "--ddf", "KR")[1]
    assert out == f"{fit.anova(type=2, chisq=True, ddf='kenward-roger')}\n"


def test_means_and_their_contrasts(run, folder, fit):
    means = fit.emmeans("arm", at={"Days": [5.0]}, level=0.9)
    for of in (("comma.csv", FORMULA), ("fit.json",)):
        out = run("emmeans", *of, "arm", "--at", "Days=5", "--level", "0.9")[1]
        assert out == f"{means}\n"
    out = run("emmeans", "fit.json", "arm", "--contrast", "trt.vs.ctrl", "--ref", "b")[1]
    assert out == f"{fit.emmeans('arm').contrast('trt.vs.ctrl', ref='b')}\n"
    out = run("emmeans", "fit.json", "Days", "arm", "--at", "Days=0,9", "--average", "cells")[1]
    assert out == f"{fit.emmeans(['Days', 'arm'], at={'Days': [0.0, 9.0]}, weights='cells')}\n"


def test_linear_functions(run, folder, fit):
    out = run("contrasts", "fit.json", "armb - armc", "Days = 10")[1]
    rows = {"armb - armc": "armb - armc", "Days = 10": "Days = 10"}
    assert out == f"{fit.estimate(rows)}\n"
    out = run("contrasts", "fit.json", "armb", "armc", "--joint", "--ddf", "12")[1]
    assert "Joint test: F(2, 12)" in out


def test_tables_are_written_as_text(run, folder, fit):
    assert run("emmeans", "fit.json", "arm", "--csv", "means.csv")[1] == ""
    found = pd.read_csv("means.csv")
    pd.testing.assert_frame_equal(found, fit.emmeans("arm").tidy(), check_dtype=False)
    assert run("anova", "fit.json", "--csv", "-")[1].startswith("term,")


REFUSED = {
    ("anova", "comma.csv"): "no formula stands after comma.csv",
    ("anova", "fit.json", "extra"): "no more than the formula; found 'extra'",
    ("anova", "fit.json", "--type", "7"): "7",
    ("anova", "fit.json", "--method", "ML"): "--method is for a fit to data",
    ("anova", "fit.json", "--na", "raise"): "--na is for a fit to data",
    ("emmeans", "fit.json"): "needs the factors",
    ("emmeans", "fit.json", "arn"): "did you mean 'arm'",
    ("emmeans", "fit.json", "arm", "--at", "Days"): "--at takes NAME=VALUE",
    ("emmeans", "fit.json", "arm", "--ref", "b"): "--ref goes with --contrast",
    ("contrasts", "fit.json"): "needs linear functions",
    ("contrasts", "fit.json", "armx"): "no coefficient 'armx'",
    ("fit", "comma.csv", FORMULA, "--sep", "abc"): "the separator is 'abc'",
    ("fit", "comma.csv", FORMULA, "--decimal", "'"): "the decimal sign is",
    ("fit", "comma.csv", FORMULA, "--decimal", ","): "cannot both separate fields",
    ("anova", "none.json"): "none.json",
}


@pytest.mark.parametrize("arguments", REFUSED)
def test_refusals_in_one_line(run, folder, arguments):
    status, out, err = run(*arguments)
    assert (status, out) == (2, "")
    assert REFUSED[arguments] in err
    assert err.count("\n") == 1
