"""One fit for each of many data sets."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mlmfast.arrays import IntArray
from mlmfast.batch.arrays import status_of
from mlmfast.batch.fit_batch import FitBatch
from mlmfast.batch.merge import Layout, failed, merged
from mlmfast.batch.rows import OwnRows
from mlmfast.batch.tests import with_ddf
from mlmfast.degrees_of_freedom import Ddf, method_of
from mlmfast.design.columns.model_matrix import ModelMatrixSpec
from mlmfast.errors import (
    DataError,
    DifferentContrastsWarning,
    FormulaError,
    MlmError,
    pass_on,
    warn,
)
from mlmfast.fitted.estimates import estimates_of
from mlmfast.fitted.make_record import make_record
from mlmfast.fitted.record import FitRecord
from mlmfast.fitting.fit import fit_covariance
from mlmfast.formula.mixed_formula import parse_formula
from mlmfast.guessed_arguments import told
from mlmfast.handed_out import changed
from mlmfast.many_data_sets.contrast_meaning import different_contrasts
from mlmfast.many_data_sets.data_sets import Frames, Levels, Stacked, response_matrix
from mlmfast.many_data_sets.known_relationships import check_relationships, groups_of
from mlmfast.many_data_sets.several import Several, fit_responses, fit_several
from mlmfast.many_data_sets.stacked import fit_parts, fit_stacked
from mlmfast.many_data_sets.tables import is_sequence, read_source, read_tables
from mlmfast.model import result_of
from mlmfast.newton.options import NewtonOptions
from mlmfast.prepared.fit_model import BY_DEFAULT, method_by
from mlmfast.reduction.engines.options import Engine, read_options
from mlmfast.reduction.reduce import reduce_design
from mlmfast.running.progress_bar import ProgressBar

#: Fits that are joined at a time, so that few single ones are held.
_CHUNK = 500
#: Numbers in the data of the fits that are held for tests; others are read again.
_HELD_NUMBERS = 5_000_000


@told()
def fit_each(
    formula: str | Sequence[str] | Mapping[str, str] | None = None,
    data: Any = None,
    by: str | Sequence[str] | None = None,
    method: str = BY_DEFAULT,
    residual: str | None = None,
    ddf: Ddf = "satterthwaite",
    options: NewtonOptions | Mapping[str, Any] | None = None,
    *,
    y: Any = None,
    X: Any = None,
    groups: Any = None,
    Z: Any = None,
    names: Any = None,
    residual_scale: str | None = None,
    cov: Mapping[str, Any] | None = None,
    weights: Any = None,
    offset: Any = None,
    contrasts: Mapping[str, Any] | None = None,
    na_action: str = "drop",
    REML: bool | None = None,
    progress: bool | None = None,
    responses: str | Sequence[str] | None = None,
) -> FitBatch:
    """Fit one model to each of many data sets, or several models and outcomes to one or many.

    The data sets are the rows of each level of ``by`` (``BY`` of PROC MIXED, ``lmList`` of lme4),
    tables of a sequence, or arrays with a leading axis. Each fit is to the bit the one that
    `lmm` gives of its data alone: what a data set lacks, levels of factors too, is not there.

    Parameters
    ----------
    formula, data
        As of `lmm`; ``data`` is one table, cut by ``by``, or a sequence of tables, or of files.
        With ``by`` it may be a source that is read part by part (a path, pattern or folder, a list
        of files or of frames, a database, a stream); the columns of the models are then read into
        memory. Several formulas are a list, or a dict from names; a column ``formula`` then tells
        the fits apart.
    by
        Column whose levels are fitted one by one, or several columns: their combinations.
        Rows that have no level are in no fit.
    method, options, ddf, residual, residual_scale, contrasts, na_action, REML
        As of `lmm`.
    progress
        A bar on a terminal or in a notebook: None after two seconds, True at once, False never.
    y : shape (n_fits, n), or a list of n_fits arrays
        Responses; NaN drops its row for its fit.
    X : shape (n_fits, n, p) or (n, p), or a list of arrays
        With the array forms each of ``X``, ``groups``, ``Z``, ``weights`` and ``offset`` is the
        same for all fits, as `LMM.from_arrays` takes it, or has a leading axis of length n_fits.
    groups : shape (n,) or (n_fits, n), or a list of arrays; or a dict of those
    Z : shape (n, q) or (n_fits, n, q), or a list of arrays; or a dict of those
    names
        Names of the columns of X.
    cov
        Known relationships by grouping factor, as of `lmm`, with labels: a pedigree, a precision,
        or a labelled matrix over the levels of all data sets. Levels that a data set lacks are
        levels without rows there.
    weights, offset
        Column names, or, of one table and with the array forms, arrays.
    responses
        Outcomes, columns that stand for the left side of the formula one after the other (it may be
        left out, ``"~ x + (1 | g)"``); a column ``response`` tells the fits apart. Without ``by``,
        those that are missing in the same rows share one reduction, as in `LMM.fit_many`.

    Returns
    -------
    FitBatch
        A row a fit. A data set that makes no model, or whose fit fails, is a row whose ``status``
        says why. Columns of X, and effects, are those of all fits, NaN where one has none.

    Raises
    ------
    MlmError
        For what concerns all fits: a formula that cannot be read, a column that no data set has.

    Warns
    -----
    DifferentContrastsWarning
        Where levels that a data set lacks give a coefficient another meaning there, such as a
        difference from another reference level.

    Examples
    --------
    >>> import mlmfast as mlm
    >>> data = mlm.load_sleepstudy()
    >>> data["lab"] = ["odd" if s % 2 else "even" for s in data["Subject"].astype(int)]
    >>> batch = mlm.fit_each("Reaction ~ Days + (Days | Subject)", data, by="lab")
    >>> batch.glance()[["lab", "nobs", "n_groups_Subject", "status"]]
        lab  nobs  n_groups_Subject     status
    0  even    90                 9  converged
    1   odd    90                 9  converged
    >>> batch.params.round(2).tolist()
    [[246.83, 12.79], [255.98, 8.14]]

    Two outcomes, two formulas:

    >>> data["Log"] = np.log(data["Reaction"])
    >>> models = {"intercepts": "~ Days + (1 | Subject)", "slopes": "~ Days + (Days | Subject)"}
    >>> both = mlm.fit_each(models, data, responses=["Reaction", "Log"])
    >>> both.glance()[["formula", "response", "status"]]
          formula  response     status
    0  intercepts  Reaction  converged
    1  intercepts       Log  converged
    2      slopes  Reaction  converged
    3      slopes       Log  converged
    """
    arguments = {
        "formula": formula,
        "residual": residual,
        "residual_scale": residual_scale,
        "cov": cov,
        "weights": weights,
        "offset": offset,
        "contrasts": contrasts,
        "na_action": na_action,
    }
    method = method_by(method, REML)
    settings = _Settings(method, ddf, options, progress)
    several = Several.of(formula, responses) if formula is not None else None
    if formula is None:
        if responses is not None:
            raise DataError("responses= goes with a formula; give one")
        _check_arrays_alone(data, by, arguments)
        stacked = Stacked(response_matrix(y), X, groups, Z, names, weights, offset, cov)
        stacked.check()
        return _fit_all(stacked, settings)
    given = {"y": y, "X": X, "groups": groups, "Z": Z, "names": names}
    extra = [name for name, value in given.items() if value is not None]
    if extra:
        raise DataError(f"{extra[0]}= goes without a formula; leave one of both out")
    if several is None:
        # Data that stand first are told so before the formula is taken for the name of a file.
        parse_formula(formula)  # type: ignore[arg-type]
    texts = [text for _, _, text in several] if several is not None else [str(formula)]
    for own in dict.fromkeys(map(groups_of, texts)):
        check_relationships(cov, own)
    if by is not None or (several is not None and not is_sequence(data)):
        data = read_source(data, by, texts, arguments)
    if several is None:
        return _fit_all(read_tables(data, by, arguments), settings)
    several.check_by(by)
    if by is None and not is_sequence(data):
        how = {"method": method, "options": options, "ddf": ddf}
        return fit_responses(several, data, arguments, how, progress)

    def fit(text: str) -> FitBatch:
        return _fit_all(read_tables(data, by, {**arguments, "formula": text}), settings)

    return fit_several(several, fit)


@dataclass(frozen=True)
class _Settings:
    """How each fit is made."""

    method: str
    ddf: Ddf
    options: NewtonOptions | Mapping[str, Any] | None
    progress: bool | None
    engine: Engine = field(init=False)
    newton: NewtonOptions = field(init=False)

    def __post_init__(self) -> None:
        method_of(self.ddf).check(self.method == "REML")
        engine, newton = read_options(self.options)
        object.__setattr__(self, "engine", engine)
        object.__setattr__(self, "newton", newton)

    @property
    def together(self) -> tuple[str, Engine, NewtonOptions, bool]:
        """How fits are made together: see `fit_stacked`."""
        way = method_of(self.ddf)
        adjusts = way.stacks and way.adjusts and way.information == "observed"
        return self.method, self.engine, self.newton, adjusts


def _check_arrays_alone(data: Any, by: Any, arguments: Mapping[str, Any]) -> None:
    names = ("residual", "residual_scale", "contrasts")
    given = {"data": data, "by": by} | {name: arguments[name] for name in names}
    extra = [name for name, value in given.items() if value is not None]
    if extra:
        raise DataError(f"{extra[0]}= goes with a formula; give one, or arrays y=, X=, ... alone")


@dataclass
class _Collected:
    """Fits of one after the other data set, joined from time to time."""

    batches: list[FitBatch] = field(default_factory=list)
    single: list[FitBatch] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    problems: dict[int, MlmError] = field(default_factory=dict)
    specs: dict[int, ModelMatrixSpec] = field(default_factory=dict)
    heard: dict[type[Warning], list[tuple[int, Warning | str]]] = field(default_factory=dict)
    held: int = 0

    def add(self, position: int, batch: FitBatch) -> None:
        self.positions.append(position)
        self.single.append(batch)
        if len(self.single) == _CHUNK:
            self.join()

    def add_stacked(self, batches: list[FitBatch], positions: list[IntArray]) -> None:
        """Fits that were made together."""
        self.batches += batches
        for own in positions:
            self.positions += own.tolist()

    def join(self) -> None:
        if self.single:
            order = np.arange(len(self.single))
            self.batches.append(merged(self.single, order, Layout.of(self.single)))
            self.single = []


def _fit_all(data: Levels | Frames | Stacked, settings: _Settings) -> FitBatch:
    found = _Collected()
    if isinstance(data, Stacked):
        found.add_stacked(*fit_stacked(data, *settings.together))
    elif not method_of(settings.ddf).eager:
        batches, positions, found.specs = fit_parts(data, *settings.together)
        found.add_stacked(batches, positions)
    left = sorted(set(range(len(data))) - set(found.positions))
    with ProgressBar("fits", len(data), settings.progress) as bar:
        bar.advance(len(data) - len(left))
        for position in left:
            _fit_next(data, position, settings, found)
            bar.advance()
    found.join()
    problems = list(found.problems.values())
    if len(problems) == len(data) and all(isinstance(e, FormulaError) for e in problems):
        raise problems[0]
    _warn(data, found)
    return _joined(data, settings, found)


def _fit_next(
    data: Levels | Frames | Stacked, position: int, settings: _Settings, found: _Collected
) -> None:
    """One fit more, or why there is none, and what it warned of."""
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        try:
            found.add(position, _fit_one(data, position, settings, found))
        except MlmError as error:
            found.problems[position] = error
    for item in heard:
        found.heard.setdefault(item.category, []).append((position, item.message))


def _fit_one(
    data: Levels | Frames | Stacked, position: int, settings: _Settings, found: _Collected
) -> FitBatch:
    model = data.model(position)
    reduced = reduce_design(model.design, engine=settings.engine)
    fitted = fit_covariance(reduced, settings.method, settings.newton)
    estimates = estimates_of(reduced, fitted.criterion, fitted.theta)
    reduced, covariance = fitted.single(reduced)
    batch = FitBatch.from_fit(reduced, covariance, estimates, settings.method, model._frame)
    one = batch._rows[0]
    assert one is not None, "it was fitted just now"
    size = model.design.n_obs * (len(model.design.x) + len(model.design.random) + 1)
    found.held += size
    rows = OwnRows(
        data,
        position,
        reduced.engine,
        settings.method,
        *(one.theta, one.singular, one.beta, one.vcov),
        one if found.held <= _HELD_NUMBERS else None,
    )
    if model._frame is not None:
        found.specs[position] = model._frame.fixed
    batch = changed(batch, _rows=rows)
    if method_of(settings.ddf).eager:
        # Whether it applies is known of the rows alone.
        method_of(settings.ddf).basis(one)
    if reduced.profiled:
        return batch
    how = (settings.method, covariance, estimates, str(settings.ddf))
    return _as_recorded(batch, make_record(reduced, model._frame, *how))


def _as_recorded(batch: FitBatch, record: FitRecord) -> FitBatch:
    """A batch of one fit, judged as the single fit is: by the parameters at an end too."""
    converged, singular = np.array([record.converged]), np.array([record.singular])
    status = status_of(converged, singular)
    return changed(batch, converged=converged, singular=singular, status=status)


def _joined(data: Levels | Frames | Stacked, settings: _Settings, found: _Collected) -> FitBatch:
    layout = Layout.of(found.batches)
    lost = [failed(layout, 1, settings.method, str(error)) for error in found.problems.values()]
    places = np.array([*found.positions, *found.problems], dtype=np.intp)
    batch = merged([*found.batches, *lost], np.argsort(places), layout)
    batch = changed(
        batch.named(data.labels), by=data.by, _options=settings.options, _make=result_of
    )
    return with_ddf(batch, settings.ddf)


def _warn(data: Levels | Frames | Stacked, found: _Collected) -> None:
    """Say once what several data sets gave rise to."""
    for category, items in found.heard.items():
        position = items[0][0]
        rest = f" (in {len(items)} of {len(data)} fits, first {data.labels[position]!r})"
        pass_on([said for _, said in items], category, rest)
    names = {data.labels[position]: spec for position, spec in sorted(found.specs.items())}
    for message in different_contrasts(names):
        warn(message, DifferentContrastsWarning, "MLM601")
