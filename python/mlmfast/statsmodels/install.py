"""Put this module's MixedLM in the place of statsmodels', and take it back."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from mlmfast.statsmodels.classes import HAS_STATSMODELS, MixedLM
from mlmfast.statsmodels.parameters import MixedLMParams, VCSpec

_kept: dict[tuple[str, str], Any] = {}


def install(se: str = "gls") -> None:
    """Let ``statsmodels.formula.api.mixedlm`` and ``statsmodels.api.MixedLM`` be these.

    A module that imported the class by name beforehand keeps its own: install first.

    Parameters
    ----------
    se
        Standard errors of fits that do not say: "gls", or "statsmodels" for its joint Hessian's.

    Raises
    ------
    ImportError
        Without statsmodels.
    ValueError
        For another word.
    """
    if se not in ("gls", "statsmodels"):
        raise ValueError(f"se is {se!r}; use 'gls' or 'statsmodels'")
    if not HAS_STATSMODELS:
        raise ImportError(
            "statsmodels is not installed, so nothing can stand in its place; "
            "use mlmfast.statsmodels.mixedlm, or pip install 'mlmfast[statsmodels]'"
        )
    MixedLM.default_se = se
    if _kept:
        return
    ours = {
        "MixedLM": MixedLM,
        "MixedLMParams": MixedLMParams,
        "VCSpec": VCSpec,
        "mixedlm": MixedLM.from_formula,
    }
    for module, names in _PLACES.items():
        place = import_module(module)
        for name in names:
            if hasattr(place, name):
                _kept[module, name] = getattr(place, name)
                setattr(place, name, ours[name])


_PLACES = {
    "statsmodels.regression.mixed_linear_model": ("MixedLM", "MixedLMParams", "VCSpec"),
    "statsmodels.api": ("MixedLM", "VCSpec"),
    "statsmodels.formula.api": ("mixedlm",),
}


def uninstall() -> None:
    """Undo `install`."""
    MixedLM.default_se = "gls"
    for (module, name), theirs in _kept.items():
        setattr(import_module(module), name, theirs)
    _kept.clear()
