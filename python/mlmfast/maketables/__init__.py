"""Fits in the tables of maketables: ``import mlmfast.maketables``, then ``ETable([fit])``.

maketables asks its own readers first, and the one for statsmodels takes whatever has ``params``,
``bse`` and ``pvalues``: a fit would be shown with the response "y" and without its variances. The
import places a reader of fits before it, which goes by the plug-in attributes of the fit:
estimates, standard errors and p-values by its degrees of freedom, and below them numbers of groups,
standard deviations and correlations of the random effects.

Examples
--------
>>> import mlmfast as mlm, mlmfast.maketables
>>> from maketables import ETable
>>> fit = mlm.lmm("Reaction ~ Days + (Days | Subject)", mlm.load_sleepstudy())
>>> "SD Days | Subject" in ETable([fit]).make(type="html")
True
"""

from __future__ import annotations

from typing import Any

from mlmfast.fitted.fitted import Fitted
from mlmfast.running.optional import optional_package

_extractors = optional_package("maketables.extractors", "tables", "mlmfast.maketables")
_Plugin: Any = _extractors.PluginExtractor


class FitExtractor(_Plugin):  # type: ignore[misc]
    """Reads fits by their plug-in attributes."""

    def can_handle(self, model: Any) -> bool:
        """Whether this is a fit."""
        return isinstance(model, Fitted)


def register() -> None:
    """Place the reader of fits first; once is enough, and the import does it.

    Examples
    --------
    >>> register()
    >>> from maketables.extractors import get_extractor
    >>> import mlmfast as mlm
    >>> fit = mlm.lmm("Reaction ~ Days + (1 | Subject)", mlm.load_sleepstudy())
    >>> type(get_extractor(fit)).__name__
    'FitExtractor'
    """
    registry = _extractors._EXTRACTOR_REGISTRY
    registry[:] = [reader for reader in registry if not isinstance(reader, FitExtractor)]
    registry.insert(0, FitExtractor())


register()
