"""The command line: what it prints, what it writes, how it ends."""

import gzip
import io
import signal
import subprocess
import sys
import time
import warnings

import pandas as pd
import pytest

import mlmfast as mlm
from mlmfast.cli import commands as cli
from mlmfast.cli.progress import Progress
from mlmfast.data.files import read_table

SLEEP = "Reaction ~ Days + (Days | Subject)"


@pytest.fixture
def sleep_csv(tmp_path):
    path = tmp_path / "sleep.csv"
    mlm.load_sleepstudy().to_csv(path, index=False)
    return str(path)


@pytest.fixture
def run(capsys):
    """Run the command line; returns exit status, standard output and standard error."""

    def run(*arguments):
        try:
            status = cli.main(arguments)
        except SystemExit as end:
            status = end.code
        return status, *capsys.readouterr()

    return run


def test_fit_prints_the_summary_that_python_prints(run, sleep_csv):
    status, out, err = run("fit", sleep_csv, SLEEP)
    assert status == 0
    assert err == ""
    assert out == f"{mlm.lmm(SLEEP, mlm.load_sleepstudy()).summary()}\n"


def test_a_fit_is_saved_and_shown_as_a_page(run, sleep_csv, tmp_path):
    saved, page = tmp_path / "fit.json", tmp_path / "report.html"
    status, out, err = run(
        "fit", sleep_csv, SLEEP, "--out", str(saved), "--html", str(page), "--quiet"
    )
    assert (status, out, err) == (0, "", "")
    assert mlm.load(saved).llf == mlm.lmm(SLEEP, mlm.load_sleepstudy()).llf
    assert page.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


@pytest.mark.parametrize("ending", ["csv.gz", "tsv", "parquet"])
def test_kinds_of_files(run, tmp_path, ending):
    frame, path = mlm.load_sleepstudy(), tmp_path / f"sleep.{ending}"
    if ending == "parquet":
        frame.to_parquet(path)
    else:
        frame.to_csv(path, index=False, sep="\t" if ending == "tsv" else ",")
    status, out, _ = run("fit", str(path), SLEEP, "--method", "ml")
    assert status == 0
    assert "-2 log-likelihood 1751.939" in out


def test_standard_input(run, sleep_csv, monkeypatch):
    with open(sleep_csv, "rb") as file:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(file.read())))
    status, out, _ = run("fit", "-", SLEEP)
    assert status == 0
    assert "1743.628" in out


def test_weights_offset_and_degrees_of_freedom_reach_the_fit(run, tmp_path):
    frame = mlm.load_sleepstudy().assign(w=2.0, o=1.0)
    path = tmp_path / "sleep.csv"
    frame.to_csv(path, index=False)
    options = ("--weights", "w", "--offset", "o", "--ddf", "asymptotic", "--na", "raise")
    status, out, _ = run("fit", str(path), SLEEP, *options)
    assert status == 0
    assert "sigma^2 / weight" in out
    assert "an offset argument" in out


def test_variances_without_a_bound(run, tmp_path):
    """Groups that differ less than chance: below 0 with --nobound, at 0 without."""
    frame = pd.DataFrame(
        {"y": [1.0, 3.0, 2.0, 1.1, 2.9, 2.1, 0.9, 3.1, 2.0], "g": list("aaabbbccc")}
    )
    path = tmp_path / "groups.csv"
    frame.to_csv(path, index=False)
    status, out, _ = run("fit", str(path), "y ~ 1 + (1 | g)", "--nobound", "--quiet")
    assert status == 0
    status, out, err = run("fit", str(path), "y ~ 1 + (1 | g)", "--nobound")
    assert out == f"{mlm.lmm('y ~ 1 + (1 | g)', frame, bounded=False).summary()}\n"
    assert "is negative" in out
    assert "singular" not in err
    status, out, err = run("fit", str(path), "y ~ 1 + (1 | g)")
    assert "singular" in err
    status, _, err = run("fit", "--from", str(path), "--nobound")
    assert status == 2
    assert "--nobound is for fits of rows" in err
    status, _, err = run("fit", str(path), "y ~ 1 + (1 | g)", "--nobound", "--memory", "1GB")
    assert status == 2
    assert "bounded= needs the rows in memory" in err


def test_a_residual_structure_reaches_the_fit(run, sleep_csv):
    formula, residual = "Reaction ~ Days + (1 | Subject)", "ar1(Days | Subject)"
    status, out, err = run("fit", sleep_csv, formula, "--residual", residual)
    assert (status, err) == (0, "")
    assert out == f"{mlm.lmm(formula, mlm.load_sleepstudy(), residual=residual).summary()}\n"
    assert "AR(1)" in out


def test_factors_keep_their_spelling_and_the_order_of_their_numbers(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("y,g,h\n1,010,b\n2,9,a\n3,010,None\n4,,NA\n", encoding="utf-8")
    table = read_table(str(path), ["g", "h"])
    assert list(table["g"].cat.categories) == ["9", "010"]
    assert list(table["h"].cat.categories) == ["None", "a", "b"]
    assert table.isna().sum().tolist() == [0, 1, 1]


def test_only_empty_fields_and_na_are_missing(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("\ufeffy,g\n1,None\n2,null\n3,nan\n4,NA\n5,\n", encoding="utf-8")
    table = read_table(str(path))
    assert table["g"].tolist()[:3] == ["None", "null", "nan"]
    assert table["g"].isna().tolist() == [False, False, False, True, True]
    assert list(table.columns) == ["y", "g"]


def test_factors_of_a_parquet_file(tmp_path):
    path = tmp_path / "t.parquet"
    pd.DataFrame({"g": [10, 9, 10], "h": pd.Categorical(["b", "a", "b"], ["b", "a"])}).to_parquet(
        path
    )
    table = read_table(str(path), ["g", "h"])
    assert list(table["g"].cat.categories) == ["9", "10"]
    assert list(table["h"].cat.categories) == ["b", "a"]


BAD_FILES = {
    "ragged.csv": (b"y,x\n1,2\n1,2,3\n", "cannot read"),
    "shifted.csv": (b"y,x\n1,2,3\n1,2,3\n", "cannot read"),
    "empty.csv": (b"", "cannot read"),
    "latin.csv": ("y,größe\n1,2\n".encode("latin-1"), "cannot read"),
    "twice.csv": (b"y,x,x\n1,2,3\n", "column name 'x' stands twice in the header"),
    "not.parquet": (b"y,x\n1,2\n", "cannot read"),
    "cut.csv.gz": (gzip.compress(b"y,x\n1,2\n" * 1000)[:30], "cannot read"),
    "not.csv.gz": (b"y,x\n1,2\n", "cannot read"),
    "data.xlsx": (b"", "cannot tell what kind of file"),
    "none": (b"", "cannot tell what kind of file"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_file_that_cannot_be_read_is_refused_in_one_line(run, tmp_path, name):
    content, message = BAD_FILES[name]
    path = tmp_path / name
    path.write_bytes(content)
    status, out, err = run("fit", str(path), "y ~ x")
    assert (status, out) == (2, "")
    assert err.startswith("mlmfast: error: ")
    assert message in err
    assert err.count("\n") == 1


BAD_ARGUMENTS = {
    "no file": (["nowhere.csv", SLEEP], "cannot read nowhere.csv: No such file"),
    "unknown column": (["SLEEP", "Reaction ~ Dogs + (1 | Subject)"], "Dogs"),
    "bad formula": (["SLEEP", "Reaction ~ (1 | "], "error"),
    "unknown factor": (
        ["SLEEP", SLEEP, "--factor", "Group"],
        "no column 'Group' to read as a factor",
    ),
    "unknown method": (["SLEEP", SLEEP, "--method", "MAP"], "use 'REML' or 'ML'"),
    "unknown ddf": (["SLEEP", SLEEP, "--ddf", "magic"], "ddf='magic'"),
    "ddf as a number": (["SLEEP", SLEEP, "--ddf", "-3"], "ddf"),
    "unknown residual": (["SLEEP", SLEEP, "--residual", "magic(Days | Subject)"], "residual"),
    "unknown weights": (["SLEEP", SLEEP, "--weights", "w"], "w"),
    "no folder": (["SLEEP", SLEEP, "--out", "nowhere/fit.json"], "there is no folder nowhere"),
    "no command line": (["SLEEP"], "give data and a formula, or a reduction"),
}


@pytest.mark.parametrize("arguments", BAD_ARGUMENTS)
def test_bad_arguments_are_refused(run, sleep_csv, arguments):
    given, message = BAD_ARGUMENTS[arguments]
    status, out, err = run("fit", *[sleep_csv if word == "SLEEP" else word for word in given])
    assert (status, out) == (2, "")
    assert message in err
    assert "Traceback" not in err


def test_parquet_without_pyarrow_says_what_to_install(run, tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    status, _, err = run("fit", str(tmp_path / "t.parquet"), "y ~ x")
    assert status == 2
    assert "pip install 'mlmfast[parquet]'" in err


def test_missing_values_can_stop_the_fit(run, tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("y,x\n1,2\n2,\n3,5\n5,6\n", encoding="utf-8")
    assert run("fit", str(path), "y ~ x")[0] == 0
    assert run("fit", str(path), "y ~ x", "--na", "raise")[0] == 2


def test_warnings_are_one_line_on_standard_error(run, tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("y,a,b\n1,1,2\n2,2,4\n4,3,6\n3,4,8\n", encoding="utf-8")
    status, out, err = run("fit", str(path), "y ~ a + b")
    assert status == 0
    assert "(aliased)" in out
    assert err.startswith("mlmfast: warning: columns of X left out")
    assert err.count("\n") == 1


def test_a_fit_that_did_not_converge_ends_with_1(run, sleep_csv, monkeypatch):
    from mlmfast.model import LMM

    def stopped(self, method, **_rest):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", mlm.ConvergenceWarning)
            start = {"Subject": [[1e-6, 0], [0, 1e6]]}
            return fit(self, method, start=start, options={"max_iter": 1})

    fit = LMM.fit
    monkeypatch.setattr(LMM, "fit", stopped)
    status, out, _ = run("fit", sleep_csv, SLEEP)
    assert status == 1
    assert "NOT CONVERGED" in out


def test_ctrl_c_ends_with_130_and_no_traceback(run, sleep_csv, monkeypatch):
    def interrupt(*_arguments, **_named):
        raise KeyboardInterrupt

    monkeypatch.setattr("mlmfast.cli.model.read_table", interrupt)
    assert run("fit", sleep_csv, SLEEP) == (130, "", "mlmfast: interrupted\n")


def test_the_demo_shows_call_summary_blups_and_marginal_distribution(run):
    status, out, err = run("demo")
    assert (status, err) == (0, "")
    for text in ["mlm.lmm(", "Fixed effects", "612.09", "fit.ranef", "2.259", "fit.marginal"]:
        assert text in out
    assert max(map(len, out.split("\n"))) <= 82


def test_the_version(run):
    assert run("--version") == (0, f"mlmfast {mlm.__version__}\n", "")


def python(*arguments, **options):
    return subprocess.Popen(
        [sys.executable, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def test_python_m_runs_the_command_line():
    out, err = python("-m", "mlmfast", "--version").communicate(timeout=60)
    assert (out, err) == (f"mlmfast {mlm.__version__}\n", "")


def test_a_reader_that_leaves_early_is_no_error():
    process = python("-m", "mlmfast", "demo")
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait(timeout=60) == 0
    process.stderr.close()


def test_ctrl_c_in_a_process():
    process = python("-m", "mlmfast", "fit", "-", "y ~ x", stdin=subprocess.PIPE)
    # More than a pipe holds: once it is written, the process is in the middle of reading.
    process.stdin.write("y,x\n" + "1,2\n" * 100_000)
    process.stdin.flush()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (130, "", "mlmfast: interrupted\n")


class _Terminal(io.StringIO):
    def isatty(self):
        return True


def test_progress_is_shown_on_a_terminal_after_a_while_and_taken_away():
    terminal = _Terminal()
    with Progress(terminal, patience=0.0) as progress:
        progress.phase("fitting")
        time.sleep(0.5)
    shown = terminal.getvalue()
    assert "mlmfast: fitting 0." in shown
    assert shown.endswith("\r\x1b[K")


def test_progress_is_silent_for_short_work_and_outside_a_terminal():
    for stream, patience in ((_Terminal(), 60.0), (io.StringIO(), 0.0)):
        with Progress(stream, patience) as progress:
            progress.phase("fitting")
        assert stream.getvalue() == ""
