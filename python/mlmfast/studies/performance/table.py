"""Performance of all methods as a long frame."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from mlmfast.errors import DataError
from mlmfast.studies.performance.measures import (
    MEASURES,
    Sample,
    measured,
    monte_carlo_interval,
)
from mlmfast.words import did_you_mean

#: (values of the condition, method, estimand, sample)
Labelled = tuple[Mapping[str, Any], str, str, Sample]


def read_measures(given: str | Sequence[str] | None) -> list[str]:
    """Names of measures, all of them for None; rsimsum's names are known too.

    Raises
    ------
    DataError

    Examples
    --------
    >>> read_measures(["bias", "cover"])
    ['bias', 'coverage']
    """
    if given is None:
        return list(MEASURES)
    ours = {measure.rsimsum: name for name, measure in MEASURES.items() if measure.rsimsum}
    out = []
    for name in [given] if isinstance(given, str) else given:
        own = ours.get(name, name)
        if own not in MEASURES:
            hint = did_you_mean(str(name), [*MEASURES, *ours])
            raise DataError(f"{name!r} is no measure{hint} (there are {', '.join(MEASURES)})")
        out.append(own)
    return out


def performance_frame(
    found: Iterable[Labelled], measures: Sequence[str], interval: bool = False
) -> pd.DataFrame:
    """A row a condition, method, estimand and measure: value, mcse, and its interval if wanted."""
    rows = []
    for condition, method, estimand, sample in found:
        names = list(condition)
        for name in measures:
            limits = monte_carlo_interval(sample, name) if interval else ()
            rows.append(
                (*condition.values(), method, estimand, name, *measured(sample, name), *limits)
            )
    of_value = ["value", "mcse", *(["lower", "upper"] if interval else [])]
    columns = [*names, "method", "estimand", "measure", *of_value] if rows else []
    return pd.DataFrame(rows, columns=columns)
