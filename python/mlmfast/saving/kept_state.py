"""What a pickled or copied fit keeps, and how large that is."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlmfast.fitted.fitted import Fitted

#: Attributes that are the fit; all others follow from them and the rows.
_OWN = ("_record", "_source", "_timings", "_row_facts", "_shares", "_held")


def state_of(fit: Fitted) -> dict[str, Any]:
    """Attributes to pickle: the rows stand for what is computed from them.

    Examples
    --------
    >>> import mlmfast as mlm
    >>> fit = mlm.lmm("Reaction ~ Days + (Days | Subject)", mlm.load_sleepstudy())
    >>> pickle.loads(pickle.dumps(fit)).fittedvalues.equals(fit.fittedvalues)
    True
    """
    if fit._source is None:
        return {k: v for k, v in fit.__dict__.items() if not k.startswith("_kept_")}
    return {name: fit.__dict__[name] for name in _OWN}


def remove_data(fit: Fitted) -> None:
    """See `LMMResult.remove_data`."""
    from mlmfast.saving.storage import read_fit

    if fit._source is not None:
        read_fit(fit.to_json()).into(fit)


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
