"""The reference fits that come with the package, or those of a folder."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from mlmfast.errors import DataError

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

FITS = "fits.json"


@dataclass(frozen=True)
class ReferenceFit:
    """A model, its data, and what another program or exact arithmetic made of it.

    Attributes
    ----------
    name, family
        Name, and the kind of models that it stands for.
    about, source
        Origin of the data, and the program with its versions and its call.
    formula, arguments
        The model as `mlmfast.lmm` takes it.
    null_formula
        Of the smaller model of a likelihood-ratio test; empty where there is none.
    data
        The rows.
    singular
        Whether the estimate lies on the boundary.
    digits
        Significant digits by quantity that the reference is trusted to.
    expected
        The values by quantity.
    """

    name: str
    family: str
    about: str
    source: str
    formula: str
    arguments: dict[str, Any]
    null_formula: str
    data: pd.DataFrame
    singular: bool
    digits: dict[str, int]
    expected: dict[str, Any]

    def tolerance(self, quantity: str) -> float:
        """Relative tolerance by the digits that are trusted, at most nine."""
        return float(10.0 ** (1 - min(self.digits.get(quantity, 6), 9)))

    @property
    def is_nesting(self) -> bool:
        """Whether ``a/b`` stands in it: lme4 calls the inner factor b:a, and mlmfast a:b."""
        return "/" in self.formula


def reference_fits(folder: str | os.PathLike[str] | None = None) -> list[ReferenceFit]:
    """Read the references that come with the package, or ``fits.json`` of a folder.

    Raises
    ------
    DataError
        Where there are none, or they cannot be read.

    Examples
    --------
    >>> [fit.name for fit in reference_fits()][:2]
    ['pastes_nested_reml', 'alfalfa_splitplot_reml']
    """
    place: Traversable
    if folder is None:
        place = resources.files("mlmfast") / "validation" / "references"
    else:
        place = Path(folder)
    try:
        cases = json.loads((place / FITS).read_text(encoding="utf-8"))
        return [_read(place, name, case) for name, case in cases.items()]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{place} holds no reference fits that can be read ({type(error).__name__}: {error}); "
            f"a folder with {FITS} and its tables is needed, such as mlmfast/validation/references"
        ) from None


def _read(place: Traversable, name: str, case: dict[str, Any]) -> ReferenceFit:
    given = {key: case.get(key) for key in ("weights", "contrasts", "residual")}
    return ReferenceFit(
        name=name,
        family=case["family"],
        about=case["about"],
        source=case["source"],
        formula=case["formula"],
        arguments={"method": case["method"]} | {k: v for k, v in given.items() if v},
        null_formula=case.get("formula_null", ""),
        data=_table(place, case["data"], case["levels"]),
        singular=case["singular"],
        digits=case["digits"],
        expected=case["expect"],
    )


def _table(place: Traversable, file: str, levels: dict[str, list[str]]) -> pd.DataFrame:
    """The table with the columns of ``levels`` as categories in that order."""
    # Only an empty field is missing: alfalfa has a level "None".
    with (place / file).open(encoding="utf-8") as stream:
        frame = pd.read_csv(
            stream, dtype=dict.fromkeys(levels, str), keep_default_na=False, na_values=[""]
        )
    for column, order in levels.items():
        frame[column] = pd.Categorical(frame[column], categories=order)
    return frame
