"""The command line: arguments to a fit to a report; no numbers are made here."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mlmfast._core import __version__
from mlmfast.cli.demo import run_demo
from mlmfast.cli.model import add_model_arguments, fitted
from mlmfast.cli.power import add_power
from mlmfast.cli.reductions import add_reductions, add_run_arguments, fitted_from, is_by_parts
from mlmfast.cli.study import add_study
from mlmfast.cli.tables import add_tables
from mlmfast.cli.validate import add_validate
from mlmfast.data.whole_files import write_whole
from mlmfast.errors import MlmError
from mlmfast.report.html import html_page

#: Exit codes.
DONE, NOT_CONVERGED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130

_EPILOG = """\
examples:
  mlmfast fit data.csv "y ~ x + (x | g)"
  mlmfast fit data.parquet "y ~ x + (1 | school/class)" --factor class --html report.html
  mlmfast fit trial.csv "y ~ arm * visit" --residual "us(visit | patient)"
  mlmfast fit daten.csv "y ~ x + (1 | g)" --sep ";" --decimal ,
  mlmfast fit 'data/*.parquet' "y ~ x + (x | g)" --memory 4GB
  mlmfast reduce site.csv "y ~ x + (x | g)" --out site.arrow
  mlmfast merge site1.arrow site2.arrow --out all.arrow && mlmfast fit --from all.arrow
  zcat data.csv.gz | mlmfast fit - "y ~ x + (1 | g)" --method ML --out fit.json
  mlmfast anova trial.csv "y ~ arm * visit + (1 | patient)" --ddf kenward-roger
  mlmfast emmeans fit.json "arm" --by visit --contrast pairwise
  mlmfast contrasts fit.json "armb - armc" "armb = 2"

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
    except (MlmError, OSError, MemoryError) as error:
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
    add_reductions(commands)
    add_tables(commands)
    add_study(commands)
    add_power(commands)
    add_validate(commands)
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
    add_model_arguments(fit, optional=True)
    add_run_arguments(fit)
    fit.add_argument("--from", metavar="FILE", dest="reduction",
                     help="fit a reduction, as the commands reduce and merge write it, instead of "
                          "data and a formula")  # fmt: skip
    fit.add_argument("--out", metavar="FILE", help="save the fit as JSON")
    fit.add_argument("--html", metavar="FILE", help="write the report as a web page")
    fit.add_argument("--quiet", action="store_true", help="print no summary")


def _fit(arguments: argparse.Namespace) -> int:
    for name in (arguments.out, arguments.html):
        _check_folder(name)
    by_parts = arguments.reduction is not None or is_by_parts(arguments)
    fit = fitted_from(arguments) if by_parts else fitted(arguments, arguments.formula)
    if arguments.out:
        fit.to_json(arguments.out)
    if arguments.html:
        write_whole(arguments.html, html_page(fit))
    if not arguments.quiet:
        print(fit.summary())
        sys.stdout.flush()
    return DONE if fit.converged else NOT_CONVERGED


def _check_folder(name: str | None) -> None:
    # Before the fit: nobody wants to wait for one that cannot be saved.
    if name is not None and not Path(name).resolve().parent.is_dir():
        raise FileNotFoundError(f"cannot write {name}: there is no folder {Path(name).parent}")


def _demo(_arguments: argparse.Namespace) -> int:
    run_demo()
    return DONE


if __name__ == "__main__":
    sys.exit(main())
