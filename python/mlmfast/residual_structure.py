"""Residual covariance: ``residual="ar1(visit | subject)"`` read against the data."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches

import numpy as np

from mlmfast.arrays import CodeArray, FloatArray
from mlmfast.covariance import STRUCTURES, CovarianceStructure
from mlmfast.covariance.spatial_matern import SpatialMatern
from mlmfast.design import GroupingFactor
from mlmfast.errors import DataError, FormulaError, ModelError
from mlmfast.factor import Factor, cross_factors
from mlmfast.frame import Frame, check_finite
from mlmfast.language.deparse import deparse
from mlmfast.language.syntax import Binary, Call, Name, Node, parse
from mlmfast.series_design import Series, is_series

#: Visits, or distinct coordinates, that one covariance may span.
LARGEST_ORDER = 64
#: Rows of a subject whose points are not shared by others.
LARGEST_UNIT = 500
#: Smoothness at which `sp_matern` is fitted.
MATERN_SMOOTHNESS = 1.5
#: Structures by lag, for which a whole-numbered coordinate counts as it stands.
_BY_LAG = ("ar1", "toep", "arma11")
#: Structures without correlation: rows of one subject may share a level.
_INDEPENDENT = ("diag", "homdiag")


@dataclass(frozen=True)
class ResidualFormula:
    """``structure(coordinates | arm / subject)`` in its parts.

    Attributes
    ----------
    structure
        Keyword.
    coordinates
        Columns that tell a subject's rows apart.
    arm
        Column each level of which has its own parameters, or None.
    subject
        Columns whose combinations are the subjects.
    text
        As written.
    """

    structure: str
    coordinates: tuple[str, ...]
    arm: str | None
    subject: tuple[str, ...]
    text: str

    @property
    def variables(self) -> tuple[str, ...]:
        """Columns of the data that are used."""
        arm = () if self.arm is None else (self.arm,)
        return (*self.coordinates, *arm, *self.subject)


@dataclass(frozen=True)
class ResidualDesign:
    """The residual covariance of a design.

    Attributes
    ----------
    structure
        Covariance of the visits of one subject.
    visits
        Labels of the visits (of the points, for coordinates).
    arms
        Labels of the groups with parameters of their own; one empty label without them.
    subject
        The subjects.
    units : shape (n,), int32
        Block of the residual covariance that a row belongs to.
    n_units
        Number of blocks.
    positions : shape (n,), int32
        arm * len(visits) + visit of each row.
    formula
        The formula.
    points : shape (n, d) or None
        Coordinates of each row where there are too many distinct ones to be visits; positions are
        then those within the unit.
    series
        The rows of the subjects in time order, where the structure costs O(n) along a series.
    """

    structure: CovarianceStructure
    visits: tuple[str, ...]
    arms: tuple[str, ...]
    subject: GroupingFactor
    units: CodeArray
    n_units: int
    positions: CodeArray
    formula: ResidualFormula
    points: FloatArray | None = None
    series: Series | None = None

    @property
    def order(self) -> int:
        """Order of the covariance over all arms."""
        if self.points is not None:
            return int(self.positions.max()) + 1
        return len(self.visits) * len(self.arms)


def parse_residual(text: str) -> ResidualFormula:
    """Parse the text of ``residual=``.

    Raises
    ------
    FormulaError
        Where it is not of the form ``structure(visit | subject)``.

    Examples
    --------
    >>> parse_residual("us(visit | arm / id)").subject
    ('id',)
    """
    if not isinstance(text, str):
        raise FormulaError(
            f"residual is text such as 'us(visit | subject)', not {type(text).__name__}"
        )
    call = parse(text)
    if not isinstance(call, Call) or call.keywords or not call.arguments:
        raise FormulaError(f"residual={text!r} is not of the form structure(visit | subject)")
    last = call.arguments[-1]
    if not isinstance(last, Binary) or last.operator != "|":
        raise FormulaError(
            f"residual={text!r} has no '| subject'; write {call.function}(visit | id)"
        )
    coordinates = tuple(_name(node, text) for node in (*call.arguments[:-1], last.left))
    arm: str | None = None
    subject = last.right
    if isinstance(subject, Binary) and subject.operator == "/":
        arm, subject = _name(subject.left, text), subject.right
    return ResidualFormula(call.function, coordinates, arm, _subject(subject, text), text)


def _name(node: Node, text: str) -> str:
    if not isinstance(node, Name):
        raise FormulaError(f"{deparse(node)} in residual={text!r} is not the name of a column")
    return node.name


def _subject(node: Node, text: str) -> tuple[str, ...]:
    if isinstance(node, Binary) and node.operator == ":":
        return (*_subject(node.left, text), *_subject(node.right, text))
    return (_name(node, text),)


def residual_design(formula: ResidualFormula, frame: Frame) -> ResidualDesign:
    """Read the residual covariance of a model from its rows.

    Raises
    ------
    FormulaError, DataError, ModelError
        For an unknown structure, a visit met twice, a subject in two arms, too many visits, ...
    """
    kind = _structure(formula)
    subjects = cross_factors([frame.factor(name) for name in formula.subject])
    if is_series(kind, formula.coordinates):
        from mlmfast.residual_series import series_residual_design

        return series_residual_design(formula, kind, frame, subjects)
    visits, labels, points = visits_of_rows(formula, kind, frame)
    if len(labels) > LARGEST_ORDER and points is not None and formula.arm is None:
        return _scattered(formula, kind, subjects, visits, labels, points)
    if len(labels) > LARGEST_ORDER:
        raise ModelError(
            f"residual={formula.text!r} spans {len(labels)} distinct visits or points; at most "
            f"{LARGEST_ORDER} are available yet"
        )
    units, n_units = _units(formula, subjects, visits, labels)
    arms: tuple[str, ...] = ("",)
    arm_codes = np.zeros(frame.n_rows, dtype=np.int32)
    if formula.arm is not None:
        arm = frame.factor(formula.arm)
        check_arms(formula, subjects, arm)
        arms, arm_codes = arm.levels, arm.codes
    structure = instance(kind, len(labels), points, formula)
    positions = arm_codes * np.int32(len(labels)) + visits
    subject = GroupingFactor(
        ":".join(formula.subject), subjects.codes, subjects.levels, formula.subject
    )
    return ResidualDesign(
        structure, labels, arms, subject, units, n_units, positions.astype(np.int32), formula
    )


def _scattered(
    formula: ResidualFormula,
    kind: type[CovarianceStructure],
    subjects: Factor,
    codes: CodeArray,
    labels: tuple[str, ...],
    points: FloatArray,
) -> ResidualDesign:
    """Distances of its own for each subject: too many distinct points for one template."""
    units, n_units = _units(formula, subjects, codes, labels)
    order = np.argsort(units, kind="stable")
    sizes = np.bincount(units, minlength=n_units)
    if sizes.max() > LARGEST_UNIT:
        raise ModelError(
            f"residual={formula.text!r} has a subject of {sizes.max():,} rows; at most "
            f"{LARGEST_UNIT:,} are available yet"
        )
    positions = np.empty(len(units), dtype=np.int32)
    positions[order] = np.arange(len(units)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    few = points[np.unique(np.linspace(0, len(points) - 1, 30).astype(np.intp))]
    structure = instance(kind, len(few), few, formula)
    subject = GroupingFactor(
        ":".join(formula.subject), subjects.codes, subjects.levels, formula.subject
    )
    return ResidualDesign(
        structure, (), ("",), subject, units, n_units, positions, formula, points[codes]
    )


def _structure(formula: ResidualFormula) -> type[CovarianceStructure]:
    kind = STRUCTURES.get(formula.structure)
    if kind is not None:
        if kind.needs == "levels" and len(formula.coordinates) > 1:
            raise FormulaError(
                f"{formula.structure!r} takes one column of visits: {formula.text!r}"
            )
        return kind
    near = get_close_matches(formula.structure, STRUCTURES, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise FormulaError(
        f"{formula.structure!r} is not a residual structure{hint} (available: "
        f"{', '.join(sorted(STRUCTURES))})"
    )


def visits_of_rows(
    formula: ResidualFormula, kind: type[CovarianceStructure], frame: Frame
) -> tuple[CodeArray, tuple[str, ...], FloatArray | None]:
    """Visit of each row, labels of the visits, and their coordinates where there are any."""
    if kind.needs == "coordinates":
        columns = []
        for name in formula.coordinates:
            if not frame.is_numeric(name):
                raise DataError(
                    f"{formula.structure} needs numbers, and column {name!r} holds none"
                )
            check_finite(name, frame.numeric(name))
            columns.append(frame.numeric(name))
        points, codes = np.unique(np.column_stack(columns), axis=0, return_inverse=True)
        labels = tuple(", ".join(f"{value:g}" for value in point) for point in points)
        return codes.ravel().astype(np.int32), labels, points
    name = formula.coordinates[0]
    if frame.is_numeric(name) and formula.structure in _BY_LAG:
        values = frame.numeric(name)
        first = float(values.min())
        if (values == np.round(values)).all() and values.max() - first < LARGEST_ORDER:
            last = int(values.max() - first)
            labels = tuple(f"{first + step:g}" for step in range(last + 1))
            return (values - first).astype(np.int32), labels, None
    factor = frame.factor(name)
    return factor.codes, factor.levels, None


def _units(
    formula: ResidualFormula, subjects: Factor, visits: CodeArray, labels: tuple[str, ...]
) -> tuple[CodeArray, int]:
    """Blocks of rows with one covariance: the subjects, each visit at most once."""
    cell = subjects.codes.astype(np.int64) * len(labels) + visits
    order = np.argsort(cell, kind="stable")
    repeated = np.flatnonzero(cell[order][1:] == cell[order][:-1])
    if repeated.size == 0:
        return subjects.codes, subjects.n_levels
    if formula.structure not in _INDEPENDENT:
        subject, visit = divmod(int(cell[order][repeated[0]]), len(labels))
        raise DataError(
            f"subject {subjects.levels[subject]!r} has several rows at "
            f"{', '.join(formula.coordinates)} = {labels[visit]!r}; residual={formula.text!r} "
            "needs at most one"
        )
    # Rows are independent: the r-th row of each level makes up the subject's r-th block.
    starts = np.concatenate([[True], cell[order][1:] != cell[order][:-1]])
    run = np.arange(len(cell)) - np.maximum.accumulate(np.where(starts, np.arange(len(cell)), 0))
    rank = np.empty(len(cell), dtype=np.int64)
    rank[order] = run
    blocks, codes = np.unique(
        subjects.codes.astype(np.int64) * (run.max() + 1) + rank, return_inverse=True
    )
    return codes.astype(np.int32), len(blocks)


def check_arms(formula: ResidualFormula, subjects: Factor, arm: Factor) -> None:
    """Refuse subjects that are met in several arms."""
    seen = np.full(subjects.n_levels, -1, dtype=np.int64)
    seen[subjects.codes] = arm.codes
    wrong = np.flatnonzero(seen[subjects.codes] != arm.codes)
    if wrong.size:
        subject = subjects.levels[subjects.codes[wrong[0]]]
        raise DataError(
            f"subject {subject!r} is met with several levels of {formula.arm!r}; in "
            f"residual={formula.text!r} each subject belongs to one"
        )


def instance(
    kind: type[CovarianceStructure],
    size: int,
    points: FloatArray | None,
    formula: ResidualFormula,
) -> CovarianceStructure:
    """The structure over ``size`` visits or points."""
    if size < max(2, kind.minimum_size) and formula.structure not in _INDEPENDENT:
        raise ModelError(
            f"residual={formula.text!r} finds {size} distinct visit(s) in "
            f"{', '.join(formula.coordinates)}; the structure needs at least "
            f"{max(2, kind.minimum_size)}"
        )
    if formula.structure == "sp_matern":
        # Data seldom tell the smoothness; left free it drives the iteration to its limits.
        return SpatialMatern(size, np.asarray(points), nu=MATERN_SMOOTHNESS)
    return kind(size) if points is None else kind(size, coordinates=points)  # type: ignore[call-arg]
