"""Fits that several methods of a study share: those that differ in their tests alone."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from mlmfast.batch.fit_batch import FitBatch
from mlmfast.batch.tests import with_ddf
from mlmfast.degrees_of_freedom import Ddf, method_of
from mlmfast.errors import MlmError
from mlmfast.studies.plan.method import Method
from mlmfast.studies.replicates.data_set import DataSet
from mlmfast.studies.replicates.fit_together import Part, fit_together

#: What two methods with one model may differ in.
_TESTS = ("ddf", "level", "robust")


class Fits:
    """Fits of data sets by some methods, one for all that have the same model.

    Parameters
    ----------
    methods
        All methods that will be asked for.
    """

    def __init__(self, methods: Iterable[Method], data: Sequence[DataSet]) -> None:
        self._data = data
        self._by_model: dict[str, list[Method]] = {}
        for method in methods:
            self._by_model.setdefault(_model(method), []).append(method)
        self._found: dict[str, list[Part]] = {}

    def of(self, method: Method) -> list[Part]:
        """The fits of a method: see `fit_together`."""
        key = _model(method)
        sharing = self._by_model.get(key, [method])
        if len(sharing) == 1 or not key:
            return list(fit_together(method, self._data))
        if key not in self._found:
            self._found[key] = list(fit_together(sharing[0], self._data))
        return [
            (at, batch if isinstance(batch, MlmError) else tested_by(batch, method.ddf))
            for at, batch in self._found[key]
        ]


def tested_by(batch: FitBatch, ddf: Ddf) -> FitBatch:
    """The same fits under another method of degrees of freedom."""
    if batch.ddf == ddf:
        return batch
    bse = np.full(batch.params.shape, np.nan)
    bse[:, list(batch.kept)] = np.sqrt(np.diagonal(batch.cov_params, axis1=1, axis2=2))
    return with_ddf(replace(batch, bse=bse), ddf)


def _model(method: Method) -> str:
    """What is fitted, as text; empty where degrees of freedom look at the data first.

    Kenward and Roger's tests need more of fits that are made together, by which the last digits of
    others' degrees of freedom would differ: they share among themselves.
    """
    if method_of(method.ddf).eager:
        return ""
    record = {name: own for name, own in method.record().items() if name not in _TESTS}
    return json.dumps([record, method_of(method.ddf).adjusts], sort_keys=True)
