"""The matrices of the model, X, Z, G, R and V, by cluster label, as labelled data frames."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from mlmfast.arrays import IntArray, block_diagonal
from mlmfast.clusters.covariance import marginal_covariances, refuse_large_cluster
from mlmfast.clusters.residual_covariance import residual_covariances
from mlmfast.data.factor import level_labels
from mlmfast.design.factors.names import known_group
from mlmfast.design.rows import columns_at
from mlmfast.errors import DataError, FormulaError, ModelError
from mlmfast.fitted.random_effects import fixed_part
from mlmfast.fitted.record import FitRecord, TermRecord
from mlmfast.formula.mixed_formula import parse_formula
from mlmfast.mvn import MVN
from mlmfast.reduction.engines.independence import are_nested

if TYPE_CHECKING:
    from mlmfast.fitted.fitted import Fitted
    from mlmfast.fitted.origin.source import FitSource

# Without a cluster: all rows, as long as the matrix is one that people look at.
_MOST_ROWS = 5_000


def G(fit: Fitted, term: str) -> pd.DataFrame:
    """Covariance matrix of a random-effects term, named as written or by grouping factor.

    Raises
    ------
    ModelError
        Where there is no such term or factor.

    Examples
    --------
    >>> import mlmfast as mlm
    >>> fit = mlm.lmm("Reaction ~ Days + (Days || Subject)", mlm.load_sleepstudy())
    >>> fit.G("(0+Days|Subject)").round(2)
           Days
    Days  35.86
    """
    record, text = fit._record, str(term)
    groups = {g.name: k for k, g in enumerate(record.groups) if record.terms_on(k)}
    group = known_group(text, groups)
    if group is not None:
        on = groups[group]
        names = [name for term in record.terms_on(on) for name in term.names]
        return pd.DataFrame(record.covariance_on(on), index=names, columns=names)
    terms = _terms_written(record, text)
    if not terms:
        known = [t.text for t in record.terms] + [g.name for g in record.groups]
        raise ModelError(
            f"there is no random-effects term {text!r}; the model has {', '.join(known) or 'none'}"
        )
    names = [name for t in terms for name in t.names]
    covariance = block_diagonal([t.covariance for t in terms]).copy()
    return pd.DataFrame(covariance, index=names, columns=names)


def R(fit: Fitted, cluster: object = None, rows: object = None) -> pd.DataFrame:
    """Residual covariance of a cluster's rows, weights included.

    Rows of different subjects are uncorrelated. None means all rows, as in V, Z and X;
    ``rows`` takes some of the cluster's, by position, as in V and `marginal`.

    Examples
    --------
    >>> import mlmfast as mlm
    >>> fit = mlm.lmm("Reaction ~ Days + (1 | Subject)", mlm.load_sleepstudy())
    >>> fit.R(308).iloc[:2, :2].round(1)
           0      1
    0  960.5    0.0
    1    0.0  960.5
    """
    source, record = fit._needs_source("R"), fit._record
    own = _rows(source, record, cluster, "R", rows)
    names = _row_names(source, own)
    matrix = residual_covariances(source.design, record, own[None])[0]
    return pd.DataFrame(matrix, index=names, columns=names)


def V(fit: Fitted, cluster: object = None, rows: object = None) -> pd.DataFrame:
    """Marginal covariance Z G Z' + R of a cluster's rows, or of some: ``rows=range(100)``.

    Examples
    --------
    >>> import mlmfast as mlm
    >>> fit = mlm.lmm("Reaction ~ Days + (1 | Subject)", mlm.load_sleepstudy())
    >>> fit.V("308").iloc[:2, :2].round(1)
            0       1
    0  2338.6  1378.2
    1  1378.2  2338.6
    """
    source, record = fit._needs_source("V"), fit._record
    own = _rows(source, record, cluster, "V", rows)
    names = _row_names(source, own)
    matrix = marginal_covariances(source.design, record, own[None])[0]
    return pd.DataFrame(matrix, index=names, columns=names)


def X(fit: Fitted, cluster: object = None) -> pd.DataFrame:
    """Rows of X of a cluster, aliased columns included.

    Examples
    --------
    >>> import mlmfast as mlm
    >>> fit = mlm.lmm("Reaction ~ Days + (1 | Subject)", mlm.load_sleepstudy())
    >>> fit.X("308").head(2)
       (Intercept)  Days
    0          1.0   0.0
    1          1.0   1.0
    """
    source, record = fit._needs_source("X"), fit._record
    rows = _cluster_rows(source, record, cluster)
    matrix = columns_at(source.design.x, rows)
    return pd.DataFrame(matrix, index=_row_names(source, rows), columns=list(record.x_names))


def Z(fit: Fitted, cluster: object = None) -> pd.DataFrame:
    """Columns of Z that belong to a cluster, its rows only: by term, then level, then effect.

    Examples
    --------
    >>> import mlmfast as mlm
    >>> fit = mlm.lmm("Reaction ~ Days + (Days | Subject)", mlm.load_sleepstudy())
    >>> fit.Z("308").tail(1)
       (Intercept) | 308  Days | 308
    9                1.0         9.0
    """
    source = fit._needs_source("Z")
    rows, design = _rows(source, fit._record, cluster, "Z"), source.design
    blocks, names = [np.empty((len(rows), 0))], []
    for term in design.random:
        factor = design.factors[term.factor]
        codes = factor.codes[rows]
        levels = np.unique(codes)
        z = columns_at(term.columns, rows)
        spread = np.where((codes[:, None] == levels)[:, :, None], z[:, None, :], 0.0)
        blocks.append(spread.reshape(len(rows), -1))
        names += [f"{name} | {factor.labels[level]}" for level in levels for name in term.names]
    return pd.DataFrame(np.hstack(blocks), index=_row_names(source, rows), columns=names)


def marginal(fit: Fitted, cluster: object = None, rows: object = None) -> MVN:
    """Distribution N(X_i beta, V_i) of a cluster's responses, or of some: ``rows=[0, 1]``.

    The mean has the offset in it; the components are named by their rows.

    Examples
    --------
    >>> import mlmfast as mlm
    >>> fit = mlm.lmm("Reaction ~ Days + (1 | Subject)", mlm.load_sleepstudy())
    >>> fit.marginal("308").marginal(["0", "9"])
    MVN with 2 components
       mean   SD  correlation
    0 251.4 48.4
    9 345.6 48.4   0.59
    """
    source, record = fit._needs_source("marginal"), fit._record
    design = source.design
    own = _rows(source, record, cluster, "the marginal distribution", rows)
    mean = fixed_part(design, record)[own]
    if design.offset is not None:
        mean = mean + design.offset[own]
    names = [str(name) for name in _row_names(source, own)]
    if len(set(names)) < len(names):
        # The frame's own index repeats; positions do not.
        names = [str(row) for row in own]
    return MVN(mean, marginal_covariances(design, record, own[None])[0], names)


def _rows(
    source: FitSource, record: FitRecord, cluster: object, what: str, chosen: object = None
) -> IntArray:
    rows = _cluster_rows(source, record, cluster)
    if chosen is not None:
        return _some(rows, chosen, what)
    if cluster is None and len(rows) > _MOST_ROWS:
        remedy = "name a cluster" if record.groups else "use the rows you need of X and sigma"
        raise ModelError(
            f"{what} of all {len(rows):,} rows is too large to show (the limit is "
            f"{_MOST_ROWS:,}); {remedy}, or take some of them: rows=range(100)"
        )
    try:
        refuse_large_cluster(len(rows), what)
    except ModelError as error:
        raise ModelError(f"{error}; take some of them: rows=range(100)") from None
    return rows


def _some(rows: IntArray, chosen: object, what: str) -> IntArray:
    """Those of a cluster's rows that were asked for, by their positions in it."""
    at = np.asarray(list(chosen) if isinstance(chosen, range) else chosen)
    whole = at.ndim == 1 and at.size > 0 and at.dtype.kind in "iu"
    if not whole or at.min() < 0 or at.max() >= len(rows):
        raise DataError(
            f"rows is {chosen!r}; {what} takes positions of its rows, whole numbers from 0 to "
            f"{len(rows) - 1}"
        )
    refuse_large_cluster(len(at), what)
    return np.asarray(rows[at])


def _cluster_rows(source: FitSource, record: FitRecord, cluster: object) -> IntArray:
    """Rows of a level of the outermost grouping factor (of any, if they cross); all for None.

    With a residual covariance, of one of its subjects too.
    """
    if cluster is None:
        return np.arange(source.design.n_obs)
    if not record.groups:
        raise ModelError(
            f"the model has no grouping factor, so no cluster {cluster!r}; leave the cluster out"
        )
    design, label = source.design, _label(cluster)
    outermost = design.factors[record.levels[0]]
    where, known = [outermost], f"the outermost grouping factor {outermost.name!r}"
    if not are_nested(design, record.levels) or record.is_dense:
        # No factor is outermost: a level of any of them names its rows.
        where = [design.factors[f] for f in record.levels]
        if design.residual is not None and design.residual.formula is not None:
            subject = design.residual.subject
            where += [] if subject.name in {f.name for f in where} else [subject]
        known = f"the grouping factors {', '.join(repr(f.name) for f in where)}"
    residual = design.residual
    if residual is not None and residual.formula is not None:
        subject = residual.subject
        if subject.name not in [factor.name for factor in where]:
            where, known = [*where, subject], f"{known} or of the subjects {subject.name!r}"
    found = [factor for factor in where if label in factor.labels]
    rows = [np.flatnonzero(f.codes == f.labels.index(label)) for f in found]
    if any(not np.array_equal(own, rows[0]) for own in rows[1:]):
        names = " and ".join(repr(factor.name) for factor in found)
        raise DataError(f"{label!r} is a level of {names}; rename the levels of one of them")
    if not found:
        labels = [text for factor in where for text in factor.labels]
        close = difflib.get_close_matches(label, labels, n=3, cutoff=0.0)
        raise DataError(
            f"{label!r} is not a level of {known}; the closest are {', '.join(map(repr, close))}"
        )
    return rows[0]


def _label(cluster: object) -> str:
    """Text of a level, however the user holds it: 308, 308.0 or "308"."""
    values = np.empty(1, dtype=object)
    values[0] = cluster
    return level_labels(values)[0]


def _row_names(source: FitSource, rows: IntArray) -> pd.Index:
    index = None if source.frame is None else source.frame.frame.index
    return pd.Index(rows) if index is None else index[rows]


def _terms_written(record: FitRecord, text: str) -> list[TermRecord]:
    """Terms that a piece of formula stands for; none unless all are on one grouping factor."""
    exact = [term for term in record.terms if _plain(term.text) == _plain(text)]
    if exact:
        return exact
    try:
        parsed = parse_formula(f"y ~ {text}").random
    except FormulaError:
        return []
    wanted = {_plain(term.text) for term in parsed}
    found = [term for term in record.terms if _plain(term.text) in wanted]
    return found if len(found) == len(wanted) and len({t.group for t in found}) == 1 else []


def _plain(text: str) -> str:
    return "".join(text.split()).removeprefix("us")
