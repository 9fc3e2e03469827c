"""`LMMResult.impute`: responses of missing visits drawn from a fit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mlmfast.arrays import BoolArray, FloatArray, IntArray
from mlmfast.clusters.simulate import seed_sequence
from mlmfast.data.factor import level_label
from mlmfast.errors import DataError, ModelError
from mlmfast.imputation.imputations import Imputations
from mlmfast.imputation.model_rows import ModelRows, model_rows
from mlmfast.imputation.parameters import (
    Parameters,
    bootstrapped,
    estimated,
    posterior,
    without_each,
)
from mlmfast.imputation.strategies import (
    OF_REFERENCE,
    conditional,
    distribution,
    strategy_name,
)
from mlmfast.imputation.subjects import Subjects, event_positions, subjects_of

if TYPE_CHECKING:
    from mlmfast.fitted.fitted import Fitted

#: Negative eigenvalues over the largest that rounding makes.
_ROUNDING = 1e-10
DRAWS = ("posterior", "bootstrap", "mean", "jackknife")


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
    delta : shape (n_subjects, n_visits), added to what is imputed
    """

    subjects: Subjects
    strategy: tuple[str, ...]
    event: IntArray
    own: ModelRows
    others: Mapping[str, ModelRows]
    reference: tuple[str | None, ...]
    delta: FloatArray

    def imputed(self, parameters: Parameters, generator: np.random.Generator | None) -> FloatArray:
        """Responses (m, n_subjects, n_visits) for m sets of parameters; means without generator."""
        subjects = self.subjects
        m = len(parameters.beta)
        out = np.repeat(subjects.y[None], m, axis=0)
        for i in np.flatnonzero(subjects.missing.any(axis=1)).tolist():
            missing = subjects.missing[i]
            mean, V = self._distribution(i, parameters)
            centre, rest = conditional(mean, V, subjects.y[i], missing)
            if generator is not None:
                noise = generator.standard_normal(centre.shape)
                centre = centre + (_root(rest, subjects.labels[i]) @ noise[:, :, None])[..., 0]
            out[:, i, missing] = centre + self.delta[i, missing]
        return out

    def _distribution(self, i: int, parameters: Parameters) -> tuple[FloatArray, FloatArray]:
        own, label = self.own.distribution(i, parameters), self.reference[i]
        if label is None:
            return distribution(self.strategy[i], own, own, int(self.event[i]))
        rows = self.others[label]
        other = rows.distribution(i, parameters)
        if self.own.covaries_as(rows, i):
            other = (other[0], own[1])
        return distribution(self.strategy[i], own, other, int(self.event[i]))


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


def impute(
    fit: Fitted,
    n: int = 20,
    seed: Any = None,
    strategy: Any = "MAR",
    *,
    arm: str | None = None,
    reference: Any = None,
    event: Any = None,
    delta: Any = None,
    draws: str = "posterior",
) -> Imputations:
    """Impute missing responses from the distribution of a subject's visits.

    For a model with a residual covariance over visits (MMRM), ``residual="homdiag(visit | id)"``
    for an independent one, beside random effects of subjects, weights and a residual scale: a
    subject's visits have the covariance Z G Z' + R. Every subject of the data has a row
    at every visit then; visits whose rows are not in the data are added, with what is constant
    within the subject. For each set of parameters, missing responses are drawn from the normal
    distribution given the subject's observed ones, whose mean and covariance the strategy sets
    (Carpenter, Roger and Kenward 2013), as in R's rbmi.

    Parameters
    ----------
    n
        Number of data sets.
    seed
        int, SeedSequence, Generator, or None for fresh entropy.
    strategy
        What is assumed from the event on: "MAR"; "J2R", the reference arm's mean; "CIR", its
        increments from the last visit before the event; "CR", as if always in the reference arm;
        "LMCF", the mean at the last visit before the event; "delta", MAR with ``delta`` added. A
        dict gives one by arm. Responses missing before the event are imputed from the same
        distribution.
    arm
        Column of the arms; that of the residual structure by default.
    reference
        Label of the reference arm, or a dict of arm to it.
    event
        First visit that each subject's event affects: a column of the data, or a dict or Series of
        subject to visit, missing for no event (then MAR). By default the visit after the last
        response.
    delta
        Added to imputed responses from the event on: a number; a dict by arm; each may also be a
        dict by visit, or a list with one for each visit.
    draws
        "posterior": of the parameters' approximate posterior (their covariance parameters normal
        with the observed information in the coordinates of the fit, coefficients given these with
        a flat prior). "bootstrap": estimates of subjects drawn with replacement within arms (rbmi's
        approximate Bayes). "mean": one data set of conditional means. "jackknife": that, and then
        one without each subject, for ``mlm.pool(..., rule="jackknife")``.

    Returns
    -------
    Imputations
        A sequence of data frames, of the user's library.

    Raises
    ------
    ModelError, DataError
        For another kind of model, an unknown arm, visit or subject, responses observed after an
        event, or a reference that is missing.

    Examples
    --------
    >>> import mlmfast as mlm
    >>> data = mlm.load_sleepstudy()
    >>> data = data[data.Days < 4].assign(day="d" + data.Days.astype(str))
    >>> data["arm"] = ["a" if s < 340 else "b" for s in data.Subject.astype(int)]
    >>> data.loc[(data.Subject == "308") & (data.Days > 1), "Reaction"] = float("nan")
    >>> fit = mlm.lmm("Reaction ~ arm * day", data, residual="us(day | Subject)")
    >>> imputed = fit.impute(10, seed=1, strategy="J2R", arm="arm", reference="b")
    >>> fits = [mlm.lmm("Reaction ~ arm", d[d.day == "d3"]) for d in imputed]
    >>> mlm.pool(fits)[["term", "estimate", "SE"]].round(0)
              term  estimate    SE
    0  (Intercept)     279.0  13.0
    1         armb       2.0  19.0
    """
    n = _count(n)
    if draws not in DRAWS:
        raise ModelError(f"draws is {draws!r}; use {', '.join(map(repr, DRAWS))}")
    plan = _plan(fit, strategy, arm, reference, event, delta)
    subjects = plan.subjects
    if draws in {"mean", "jackknife"}:
        mean = plan.imputed(estimated(fit), None)
        if draws == "mean":
            return Imputations(subjects, mean, plan.event)
        return Imputations(subjects, *_jackknife(fit, plan, mean))
    generator = np.random.default_rng(seed_sequence(seed))
    if draws == "posterior":
        parameters = posterior(fit, n, generator)
    else:
        parameters = bootstrapped(fit, n, generator, _strata(fit, subjects))
    return Imputations(subjects, plan.imputed(parameters, generator), plan.event)


def _count(n: object) -> int:
    if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 1:
        raise DataError(f"n is {n!r}; the number of data sets must be an integer >= 1")
    return int(n)


def _of_fit(fit: Fitted, subjects: Subjects) -> IntArray:
    """Position among all subjects of each subject of the fit."""
    residual = fit._needs_source("a refit").design.residual
    assert residual is not None, "the caller looked"
    place = {label: k for k, label in enumerate(subjects.labels)}
    return np.array([place[label] for label in residual.subject.labels], dtype=np.intp)


def _strata(fit: Fitted, subjects: Subjects) -> IntArray:
    return np.asarray(subjects.arm[_of_fit(fit, subjects)])


def _jackknife(
    fit: Fitted, plan: Plan, mean: FloatArray
) -> tuple[FloatArray, IntArray, tuple[int | None, ...]]:
    """Conditional means of all subjects, then without one each by the estimates without it.

    A subject without a response is none of the fit's: leaving it out changes no estimate.
    """
    subjects = plan.subjects
    parts, left_out = [mean], [None, *range(len(subjects.labels))]
    of_fit = {int(k): j for j, k in enumerate(_of_fit(fit, subjects))}
    found = list(without_each(fit))
    for k in range(len(subjects.labels)):
        own = found[of_fit[k]] if k in of_fit else None
        parts.append(mean if own is None else plan.imputed(own, None))
    return np.concatenate(parts), plan.event, tuple(left_out)


def _plan(
    fit: Fitted, strategy: Any, arm: str | None, reference: Any, event: Any, delta: Any
) -> Plan:
    subjects = subjects_of(fit, arm)
    if not subjects.missing.any():
        raise DataError(
            "no response is missing: every subject has one at every visit, so there is nothing to "
            "impute"
        )
    strategies = _by_subject(strategy, subjects, "strategy")
    names = {given: strategy_name(given) for given in dict.fromkeys(strategies)}
    chosen = tuple(names[given] for given in strategies)
    places = event_positions(subjects, event)
    references = _references(subjects, chosen, reference)
    _check_after(subjects, chosen, places)
    arms = {
        label: int(subjects.covariance_arm[np.flatnonzero(subjects.arm == k)[0]])
        for k, label in enumerate(subjects.arms)
    }
    others = {
        label: model_rows(fit, subjects.with_arm(label), subjects).in_arm(arms[label])
        for label in dict.fromkeys(references)
        if label is not None
    }
    own = model_rows(fit, subjects.frame, subjects)
    added = _deltas(subjects, chosen, places, delta)
    return Plan(subjects, chosen, places, own, others, references, added)


def _by_subject(given: Any, subjects: Subjects, what: str) -> list[Any]:
    """A value for each subject, from one for all or one by arm."""
    if not isinstance(given, Mapping):
        return [given] * len(subjects.labels)
    by_arm = {level_label(key): value for key, value in given.items()}
    if subjects.arm_column is None:
        raise ModelError(f"{what} by arm needs arm=, the column of the arms")
    unknown = [key for key in by_arm if key not in subjects.arms]
    lacking = [label for label in subjects.arms if label not in by_arm]
    if unknown or lacking:
        raise DataError(
            f"{what} is given for {', '.join(by_arm)}, and the arms are {', '.join(subjects.arms)}"
        )
    return [by_arm[subjects.arms[k]] for k in subjects.arm]


def _references(
    subjects: Subjects, strategies: tuple[str, ...], reference: Any
) -> tuple[str | None, ...]:
    if not OF_REFERENCE & set(strategies):
        if reference is not None:
            raise ModelError(
                f"reference is for {', '.join(sorted(OF_REFERENCE))}; leave it out with these "
                "strategies"
            )
        return (None,) * len(strategies)
    if subjects.arm_column is None:
        raise ModelError("a strategy by a reference arm needs arm=, the column of the arms")
    if reference is None:
        raise ModelError(
            f"which arm is the reference? Give reference=, one of {', '.join(subjects.arms)}"
        )
    by_subject = _by_subject(reference, subjects, "reference")
    for label in dict.fromkeys(map(level_label, by_subject)):
        if label not in subjects.arms:
            raise DataError(f"reference is {label!r}, and the arms are {', '.join(subjects.arms)}")
    return tuple(
        level_label(label) if own in OF_REFERENCE else None
        for label, own in zip(by_subject, strategies, strict=True)
    )


def _check_after(subjects: Subjects, strategies: tuple[str, ...], event: IntArray) -> None:
    """Refuse responses after an event that is not MAR: the fit took them for the arm's own."""
    visits = np.arange(subjects.y.shape[1])
    after = ~subjects.missing & (visits >= event[:, None])
    of_other = np.array([own not in {"MAR", "delta"} for own in strategies])
    bad = after.any(axis=1) & of_other
    if bad.any():
        label = subjects.labels[int(np.flatnonzero(bad)[0])]
        raise DataError(
            f"{int(bad.sum())} subjects have responses from their event on, {label!r} the first, "
            "and the fit took them for their arm's own; set them missing and fit again, or give "
            "these subjects the strategy 'MAR'"
        )


def _deltas(
    subjects: Subjects, strategies: tuple[str, ...], event: IntArray, delta: Any
) -> FloatArray:
    """What is added at each visit, from the event on."""
    if delta is None:
        if "delta" in strategies:
            raise ModelError("strategy='delta' needs delta=, what is added to imputed responses")
        return np.zeros(subjects.y.shape)
    by_arm = isinstance(delta, Mapping) and set(map(level_label, delta)) <= set(subjects.arms)
    given = _by_subject(delta, subjects, "delta") if by_arm else [delta] * len(subjects.labels)
    rows: dict[int, FloatArray] = {}
    out = np.empty(subjects.y.shape)
    for i, own in enumerate(given):
        if id(own) not in rows:
            rows[id(own)] = _by_visit(own, subjects.visits)
        out[i] = rows[id(own)]
    after: BoolArray = np.arange(len(subjects.visits)) >= event[:, None]
    return np.where(after, out, 0.0)


def _by_visit(given: Any, visits: tuple[str, ...]) -> FloatArray:
    if isinstance(given, Mapping):
        named = {level_label(key): value for key, value in given.items()}
        unknown = [key for key in named if key not in visits]
        if unknown:
            raise DataError(
                f"delta: {unknown[0]!r} is neither an arm (is arm= given?) nor a visit "
                f"({', '.join(visits)})"
            )
        given = [named.get(visit, 0.0) for visit in visits]
    try:
        values = np.array(np.broadcast_to(np.asarray(given, dtype=np.float64), (len(visits),)))
    except (TypeError, ValueError):
        raise DataError(
            f"delta is {given!r}; give a number, or one for each of the {len(visits)} visits"
        ) from None
    if not np.isfinite(values).all():
        raise DataError("delta must be finite")
    return values
