"""`mlmfast.lmm`: rows in memory, or reduced part by part where they would not fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mlmfast.errors import ModelError
from mlmfast.guessed_arguments import told
from mlmfast.model import lmm as lmm_in_memory
from mlmfast.prepared.fit_model import BY_DEFAULT, Wishes, check_bounded, method_by

if TYPE_CHECKING:
    from mlmfast.degrees_of_freedom import Ddf
    from mlmfast.newton.options import NewtonOptions
    from mlmfast.result import LMMResult


@told()
def lmm(
    formula: str,
    data: object,
    *,
    residual: str | None = None,
    residual_scale: str | None = None,
    lin: Any = None,
    cov: Mapping[str, Any] | None = None,
    method: str = BY_DEFAULT,
    weights: Any = None,
    offset: Any = None,
    contrasts: Mapping[str, Any] | None = None,
    na_action: str = "drop",
    absorb: bool | None = None,
    start: Mapping[str, Any] | None = None,
    options: NewtonOptions | Mapping[str, Any] | None = None,
    ddf: Ddf | None = None,
    hold: Mapping[str, float] | None = None,
    bounds: Mapping[str, tuple[float | None, float | None]] | None = None,
    grid: Mapping[str, Sequence[float]] | Sequence[Mapping[str, float]] | None = None,
    bounded: bool = True,
    REML: bool | None = None,
    memory: str | float | None = None,
    executor: Any = None,
    na_values: Sequence[str] | None = None,
) -> LMMResult:
    """Fit a linear mixed model; `LMM` and `LMM.fit` document the other arguments.

    Parameters
    ----------
    data
        What `LMM` takes, or a source that is read part by part: a path, pattern or folder, a
        DuckDB relation or ``(connection, "table")``, a polars LazyFrame, a pyarrow Dataset or
        stream, a Dask DataFrame, an iterator of frames. Columns that the model reads are read into
        memory; where they would not fit, the rows are reduced (`mlmfast.reduce`), and the fit has
        what needs no rows.
    memory, executor
        As `mlmfast.reduce` takes them; with either, rows are reduced in any case. Where nothing is
        shared by clusters, so that no sums can be kept (residuals along series, residual structures
        beside random effects or weights), the workers of a Dask client keep the rows, or this
        process does, and are asked for sums at every step; ``docs/LARGE_DATA.md`` says what such a
        fit has.
    na_values
        Fields of text files that are missing values, beside empty ones and NA, such as ``["."]``.

    Examples
    --------
    >>> import mlmfast as mlm
    >>> fit = mlm.lmm("Reaction ~ Days + (1 | Subject)", mlm.load_sleepstudy())
    >>> round(fit.sigma, 4)
    30.9912

    Residual standard deviations that grow with the days (nlme's varExp), over correlated residuals:

    >>> data = mlm.load_sleepstudy()
    >>> fit = mlm.lmm("Reaction ~ Days", data, residual="ar1(Days | Subject)",
    ...               residual_scale="exp(Days)")
    >>> fit.residual_parameters.round(3).to_dict()
    {'Variance': 953.206, 'AR(1)': 0.791, 'exp(Days)': 0.087}

    Those of a constant and a power of the days, c + Days^p (nlme's varConstPower):

    >>> fit = mlm.lmm("Reaction ~ Days + (1 | Subject)", data, residual_scale="constpower(Days)")
    >>> fit.residual_parameters.tail(2).round(2).to_dict()
    {'constpower(Days) constant': 197.53, 'constpower(Days) power': 2.47}

    Subjects related by a known matrix, here all by one half:

    >>> import numpy as np
    >>> related = 0.5 * np.eye(18) + 0.5
    >>> fit = mlm.lmm("Reaction ~ Days + (1 | Subject)", data, cov={"Subject": related})
    >>> round(fit.sigma, 4), round(float(fit.varcorr["Subject"].iloc[0, 0]), 1)
    (30.9912, 2756.4)
    """
    arguments = {
        "residual_scale": residual_scale,
        "lin": lin,
        "cov": cov,
        "absorb": absorb,
        "grid": grid,
    }
    needing_rows = [name for name, value in arguments.items() if value is not None]
    check_bounded(bounded)
    if not bounded:
        needing_rows.append("bounded")
    if na_values is not None:
        from mlmfast.sources.open_source import open_source

        data = open_source(data, na_values=na_values)
    if memory is None and executor is None:
        try:
            return lmm_in_memory(
                formula,
                data,
                residual=residual,
                method=method,
                weights=weights,
                offset=offset,
                contrasts=contrasts,
                na_action=na_action,
                start=start,
                options=options,
                ddf=ddf,
                hold=hold,
                bounds=bounds,
                bounded=bounded,
                REML=REML,
                **arguments,
            )
        except MemoryError as error:
            if needing_rows or not _is_read_again(error, data):
                raise
    if needing_rows:
        raise ModelError(
            f"{', '.join(needing_rows)}= needs the rows in memory, and memory= or executor= asks "
            "for a reduction, which keeps none; leave one of them out"
        )
    from mlmfast.mergeable.held.choice import stays_in_parts
    from mlmfast.mergeable.held.fit import fit_held
    from mlmfast.mergeable.reduction import Reduction
    from mlmfast.mergeable.running import How
    from mlmfast.mergeable.streaming import Asked, content_of

    asked = Asked(
        formula, weights, offset, contrasts, na_action=na_action, residual=residual, held=True
    )
    how, method = How(memory, executor), method_by(method, REML)
    wishes, source = Wishes(start, hold, bounds), how.opened(data)
    if stays_in_parts(asked, source, how):
        return fit_held(asked, source, how, method, options, ddf, wishes)
    reduction = Reduction(content_of(replace(asked, held=False), source, how))
    return reduction.fit(method, ddf, start=start, options=options, hold=hold, bounds=bounds)


def _is_read_again(error: MemoryError, data: object) -> bool:
    """Whether the rows of a source were too many, and can be read another time."""
    from mlmfast.sources.in_memory import TooLargeError
    from mlmfast.sources.open_source import open_source

    return isinstance(error, TooLargeError) and open_source(data).repeatable
