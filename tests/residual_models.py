"""Simulated trials with visits, for models with a residual covariance within subjects."""

import numpy as np
import pandas as pd

from mlmfast.covariance import STRUCTURES

# lin needs matrices of its own.
KEYWORDS = sorted(word for word, kind in STRUCTURES.items() if word != "lin" and kind.for_residuals)
FIXED = "y ~ x + visit"


def residual_of(keyword, subject="subject"):
    """`keyword(visit | subject)`, by the time of the visit where the structure needs numbers."""
    coordinate = "time" if STRUCTURES[keyword].needs == "coordinates" else "visit"
    # The logarithm of a distance must be positive.
    coordinate = "week" if keyword.startswith("sp_linl") else coordinate
    return f"{keyword}({coordinate} | {subject})"


def trial(seed=5, n_subjects=40, n_visits=4, missing=0.2, rho=0.6, site_sd=0.7, subject_sd=0.0):
    """Rows in random order: subjects in sites and arms, some visits missing, weights.

    The residuals of a subject have correlation rho^|i - j| and standard deviations that grow.
    """
    rng = np.random.default_rng(seed)
    subject = np.repeat(np.arange(n_subjects), n_visits)
    visit = np.tile(np.arange(n_visits), n_subjects)
    sd = np.linspace(1.0, 1.6, n_visits)
    lag = np.abs(np.subtract.outer(np.arange(n_visits), np.arange(n_visits)))
    root = np.linalg.cholesky(rho**lag * np.outer(sd, sd))
    weight, x = rng.uniform(0.5, 2.0, len(subject)), rng.normal(size=len(subject))
    noise = (rng.normal(size=(n_subjects, n_visits)) @ root.T).ravel() / np.sqrt(weight)
    y = 2.0 + 0.5 * x + 0.3 * visit + site_sd * rng.normal(size=6)[subject % 6] + noise
    y += subject_sd * rng.normal(size=n_subjects)[subject]
    frame = pd.DataFrame(
        {
            "y": y,
            "x": x,
            "visit": [f"v{k + 1}" for k in visit],
            "time": visit.astype(float),
            "week": 4.0 * visit,
            "subject": [f"s{k:02d}" for k in subject],
            "site": [f"c{k % 6}" for k in subject],
            "arm": np.where(subject % 2, "active", "placebo"),
            "w": weight,
        }
    )
    kept = rng.permutation(len(frame))[: round((1 - missing) * len(frame))]
    return frame.iloc[kept].reset_index(drop=True)
