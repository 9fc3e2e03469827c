"""What a pickled or copied fit keeps, and how large that is."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlmfast.fitted.fitted import Fitted

#: Attributes that are the fit; all others follow from them and the rows.
_OWN = (
    *("_record", "_source", "_timings", "_row_facts", "_marginal_slopes", "_level_errors"),
    *("_shares", "_held"),
)


def state_of(fit: Fitted) -> dict[str, Any]:
    """Attributes to pickle: the rows stand for what is computed from them.

    Of a fit whose rows stay in parts elsewhere, those of the fit saved and loaded.

    Examples
    --------
    >>> import mlmfast as mlm
    >>> fit = mlm.lmm("Reaction ~ Days + (Days | Subject)", mlm.load_sleepstudy())
    >>> pickle.loads(pickle.dumps(fit)).fittedvalues.equals(fit.fittedvalues)
    True
    """
    if fit._source is None:
        return {k: v for k, v in fit.__dict__.items() if not k.startswith("_kept_")}
    if fit._source.design.is_in_parts:
        return state_of(_without_rows(fit))
    return {name: getattr(fit, name) for name in _OWN}


def _without_rows(fit: Fitted) -> Fitted:
    from mlmfast.saving.storage import read_fit

    out = object.__new__(type(fit))
    read_fit(fit.to_json()).into(out)
    return out


def remove_data(fit: Fitted) -> None:
    """Let go of the rows of the data, in place, as the method of statsmodels' results does.

    The fit is then what `mlmfast.load` gives back of a saved one: what needs no rows works as
    before, tests by the methods of degrees of freedom used so far and by those that need no
    rows. `nbytes` says what that saves; what would hold as much as the rows do, for intervals
    around random effects, goes with them.

    Examples
    --------
    >>> import mlmfast as mlm
    >>> fit = mlm.lmm("Reaction ~ Days + (Days | Subject)", mlm.load_sleepstudy())
    >>> before = fit.nbytes
    >>> fit.remove_data()
    >>> fit.nbytes < before, round(float(fit.pvalues["Days"]), 9)
    (True, 3.264e-06)
    """
    if fit._source is not None:
        before = size_of(fit)
        loaded = _without_rows(fit)
        fit.__dict__.clear()
        fit.__dict__.update(loaded.__dict__)
        if size_of(fit) >= before:
            fit._level_errors = None


def nbytes(fit: Fitted) -> int:
    """Bytes of the fit's pickle: the columns of the data that it read, and the estimates."""
    return size_of(fit)


class _Counter:
    """A file that only counts what is written to it."""

    def __init__(self) -> None:
        self.n_bytes = 0

    def write(self, data: Any) -> int:
        """Count."""
        size = memoryview(data).nbytes
        self.n_bytes += size
        return size


def size_of(item: object) -> int:
    """Bytes of an object's pickle.

    Examples
    --------
    >>> size_of(b"ten bytes!") == len(pickle.dumps(b"ten bytes!", pickle.HIGHEST_PROTOCOL))
    True
    """
    counter = _Counter()
    pickle.Pickler(counter, pickle.HIGHEST_PROTOCOL).dump(item)
    return counter.n_bytes
