"""Fits in marginaleffects: predictions, comparisons, slopes, hypotheses and their plots.

``mlmfast.marginaleffects.model(fit)`` is what its functions take; importing this module registers
fits too, so that they take the fit itself. Everything is of the population: random effects are 0.

Versions 0.6.0 and 0.6.1 of marginaleffects do not work with polars 2, not with models of their own
either; ``pip install 'mlmfast[marginaleffects]'`` installs a polars that they know.

Examples
--------
>>> import mlmfast as mlm, mlmfast.marginaleffects
>>> from marginaleffects import avg_slopes
>>> fit = mlm.lmm("Reaction ~ Days + (Days | Subject)", mlm.load_sleepstudy())
>>> found = avg_slopes(mlm.marginaleffects.model(fit), variables="Days")
>>> [round(float(found[name][0]), 3) for name in ("estimate", "std_error", "conf_low")]
[10.467, 1.546, 7.206]
"""

from mlmfast.marginaleffects.adapter import FitModel
from mlmfast.marginaleffects.register import model, register

__all__ = ["FitModel", "model", "register"]

register()
