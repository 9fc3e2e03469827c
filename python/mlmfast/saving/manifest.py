"""The manifest of a fit: versions, platform, data, options."""

from __future__ import annotations

import copy
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from mlmfast.design.fingerprint import fingerprint
from mlmfast.fitted.origin.provenance import made_here
from mlmfast.reduction.engines.options import IterativeSettings

if TYPE_CHECKING:
    from mlmfast.fitted.fitted import Fitted
    from mlmfast.fitted.origin.source import FitSource


def manifest(fit: Fitted) -> dict[str, Any] | None:
    """By what versions, where, from which data and with what options a fit was made.

    Returns
    -------
    dict, or None for a fit saved by a version that wrote none
        ``versions`` and ``platform`` of the process that fitted, ``time`` (UTC), ``call`` (the
        arguments given, but for the data), ``seed`` of the engine's random probes (None where there
        are none: nothing else in a fit is random) and ``data``, digests as `LMM.fingerprint` gives
        them (of a reduction, the marks of its parts). A saved fit keeps it.

    Examples
    --------
    >>> import mlmfast as mlm
    >>> fit = mlm.lmm("Reaction ~ Days + (Days | Subject)", mlm.load_sleepstudy())
    >>> fit.manifest["call"]["method"], fit.manifest["data"]["rows"]
    ('REML', 180)
    """
    if fit._source is None:
        found: dict[str, Any] | None = fit.__dict__.get("_manifest")
        return copy.deepcopy(found)
    if "_manifest" not in fit.__dict__:
        fit.__dict__["_manifest"] = _made(fit)
    kept: dict[str, Any] = fit.__dict__["_manifest"]
    return copy.deepcopy(kept)


def _made(fit: Fitted) -> dict[str, Any]:
    source = fit._needs_source("a manifest", of_sums=True)
    came = source.provenance
    record = fit._record
    call: dict[str, Any] = {"formula": record.formula, "method": record.method, "ddf": record.ddf}
    moment = None
    if came is not None:
        call |= came.call
        moment = datetime.fromtimestamp(came.seconds, timezone.utc)
    return {
        **(made_here() if came is None else came.versions),
        "time": None if moment is None else moment.isoformat(timespec="seconds"),
        "call": call,
        "seed": _seed(fit),
        "data": _data(source),
    }


def _data(source: FitSource) -> dict[str, Any]:
    """Digests of the columns; of a reduction, the marks of the parts that it was merged from."""
    condensed = source.design.condensed
    if condensed is None:
        return fingerprint(source.design, source.frame)
    method = "fingerprints of the parts that were reduced"
    return {"method": method, "rows": condensed.n_obs, "parts": list(condensed.parts)}


def _seed(fit: Fitted) -> int | None:
    """Of the random probes of the iterative engine."""
    source = fit._source
    nesting = None if source is None else source.model.nesting
    return nesting.seed if isinstance(nesting, IterativeSettings) else None
