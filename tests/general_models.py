"""Data of models that no engine with structure serves, and a pedigree."""

import numpy as np
import pandas as pd


def trials(seed=3, n_subjects=14, n_trials=10, n_items=9, rho=0.6, missing=0.1):
    """Subjects who answer items in trials; residuals fade over a subject's trials.

    Columns: y, x, subject, trial, when (times of their own), item, session, cond, w.
    """
    rng = np.random.default_rng(seed)
    subject = np.repeat(np.arange(n_subjects), n_trials)
    trial = np.tile(np.arange(n_trials), n_subjects)
    item = np.concatenate(
        [rng.permutation(np.arange(n_trials) % n_items) for _ in range(n_subjects)]
    )
    lag = np.abs(np.subtract.outer(np.arange(n_trials), np.arange(n_trials)))
    root = np.linalg.cholesky(rho**lag)
    session = trial // 4
    w, x = rng.uniform(0.5, 2.0, len(subject)), rng.normal(size=len(subject))
    e = (rng.normal(size=(n_subjects, n_trials)) @ root.T).ravel()
    y = (
        2.0
        + 0.5 * x
        + 1.2 * rng.normal(size=n_items)[item]
        + 1.5 * rng.normal(size=n_subjects)[subject]
    )
    y += 0.9 * rng.normal(size=(n_subjects, session.max() + 1))[subject, session]
    y += 0.7 * rng.normal(size=n_items)[item] * x + e / np.sqrt(w)
    frame = pd.DataFrame(
        {
            "y": y,
            "x": x,
            "subject": [f"s{k:02d}" for k in subject],
            "trial": trial,
            "when": trial + rng.uniform(0, 0.8, len(trial)),
            "item": [f"i{k}" for k in item],
            "session": [f"t{k}" for k in session],
            "cond": np.where((item + trial) % 2, "b", "a"),
            "w": w,
        }
    )
    kept = rng.permutation(len(frame))[: round((1 - missing) * len(frame))]
    return frame.iloc[kept].reset_index(drop=True)


def pedigree(seed=1, n=40, founders=8):
    """Numerator relationship matrix of animals with parents drawn from those before (Henderson)."""
    rng = np.random.default_rng(seed)
    a = np.eye(n)
    for k in range(founders, n):
        sire, dam = rng.choice(k, 2, replace=False)
        a[k, :k] = a[:k, k] = 0.5 * (a[sire, :k] + a[dam, :k])
        a[k, k] = 1.0 + 0.5 * a[sire, dam]
    labels = [f"a{k:02d}" for k in range(n)]
    return pd.DataFrame(a, index=labels, columns=labels)


def animals(seed=2, per_animal=3, without_rows=6, slope=0.0):
    """Records of the later animals of `pedigree`; the first ones have none."""
    rng = np.random.default_rng(seed)
    a = pedigree()
    n = len(a)
    root = np.linalg.cholesky(a.to_numpy())
    animal = np.repeat(np.arange(without_rows, n), per_animal)
    x = rng.normal(size=len(animal))
    effects = root @ rng.normal(size=(n, 2))
    y = 1.0 + x + 1.2 * effects[animal, 0] + slope * effects[animal, 1] * x
    y += 0.8 * rng.normal(size=n)[animal] + rng.normal(size=len(animal))
    labels = a.index.to_numpy()
    frame = pd.DataFrame(
        {
            "y": y,
            "x": x,
            "animal": labels[animal],
            "pe": labels[animal],
            "herd": [f"h{k}" for k in rng.integers(0, 5, len(animal))],
            "time": np.tile(np.arange(per_animal), n - without_rows),
            "w": rng.uniform(0.5, 2.0, len(animal)),
        }
    )
    return frame.iloc[rng.permutation(len(frame))].reset_index(drop=True), a
