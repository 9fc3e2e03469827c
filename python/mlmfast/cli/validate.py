"""``mlmfast validate``: installation and operational qualification."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

_EPILOG = """\
examples:
  mlmfast validate
  mlmfast validate --out report.html     the report, and report.json beside it

exit status: 0 every check passed, 1 some did not, 2 bad input
"""


def add_validate(commands: Any) -> None:
    """Add the command to the parser's."""
    validate = commands.add_parser(
        "validate",
        help="check this installation against reference fits of other programs",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    validate.set_defaults(command=run)
    validate.add_argument("--out", metavar="FILE", help="write the report as a web page, and JSON")
    validate.add_argument("--references", metavar="FOLDER", help="reference fits of your own")
    validate.add_argument("--quiet", action="store_true", help="print nothing")


def run(arguments: argparse.Namespace) -> int:
    """Run every check; 0 where all pass."""
    from mlmfast.validation.run import validate

    out = arguments.out
    # Before the checks: nobody wants to wait for a report that cannot be written.
    if out is not None and not Path(out).resolve().parent.is_dir():
        raise FileNotFoundError(f"cannot write {out}: there is no folder {Path(out).parent}")
    progress = False if arguments.quiet else None
    report = validate(out, references=arguments.references, progress=progress)
    if not arguments.quiet:
        print(report)
    return 0 if report.passed else 1
