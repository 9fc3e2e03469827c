"""The command line: arguments to a fit to a report; no numbers are made here."""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from mlmfast._core import __version__
from mlmfast.cli.demo import run_demo
from mlmfast.cli.power import add_power
from mlmfast.cli.progress import Progress
from mlmfast.cli.study import add_study
from mlmfast.data.files import read_table
from mlmfast.data.whole_files import write_whole
from mlmfast.errors import DataError, MlmError
from mlmfast.model import LMM
from mlmfast.report.html import html_page
from mlmfast.result import LMMResult

#: Exit codes.
DONE, NOT_CONVERGED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130

_EPILOG = """\
examples:
  mlmfast fit data.csv "y ~ x + (x | g)"
  mlmfast fit data.parquet "y ~ x + (1 | school/class)" --factor class --html report.html
  mlmfast fit trial.csv "y ~ arm * visit" --residual "us(visit | patient)"
  zcat data.csv.gz | mlmfast fit - "y ~ x + (1 | g)" --method ML --out fit.json

exit status: 0 done, 1 not converged, 2 bad input
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status.

    Examples
    --------
    >>> main(["fit", "no_such_file.csv", "y ~ x"])
    2
    """
    arguments = _parser().parse_args(argv)
    command: Callable[[argparse.Namespace], int] = arguments.command
    try:
        return command(arguments)
    except KeyboardInterrupt:
        print("mlmfast: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of the output, such as `head`, has gone; say nothing more to it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except (MlmError, OSError) as error:
        print(f"mlmfast: error: {' '.join(str(error).split())}", file=sys.stderr)
        return BAD_INPUT


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mlmfast",
        description="Gaussian linear mixed models by maximum and restricted maximum likelihood.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"mlmfast {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_fit(commands)
    add_study(commands)
    add_power(commands)
    demo = commands.add_parser("demo", help="fit a model to data that come with the package")
    demo.set_defaults(command=_demo)
    return parser


def _add_fit(commands: Any) -> None:
    fit = commands.add_parser(
        "fit",
        help="fit a model to a table and print the summary",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    fit.set_defaults(command=_fit)
    fit.add_argument("data", help="CSV, TSV (also .gz) or Parquet file; - for CSV on stdin")
    fit.add_argument("formula", help='model, such as "y ~ x + (x | g)"')
    fit.add_argument("--method", default="REML", help="REML (default) or ML")
    fit.add_argument("--weights", metavar="COL", help="column w: Var(e) = sigma^2 / w")
    fit.add_argument("--offset", metavar="COL", help="column added to X beta")
    fit.add_argument("--factor", metavar="COL", nargs="+", action="extend", default=[],
                     help="read these columns as factors, whatever they look like")  # fmt: skip
    fit.add_argument("--na", choices=("drop", "raise"), default="drop", dest="na_action",
                     help="rows with missing values: drop them (default) or stop")  # fmt: skip
    fit.add_argument("--residual", metavar="STRUCTURE",
                     help='covariance of the residuals, such as "us(visit | subject)"')  # fmt: skip
    fit.add_argument("--residual-scale", metavar="SCALE",
                     help='residual SD by level ("sex") or number ("power(x)")')  # fmt: skip
    fit.add_argument("--cov", metavar="FACTOR=FILE", nargs="+", action="extend", default=[],
                     help="relationship matrix of a factor's levels: a table, labels in its "
                          "first column and in its header")  # fmt: skip
    fit.add_argument("--ddf", help="degrees of freedom of tests: a method's name or a number")
    fit.add_argument("--out", metavar="FILE", help="save the fit as JSON")
    fit.add_argument("--html", metavar="FILE", help="write the report as a web page")
    fit.add_argument("--quiet", action="store_true", help="print no summary")


def _fit(arguments: argparse.Namespace) -> int:
    for name in (arguments.out, arguments.html):
        _check_folder(name)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        fit = _fitted(arguments)
    for warning in caught:
        print(f"mlmfast: warning: {warning.message}", file=sys.stderr)
    if arguments.out:
        fit.to_json(arguments.out)
    if arguments.html:
        write_whole(arguments.html, html_page(fit))
    if not arguments.quiet:
        print(fit.summary())
        sys.stdout.flush()
    return DONE if fit.converged else NOT_CONVERGED


def _fitted(arguments: argparse.Namespace) -> LMMResult:
    with Progress() as progress:
        progress.phase("reading the table")
        data = read_table(arguments.data, arguments.factor)
        progress.phase("coding the factors and columns")
        model = LMM(
            arguments.formula,
            data,
            residual=arguments.residual,
            residual_scale=arguments.residual_scale,
            cov=_relationships(arguments.cov),
            weights=arguments.weights,
            offset=arguments.offset,
            na_action=arguments.na_action,
        )
        progress.phase("fitting")
        ddf = {} if arguments.ddf is None else {"ddf": _name_or_number(arguments.ddf)}
        return model.fit(arguments.method, **ddf)  # type: ignore[arg-type]


def _relationships(given: list[str]) -> dict[str, pd.DataFrame] | None:
    """Relationship matrices from ``FACTOR=FILE``."""
    out = {}
    for item in given:
        factor, separator, path = item.partition("=")
        if not (factor and separator and path):
            raise DataError(f"--cov takes FACTOR=FILE, such as animal=kinship.csv; found {item!r}")
        table = read_table(path)
        out[factor] = table.set_index(table.columns[0])
    return out or None


def _name_or_number(text: str) -> str | float:
    try:
        return float(text)
    except ValueError:
        return text


def _check_folder(name: str | None) -> None:
    # Before the fit: nobody wants to wait for one that cannot be saved.
    if name is not None and not Path(name).resolve().parent.is_dir():
        raise FileNotFoundError(f"cannot write {name}: there is no folder {Path(name).parent}")


def _demo(_arguments: argparse.Namespace) -> int:
    run_demo()
    return DONE


if __name__ == "__main__":
    sys.exit(main())
