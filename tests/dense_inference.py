"""The oracle of inference: V as a dense function of the covariance parameters of a fit.

    Phi = (X'V^-1 X)^-1    P = V^-1 - V^-1 X Phi X'V^-1

Derivatives of V by the parameters are finite differences; everything else is written out as in
Kenward and Roger (1997, 2009), with n x n matrices.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from mlmfast.clusters.covariance import marginal_covariances

from . import dense


@dataclass(frozen=True)
class DenseInference:
    """Everything by n x n matrices at the estimates of a fit without singular G."""

    fit: object
    relative_step: float = 2e-4

    @cached_property
    def design(self):
        return self.fit._source.design

    @cached_property
    def X(self):
        return self.design.fixed_matrix[:, list(self.fit._record.kept)]

    @cached_property
    def y(self):
        return self.design.working_response

    @cached_property
    def psi(self):
        return self.fit.covariance_parameters.to_numpy()

    def V(self, psi):
        """V with other covariance parameters."""
        record, at = self.fit._record, 0
        terms = []
        for term, effects in zip(record.terms, self.design.random, strict=True):
            structure = effects.structure
            n = len(structure.entries) if structure.natural_entries else structure.n_theta
            if structure.natural_entries:
                matrix = np.zeros_like(term.covariance)
                for value, (a, b) in zip(psi[at : at + n], structure.entries, strict=True):
                    matrix[a, b] = matrix[b, a] = value
            else:
                matrix = structure.matrix(structure.from_natural(psi[None, at : at + n]))[0]
            terms.append(replace(term, covariance=matrix))
            at += n
        left = np.asarray(psi[at:])
        residual, sigma2 = record.residual, left[0]
        if residual is not None:
            arms = left.reshape(len(residual.arms), -1)
            structure = self.design.residual.structure
            matrices = [structure.matrix(structure.from_natural(arm[None]))[0] for arm in arms]
            if residual.visits:
                residual = replace(residual, parameters=left, covariances=np.array(matrices))
                sigma2 = np.nan
            else:
                residual = replace(residual, parameters=left)
        changed = replace(record, terms=tuple(terms), residual=residual, sigma2=sigma2)
        rows = np.arange(self.design.n_obs)[None]
        return marginal_covariances(self.design, changed, rows)[0]

    @cached_property
    def steps(self):
        return self.relative_step * np.maximum(np.abs(self.psi), 0.01 * np.abs(self.psi).max())

    def moved(self, *which):
        """psi with steps added: (index, sign) pairs."""
        out = self.psi.copy()
        for k, sign in which:
            out[k] += sign * self.steps[k]
        return out

    @cached_property
    def first(self):
        """dV / dpsi_k."""
        return [
            (self.V(self.moved((k, 1))) - self.V(self.moved((k, -1)))) / (2 * h)
            for k, h in enumerate(self.steps)
        ]

    @cached_property
    def second(self):
        """d2V / dpsi_k dpsi_l."""
        n = len(self.psi)
        out = np.zeros((n, n, *self.V0.shape))
        for k in range(n):
            for el in range(k + 1):
                corners = [
                    s * t * self.V(self.moved((k, s), (el, t))) for s in (1, -1) for t in (1, -1)
                ]
                out[k, el] = out[el, k] = sum(corners) / (4 * self.steps[k] * self.steps[el])
        return out

    @cached_property
    def V0(self):
        return self.V(self.psi)

    @cached_property
    def inverse(self):
        return dense.inverse(self.V0)

    @cached_property
    def phi(self):
        return dense.inverse(self.X.T @ self.inverse @ self.X)

    @cached_property
    def projection(self):
        half = self.inverse @ self.X
        return self.inverse - half @ self.phi @ half.T

    @cached_property
    def traced(self):
        """The matrix of traces: P for REML, V^-1 for ML."""
        return self.projection if self.fit.method == "REML" else self.inverse

    @cached_property
    def expected(self):
        products = [self.traced @ D for D in self.first]
        return 0.5 * np.array([[np.sum(a * b.T) for b in products] for a in products])

    @cached_property
    def observed(self):
        """1/2 d2(-2 l): -1/2 tr(T V_i T V_j) + y'P V_i P V_j P y + bends."""
        Py = self.projection @ self.y
        halves = [D @ Py for D in self.first]
        cross = np.array([[a @ self.projection @ b for b in halves] for a in halves])
        bends = np.array(
            [[0.5 * (np.sum(self.traced * D) - Py @ D @ Py) for D in row] for row in self.second]
        )
        return -self.expected + cross + bends

    @cached_property
    def slopes(self):
        """P_k of Kenward and Roger: dX'V^-1 X / dpsi_k."""
        half = self.inverse @ self.X
        return [-half.T @ D @ half for D in self.first]

    def Q(self, k, el):
        half = self.inverse @ self.X
        return half.T @ self.first[k] @ self.inverse @ self.first[el] @ half

    def R(self, k, el):
        half = self.inverse @ self.X
        return half.T @ self.second[k, el] @ half

    def adjusted(self, W, bends=True, bias=False):
        """Phi_A of Kenward and Roger (1997), with ``bias`` of (2009)."""
        total = np.zeros_like(self.phi)
        n = len(self.psi)
        for i in range(n):
            for j in range(n):
                term = self.Q(i, j) - self.slopes[i] @ self.phi @ self.slopes[j]
                if bends:
                    term = term - self.R(i, j) / 4
                total += W[i, j] * term
        out = self.phi + 2 * self.phi @ total @ self.phi
        if bias:
            traces = np.array(
                [
                    sum(
                        W[t, u]
                        * np.sum((self.projection @ D) * (self.projection @ self.second[t, u]).T)
                        for t in range(n)
                        for u in range(n)
                    )
                    for D in self.first
                ]
            )
            b = -0.25 * np.linalg.inv(self.expected) @ traces
            for value, slope in zip(b, self.slopes, strict=True):
                out = out + value * self.phi @ slope @ self.phi
        return out

    def satterthwaite(self, row, W):
        g = np.array([-(row @ self.phi @ S @ self.phi @ row) for S in self.slopes])
        return 2 * (row @ self.phi @ row) ** 2 / (g @ W @ g)

    def kenward_roger_f(self, L, W):
        """m and lambda of Kenward and Roger (1997)."""
        size = len(L)
        theta = L.T @ np.linalg.inv(L @ self.phi @ L.T) @ L
        A1 = A2 = 0.0
        n = len(self.psi)
        for i in range(n):
            for j in range(n):
                a = theta @ self.phi @ self.slopes[i] @ self.phi
                b = theta @ self.phi @ self.slopes[j] @ self.phi
                A1 += W[i, j] * np.trace(a) * np.trace(b)
                A2 += W[i, j] * np.trace(a @ b)
        B = (A1 + 6 * A2) / (2 * size)
        g = ((size + 1) * A1 - (size + 4) * A2) / ((size + 2) * A2)
        d = 3 * size + 2 * (1 - g)
        c1, c2, c3 = g / d, (size - g) / d, (size + 2 - g) / d
        E = 1 / (1 - A2 / size)
        V = 2 / size * (1 + c1 * B) / ((1 - c2 * B) ** 2 * (1 - c3 * B))
        rho = V / (2 * E**2)
        m = 4 + (size + 2) / (size * rho - 1)
        return m, m / (E * (m - 2))
