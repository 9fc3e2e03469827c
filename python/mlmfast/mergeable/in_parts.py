"""A fit of a source that does not fit into memory: reduced part by part."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlmfast.errors import MlmError
from mlmfast.mergeable.model import fit_content, model_frame
from mlmfast.mergeable.streaming import Asked, content_of
from mlmfast.newton.options import NewtonOptions
from mlmfast.prepared.fit_model import Wishes
from mlmfast.result import LMMResult
from mlmfast.sources.open_source import is_source


def fit_in_parts(
    formula: str,
    data: object,
    arguments: Mapping[str, Any],
    method: str,
    options: NewtonOptions | Mapping[str, Any] | None,
    ddf: str | float | None,
    wishes: Wishes,
) -> LMMResult | None:
    """The fit of a source that is read part by part; None where that cannot be.

    Parameters
    ----------
    arguments
        The other arguments of `mlmfast.LMM`.
    """
    known = {"residual", "weights", "offset", "contrasts", "na_action"}
    others = [name for name, value in arguments.items() if name not in known and value is not None]
    columns = [arguments.get(name) for name in ("weights", "offset")]
    named = all(column is None or isinstance(column, str) for column in columns)
    if others or not named or not is_source(data):
        return None
    try:
        asked = Asked(formula, **{name: arguments[name] for name in known if name in arguments})
    except MlmError:
        # The rows themselves might be had: what is said of memory tells more.
        return None
    content = content_of(asked, data)
    return fit_content(content, model_frame(content), method, options, ddf, wishes)
