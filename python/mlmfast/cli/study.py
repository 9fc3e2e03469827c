"""``mlmfast study plan.toml``: a simulation study, resumable."""

from __future__ import annotations

import argparse
import os
from contextlib import nullcontext
from typing import Any

from mlmfast.cli.study_plan import read_study
from mlmfast.errors import DataError
from mlmfast.sources.executors.processes import worker_processes

_EPILOG = """\
example of a plan:
  n_replicates = 2000
  seed = 1
  estimands = ["t"]
  conditions = { n_groups = [10, 30], icc = [0.1, 0.3], t = [0.0, 0.5] }
  [design]
  formula = "y ~ t + (1 | g)"
  levels = { g = 10, t = [0, 1], pupil = 20 }
  between = { t = "g" }
  sigma = 1
  icc = 0.1
  [methods.REML]
  formula = "y ~ t + (1 | g)"
  ddf = "kenward-roger"

The same command goes on where a run was stopped. generate = "file.py:function" instead of [design],
and function = "file.py:function" of a method, are functions of yours. Job arrays: --shard 3/16.
"""


def add_study(commands: Any) -> None:
    """Add the command to the parser's."""
    study = commands.add_parser(
        "study",
        help="run a simulation study, or go on with it",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    study.set_defaults(command=run)
    study.add_argument("plan", help="TOML file, or JSON of the same structure")
    study.add_argument("--folder", help="where results are kept (default: by the plan's name)")
    study.add_argument("--workers", type=int, default=1, metavar="N", help="processes to run in")
    study.add_argument("--shard", metavar="I/K", help="run the I-th of K shares")
    study.add_argument("--extend", action="store_true",
                       help="go on in the folder of a smaller plan")  # fmt: skip
    study.add_argument("--report", metavar="FILE", help="write the report as a web page")
    study.add_argument("--quiet", action="store_true", help="print no summary and no progress")


def run(arguments: argparse.Namespace) -> int:
    """Run the plan and print what it found."""
    if arguments.workers < 1:
        raise DataError(f"--workers is {arguments.workers}; give a number of processes")
    study, folder = read_study(arguments.plan)
    workers = arguments.workers
    pool: Any = worker_processes(workers) if workers > 1 else nullcontext()
    with pool as executor:
        result = study.run(
            arguments.folder or os.fspath(folder),
            executor=executor,
            progress=not arguments.quiet,
            shard=arguments.shard,
            extend=arguments.extend,
        )
    if arguments.report:
        result.report(arguments.report)
    if not arguments.quiet:
        print(result)
        print(result.summary())
    return 0
