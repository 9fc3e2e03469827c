"""A small trial that PROC MIXED steps are run on."""

import numpy as np
import pandas as pd
import pytest


@pytest.fixture(scope="package")
def trial():
    rng = np.random.default_rng(8)
    ids = np.repeat(np.arange(40), 4)
    data = pd.DataFrame(
        {
            "id": ids,
            "arm": np.array(["a", "b", "c"])[ids % 3],
            "sex": np.array(["f", "m"])[(ids // 3) % 2],
            "site": ids // 10,
            "visit": np.tile([1, 2, 4, 8], 40),
            "x": rng.normal(size=160),
        }
    )
    effects = rng.normal(size=40)[ids] + rng.normal(0, 1, 4)[ids // 10]
    data["y"] = effects + 0.3 * data["x"] + rng.normal(size=160)
    return data.drop(index=[3, 17, 58, 90, 91]).reset_index(drop=True)
