"""Covariance parameters of a model as functions of what the iteration moves, with derivatives.

A point is theta of all terms and, where sigma^2 is profiled out, log sigma^2 after them; its local
coordinates are those of `Criterion.move`, and log sigma^2 itself. All is in the user's units.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from mlmfast.arrays import FloatArray, IntArray
from mlmfast.covariance import CovarianceStructure
from mlmfast.covariance.base import lower_entries
from mlmfast.covariance.jet import Jet, concatenate
from mlmfast.covariance.units import natural_factors, scale_powers
from mlmfast.criterion.arms import residual_arms
from mlmfast.criterion.criterion import Criterion
from mlmfast.criterion.parameters.covariance_parameter import CovarianceParameter, NaturalBlock
from mlmfast.criterion.parameters.random_effects import owner_of
from mlmfast.errors import ModelError
from mlmfast.reduction.blocks import structure_of
from mlmfast.reduction.reduced_model import ReducedModel
from mlmfast.reduction.residual.form_parameters import Elementwise
from mlmfast.running.cached import cached_property

#: Numbers in the second derivatives of several parameters (1.6 GB).
LARGEST_SECOND = 200_000_000


@dataclass(frozen=True)
class CovarianceFunctions:
    """All covariance parameters of a model, with first and second derivatives.

    Examples
    --------
    >>> import mlmfast as mlm
    >>> fit = mlm.lmm("Reaction ~ Days + (Days | Subject)", mlm.load_sleepstudy())
    >>> source = fit._source
    >>> functions = CovarianceFunctions(source.model, source.criterion)
    >>> for parameter in functions.parameters:
    ...     print(parameter.name)
    sd_(Intercept)|Subject
    sd_Days|Subject
    cor_Days.(Intercept)|Subject
    cov_Days.(Intercept)|Subject
    sigma
    """

    model: ReducedModel
    criterion: Criterion

    @property
    def has_scale(self) -> bool:
        """Whether log sigma^2 stands after theta."""
        return self.model.profiled

    @property
    def n_coordinates(self) -> int:
        """Length of a point."""
        return self.criterion.n_theta + int(self.has_scale)

    @cached_property
    def parameters(self) -> tuple[CovarianceParameter, ...]:
        """By term in the order of the formula: standard deviations, correlations; then R's."""
        out: list[CovarianceParameter] = []
        for t in range(len(self.model.design.random)):
            out += self._parameters_of_term(t)
        if self.model.design.residual is None:
            return (*out, CovarianceParameter("sigma", "sd", (("Residual", 2.0),), 0.0))
        for structure, _, prefix in residual_arms(self.criterion):
            names = structure.parameter_names
            out += [CovarianceParameter(prefix + name, "natural") for name in names]
        return tuple(out)

    def __call__(self, points: FloatArray, which: IntArray | None = None) -> Jet:
        """Parameters (all, or those at ``which``, ascending) at each point, by local coordinates.

        Of shape (n_points, n_parameters).
        """
        if self._elementwise is None:
            every = self._every(points)
            return every if which is None else every[which]
        parts = self._random(points)
        n = sum(part.value.shape[1] for part in parts)
        count = len(self.parameters)
        chosen = np.arange(count) if which is None else np.asarray(which)
        parts.append(self._elementwise_jet(self._elementwise, points, chosen[chosen >= n] - n))
        jet = concatenate(parts)
        kept = np.concatenate([chosen[chosen < n], np.arange(n, jet.value.shape[1])])
        return jet[kept]

    def values(self, points: FloatArray) -> FloatArray:
        """All parameters at each point, (n_points, n_parameters)."""
        if self._elementwise is None:
            return self._every(points).value
        parts = [part.value for part in self._random(points)]
        own = points[:, self.criterion.theta_slices[-1]]
        values = self._elementwise(own)[0] * self._residual_factors
        return np.concatenate([*parts, values], axis=1)

    def _random(self, points: FloatArray) -> list[Jet]:
        with np.errstate(invalid="ignore", divide="ignore"):
            return [self._term_jet(t, points) for t in range(len(self.model.design.random))]

    def _every(self, points: FloatArray) -> Jet:
        parts = self._random(points)
        if self.model.design.residual is None:
            scale = self._log_scale(points) * 0.5
            return concatenate([*parts, scale.exp() * float(np.sqrt(self._unit))])
        arms = residual_arms(self.criterion)
        parts += [self._natural_jet(arm.structure, arm.theta, points) for arm in arms]
        return concatenate(parts)

    def effects_covariance(self, t: int, points: FloatArray) -> Jet:
        """The free entries of a term's G in the user's units, rows of `entry_places`."""
        position = self._position[t]
        block, s = self.criterion.terms[position], self.criterion.theta_slices[position]
        k = self.model.effects_map(position)
        own = np.array(block.shared.entries, dtype=np.intp)
        rows, columns = np.array(self.entry_places(t), dtype=np.intp).T
        left = k[rows][:, own[:, 0]] * k[columns][:, own[:, 1]]
        right = k[rows][:, own[:, 1]] * k[columns][:, own[:, 0]]
        weights = left + np.where(own[:, 0] == own[:, 1], 0.0, right)
        entries = block.shared.entry_jet(points[:, s]).through_matrix(weights)
        return self.absolute(self.embed(entries, s), points)

    def entry_places(self, t: int) -> tuple[tuple[int, int], ...]:
        """Rows and columns of the free entries of a term's G."""
        structure = self.model.design.random[t].structure
        return lower_entries(structure.size) if structure.mixes else structure.entries

    def point_at(self, theta: FloatArray, log_sigma2: FloatArray | None = None) -> FloatArray:
        """The point with this theta and the best sigma^2 there.

        One response, one row of theta; ``log_sigma2`` replaces the best.
        """
        if not self.has_scale:
            return theta
        if log_sigma2 is None:
            log_sigma2 = self.best_log_sigma2(theta)
        return np.concatenate([theta, log_sigma2[:, None]], axis=1)

    def best_log_sigma2(self, theta: FloatArray) -> FloatArray:
        """Log of the best sigma^2 at each theta, for the first response."""
        _, _, scalars = self.criterion.reduction.solve(
            self.criterion.covariances(theta), [0] * len(theta)
        )
        degrees = self.model.degrees(self.criterion.reml)
        return np.asarray(np.log(scalars[:, 0] / degrees))

    def deviance(self, points: FloatArray, free_scale: bool = False) -> FloatArray:
        """-2 log-likelihood of the first response at each point, in the user's units.

        With ``free_scale`` at the best sigma^2 instead of the point's.
        """
        theta = np.ascontiguousarray(points[:, : self.criterion.n_theta])
        scale = None if free_scale or not self.has_scale else points[:, -1]
        first = np.zeros(len(theta), dtype=np.intp)
        value = self.criterion.value(theta, first)
        if scale is not None:
            # What sigma^2 costs over the best, nu (rho - 1 - log rho) with rho the ratio best / it.
            gap = self.best_log_sigma2(theta) - scale
            degrees = self.model.degrees(self.criterion.reml)
            value = value + degrees * (np.expm1(gap) - gap)
        method = "REML" if self.criterion.reml else "ML"
        return np.asarray(value + self.model.logdet_constant(method)[0])

    @cached_property
    def natural_blocks(self) -> tuple[NaturalBlock, ...]:
        """Structures whose natural parameters are among the model's, in their order."""
        out, first = [], 0
        for t in range(len(self.model.design.random)):
            if not self.model.design.random[t].structure.natural_entries:
                own = self._structured_term(t)
                out.append(NaturalBlock(*own, first, self._term_factors(t)))
            first += len(self._parameters_of_term(t))
        if self.model.design.residual is not None:
            for structure, s, _ in residual_arms(self.criterion):
                out.append(NaturalBlock(structure, s, first))
                first += structure.n_theta
        return tuple(out)

    def natural_units(self, block: NaturalBlock, point: FloatArray) -> FloatArray:
        """A block's parameters in the user's units over those in the criterion's, (n_theta,).

        ``point`` of shape (1, n_coordinates).
        """
        powers = scale_powers(block.structure, point[:, block.theta])[0]
        scale = point[0, -1] if self.has_scale else 0.0
        return np.asarray(block.factors * self._unit**powers * np.exp(scale * powers))

    @property
    def scale_position(self) -> int | None:
        """Position of sigma among the parameters; None with a residual structure."""
        return len(self.parameters) - 1 if self.has_scale else None

    @property
    def _unit(self) -> float:
        return self.model.response_unit

    @cached_property
    def _position(self) -> dict[int, int]:
        """Position in the criterion of each random-effects term."""
        return {t: position for position, t in enumerate(self.model.order)}

    def _parameters_of_term(self, t: int) -> list[CovarianceParameter]:
        term = self.model.design.random[t]
        group = self.model.design.factors[term.factor].name
        if not term.structure.natural_entries:
            owner = owner_of(self.model.design, term)
            names = [f"{name} | {owner}" for name in term.structure.parameter_names]
            return [CovarianceParameter(name, "natural") for name in names]
        if not term.bounded:
            return self._entries_of_term(t)
        out = []
        for j, name in enumerate(term.names):
            variances = ((f"var_{name}|{group}", 2.0), (f"Var({name}) | {group}", 2.0))
            own, places = f"sd_{name}|{group}", ((t, j),)
            out.append(
                CovarianceParameter(
                    own, "sd", variances, 0.0, np.inf, places, (name,), group, (j + 1,)
                )
            )
        pairs = [(i, j) for i, j in self.entry_places(t) if i != j]
        named = [(term.names[i], term.names[j]) for i, j in pairs]
        for (i, j), both in zip(pairs, named, strict=True):
            name, apart = f"cor_{'.'.join(both)}|{group}", ((t, i), (t, j))
            out.append(CovarianceParameter(name, "correlation", (), -1.0, 1.0, apart, both, group))
        for (i, j), both in zip(pairs, named, strict=True):
            alias = (f"Cov({both[1]}, {both[0]}) | {group}", 1.0)
            name = f"cov_{'.'.join(both)}|{group}"
            found = CovarianceParameter(name, "covariance", (alias,), effects=both, group=group)
            out.append(replace(found, numbers=(i + 1, j + 1)))
        return out

    def _entries_of_term(self, t: int) -> list[CovarianceParameter]:
        """Variances and covariances, where a variance may be negative and has no root."""
        term = self.model.design.random[t]
        group = self.model.design.factors[term.factor].name
        out = []
        for i, j in self.entry_places(t):
            if i == j:
                effects: tuple[str, ...] = (term.names[i],)
                name = f"var_{term.names[i]}|{group}"
                alias = f"Var({term.names[i]}) | {group}"
            else:
                effects = (term.names[j], term.names[i])
                name = f"cov_{'.'.join(effects)}|{group}"
                alias = f"Cov({effects[0]}, {effects[1]}) | {group}"
            named = ((alias, 1.0),)
            places = ((t, i),) if i == j else ((t, i), (t, j))
            own = CovarianceParameter(name, "entry", named, -np.inf, np.inf, places, effects, group)
            out.append(own)
        return out

    def _term_jet(self, t: int, points: FloatArray) -> Jet:
        """Standard deviations, correlations and covariances of a term."""
        if not self.model.design.random[t].structure.natural_entries:
            structure, s = self._structured_term(t)
            return self._natural_jet(structure, s, points, self._term_factors(t))
        if not self.model.design.random[t].bounded:
            return self.effects_covariance(t, points)
        places = self.entry_places(t)
        rows, columns = np.array(places, dtype=np.intp).T
        diagonal, off = np.flatnonzero(rows == columns), np.flatnonzero(rows != columns)
        if not off.size:
            return self._plain_sd(t, points)
        covariance = self.effects_covariance(t, points)
        inverse = _power(covariance[diagonal], -0.5)
        correlation = covariance[off] * inverse[rows[off]] * inverse[columns[off]]
        return concatenate([_power(covariance[diagonal], 0.5), correlation, covariance[off]])

    def _structured_term(self, t: int) -> tuple[CovarianceStructure, slice]:
        position = self._position[t]
        return structure_of(self.criterion.terms[position]), self.criterion.theta_slices[position]

    def _term_factors(self, t: int) -> FloatArray:
        """What the units of Z's columns make of a structured term's natural parameters."""
        k = np.diag(self.model.effects_map(self._position[t]))
        if not self.model.design.random[t].structure.scales:
            k = k[:1]  # one scale for all columns
        return natural_factors(self._structured_term(t)[0], k)

    def _plain_sd(self, t: int, points: FloatArray) -> Jet:
        """Standard deviations where effects are uncorrelated: proportional to theta.

        theta, not the variance, still has a derivative at 0.
        """
        position = self._position[t]
        s = self.criterion.theta_slices[position]
        theta = points[:, s]
        k = np.abs(np.diag(self.model.effects_map(position)))
        own = self.embed(Jet.variables(theta), s) * (k * float(np.sqrt(self._unit)))
        if not self.has_scale:
            return own
        scale: Jet = (self._log_scale(points) * 0.5).exp()
        return own * scale

    def _natural_jet(
        self,
        structure: CovarianceStructure,
        s: slice,
        points: FloatArray,
        factors: FloatArray | float = 1.0,
    ) -> Jet:
        """Natural parameters of a structure, multiplied by ``factors``."""
        powers = scale_powers(structure, points[:1, s])[0]
        natural = self.embed(structure.natural_jet(points[:, s]), s)
        natural = natural * np.asarray(factors * self._unit**powers)
        if not self.has_scale:
            return natural
        scale = self._log_scale(points)
        return natural * concatenate([scale * float(power) for power in powers]).exp()

    @property
    def _elementwise(self) -> Elementwise | None:
        """The residual's natural parameters, where each is a function of one theta of its own."""
        form = self.criterion.terms[-1].form if self.criterion.terms else None
        return None if form is None else form.elementwise

    @cached_property
    def _residual_factors(self) -> FloatArray:
        """What the unit makes of the natural parameters of all arms."""
        own, s = self.criterion.terms[-1], self.criterion.theta_slices[-1]
        structure = structure_of(own)
        power = scale_powers(structure, np.zeros((1, structure.n_theta)))[0]
        return np.tile(self._unit**power, (s.stop - s.start) // structure.n_theta)

    def _elementwise_jet(self, natural: Elementwise, points: FloatArray, which: IntArray) -> Jet:
        """Some of the natural parameters, each a function of one coordinate."""
        n, k, t = len(points), len(which), self.n_coordinates
        if n * k * t * t > LARGEST_SECOND:
            raise ModelError(
                f"second derivatives of {k:,} covariance parameters at once take too much memory; "
                "at most some 300 parameters are available together"
            )
        s = self.criterion.theta_slices[-1]
        value, slope, bend = (
            (part * self._residual_factors)[:, which] for part in natural(points[:, s])
        )
        first, second = np.zeros((n, k, t)), np.zeros((n, k, t, t))
        at = np.arange(k), s.start + which
        first[:, at[0], at[1]], second[:, at[0], at[1], at[1]] = slope, bend
        return Jet(value, first, second)

    def absolute(self, jet: Jet, points: FloatArray) -> Jet:
        """From the criterion's units of a covariance to the user's."""
        if self.has_scale:
            jet = jet * self._log_scale(points).exp()
        return jet * self._unit

    def _log_scale(self, points: FloatArray) -> Jet:
        first = np.zeros((len(points), 1, self.n_coordinates))
        first[:, 0, -1] = 1.0
        return Jet(points[:, -1:], first, np.zeros((*first.shape, self.n_coordinates)))

    def embed(self, jet: Jet, s: slice) -> Jet:
        """Functions of one term's coordinates as functions of all."""
        a, n, _ = jet.first.shape
        first = np.zeros((a, n, self.n_coordinates))
        second = np.zeros((a, n, self.n_coordinates, self.n_coordinates))
        first[:, :, s], second[:, :, s, s] = jet.first, jet.second
        return Jet(jet.value, first, second)


def _power(jet: Jet, exponent: float) -> Jet:
    """A power; not finite where it has no derivatives, at 0 or as near as makes no difference."""
    with np.errstate(all="ignore"):
        x = np.where(jet.value > 1e-120, jet.value, np.nan)
        value = x**exponent
        slope = exponent * value / x
        return jet.through(value, slope, (exponent - 1.0) * slope / x)
