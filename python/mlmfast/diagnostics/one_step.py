"""Deletion diagnostics that the covariance parameters follow, by one step for each deletion.

References: Christensen, Pearson and Johnson (1992), Technometrics 34, 38; Cook and Weisberg (1982),
Residuals and Influence in Regression; SAS/STAT User's Guide, PROC MIXED, "Influence Diagnostics".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from mlmfast.arrays import FloatArray
from mlmfast.criterion.parameters.natural import covariance_parameters
from mlmfast.diagnostics.step_deletions import StepDeletions
from mlmfast.display.html import in_text
from mlmfast.display.printed_frame import PrintedFrame
from mlmfast.errors import ModelError
from mlmfast.handed_out import copied
from mlmfast.words import is_one_of

if TYPE_CHECKING:
    from mlmfast.design.factors.grouping import GroupingFactor
    from mlmfast.fitted.fitted import Fitted

_BY = ("clusters", "observations")
_INFORMATION = ("expected", "observed")
_SHOWN = 5


class OneStep(PrintedFrame):
    """Deletion diagnostics with covariance parameters one step from their estimates.

    theta are the covariance parameters, theta_U and beta_U the estimates without the rows U; a row
    is missing (NaN) where there are none.

    Attributes
    ----------
    frame, statistics
        Of the fixed effects ``cooks_distance``, ``mdffits``, ``covtrace``, ``covratio`` as in
        `Influence`, at theta_U; ``press``; of the covariance parameters, with J their information
        and J_U that of the remaining rows (at the estimates, as the step takes it),
        ``cooks_distance_theta`` (theta - theta_U)'J(theta - theta_U), ``mdffits_theta`` (the same
        with J_U), ``covtrace_theta`` |tr(J J_U^-1) - r|, ``covratio_theta`` |J| / |J_U|; ``rld``,
        the likelihood distance 2 l(theta) - 2 l(theta_U) (restricted for REML; of beta too for
        ML); ``step``, how theta_U was reached.
    parameters
        theta_U, one column a covariance parameter.
    changes, dfbetas
        beta - beta_U, and over its standard errors after deletion.

    Notes
    -----
    ``step`` is "scoring" or "newton" (with ``information="observed"``, and scoring where the
    Hessian without the rows is not positive definite); "bounded" is added where a G was brought
    back to the nearest covariance matrix, "shortened" where the step was halved to stay inside.
    """

    _metadata = ["title", "notes", "parameters", "changes", "dfbetas"]  # noqa: RUF012

    parameters: pd.DataFrame = copied()
    changes: pd.DataFrame = copied()
    dfbetas: pd.DataFrame = copied()

    def __init__(
        self,
        statistics: pd.DataFrame,
        parameters: pd.DataFrame,
        changes: pd.DataFrame,
        dfbetas: pd.DataFrame,
    ) -> None:
        super().__init__(statistics)
        self.parameters, self.changes, self.dfbetas = parameters, changes, dfbetas

    @property
    def statistics(self) -> pd.DataFrame:
        """The table itself."""
        return self.frame

    def __repr__(self) -> str:
        top = self.statistics.nlargest(_SHOWN, "rld")
        table = top.to_string(float_format=lambda value: f"{value:.4g}")
        return f"Most influential by likelihood distance, of {len(self.statistics):,}\n{table}"

    def _repr_html_(self) -> str:
        return in_text(repr(self))


def one_step(
    fit: Fitted, clusters: GroupingFactor, by: str, information: str, labels: pd.Index
) -> OneStep:
    """Leave out each cluster, or each observation; see `Influence.one_step`."""
    if not is_one_of(by, _BY):
        raise ModelError(f"by is {by!r}; use 'clusters' or 'observations'")
    if not is_one_of(information, _INFORMATION):
        raise ModelError(f"information is {information!r}; use 'expected' or 'observed'")
    return _tables(StepDeletions(fit, clusters, by == "observations", information), labels)


def _tables(found: StepDeletions, labels: pd.Index) -> OneStep:
    """As frames."""
    record = found.record
    names = [record.x_names[j] for j in record.kept]
    changes = found.change @ found.root.T
    variance = np.einsum("ap,kpq,aq->ka", found.root, found.m, found.root)
    parameters = _parameters(found)
    statistics = _fixed_statistics(found) | _parameter_statistics(found, parameters)
    return OneStep(
        pd.DataFrame(statistics, index=labels).assign(
            rld=found.rld, step=np.array(_how(found), dtype=object)
        ),
        pd.DataFrame(parameters, index=labels, columns=list(found.about.parameters.names)),
        pd.DataFrame(changes, index=labels, columns=names),
        pd.DataFrame(changes / np.sqrt(variance), index=labels, columns=names),
    )


def _fixed_statistics(found: StepDeletions) -> dict[str, FloatArray]:
    p = found.record.rank
    lost = np.isnan(found.rld)
    m = np.where(lost[:, None, None], np.eye(p), found.m)
    trace = np.abs(np.einsum("kpp->k", found.m) - p)
    weighted = np.einsum("kp,kpq,kq->k", found.change, np.linalg.inv(m), found.change)
    return {
        "cooks_distance": (found.change**2).sum(axis=1) / p,
        "mdffits": weighted / p,
        "covtrace": trace,
        "covratio": np.where(lost, np.nan, np.linalg.det(m)),
        "press": found.press,
    }


def _parameter_statistics(found: StepDeletions, parameters: FloatArray) -> dict[str, FloatArray]:
    about = found.about
    moved = parameters - about.parameters.values
    step = moved @ np.linalg.pinv(about.parameters.by_free).T
    before = about.observed if found.information == "observed" else about.expected
    after = np.where(np.isnan(found.curvature), np.eye(len(before)), 0.5 * found.curvature)
    lost = np.isnan(found.rld)
    ratio = before @ np.linalg.pinv(after, hermitian=True)
    mdffits = np.einsum("kr,krs,ks->k", step, after, step)
    return {
        "cooks_distance_theta": np.einsum("kr,rs,ks->k", step, before, step),
        "mdffits_theta": np.where(lost, np.nan, mdffits),
        "covtrace_theta": np.where(lost, np.nan, np.abs(np.einsum("krr->k", ratio) - len(before))),
        "covratio_theta": np.where(lost, np.nan, np.linalg.det(ratio)),
    }


def _parameters(found: StepDeletions) -> FloatArray:
    """theta_U, in the formula's order."""
    about = found.about
    out = np.full((len(found.step), len(about.parameters.values)), np.nan)
    singular = [block.singular for block in about.parameters.blocks]
    for number, moved in enumerate(found.moved):
        if moved is None:
            continue
        if not any(singular) and not moved.bounded:
            out[number] = about.parameters.values + about.parameters.by_free @ found.step[number]
            continue
        out[number] = covariance_parameters(
            about.model,
            about.criterion,
            moved.theta[None],
            singular[: len(about.model.order)],
            moved.sigma2,
            about.fit,
        ).values
    return out


def _how(found: StepDeletions) -> list[str | None]:
    out: list[str | None] = []
    for moved, scoring in zip(found.moved, found.scoring, strict=True):
        if moved is None:
            out.append(None)
            continue
        how = "scoring" if scoring else "newton"
        how += ", bounded" if moved.bounded else ""
        out.append(how + (", shortened" if moved.share < 1.0 else ""))
    return out
