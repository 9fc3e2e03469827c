"""A made-up trial: two arms, four visits, some of them missed."""

import numpy as np
import pandas as pd

VISITS = ["week 2", "week 4", "week 8", "week 12"]
COVARIANCE = np.array(
    [[40.0, 14.0, 5.0, 13.0], [14.0, 27.0, 3.0, 7.0], [5.0, 3.0, 15.0, 1.0], [13.0, 7.0, 1.0, 95.0]]
)


def trial(n_patients=80, seed=7):
    """Columns y, arm, visit (in order), week (a number), patient and w."""
    rng = np.random.default_rng(seed)
    n = 4 * n_patients
    arm = np.repeat(np.arange(n_patients) % 2, 4)
    visit = np.tile(np.arange(4), n_patients)
    errors = rng.multivariate_normal(np.zeros(4), COVARIANCE, n_patients).ravel()
    frame = pd.DataFrame(
        {
            "y": 30.0 + 4.0 * visit + 3.0 * arm + errors,
            "arm": np.array(["placebo", "active"])[arm],
            "visit": pd.Categorical.from_codes(visit, VISITS),
            "week": np.array([2.0, 4.0, 8.0, 12.0])[visit],
            "patient": [f"p{i}" for i in np.repeat(np.arange(n_patients), 4)],
            "w": rng.uniform(0.5, 2.0, n),
        }
    )
    return frame[rng.uniform(size=n) > 0.15].reset_index(drop=True)
