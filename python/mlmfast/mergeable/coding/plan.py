"""How the rows of a part are coded: the same for every part, on every machine."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.covariance import CovarianceStructure
from mlmfast.data.frame import Frame
from mlmfast.design.columns.build_matrix import build_model_matrix
from mlmfast.design.columns.expressions import States
from mlmfast.design.columns.model_matrix import INTERCEPT, ModelMatrix, ModelMatrixSpec
from mlmfast.design.input_columns import variables_used
from mlmfast.design.random_structure import term_structure
from mlmfast.design.smooths.terms import with_curves
from mlmfast.errors import FormulaError, ModelError
from mlmfast.formula.functions import variables_of
from mlmfast.formula.mixed_formula import MixedFormula, parse_formula
from mlmfast.formula.residual_formula import ResidualFormula, parse_residual
from mlmfast.mergeable.coding.levels import Levels, from_json, to_json
from mlmfast.mergeable.coding.survey import Survey, expressions_of
from mlmfast.mergeable.coding.transform_states import states_of, transforms_in
from mlmfast.running.cached import cached_property

#: Rows of the examples by which columns are told apart.
_EXAMPLES = 7
#: Columns of X, Z and y.
MOST_COLUMNS = 500


@dataclass(frozen=True, eq=False)
class Plan:
    """A formula, and all that its columns depend on besides the row.

    Attributes
    ----------
    formula
        Its text.
    weights, offset
        Columns of the data; None where there are none.
    contrasts
        By factor, as `mlmfast.lmm` takes them, JSON-able.
    levels
        Of the columns that are used as factors.
    typical
        A value of each other column of the formula.
    residual
        Covariance of the residuals within subjects; None for independent ones.
    states
        What `poly`, `scale`, ... remember.
    origin : shape (n_columns,)
        What is subtracted from each column before its digits are kept; no part of the meaning.
    """

    formula: str
    weights: str | None
    offset: str | None
    contrasts: Mapping[str, Any]
    levels: Mapping[str, Levels]
    typical: Mapping[str, float]
    states: States
    origin: FloatArray = field(default_factory=lambda: np.zeros(0))
    residual: str | None = None

    @cached_property
    def parsed(self) -> MixedFormula:
        """The formula in its parts, with the curves of smooth terms once these are known."""
        parsed = parse_formula(self.formula)
        known = all(smooth.text in self.states for smooth in parsed.smooths)
        return with_curves(parsed, dict(self.states)) if parsed.smooths and known else parsed

    @cached_property
    def within(self) -> ResidualFormula | None:
        """The residual covariance in its parts; None for independent residuals."""
        return None if self.residual is None else parse_residual(self.residual)

    @property
    def variables(self) -> list[str]:
        """Columns of the data that are read."""
        names = variables_used(self.parsed, self.within, None, (self.weights, self.offset))
        return list(dict.fromkeys(names))

    @property
    def numbers(self) -> list[str]:
        """Columns of numbers beside those of X and Z."""
        names = [*variables_of(self.parsed.response)]
        for expression in self.parsed.offsets:
            names += variables_of(expression)
        names += [name for name in (self.weights, self.offset) if name is not None]
        return [name for name in dict.fromkeys(names) if name not in self.levels]

    @property
    def grouping(self) -> list[str]:
        """Columns of the data whose combinations are the levels of grouping factors."""
        return list(dict.fromkeys(name for term in self.parsed.random for name in term.group))

    @cached_property
    def examples(self) -> Frame:
        """Rows in which every level stands."""
        n = max([_EXAMPLES, *(len(own.labels) for own in self.levels.values())])
        columns: dict[str, Any] = {name: own.column(n) for name, own in self.levels.items()}
        columns |= {name: np.full(n, value) for name, value in self.typical.items()}
        if not columns:
            columns = {"(none)": np.zeros(n)}
        return Frame.from_native(columns)

    @cached_property
    def fixed_matrix(self) -> ModelMatrix:
        """X of the examples."""
        own = {label: dict(state) for label, state in self.states.items()}
        return build_model_matrix(
            self.parsed.fixed, self.examples, self.contrasts, states=_within(own, self.parsed.fixed)
        )

    @cached_property
    def random_matrices(self) -> tuple[ModelMatrix, ...]:
        """Columns of each random-effects term, of the examples."""
        out = []
        for term in self.parsed.random:
            used = set(variables_of(term.expression))
            contrasts = {name: value for name, value in self.contrasts.items() if name in used}
            own = {label: dict(state) for label, state in self.states.items()}
            states = _within(own, term.expression)
            matrix = build_model_matrix(term.expression, self.examples, contrasts, states=states)
            if not matrix.columns:
                raise FormulaError(
                    f"the random-effects term {term.text} has no column left of the bar"
                )
            out.append(matrix)
        return tuple(out)

    @property
    def fixed(self) -> ModelMatrixSpec:
        """How X is built from rows."""
        return self.fixed_matrix.spec

    @cached_property
    def structures(self) -> tuple[CovarianceStructure, ...]:
        """Covariance structure of each random-effects term."""
        pairs = zip(self.parsed.random, self.random_matrices, strict=True)
        return tuple(term_structure(term, matrix, self.examples) for term, matrix in pairs)

    @cached_property
    def places(self) -> Places:
        """Where the columns of a design are among those that are kept."""
        return _places(self)

    @cached_property
    def digest(self) -> str:
        """What tells plans that code rows otherwise."""
        text = json.dumps(self._meaning(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    def _meaning(self) -> dict[str, Any]:
        return {
            "formula": self.formula,
            "weights": self.weights,
            "offset": self.offset,
            "residual": self.residual,
            "contrasts": {name: _plain(value) for name, value in self.contrasts.items()},
            "levels": to_json(self.levels),
            "states": self.states,
            "numbers": sorted(self.typical),
        }

    def to_json(self) -> dict[str, Any]:
        """The plan as JSON-able data."""
        own = {"typical": dict(self.typical), "origin": self.origin.tolist()}
        return self._meaning() | own

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Plan:
        """Read what `to_json` wrote."""
        typical = {str(name): float(value) for name, value in data["typical"].items()}
        return cls(
            str(data["formula"]),
            None if data["weights"] is None else str(data["weights"]),
            None if data["offset"] is None else str(data["offset"]),
            {str(name): _contrast(value) for name, value in data["contrasts"].items()},
            from_json(data["levels"]),
            typical,
            dict(data["states"]),
            np.array(data["origin"], dtype=np.float64),
            None if data["residual"] is None else str(data["residual"]),
        )


@dataclass(frozen=True)
class Places:
    """Positions of the columns of a design among those kept; None for a constant 1.

    Attributes
    ----------
    z : by term
    x
    y
    n
        Columns kept: those of Z, those of X that are not among them, and the response last.
    """

    z: tuple[tuple[int | None, ...], ...]
    x: tuple[int | None, ...]
    y: int
    n: int

    def of_terms(
        self, term_of_column: Sequence[int], chosen: Container[int] | None
    ) -> tuple[int | None, ...]:
        """Those of X of some terms; of all where none are chosen."""
        pairs = zip(self.x, term_of_column, strict=True)
        return tuple(place for place, term in pairs if chosen is None or term in chosen)


def plan_of(
    survey: Survey,
    formula: str,
    weights: str | None,
    offset: str | None,
    contrasts: Mapping[str, Any],
    levels: Mapping[str, Levels],
    residual: str | None = None,
) -> Plan:
    """The plan by what was seen of the parts; ``levels`` are those fixed beforehand."""
    parsed = parse_formula(formula)
    found = {**survey.levels, **levels}
    labels = {name: own.labels for name, own in found.items()}
    states = states_of(transforms_in(expressions_of(parsed)), dict(survey.values), labels)
    plain = {name: _contrast(_plain(value)) for name, value in contrasts.items()}
    return Plan(formula, weights, offset, plain, found, survey.means, states, residual=residual)


def check_width(plan: Plan) -> None:
    """Refuse more columns than few rows a cluster can stand for.

    Raises
    ------
    ModelError
    """
    if plan.places.n > MOST_COLUMNS:
        raise ModelError(
            f"the model has {plan.places.n:,} columns, and a reduction takes at most "
            f"{MOST_COLUMNS:,}: make a factor of many levels a random effect, or fit the rows, "
            "mlm.lmm(formula, data), where it is eliminated"
        )


def with_origin(plan: Plan, columns: list[FloatArray]) -> Plan:
    """The plan with constants near the columns of some rows, where these lie far from 0."""
    origin = np.zeros(len(columns))
    for j, column in enumerate(columns):
        center, spread = float(np.mean(column)), float(np.std(column))
        if np.isfinite(center) and abs(center) > 4.0 * spread:
            origin[j] = center
    return replace(plan, origin=origin)


def _within(states: States, expression: str) -> States:
    own = transforms_in([expression])
    return {label: state for label, state in states.items() if label in own}


def _places(plan: Plan) -> Places:
    known: dict[str, int] = {}
    n = 0

    def place(matrix: ModelMatrix) -> tuple[int | None, ...]:
        nonlocal n
        out: list[int | None] = []
        for name, term in zip(matrix.names, matrix.term_of_column, strict=True):
            if name == INTERCEPT:
                out.append(None)
                continue
            # A column of the data is the same column in every term.
            own = name if matrix.terms[term] == name and name in plan.typical else None
            if own is None or own not in known:
                n += 1
                if own is None:
                    out.append(n - 1)
                    continue
                known[own] = n - 1
            out.append(known[own])
        return tuple(out)

    z = tuple(map(place, plan.random_matrices))
    x = place(plan.fixed_matrix)
    return Places(z, x, n, n + 1)


def _plain(contrast: Any) -> Any:
    return np.asarray(contrast).tolist() if hasattr(contrast, "shape") else contrast


def _contrast(value: Any) -> Any:
    return np.array(value, dtype=np.float64) if isinstance(value, list) else value
