"""Random models with a structured covariance of the random effects, about half of them singular."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

STRUCTURES = (
    *("homdiag", "cs", "csh", "hf", "un", "fa", "ar1", "ar1h", "toep", "toeph", "ad", "adh"),
    *("arma11", "sp_exp", "sp_gau", "sp_sph", "sp_matern"),
)
#: These contain the residual variance: groups need several rows at a level.
_REPEATED = ("homdiag", "cs", "csh", "hf", "un", "fa", "ar1h", "toep", "toeph", "adh", "arma11")


@dataclass(frozen=True)
class StructuredModel:
    """y ~ ... + structure(0 + f | g) over `k` levels of f."""

    structure: str
    formula: str
    data: pd.DataFrame
    method: str
    k: int


def structured_model(seed):
    """Levels of f within g, some rows missing, in random units.

    The covariance is none, has zero variances, perfect correlation, the most negative one, or is
    regular.
    """
    rng = np.random.default_rng(seed)
    name = STRUCTURES[seed % len(STRUCTURES)]
    k, m = int(rng.integers(3, 7)), int(np.exp(rng.uniform(np.log(6), np.log(120))))
    r = int(rng.integers(2 if name in _REPEATED else 1, 4))
    n = m * k * r
    g, f = np.repeat(np.arange(m), k * r), np.tile(np.repeat(np.arange(k), r), m)
    kept = rng.uniform(size=n) > rng.uniform(0, 0.4)
    kept[: 2 * k * r] = True
    effects = rng.standard_normal((m, k)) @ _root(_covariance(rng, name, k)).T
    x = rng.standard_normal(n)
    y = 1 + 0.3 * f + x + effects[g, f] + rng.standard_normal(n)
    units = 10.0 ** rng.uniform(-6, 6), 10.0 ** rng.uniform(-3, 3)
    frame = {"y": y * units[0], "x": x * units[1], "g": g, "f": np.array(list("abcdef"))[f]}
    left = "0 + factor(t)" if name.startswith("sp_") else "0 + f"
    right = "g, 2" if name == "un" else "g"
    fixed = ("1", "f", "x", "f + x")[rng.integers(0, 4)]
    return StructuredModel(
        name,
        f"y ~ {fixed} + {name}({left} | {right})",
        pd.DataFrame(frame | {"t": 2.0 * f})[kept],
        ("REML", "ML")[rng.integers(0, 2)],
        k,
    )


def _covariance(rng, name, k):
    kind = rng.integers(0, 6)
    differ = name.endswith("h") or name in {"un", "fa", "hf"}
    sd = np.exp(rng.normal(0, 0.7, k)) if differ else np.full(k, np.exp(rng.normal(0, 0.7)))
    if kind == 0:
        sd = 0.0 * sd
    elif kind == 1:
        sd = 0.7 * rng.choice([0.0, 1.0], k)
    exchangeable = name in {"cs", "csh", "hf"}
    rho = {2: 1.0, 3: -1 / (k - 1) if exchangeable else -0.95, 4: 0.7, 5: 0.2}.get(kind)
    if rho is None:
        rho = rng.uniform(-1 / (k - 1) if exchangeable else -0.9, 0.95)
    lags = np.abs(np.subtract.outer(np.arange(k), np.arange(k)))
    correlation = np.where(lags > 0, rho, 1.0) if exchangeable else rho**lags
    return correlation * np.outer(sd, sd)


def _root(covariance):
    values, vectors = np.linalg.eigh(covariance)
    return vectors * np.sqrt(np.maximum(values, 0.0))
