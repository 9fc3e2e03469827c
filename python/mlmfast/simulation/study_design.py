"""StudyDesign: what `mlmfast.design` gives."""

from __future__ import annotations

from mlmfast.simulation.conditions import under
from mlmfast.simulation.rows.extend import along, within
from mlmfast.simulation.true_model import TrueModel


class StudyDesign(TrueModel):
    """A design without data, with true parameters; made by `mlmfast.design`.

    Attributes
    ----------
    formula, residual, residual_scale
        The model, as `mlmfast.lmm` takes it.
    data
        The rows, without a response.

    Examples
    --------
    >>> import mlmfast as mlm, numpy as np
    >>> d = mlm.design("y ~ x + (1 | g)", levels={"g": 4, "x": [0, 1, 2]},
    ...                params={"x": 1}, varcorr={"g": 0.5}, sigma=1)
    >>> d.draw(np.random.default_rng(1)).round(2).head(3)
       g  x     y
    0  1  0 ...
    1  1  1 ...
    2  1  2 ...
    >>> d.simulate(5, seed=1).shape
    (12, 5)
    """

    under = under
    along = along
    within = within
