"""``mlmfast power plan.toml``: power, a sample size or a smallest effect, as a file says."""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from mlmfast.cli.plans import arguments_of, check_keys, read_plan, values_of
from mlmfast.cli.progress import Progress
from mlmfast.data.files import read_table
from mlmfast.errors import DataError
from mlmfast.model import lmm
from mlmfast.power_analysis.detectable_effect import detectable_effect
from mlmfast.power_analysis.power import power
from mlmfast.power_analysis.sample_size import SampleSize, sample_size
from mlmfast.simulation.make import design

#: What a plan may ask for, by the name of its table.
_ASKED: dict[str, Any] = {
    "power": power,
    "sample_size": sample_size,
    "detectable_effect": detectable_effect,
}
_FIT_ARGUMENTS = ("formula", "data", "factor", "residual", "residual_scale", "method", "weights",
                  "contrasts", "ddf")  # fmt: skip

EPILOG = """\
a plan is a TOML file (or JSON) of two tables: [design], or [fit] of data, and what is asked for:
[power], [sample_size] or [detectable_effect]; their keys are the arguments of mlmfast.design,
mlmfast.lmm, mlmfast.power, ...

  [design]
  formula = "y ~ arm * visit"
  residual = "ar1(visit | id)"
  sigma = 1.0
  levels = {id = 40, arm = ["control", "treated"], visit = ["1", "2", "3"]}
  between = {arm = "id"}
  params = {"armtreated:visit3" = 0.8}
  residual_parameters = {"AR(1)" = 0.6}

  [power]
  test = "armtreated:visit3"
  along = "id"
  values = [20, 40, 60]
  n = 1000
  seed = 1
"""


def add_power(commands: Any) -> None:
    """The subcommand."""
    parser = commands.add_parser(
        "power",
        help="power of a test, or the sample size it needs, by simulation as a plan says",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(command=run_power)
    parser.add_argument("plan", help="TOML or JSON file")
    parser.add_argument("--out", metavar="FILE", help="write the table as CSV")
    parser.add_argument("--plot", metavar="FILE", help="write the power curve as a picture")
    parser.add_argument("--quiet", action="store_true", help="print no table")


def run_power(arguments: argparse.Namespace) -> int:
    """Do what a plan says."""
    for name in (arguments.out, arguments.plot):
        if name is not None and not Path(name).resolve().parent.is_dir():
            raise FileNotFoundError(f"cannot write {name}: no folder {Path(name).parent}")
    plan = read_plan(arguments.plan)
    check_keys("the top", plan, ("design", "fit", *_ASKED))
    asked = [name for name in _ASKED if name in plan]
    if len(asked) != 1:
        raise DataError(
            f"the plan has {', '.join(f'[{a}]' for a in asked) or 'none'} of "
            f"{', '.join(f'[{a}]' for a in _ASKED)}; it has one"
        )
    with Progress() as progress, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        progress.phase("reading the plan")
        source = _source(plan, Path(arguments.plan).parent)
        found = _ask(asked[0], source, plan[asked[0]], progress)
    for warning in caught:
        print(f"mlmfast: warning: {warning.message}", file=sys.stderr)
    _report(found, arguments)
    return 0


def _source(plan: Mapping[str, Any], folder: Path) -> Any:
    """The design or the fit of a plan."""
    if ("design" in plan) == ("fit" in plan):
        raise DataError("the plan needs one of [design] and [fit]")
    if "fit" in plan:
        table = dict(check_keys("[fit]", plan["fit"], _FIT_ARGUMENTS))
        for key in ("formula", "data"):
            if not isinstance(table.get(key), str):
                raise DataError(f"[fit] of the plan needs {key} = the text of a formula, or a file")
        data = read_table(str(folder / table.pop("data")), table.pop("factor", []))
        return lmm(table.pop("formula"), data, **table)
    known = arguments_of(design)
    table = dict(check_keys("[design]", plan["design"], known))
    if "formula" not in table:
        raise DataError("[design] of the plan needs formula = ...")
    if isinstance(table.get("levels"), Mapping):
        table["levels"] = {name: values_of(given) for name, given in table["levels"].items()}
    if isinstance(table.get("data"), str):
        table["data"] = read_table(str(folder / table["data"]), [])
    return design(**table)


def _ask(name: str, source: Any, given: Any, progress: Progress) -> Any:
    function = _ASKED[name]
    known = arguments_of(function, without=("fit_or_design", "progress"))
    table = dict(check_keys(f"[{name}]", given, known))
    if "test" not in table:
        raise DataError(f"[{name}] of the plan needs test = ..., such as the name of a coefficient")
    if "values" in table:
        table["values"] = values_of(table["values"])
    started = time.monotonic()

    def say(done: int, total: int) -> None:
        rate = done / max(time.monotonic() - started, 1e-9)
        left = f", {(total - done) / rate:.0f} s left" if total > done else ""
        progress.phase(f"{done:,} of {total:,} replicates, {rate:,.0f} a second{left}")

    return function(source, **table, progress=say)


def _report(found: Any, arguments: argparse.Namespace) -> None:
    curve = found.curve if isinstance(found, SampleSize) else found
    if arguments.out:
        pd.DataFrame(curve).to_csv(arguments.out, index=False)
    if arguments.plot:
        if "power" not in curve:
            raise DataError("--plot draws a power curve; [detectable_effect] has none")
        curve.plot().figure.savefig(arguments.plot)
    if not arguments.quiet:
        print(found)
        if isinstance(found, SampleSize):
            print(f"\n{curve}")
        sys.stdout.flush()
