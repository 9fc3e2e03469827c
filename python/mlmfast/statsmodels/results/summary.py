"""The summary of results: statsmodels' own class where it is installed, the same tables without."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import numpy as np
import pandas as pd
from scipy import special

from mlmfast.arrays import FloatArray
from mlmfast.statsmodels.results.arrays import ResultArrays


@dataclass
class Summary:
    """Tables and a title, printed as text, HTML or LaTeX."""

    title: str
    tables: list[pd.DataFrame] = field(default_factory=list)

    def as_text(self) -> str:
        """Text."""
        blocks = [self.title]
        for k, table in enumerate(self.tables):
            blocks.append(table.to_string(index=k > 0, header=k > 0))
        width = max(len(line) for block in blocks for line in block.splitlines())
        return f"\n{'-' * width}\n".join(blocks)

    def as_html(self) -> str:
        """HTML."""
        tables = [table.to_html(index=k > 0, header=k > 0) for k, table in enumerate(self.tables)]
        return f"<p>{self.title}</p>\n" + "\n".join(tables)

    def as_latex(self) -> str:
        """LaTeX; pandas writes it, which needs Jinja2."""
        return "\n".join(table.to_latex() for table in self.tables)

    def __str__(self) -> str:
        return self.as_text()

    __repr__ = __str__
    _repr_html_ = as_html


def summary(
    self: ResultArrays,
    yname: str | None = None,
    xname_fe: list[str] | None = None,
    xname_re: list[str] | None = None,
    title: str | None = None,
    alpha: float = 0.05,
) -> Any:
    """Estimates, standard errors, z tests and limits; covariances in their units.

    Parameters
    ----------
    yname, xname_fe, xname_re
        Names instead of the model's.
    title
        Title instead of the usual one.
    alpha
        1 minus the level of the limits.

    Returns
    -------
    statsmodels' ``Summary`` where that is installed, else one of the same tables
    """
    names = list(self.model.data.param_names)
    for given, place in ((xname_fe, slice(0, self.k_fe)), (xname_re, slice(self.k_fe, None))):
        if given is None:
            continue
        if len(given) != len(names[place]):
            which = "xname_fe" if given is xname_fe else "xname_re"
            raise ValueError(f"{which} should be a list of length {len(names[place])}")
        names[place] = given
    table = _table(self, names, alpha)
    facts = _facts(self, self.model.endog_names if yname is None else yname)
    title = "Mixed Linear Model Regression Results" if title is None else title
    try:
        summary2 = import_module("statsmodels.iolib.summary2")
    except ImportError:
        top = pd.DataFrame({"what": list(facts), "value": [str(v) for v in facts.values()]})
        return Summary(title, [top, table])
    out = summary2.Summary()
    out.add_dict(facts)
    out.add_title(title)
    out.add_df(table, align="r")
    return out


def _facts(results: ResultArrays, yname: str) -> dict[str, Any]:
    smallest, largest, mean = results._sizes
    return {
        "Model:": "MixedLM",
        "No. Observations:": str(results.nobs),
        "No. Groups:": str(results.model.n_groups),
        "Min. group size:": f"{smallest:.0f}",
        "Max. group size:": f"{largest:.0f}",
        "Mean group size:": f"{mean:.1f}",
        "Dependent Variable:": yname,
        "Method:": results.method,
        "Scale:": results.scale,
        "Log-Likelihood:": results.llf,
        "Converged:": "Yes" if results.converged else "No",
    }


def _table(results: ResultArrays, names: list[str], alpha: float) -> pd.DataFrame:
    k = results.k_fe
    values: FloatArray = np.full((len(names), 6), np.nan)
    errors = np.asarray(results.bse)[:k]
    with np.errstate(invalid="ignore", divide="ignore"):
        z = results.fe_params / errors
    reach = -special.ndtri(alpha / 2.0) * errors
    values[:k, 0], values[:k, 1], values[:k, 2] = results.fe_params, errors, z
    values[:k, 3] = 2.0 * special.ndtr(-np.abs(z))
    values[:k, 4], values[:k, 5] = results.fe_params - reach, results.fe_params + reach
    triangle = results.cov_re[np.tril_indices(results.k_re)]
    values[k:, 0] = np.concatenate([triangle, results.vcomp])
    values[k:, 1] = results.bse_re
    columns = ["Coef.", "Std.Err.", "z", "P>|z|", f"[{alpha / 2}", f"{1 - alpha / 2}]"]
    text = [[f"{v:.3f}" if np.isfinite(v) else "" for v in row] for row in values.tolist()]
    return pd.DataFrame(text, index=names, columns=columns)
