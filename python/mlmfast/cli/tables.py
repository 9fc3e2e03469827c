"""``mlmfast anova``, ``emmeans`` and ``contrasts``: tables of a fit made here or saved before."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd

from mlmfast.cli.model import add_model_arguments, fitted
from mlmfast.data.whole_files import write_whole
from mlmfast.display.printed_frame import printed
from mlmfast.errors import DataError
from mlmfast.result import LMMResult, load
from mlmfast.words import name_or_number

_EPILOG = """\
a fit saved by 'mlmfast fit --out fit.json' stands in place of the data and the formula:

  mlmfast {command} data.csv "y ~ arm * visit + (1 | id)"{example}
  mlmfast {command} fit.json{example}
"""


def add_tables(commands: Any) -> None:
    """The subcommands."""
    anova = _command(commands, "anova", "F tests of the terms of the fixed part", "", _anova)
    anova.add_argument("--type", default="3", help="1, 2, 3 (default) or 4")
    anova.add_argument("--definition", help="SAS, lmerTest, mmrm or car")
    anova.add_argument("--chisq", action="store_true", help="chi-square tests too")
    anova.add_argument("--components", action="store_true",
                       help="the t test of each row of each hypothesis instead")  # fmt: skip

    emmeans = _command(
        commands, "emmeans", "estimated marginal means (LS-means)", ' "arm" --by visit', _emmeans
    )
    emmeans.add_argument("--by", metavar="FACTOR", nargs="+", help="factors that split the table")
    emmeans.add_argument("--at", metavar="NAME=VALUE", nargs="+", action="extend", default=[],
                         help="values of covariates, or levels to keep: x=2 or x=1,2")  # fmt: skip
    emmeans.add_argument("--average", default="equal", metavar="WEIGHTS",
                         help="equal (default), proportional, outer, cells or flat")  # fmt: skip
    emmeans.add_argument("--contrast", metavar="KIND", help="pairwise, trt.vs.ctrl, poly, ...")
    emmeans.add_argument("--ref", help="the level that others are compared with")
    emmeans.add_argument("--adjust", help="tukey, dunnett, bonferroni, none, ...")
    emmeans.add_argument("--level", type=float, default=0.95, help="of the intervals (0.95)")

    contrasts = _command(
        commands, "contrasts", "linear functions of the fixed effects", ' "armb - armc" "x = 1"',
        _contrasts,
    )  # fmt: skip
    contrasts.add_argument("--joint", action="store_true", help="the F test of all of them too")
    contrasts.add_argument("--level", type=float, default=0.95, help="of the intervals (0.95)")


def _command(
    commands: Any, name: str, what: str, example: str, run: Callable[[Any, LMMResult, Any], Any]
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=what,
        epilog=_EPILOG.format(command=name, example=example),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_model_arguments(parser, takes_formula=False)
    parser.add_argument("what", nargs="*", metavar="TEXT",
                        help="the formula (none for a saved fit), then what is asked")  # fmt: skip
    parser.add_argument("--csv", metavar="FILE", help="write the table as CSV; - for stdout")
    parser.set_defaults(command=lambda arguments: _run(arguments, run))
    return parser


def _run(arguments: argparse.Namespace, run: Callable[[Any, LMMResult, Any], Any]) -> int:
    rest = list(arguments.what)
    is_saved = str(arguments.data).lower().endswith(".json")
    if is_saved:
        _refuse_model_options(arguments)
        fit = load(arguments.data)
    elif rest:
        fit = fitted(arguments, rest.pop(0))
    else:
        raise DataError(
            f"no formula stands after {arguments.data}; write one such as 'y ~ x + (1 | g)', or "
            "give a fit saved as .json"
        )
    table = run(arguments, fit, rest)
    if arguments.csv is None:
        print(table)
    else:
        _write(arguments.csv, table.tidy() if hasattr(table, "tidy") else table.frame)
    sys.stdout.flush()
    return 0 if fit.converged else 1


def _refuse_model_options(arguments: argparse.Namespace) -> None:
    """Options that make a fit, beside one that is made."""
    unset: dict[str, Any] = {"method": "REML", "factor": [], "cov": [], "na_action": "drop"}
    names = (
        *unset,
        "sep",
        "decimal",
        "weights",
        "offset",
        "residual",
        "residual_scale",
        "na_values",
    )
    for name in names:
        if getattr(arguments, name) != unset.get(name):
            option = "--na" if name == "na_action" else f"--{name.replace('_', '-')}"
            raise DataError(f"{option} is for a fit to data, and {arguments.data} holds one made")


def _write(path: str, table: pd.DataFrame) -> None:
    text = table.to_csv(index=False)
    if path == "-":
        sys.stdout.write(text)
    else:
        write_whole(path, text)


def _ddf(arguments: argparse.Namespace) -> str | float | None:
    return None if arguments.ddf is None else name_or_number(arguments.ddf)


def _anova(arguments: argparse.Namespace, fit: LMMResult, rest: Sequence[str]) -> Any:
    if rest:
        raise DataError(f"anova takes no more than the formula; found {rest[0]!r}")
    table = fit.anova(
        type=arguments.type,
        ddf=_ddf(arguments),
        definition=arguments.definition,
        chisq=arguments.chisq,
    )
    if not arguments.components:
        return table
    if table.components is None:
        raise DataError("beside an eliminated factor there are no components; leave them out")
    return printed(table.components, f"{table._title()}, row by row", table.notes)


def _emmeans(arguments: argparse.Namespace, fit: LMMResult, rest: Sequence[str]) -> Any:
    if not rest:
        raise DataError("emmeans needs the factors whose means are wanted, such as arm")
    specs = rest[0] if len(rest) == 1 else list(rest)
    means = fit.emmeans(
        specs,
        by=arguments.by,
        at=_at(arguments.at) or None,
        weights=arguments.average,
        ddf=_ddf(arguments),
        level=arguments.level,
        adjust="none" if arguments.contrast or not arguments.adjust else arguments.adjust,
    )
    if arguments.contrast is None:
        if arguments.ref is not None:
            raise DataError("--ref goes with --contrast trt.vs.ctrl")
        return means
    more = {} if arguments.adjust is None else {"adjust": arguments.adjust}
    if arguments.ref is not None:
        more["ref"] = arguments.ref
    return means.contrast(arguments.contrast, level=arguments.level, **more)


def _at(given: Sequence[str]) -> dict[str, Any]:
    """Values by name: numbers where all of them are."""
    out: dict[str, Any] = {}
    for item in given:
        name, sign, text = item.partition("=")
        if not (name and sign and text):
            raise DataError(f"--at takes NAME=VALUE, such as dose=10 or dose=0,10; found {item!r}")
        values = [name_or_number(part.strip()) for part in text.split(",")]
        are_numbers = all(isinstance(value, float) for value in values)
        out[name] = values if are_numbers else [part.strip() for part in text.split(",")]
    return out


def _contrasts(arguments: argparse.Namespace, fit: LMMResult, rest: Sequence[str]) -> Any:
    if not rest:
        raise DataError("contrasts needs linear functions, such as 'armb - armc' or 'x = 1'")
    made = fit.contrast if arguments.joint else fit.estimate
    return made(dict(zip(rest, rest, strict=True)), ddf=_ddf(arguments), level=arguments.level)
