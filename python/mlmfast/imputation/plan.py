"""Who lacks which responses, and what they are drawn from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from mlmfast.arrays import FloatArray, IntArray
from mlmfast.errors import ModelError
from mlmfast.imputation.model_rows import ModelRows
from mlmfast.imputation.parameters import Parameters
from mlmfast.imputation.strategies import conditional, distribution
from mlmfast.imputation.subjects import Subjects

#: Negative eigenvalues over the largest that rounding makes.
_ROUNDING = 1e-10


@dataclass(frozen=True, eq=False)
class Plan:
    """How each subject's missing responses are imputed.

    Attributes
    ----------
    subjects
        Rows and responses.
    strategy : of each subject
    event : shape (n_subjects,), the first visit affected
    own : what the model takes from their rows
    others
        The same in each reference arm, by its label.
    reference : for each subject the label of its reference arm, or None
    blocks : subjects that share random effects, together
    delta : shape (n_subjects, n_visits), added to what is imputed
    """

    subjects: Subjects
    strategy: tuple[str, ...]
    event: IntArray
    own: ModelRows
    others: Mapping[str, ModelRows]
    reference: tuple[str | None, ...]
    blocks: tuple[IntArray, ...]
    delta: FloatArray

    def imputed(self, parameters: Parameters, generator: np.random.Generator | None) -> FloatArray:
        """Responses (m, n_subjects, n_visits) for m sets of parameters; means without generator."""
        subjects = self.subjects
        m = len(parameters.beta)
        out = np.repeat(subjects.y[None], m, axis=0)
        for members in self.blocks:
            missing = subjects.missing[members]
            if not missing.any():
                continue
            if len(members) == 1:
                i = int(members[0])
                mean, V = self._distribution(i, parameters)
                centre, rest = conditional(mean, V, subjects.y[i], subjects.missing[i])
                drawn = _drawn(centre, rest, generator, subjects.labels[i])
            else:
                drawn = self._drawn_together(members, parameters, generator)
            rows, visits = np.nonzero(missing)
            out[:, members[rows], visits] = drawn + self.delta[members[rows], visits]
        return out

    def _drawn_together(
        self, members: IntArray, parameters: Parameters, generator: np.random.Generator | None
    ) -> FloatArray:
        """Missing responses (m, n) of subjects who share random effects, given all of theirs."""
        subjects = self.subjects
        means = np.concatenate([self._shared_mean(i, parameters) for i in members.tolist()], axis=1)
        y, missing = subjects.y[members].ravel(), subjects.missing[members].ravel()
        noise = None
        if generator is not None:
            noise = generator.standard_normal((len(means), int(missing.sum())))
        out = np.empty((len(means), int(missing.sum())))
        for k in range(len(means)):
            V = self.own.joint_covariance(members, parameters.one(k))[None]
            centre, rest = conditional(means[k : k + 1], V, y, missing)
            out[k] = centre[0]
            if noise is not None:
                out[k] += _root(rest, subjects.labels[members[0]])[0] @ noise[k]
        return out

    def _shared_mean(self, i: int, parameters: Parameters) -> FloatArray:
        """Mean (m, J) of a subject whose covariance with others both arms give alike.

        Raises
        ------
        ModelError
            Where the arms have covariances of their own.
        """
        label = self.reference[i]
        alike = label is None or self.own.covaries_as(self.others[label], i)
        if not alike and self.event[i] < self.subjects.y.shape[1]:
            raise ModelError(
                "what a reference arm says is not defined where arms have covariances of their own "
                "and subjects share random effects; take one covariance for all arms, or 'MAR'"
            )
        return self._distribution(i, parameters)[0]

    def _distribution(self, i: int, parameters: Parameters) -> tuple[FloatArray, FloatArray]:
        own, label = self.own.distribution(i, parameters), self.reference[i]
        if label is None:
            return distribution(self.strategy[i], own, own, int(self.event[i]))
        rows = self.others[label]
        other = rows.distribution(i, parameters)
        if self.own.covaries_as(rows, i):
            other = (other[0], own[1])
        return distribution(self.strategy[i], own, other, int(self.event[i]))


def _drawn(
    centre: FloatArray, rest: FloatArray, generator: np.random.Generator | None, subject: str
) -> FloatArray:
    """Normal draws for each set of parameters; their means without a generator."""
    if generator is None:
        return centre
    noise = generator.standard_normal(centre.shape)
    return np.asarray(centre + (_root(rest, subject) @ noise[:, :, None])[..., 0])


def _root(covariances: FloatArray, subject: str) -> FloatArray:
    """L with L L' the covariance of what is missing, for each set of parameters."""
    try:
        return np.asarray(np.linalg.cholesky(covariances))
    except np.linalg.LinAlgError:
        values, vectors = np.linalg.eigh(covariances)
    if (values[:, 0] < -_ROUNDING * values[:, -1]).any():
        raise ModelError(
            f"the missing visits of subject {subject!r} have no covariance matrix: negative "
            "variances make one for the visits observed alone; fit without bounded=False"
        )
    return np.asarray(vectors * np.sqrt(np.maximum(values, 0.0))[:, None, :])
