"""Fits in the tables of stargazer: ``import mlmfast.stargazer``, then ``Stargazer([fit])``.

The import registers fits. p-values and limits are those of the fit's degrees of freedom. R^2, its
adjusted form and an F statistic of the whole model have no agreed meaning in a mixed model, and are
left out; `add_random_effects` adds lines of numbers of groups and standard deviations.

Examples
--------
>>> import mlmfast as mlm, mlmfast.stargazer
>>> from stargazer.stargazer import Stargazer
>>> fit = mlm.lmm("Reaction ~ Days + (Days | Subject)", mlm.load_sleepstudy())
>>> table = add_random_effects(Stargazer([fit]), [fit])
>>> "SD Days | Subject" in table.render_html()
True
"""

from __future__ import annotations

from typing import Any

from mlmfast.absorbed_result import AbsorbedResult
from mlmfast.display.numbers import number
from mlmfast.fitted.fitted import Fitted
from mlmfast.report.maketables import coefficient_table, covariances, response
from mlmfast.result import LMMResult
from mlmfast.running.optional import optional_package

_stargazer = optional_package("stargazer.stargazer", "tables", "mlmfast.stargazer")
_translators = optional_package("stargazer.translators", "tables", "mlmfast.stargazer")


def model_data(fit: Fitted) -> dict[str, Any]:
    """What stargazer reads of a model.

    Examples
    --------
    >>> import mlmfast as mlm
    >>> fit = mlm.lmm("Reaction ~ Days + (1 | Subject)", mlm.load_sleepstudy())
    >>> found = model_data(fit)
    >>> found["dependent_variable"], found["nobs"], found["r2"]
    ('Reaction', 180, None)
    """
    table = coefficient_table(fit)
    absent = ("r2", "r2_adj", "within_r2", "pseudo_r2", "f_p_value", "f_statistic")
    degrees = ("degree_freedom", "degree_freedom_resid")
    return {
        **dict.fromkeys((*absent, *degrees)),
        "p_values": table["p"],
        "cov_values": table["b"],
        "cov_std_err": table["se"],
        "cov_names": table.index.to_numpy(),
        "conf_int_low_values": table["ci95l"],
        "conf_int_high_values": table["ci95u"],
        "dependent_variable": response(fit),
        "nobs": fit.nobs,
        "resid_std_err": None,
    }


def add_random_effects(table: Any, fits: list[Fitted]) -> Any:
    """Lines of a `Stargazer` with the numbers of groups, SDs and correlations of its fits.

    Parameters
    ----------
    table
        The `Stargazer`, returned again.
    fits
        The fits that it was made of, in its order.
    """
    found = [covariances(fit) for fit in fits]
    for label in dict.fromkeys(label for own in found for label in own):
        values = [own.get(label) for own in found]
        table.add_line(label, ["" if value is None else _text(value) for value in values])
    return table


def _text(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else number(float(value), 3)


def register() -> None:
    """Tell stargazer how fits are read; the import does it."""
    for kind in (LMMResult, AbsorbedResult):
        _translators.register_class(kind, model_data)


register()
