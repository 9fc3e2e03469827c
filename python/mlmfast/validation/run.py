"""`validate`: every check, with a progress bar, and the report."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timezone
from functools import partial
from typing import TYPE_CHECKING

from mlmfast.running.progress_bar import ProgressBar
from mlmfast.validation.behaviour import behaviour_checks
from mlmfast.validation.check import Check
from mlmfast.validation.compared import compared
from mlmfast.validation.installation import installation_checks, installed
from mlmfast.validation.listings import listings
from mlmfast.validation.references import reference_fits
from mlmfast.validation.report import ValidationReport
from mlmfast.validation.surroundings import surroundings

if TYPE_CHECKING:
    import pandas as pd

#: The data of the listings of repeated measures are those of this reference.
_GROWTH = "orthodont_noint_reml"


def validate(
    out: str | os.PathLike[str] | None = None,
    *,
    references: str | os.PathLike[str] | None = None,
    progress: bool | None = None,
) -> ValidationReport:
    """Qualify this installation: check it against reference fits of other programs.

    Installation (files as built, versions) and operation: fits of lme4, nlme, mmrm, R's `lm` and
    exact arithmetic by family, listings of PROC MIXED, certificates, the likelihood by its
    definition, threads, saved fits, refusals. It takes less than two minutes, needs no network and
    no other package, and changes nothing. ``mlmfast validate`` is the same from a shell.

    Parameters
    ----------
    out
        A file for the report as a web page that needs nothing from elsewhere; its numbers go beside
        it, with the ending ``.json``.
    references
        A folder with reference fits of your own instead of those that come with the package, in
        their form.
    progress
        Whether a bar shows how far it is; None: on a terminal, after two seconds.

    Returns
    -------
    ValidationReport
        ``passed``, ``checks``, ``frame``, ``html()``, ``to_json()``.

    Raises
    ------
    DataError
        Where the references cannot be read.
    OSError
        Where the report cannot be written.

    Examples
    --------
    >>> import mlmfast as mlm
    >>> report = mlm.validate()  # doctest: +SKIP
    >>> report.passed  # doctest: +SKIP
    True
    """
    started, moment = time.perf_counter(), datetime.now(timezone.utc)
    cases = reference_fits(references)
    own = cases if references is None else reference_fits()
    growth = next(case.data for case in own if case.name == _GROWTH)
    distribution = installed()
    steps: list[Callable[[], Iterable[Check]]] = [
        lambda: installation_checks(distribution),
        *(partial(_compared, case.name, partial(compared, case)) for case in cases),
        partial(_compared, "listings", partial(_listings, growth)),
        behaviour_checks,
    ]
    checks: list[Check] = []
    with ProgressBar("validation", len(steps), progress) as bar:
        for step in steps:
            checks += step()
            bar.advance()
    report = ValidationReport(
        tuple(checks),
        tuple(cases),
        surroundings(distribution),
        moment.isoformat(timespec="seconds"),
        time.perf_counter() - started,
    )
    if out is not None:
        report.save(out)
    return report


def _listings(growth: pd.DataFrame) -> Iterator[Check]:
    return listings(growth)


def _compared(name: str, checks: Callable[[], Iterable[Check]]) -> list[Check]:
    """Checks; one that cannot be made fails, and says why."""
    found: list[Check] = []
    try:
        found.extend(checks())
    except Exception as error:
        # Whatever goes wrong on this machine is what the report is for.
        note = f"{type(error).__name__}: {error}"
        found.append(Check("OQ-1", name, "could not be run", holds=False, note=note))
    return found
