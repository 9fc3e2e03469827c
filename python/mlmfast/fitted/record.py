"""What a fit is, apart from its data: plain numbers and names, all of it JSON-able."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from mlmfast.arrays import FloatArray, block_diagonal
from mlmfast.catalogue.entry import Notice
from mlmfast.covariance import STRUCTURES, CovarianceStructure
from mlmfast.design.columns.model_matrix import ModelMatrixSpec
from mlmfast.design.factors.grouping import ALL_ROWS, EVERY_ROW
from mlmfast.design.residual.record import ResidualRecord, ScaleRecord
from mlmfast.errors import ModelError
from mlmfast.fitted.absorbed.record import AbsorbedRecord
from mlmfast.fitted.certificates.certificate import Certificate
from mlmfast.fitted.certificates.monte_carlo import MonteCarloError
from mlmfast.fitting.undetermined.record import UndeterminedRecord
from mlmfast.handed_out import freeze
from mlmfast.reduction.engines.description import is_crossed, is_dense


@dataclass(frozen=True)
class TermRecord:
    """One random-effects term of a fit.

    Attributes
    ----------
    group
        Position of its grouping factor in ``FitRecord.groups``.
    names
        Column names.
    structure
        Keyword of the covariance structure.
    text
        The term as written.
    covariance : shape (q, q)
        Estimate of G.
    singular
        Whether G is singular.
    spec
        How its columns are built from data; None where the model was made from arrays.
    parameter_names
        Names of the structure's natural parameters; none for `us` and `diag`, whose parameters are
        the elements of G.
    parameters : shape (n_parameters,)
        Their estimates; not determined (NaN) where a variance of 0 leaves them so.
    unseen
        Pairs (a, b) of effects whose covariance no data tell; ``covariance`` has a stand-in there.
    bounded
        Whether G is a covariance matrix; else V alone is one.
    """

    group: int
    names: tuple[str, ...]
    structure: str
    text: str
    covariance: FloatArray
    singular: bool
    spec: ModelMatrixSpec | None
    parameter_names: tuple[str, ...]
    parameters: FloatArray
    unseen: tuple[tuple[int, int], ...] = ()
    bounded: bool = True

    @property
    def told(self) -> FloatArray:
        """``covariance``, NaN where no data tell it."""
        if not self.unseen:
            return self.covariance
        out = self.covariance.copy()
        for a, b in self.unseen:
            out[a, b] = out[b, a] = np.nan
        return out

    @property
    def effect(self) -> str:
        """The effect of a term with one: what stands left of its bar."""
        left = self.text.removeprefix("(").partition(" | ")[0]
        return "(Intercept)" if left == "1" else left.removeprefix("0 + ")

    def __post_init__(self) -> None:
        freeze(self, "covariance", "parameters")

    @property
    def kind(self) -> type[CovarianceStructure]:
        """Class of the structure."""
        return STRUCTURES[self.structure]


@dataclass(frozen=True)
class GroupRecord:
    """One grouping factor.

    Attributes
    ----------
    name
        Its name.
    columns
        The columns it is made of.
    labels
        Its levels in order; those that only its relationship matrix has stand last.
    related
        Whether its levels are related by a known matrix.
    n_without_rows
        Levels that no row has.
    """

    name: str
    columns: tuple[str, ...]
    labels: tuple[str, ...]
    related: bool = False
    n_without_rows: int = 0

    @property
    def n_levels(self) -> int:
        """Levels that rows have."""
        return len(self.labels) - self.n_without_rows

    @property
    def has_all_rows(self) -> bool:
        """Whether it has one level, all rows: that of smooths, or of a multiple membership."""
        return self.labels == (EVERY_ROW,) and not self.columns

    @property
    def has_curves(self) -> bool:
        """Whether it is that of the smooths."""
        return self.has_all_rows and self.name == ALL_ROWS


@dataclass(frozen=True)
class FitRecord:
    """Estimates of one fit, with the names to read them by.

    Attributes
    ----------
    formula
        The formula; None where the model was made from arrays.
    method
        "REML" or "ML".
    response, offsets
        Expressions of the response and of the offsets in the formula.
    weighted, offset_given
        Whether there were weights; whether an offset came as an argument.
    n_obs, n_dropped
        Rows used; rows left out because a variable was missing.
    x_names
        All columns of X.
    terms_of_x
        Term labels and, for each column of X, the position of its term.
    kept
        Positions of the columns that are not aliased.
    beta, vcov : shapes (rank,), (rank, rank)
    sigma2
        Residual variance at weight 1 (and scale 1); NaN where visits have variances of their own.
    residual
        Residual covariance at scale 1; None for independent residuals.
    residual_scale
        What standard deviations are multiplied by from row to row; None where nothing.
    deviance
        -2 log-likelihood, restricted for REML.
    n_theta
        Covariance parameters besides a residual variance that is profiled out, without those that
        are held and directions that the data do not tell.
    groups, terms
        Grouping factors and random-effects terms in the order of the formula.
    levels
        Positions of the grouping factors from the outermost in.
    certificate, converged
        Evidence of the optimum.
    ddf
        Denominator degrees of freedom asked for.
    fixed_spec
        How X is built from data; None where the model was made from arrays.
    absorbed
        A factor of the fixed part without columns in X, and all coefficients; ``x_names``,
        ``beta`` and ``vcov`` are then those of the other columns.
    monte_carlo
        Monte Carlo errors; None where no quantity is estimated by probes.
    undetermined
        Covariance parameters that the data do not determine; None where they determine all.
    notices
        What was warned of when the data were read.
    estimator
        "type1", "type2", "type3" or "mivque0" where variances come from moments; ``method`` is then
        "REML", whose likelihood is that reported. Empty else.
    """

    formula: str | None
    method: str
    response: str
    offsets: tuple[str, ...]
    weighted: bool
    offset_given: bool
    n_obs: int
    n_dropped: int
    x_names: tuple[str, ...]
    terms_of_x: tuple[tuple[str, ...], tuple[int, ...]]
    kept: tuple[int, ...]
    beta: FloatArray
    vcov: FloatArray
    sigma2: float
    residual: ResidualRecord | None
    deviance: float
    n_theta: int
    groups: tuple[GroupRecord, ...]
    terms: tuple[TermRecord, ...]
    levels: tuple[int, ...]
    certificate: Certificate
    converged: bool
    ddf: str
    fixed_spec: ModelMatrixSpec | None
    monte_carlo: MonteCarloError | None = None
    absorbed: AbsorbedRecord | None = None
    residual_scale: ScaleRecord | None = None
    undetermined: UndeterminedRecord | None = None
    notices: tuple[Notice, ...] = ()
    estimator: str = ""

    def __post_init__(self) -> None:
        freeze(self, "beta", "vcov")

    @property
    def rank(self) -> int:
        """Rank of X."""
        return len(self.kept)

    @property
    def n_fixed(self) -> int:
        """Rank of the fixed part, with an absorbed factor's columns."""
        return self.rank if self.absorbed is None else len(self.absorbed.kept)

    @property
    def coefficient_names(self) -> list[str]:
        """Names of the fixed effects that are not aliased, an absorbed factor's among them."""
        if self.absorbed is not None:
            return [self.absorbed.x_names[j] for j in self.absorbed.kept]
        return [self.x_names[j] for j in self.kept]

    @property
    def is_crossed(self) -> bool:
        """Whether the grouping factors were treated as crossed."""
        return is_crossed(self.certificate.engine)

    @property
    def is_dense(self) -> bool:
        """Whether V was held whole: no grouping factor is outermost then."""
        return is_dense(self.certificate.engine)

    @property
    def singular(self) -> bool:
        """Whether something is on the boundary or cannot be told apart: see the certificate."""
        return any(term.singular for term in self.terms) or bool(self.certificate.boundary)

    @property
    def n_parameters(self) -> int:
        """Fixed effects, covariance parameters and the residual variance."""
        return self.n_fixed + self.n_covariance_parameters

    @property
    def n_covariance_parameters(self) -> int:
        """Covariance parameters, the residual's included."""
        profiled = self.residual is None and self.residual_scale is None
        return self.n_theta + (1 if profiled else 0)

    @property
    def residual_parameters(self) -> tuple[tuple[str, float], ...]:
        """Names and values of the parameters of the residuals, those of their scale last."""
        out: list[tuple[str, float]] = []
        if self.residual is None:
            out.append(("Residual", self.sigma2))
        else:
            values = self.residual.told_parameters.tolist()
            out += zip(self.residual.parameter_names, values, strict=True)
        if self.residual_scale is not None:
            values = self.residual_scale.parameters.tolist()
            out += zip(self.residual_scale.names, values, strict=True)
        return tuple(out)

    @property
    def shown_terms(self) -> tuple[TermRecord, ...]:
        """The terms as reports list them: effects that all rows have are one line, a variance."""
        return tuple(map(self._shown, self.terms))

    def _shown(self, term: TermRecord) -> TermRecord:
        if not self.groups[term.group].has_all_rows:
            return term
        name = term.text if self.groups[term.group].has_curves else term.effect
        return replace(term, names=(name,), covariance=term.covariance[:1, :1])

    @property
    def smooth_terms(self) -> list[int]:
        """Positions of the terms that are curves."""
        return [t for t, term in enumerate(self.terms) if self.groups[term.group].has_curves]

    @property
    def group_sizes(self) -> dict[str, int]:
        """Levels of each grouping factor; members of one of which rows have several."""
        return {
            group.name: len(self.terms_on(k)[0].names) if group.has_all_rows else group.n_levels
            for k, group in enumerate(self.groups)
            if not group.has_curves
        }

    def refuse_smooths(self, what: str, instead: str) -> None:
        """Refuse what would leave the curves of a model out.

        Raises
        ------
        ModelError
        """
        if self.smooth_terms:
            name = self.terms[self.smooth_terms[0]].text
            raise ModelError(f"{what} has no place for the smooth term {name}; {instead}")

    def terms_on(self, group: int) -> list[TermRecord]:
        """Random-effects terms on one grouping factor, in the order of the formula."""
        return [term for term in self.terms if term.group == group]

    def covariance_on(self, group: int) -> FloatArray:
        """G of all terms on one grouping factor, zeros between terms; NaN where no data tell it."""
        return block_diagonal([term.told for term in self.terms_on(group)])
