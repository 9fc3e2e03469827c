"""Saved fits: JSON that holds estimates and names, no rows of data and no code."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from mlmfast.data.whole_files import write_whole
from mlmfast.errors import DataError
from mlmfast.fitted.fitted import Fitted
from mlmfast.fitted.random_effects import ConditionalEffects
from mlmfast.fitted.record import FitRecord
from mlmfast.saving.inference import inference_from_dict, inference_to_dict
from mlmfast.saving.manifest import manifest
from mlmfast.saving.open_effects import open_effects_from, open_effects_to_dict
from mlmfast.saving.record import array, record_from_dict, record_to_dict, typed
from mlmfast.saving.rows import rows_from_dict, rows_to_dict

_NAME, _VERSION = "mlmfast fit", 1

# JSON has no numbers for these; {"float": "NaN"} cannot be mistaken for a level of that name.
_NOT_FINITE = {"NaN": np.nan, "Infinity": np.inf, "-Infinity": -np.inf}


def to_json(fit: Fitted, path: str | os.PathLike[str] | None = None) -> str:
    """Return the fit as JSON text, and write it to ``path`` if given; see `mlmfast.load`.

    Numbers keep all their digits, and `manifest` says by what versions, from which data and with
    what options the fit was made. The rows of the data are left out, so a loaded fit has no
    fitted values, residuals, simulations, bootstraps or profiles, intervals around random effects
    where it has one grouping factor of few levels, by the fit's method and by normal quantiles,
    and tests by the methods of degrees of freedom that were used before it was saved, by those
    that need no rows and, for fits of few coefficients, by Satterthwaite, Kenward-Roger,
    containment and between-within; everything else it answers as before: `anova`, `emmeans`, `icc`,
    `r2`, contrasts, intervals of covariance parameters and of new responses of the population.
    Where these would take much memory (hypotheses of hundreds of coefficients, thousands of cells)
    they are left out too. A pickle keeps the rows, and everything.

    Parameters
    ----------
    path : a file to write.

    Examples
    --------
    >>> import mlmfast as mlm
    >>> fit = mlm.lmm("Reaction ~ Days + (Days | Subject)", mlm.load_sleepstudy())
    >>> to_json(fit)[:48]
    '{"format": {"name": "mlmfast fit", "version": 1}'
    """
    data = {
        "format": {"name": _NAME, "version": _VERSION},
        "manifest": manifest(fit),
        "record": record_to_dict(fit._record),
        "timings": fit.timings,
        "inference": inference_to_dict(fit),
        "rows": rows_to_dict(fit),
        "effects": _effects_to(fit),
        "open_effects": open_effects_to_dict(fit),
    }
    text = json.dumps(_plain(data), allow_nan=False)
    if path is not None:
        write_whole(path, text)
    return text


@dataclass(frozen=True)
class ReadFit:
    """What a saved fit holds: its record, random effects, seconds, and answers by attribute.

    No random effects of a fit whose rows stayed in parts.
    """

    record: FitRecord
    effects: list[ConditionalEffects] | None
    timings: dict[str, float]
    answers: dict[str, Any]

    def into(self, fit: Fitted) -> None:
        """Make a fit this one."""
        fit.__dict__.clear()
        fit.__dict__.update(Fitted(self.record, None, self.timings, self.effects).__dict__)
        fit.__dict__.update(self.answers)


def read_fit(path_or_text: str | os.PathLike[str]) -> ReadFit:
    """Read what `to_json` wrote; see `mlmfast.load`."""
    text, where = _read(path_or_text)
    try:
        data = json.loads(text, object_hook=_float_of, parse_constant=_refuse_constant)
        _check_format(data, where)
        record = record_from_dict(data["record"])
        effects = _effects_from(data["effects"], record)
        inference = {}
        if "inference" in data:
            inference = inference_from_dict(data["inference"], record)
        if "rows" in data:
            inference |= rows_from_dict(data["rows"], record)
        if data.get("manifest") is not None:
            inference["_manifest"] = typed(data["manifest"], dict)
        inference["_open_effects"] = open_effects_from(data.get("open_effects"), record)
        timings = {str(k): float(v) for k, v in typed(data["timings"], dict).items()}
    except DataError:
        raise
    except KeyError as error:
        raise _no_fit(where, f"{error.args[0]!r} is missing") from None
    except (
        ArithmeticError,
        AttributeError,
        IndexError,
        RecursionError,
        TypeError,
        ValueError,
    ) as error:
        raise _no_fit(where, str(error)) from None
    return ReadFit(record, effects, timings, inference)


def _effects_to(fit: Fitted) -> list[dict[str, Any]] | None:
    if fit._source is not None and fit._source.design.is_in_parts:
        return None
    return [{"mean": e.mean, "covariance": e.covariance} for e in fit._effects]


def _effects_from(data: object, record: FitRecord) -> list[ConditionalEffects] | None:
    if data is None:
        return None
    out = []
    for k, (item, group) in enumerate(zip(typed(data, list), record.groups, strict=True)):
        n, q = len(group.labels), sum(len(term.names) for term in record.terms_on(k))
        mean, covariance = array(item["mean"], (n, q)), item["covariance"]
        covariance = None if covariance is None else array(covariance, (n, q, q))
        out.append(ConditionalEffects(mean, covariance))
    return out


def _read(path_or_text: object) -> tuple[str, str]:
    if isinstance(path_or_text, str) and path_or_text.lstrip().startswith("{"):
        return path_or_text, "the text"
    if not isinstance(path_or_text, str | os.PathLike):
        raise DataError(
            f"a saved fit is read from a path or from JSON text, not {type(path_or_text).__name__}"
        )
    try:
        return Path(path_or_text).read_text(encoding="utf-8"), repr(os.fspath(path_or_text))
    except OSError as error:
        raise DataError(
            f"{os.fspath(path_or_text)!r} is neither a file that can be read nor JSON text of a "
            f"saved fit ({error.strerror})"
        ) from None
    except ValueError as error:
        raise _no_fit(repr(os.fspath(path_or_text)), str(error)) from None


def _check_format(data: Any, where: str) -> None:
    form = data.get("format") if isinstance(data, dict) else None
    if not isinstance(form, dict) or form.get("name") != _NAME:
        raise _no_fit(where, f"there is no format {_NAME!r} in it")
    if form.get("version") != _VERSION:
        raise DataError(
            f"{where} was saved in version {form.get('version')!r} of the format, and this "
            f"mlmfast reads version {_VERSION}; update mlmfast, or fit the model again"
        )


def _no_fit(where: str, reason: str) -> DataError:
    return DataError(f"{where} is not a saved fit of mlmfast, or is damaged: {reason}")


def _plain(value: Any) -> Any:
    """Value as JSON can hold it."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return value.tolist() if np.isfinite(value).all() else _plain(value.tolist())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not np.isfinite(value):
        return {"float": "NaN" if np.isnan(value) else "Infinity" if value > 0 else "-Infinity"}
    return value


def _float_of(item: dict[str, Any]) -> Any:
    if len(item) == 1 and isinstance(item.get("float"), str):
        return _NOT_FINITE.get(item["float"], item)
    return item


def _refuse_constant(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")
