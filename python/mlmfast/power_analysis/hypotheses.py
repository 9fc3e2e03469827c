"""What a user asks to be tested: coefficients, terms, two models, a random effect."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.design.columns.model_matrix import INTERCEPT
from mlmfast.errors import ModelError
from mlmfast.inference.comparison.null_model import find_effects, null_method, without_effects
from mlmfast.inference.comparison.restricted_lrt import exact_null_distribution
from mlmfast.inference.contrasts.rows import contrast_rows
from mlmfast.power_analysis.analysis import Analysis
from mlmfast.power_analysis.outcome import Hypothesis
from mlmfast.power_analysis.tests_of_replicates import LikelihoodRatio, VarianceTest, Wald
from mlmfast.prepared.model import PreparedModel
from mlmfast.simulation.streams import Streams, entropy_of
from mlmfast.words import did_you_mean

#: Draws of an exact null distribution.
_EXACT = 100_000


def hypothesis(
    analysis: Analysis, test: Any, how: str | None, n_boot: int, seed: Any
) -> Hypothesis:
    """What a user asks to be tested.

    Parameters
    ----------
    test, how, n_boot
        As `mlmfast.power` takes ``test``, ``test_method`` and ``n_boot``.

    Raises
    ------
    ModelError
        For what is not in the model; the nearest name is suggested.
    """
    names = analysis.model.design.x_names
    if how not in (None, "wald", "lr", "bootstrap", "exact", "mixture", "chi-square"):
        raise ModelError(
            f"test_method is {how!r}; use 'wald', 'lr' or 'bootstrap', or for a random effect "
            "'exact', 'mixture' or 'bootstrap', 'chi-square' where its variance has no bound"
        )
    if isinstance(test, str) and "~" in test:
        return _fixed_rows(analysis, _of_two_models(analysis, test, how, n_boot, seed))
    if isinstance(test, str) and _is_random(analysis, test):
        return _fixed_rows(analysis, _of_random_effect(analysis, test, how, n_boot, seed))
    if how in ("exact", "mixture", "chi-square"):
        raise ModelError(f"test_method={how!r} is for random effects, such as test='sd_x|g'")
    L, rhs, text = _linear(analysis, test)
    if how in ("lr", "bootstrap"):
        n = n_boot if how == "bootstrap" else 0
        return _fixed_rows(analysis, _without_columns(analysis, L, rhs, text, n, seed))
    return Wald(analysis, names, L, rhs, text)


def _fixed_rows(analysis: Analysis, found: Hypothesis) -> Hypothesis:
    if analysis.design.redraws_rows:
        raise ModelError(
            "likelihood-ratio tests and those of random effects need rows that stay the same, and "
            "covariates of this design are drawn anew; take data=design.data of one draw"
        )
    return found


def _linear(analysis: Analysis, test: Any) -> tuple[FloatArray, FloatArray, str]:
    """Rows over the coefficients of what is tested."""
    model = analysis.model
    names = model.design.x_names
    if not isinstance(test, str):
        rows = contrast_rows(names, test)
        return rows.L, np.asarray(rows.rhs, dtype=np.float64), ", ".join(rows.names)
    if test in names:
        row = np.zeros((1, len(names)))
        row[0, names.index(test)] = 1.0
        return row, np.zeros(1), test
    terms = () if model._frame is None else model._frame.terms
    if test in terms and test != INTERCEPT:
        return _type_three(analysis, test)
    if any(sign in test for sign in "=+*/") or " - " in test:
        rows = contrast_rows(names, test)
        return rows.L, np.asarray(rows.rhs, dtype=np.float64), test
    known = [*names, *(t for t in terms if t not in names), *_random_names(analysis)]
    hint = did_you_mean(test, known)
    raise ModelError(
        f"test: {test!r} is no coefficient, term or random effect of {analysis.fitted_formula!r}"
        f"{hint} (there are {', '.join(known[:30])})"
    )


def _type_three(analysis: Analysis, term: str) -> tuple[FloatArray, FloatArray, str]:
    """The type III hypothesis of a term, which goes by the design alone."""
    Y = analysis.design.simulate(1, seed=0)
    Y = np.where(np.isnan(Y), 0.0, Y)
    with warnings.catch_warnings():
        # Of one response, which stands for none.
        warnings.simplefilter("ignore")
        table = analysis.fits(Y)[0].anova(type=3, ddf="asymptotic")
    if term not in table.hypotheses:
        raise ModelError(f"test: the term {term!r} is not estimable in this design")
    L = table.hypotheses[term].to_numpy()
    return L, np.zeros(len(L)), term


def _without_columns(
    analysis: Analysis, L: FloatArray, rhs: FloatArray, text: str, n_boot: int, seed: Any
) -> Hypothesis:
    """Likelihood ratio against the model in which the rows of L are 0."""
    if rhs.any():
        raise ModelError(
            f"test: {text!r} has a value under the hypothesis, which a likelihood-ratio test does "
            "not take; use test_method='wald'"
        )
    model = analysis.model
    x = model.design.fixed_matrix
    # Columns of X in the null space of L: the model under the hypothesis.
    _, sizes, v = np.linalg.svd(L)
    df = int((sizes > 1e-10 * sizes[0]).sum())
    own = np.flatnonzero((L != 0).any(axis=0))
    if len(own) == df:
        kept = [j for j in range(len(model.design.x)) if j not in own]
        null = replace(
            model.design,
            x=tuple(model.design.x[j] for j in kept),
            x_names=tuple(model.design.x_names[j] for j in kept),
        )
    else:
        basis = x @ v[df:].T
        columns = tuple(np.ascontiguousarray(column) for column in basis.T)
        null = replace(model.design, x=columns, x_names=tuple(map(str, range(len(columns)))))
    return LikelihoodRatio(
        analysis, PreparedModel(null), PreparedModel(model.design), df, True, text, n_boot, seed
    )


def _of_two_models(
    analysis: Analysis, formula: str, how: str | None, n_boot: int, seed: Any
) -> Hypothesis:
    if how in ("wald", "exact", "mixture", "chi-square"):
        raise ModelError(
            f"test_method={how!r} does not compare two models; use 'lr' or 'bootstrap'"
        )
    first, second = analysis.model, analysis.model_of(formula)
    sizes = [_n_parameters(analysis, model) for model in (first, second)]
    if sizes[0] == sizes[1]:
        raise ModelError(
            f"test: {formula!r} has as many parameters as {analysis.fitted_formula!r}, so neither "
            "is a special case of the other"
        )
    if sizes[0] > sizes[1]:
        null, alternative = second, first
    else:
        null, alternative = first, second
    small, large = null.design.fixed_matrix, alternative.design.fixed_matrix
    both = np.column_stack([large, small])
    if np.linalg.matrix_rank(both) > np.linalg.matrix_rank(large):
        raise ModelError(
            f"test: the fixed effects of {formula!r} and {analysis.fitted_formula!r} are not nested"
        )
    ml = np.linalg.matrix_rank(large) > np.linalg.matrix_rank(small) or analysis.method == "ML"
    n = n_boot if how == "bootstrap" else 0
    df = abs(sizes[0] - sizes[1])
    return LikelihoodRatio(analysis, null, alternative, df, bool(ml), formula, n, seed)


def _n_parameters(analysis: Analysis, model: PreparedModel) -> int:
    Y = analysis.responses(Streams(0), 0, 8)
    return int(analysis.fits(Y, model).n_parameters.max())


def _random_names(analysis: Analysis) -> list[str]:
    design = analysis.model.design
    return [f"sd_{e}|{design.factors[t.factor].name}" for t in design.random for e in t.names]


def _is_random(analysis: Analysis, test: str) -> bool:
    """Whether a name is that of a random effect: ``sd_x|g``, or a term as written."""
    return "|" in test


def _of_random_effect(
    analysis: Analysis, test: str, how: str | None, n_boot: int, seed: Any
) -> Hypothesis:
    design = analysis.model.design
    t, effects = find_effects(design, test)
    if how == "lr" and not design.random[t].bounded:
        how = "chi-square"
    if how in ("wald", "lr"):
        raise ModelError(
            "a variance of 0 lies on the boundary; its test_method is 'exact', 'mixture' or "
            "'bootstrap'"
        )
    chosen = null_method(design, t, effects, how)
    null = PreparedModel(without_effects(design, t, effects))
    own = PreparedModel(design)
    df = _n_parameters(analysis, own) - _n_parameters(analysis, null)
    if chosen == "bootstrap":
        return LikelihoodRatio(analysis, null, own, df, analysis.method == "ML", test, n_boot, seed)
    sample = np.empty(0)
    if chosen == "exact":
        reml = analysis.method == "REML"
        entropy = entropy_of(seed)
        key = (*entropy.spawn_key, 2)
        own_seed = np.random.SeedSequence(entropy.entropy, spawn_key=key)
        sample = exact_null_distribution(design, t, reml, _EXACT, own_seed)
    return VarianceTest(analysis, null, df, chosen, sample, test)
