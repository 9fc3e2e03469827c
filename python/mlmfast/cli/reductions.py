"""``mlmfast reduce``, ``merge``, ``fit --from``: rows reduced here, merged, fitted elsewhere."""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from mlmfast.by_size import lmm
from mlmfast.cli.model import add_missing_values, fit_options
from mlmfast.cli.progress import Progress
from mlmfast.errors import DataError
from mlmfast.mergeable.reduce import reduce
from mlmfast.mergeable.reduction import Reduction, load_reduction
from mlmfast.result import LMMResult
from mlmfast.sources.executors.processes import worker_processes

_REDUCE = """\
A reduction holds what the likelihood of the model needs of the rows, a few numbers a cluster. Sites
reduce by the same formula and levels and ship the files; the fit is that of all rows:
  mlmfast reduce site1.csv "y ~ arm + (1 | id)" --levels arm=active,placebo --out site1.arrow
  mlmfast merge site*.arrow --out all.arrow
  mlmfast fit --from all.arrow --ddf kenward-roger
"""
#: Options of a fit that are those of the rows, which a reduction has been made by.
_OF_ROWS = ("weights", "offset", "residual", "residual_scale", "factor", "cov", "pedigree")
#: Those of how rows are read.
_OF_READING = ("sep", "decimal", "memory", "workers", "na_values")


def add_reductions(commands: Any) -> None:
    """Add the commands to the parser's."""
    own = commands.add_parser(
        "reduce",
        help="reduce rows to what a fit needs of them, in a file",
        epilog=_REDUCE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    own.set_defaults(command=_reduce)
    own.add_argument("data", help="file, pattern in quotes such as 'data/*.parquet', or folder")
    own.add_argument("formula", help='model, such as "y ~ x + (x | g)"')
    own.add_argument("--out", metavar="FILE", required=True, help="where the reduction is written")
    own.add_argument("--residual", metavar="STRUCTURE",
                     help='residual covariance over visits, such as "us(visit | subject)", without '
                          "random effects")  # fmt: skip
    own.add_argument("--weights", metavar="COL", help="column w: Var(e) = sigma^2 / w")
    own.add_argument("--offset", metavar="COL", help="column added to X beta")
    own.add_argument("--na", choices=("drop", "raise"), default="drop", dest="na_action",
                     help="rows with missing values: drop them (default) or stop")  # fmt: skip
    add_missing_values(own)
    own.add_argument("--levels", metavar="COL=A,B", nargs="+", action="extend", default=[],
                     help="levels of a factor, in their order, instead of those of the "
                          "data")  # fmt: skip
    own.add_argument("--plan", metavar="FILE", help="a reduction whose coding is taken over")
    own.add_argument("--min-cluster-size", type=int, metavar="N",
                     help="leave out clusters of fewer rows")  # fmt: skip
    own.add_argument("--no-labels", action="store_true",
                     help="put numbers in place of the clusters' labels")  # fmt: skip
    own.add_argument("--resume", metavar="FOLDER",
                     help="keep finished parts there, and go on from those")  # fmt: skip
    add_run_arguments(own)
    merge = commands.add_parser("merge", help="merge reductions of one model into one")
    merge.set_defaults(command=_merge)
    merge.add_argument("reductions", nargs="+", metavar="FILE")
    merge.add_argument("--out", metavar="FILE", required=True, help="where the whole is written")


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Memory and processes of a run over parts."""
    parser.add_argument("--memory", metavar="SIZE", help="limit such as 4GB: rows are reduced part "
                                                         "by part")  # fmt: skip
    parser.add_argument("--workers", type=int, metavar="N",
                        help="processes that reduce parts (threads of one by default)")  # fmt: skip


def is_by_parts(arguments: argparse.Namespace) -> bool:
    """Whether the data are more than one file that is read at once, or shall be read in parts."""
    data = arguments.data
    if data is None or arguments.formula is None:
        raise DataError("give data and a formula, or a reduction: mlmfast fit --from FILE")
    asked = arguments.memory is not None or arguments.workers is not None
    several = any(sign in data for sign in "*?[") and not Path(data).exists()
    formats = {".feather", ".arrow", ".arrows", ".ipc"}
    return asked or several or Path(data).is_dir() or Path(data).suffix.lower() in formats


def fitted_from(arguments: argparse.Namespace) -> LMMResult:
    """The fit of a reduction, or of several files; warnings go to standard error, a line each."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        fit = _of_files(arguments) if arguments.reduction is None else _of_reduction(arguments)
    for warning in caught:
        print(f"mlmfast: warning: {warning.message}", file=sys.stderr)
    return fit


def _of_reduction(arguments: argparse.Namespace) -> LMMResult:
    given = [name for name in _OF_ROWS if getattr(arguments, name)]
    if arguments.data is not None:
        given.insert(0, "data")
    if given:
        raise DataError(
            f"--from takes a reduction, which has its {', '.join(given)} in it; leave them out"
        )
    reading = [
        f"--{name.replace('_', '-')}"
        for name in _OF_READING
        if getattr(arguments, name) is not None
    ]
    if arguments.na_action != "drop":
        reading.append("--na")
    if reading:
        raise DataError(
            f"{', '.join(reading)} is for reading rows, and --from takes a reduction, which holds "
            "none; leave it out"
        )
    if arguments.nobound:
        raise DataError(
            "--nobound is for fits of rows, and --from takes a reduction, whose variances are 0 or "
            "more; give the data and the formula"
        )
    with Progress() as progress:
        progress.phase("fitting")
        return load_reduction(arguments.reduction).fit(arguments.method, **fit_options(arguments))


def _of_files(arguments: argparse.Namespace) -> LMMResult:
    names = ("sep", "decimal", "factor", "cov", "pedigree")
    unread = [f"--{name}" for name in names if getattr(arguments, name)]
    if unread:
        raise DataError(
            f"{', '.join(unread)} goes with one file that is read at once; of several, or with "
            "--memory or --workers, write factor(x) in the formula and the like"
        )
    with _processes(arguments.workers) as executor:
        return lmm(
            arguments.formula,
            arguments.data,
            method=arguments.method,
            residual=arguments.residual,
            residual_scale=arguments.residual_scale,
            weights=arguments.weights,
            offset=arguments.offset,
            na_action=arguments.na_action,
            memory=arguments.memory,
            executor=executor,
            na_values=arguments.na_values,
            **fit_options(arguments),
        )


@contextmanager
def _processes(workers: int | None) -> Iterator[Any]:
    if workers is not None and workers < 1:
        raise DataError(f"--workers is {workers}; give a number of processes")
    pool: Any = nullcontext() if workers is None else worker_processes(workers)
    with pool as executor:
        yield executor


def _reduce(arguments: argparse.Namespace) -> int:
    with _processes(arguments.workers) as executor:
        found = reduce(
            arguments.formula,
            arguments.data,
            residual=arguments.residual,
            weights=arguments.weights,
            offset=arguments.offset,
            levels=_levels(arguments.levels),
            plan=None if arguments.plan is None else load_reduction(arguments.plan).plan,
            na_action=arguments.na_action,
            min_cluster_size=arguments.min_cluster_size,
            labels=not arguments.no_labels,
            memory=arguments.memory,
            executor=executor,
            resume=arguments.resume,
            na_values=arguments.na_values,
        )
    found.save(arguments.out)
    print(_told(found))
    return 0


def _levels(given: list[str]) -> dict[str, list[str]] | None:
    """Levels from ``COL=A,B``."""
    out = {}
    for item in given:
        column, separator, levels = item.partition("=")
        if not (column and separator and levels):
            raise DataError(f"--levels takes COL=A,B, such as arm=active,placebo; found {item!r}")
        out[column] = levels.split(",")
    return out or None


def _merge(arguments: argparse.Namespace) -> int:
    whole = Reduction.merge([load_reduction(path) for path in arguments.reductions])
    whole.save(arguments.out)
    print(_told(whole))
    return 0


def _told(reduction: Reduction) -> str:
    groups = ", ".join(f"{n:,} {name}" for name, n in reduction.n_groups.items())
    left_out = "".join(
        f", {n:,} rows {what}"
        for n, what in (
            (reduction.n_dropped, "with missing values left out"),
            (reduction.n_withheld, "of small clusters withheld"),
        )
        if n
    )
    parts = len(reduction.parts)
    return (
        f"{reduction.nobs:,} rows in {parts:,} part{'s' if parts != 1 else ''}"
        f"{f' ({groups})' if groups else ''}{left_out}: {reduction.nbytes / 1e6:,.1f} MB"
    )
