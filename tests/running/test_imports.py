"""What the import and a plain fit leave out: packages that take longer to import than a fit."""

from __future__ import annotations

import subprocess
import sys

import pytest

# An import that is not wanted ends the process, with the modules that led to it. NumPy and pandas
# come first: what these import themselves is theirs.
WATCHED = """
import sys, traceback
import numpy, pandas

class Watch:
    def find_spec(self, name, path=None, target=None):
        if any(name == u or name.startswith(u + ".") for u in UNWANTED):
            frames = [f for f in traceback.extract_stack() if "importlib" not in f.filename]
            sys.exit(name + " is imported by\\n" + "".join(traceback.format_list(frames[:-1])))

sys.meta_path.insert(0, Watch())
"""
NOT_BY_THE_IMPORT = ("scipy", "matplotlib", "pyarrow", "polars", "narwhals", "formulaic", "duckdb")
# pandas has pyarrow read the text of the example's file.
NOT_BY_A_FIT = tuple(package for package in NOT_BY_THE_IMPORT if package != "pyarrow")
NOT_BY_A_SUMMARY = (
    "scipy.stats", "scipy.sparse", "scipy.optimize", "scipy.interpolate", *NOT_BY_A_FIT[1:],
)  # fmt: skip
FIT = """
import mlmfast as mlm
fit = mlm.lmm("Reaction ~ Days + (Days | Subject)", mlm.load_sleepstudy())
"""


def run(code, unwanted):
    script = WATCHED.replace("UNWANTED", repr(unwanted)) + code
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script], capture_output=True, text=True
    )


@pytest.mark.parametrize(
    ("code", "unwanted"),
    [
        ("import mlmfast", NOT_BY_THE_IMPORT),
        (FIT + "fit.params, fit.bse, fit.varcorr, fit.llf", NOT_BY_A_FIT),
        (FIT + "print(fit.summary(), fit.pvalues, fit.conf_int())", NOT_BY_A_SUMMARY),
    ],
    ids=["import", "fit", "summary"],
)
def test_what_takes_long_to_import_is_left_out(code, unwanted):
    done = run(code, unwanted)
    assert done.returncode == 0, done.stderr


def test_an_import_that_is_not_wanted_is_named_with_what_led_to_it():
    done = run(
        "import mlmfast\nfrom mlmfast.distributions import t_tail\nt_tail(1.0, 2.0)", ("scipy",)
    )
    assert done.returncode == 1
    assert "scipy is imported by" in done.stderr
    assert "distributions.py" in done.stderr


def test_every_public_name_can_be_had():
    names = "import mlmfast\nfor name in mlmfast.__all__: assert getattr(mlmfast, name) is not None"
    done = run(names + "\nfrom mlmfast import *\nassert FitBatch and load", ())
    assert done.returncode == 0, done.stderr
