"""PreparedModel: what `mlmfast.model.LMM` is, under everything that fits it."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from typing import Any

from mlmfast.design.design import Design
from mlmfast.design.fingerprint import fingerprint
from mlmfast.design.levels_as_columns import with_columns
from mlmfast.design.model_frame import ModelFrame
from mlmfast.design.unbounded import frame_without_bounds, without_bounds
from mlmfast.fitted.origin.source import FitSource
from mlmfast.reduction.engines.options import CrossedSettings, Engine
from mlmfast.reduction.reduce import reduce_design
from mlmfast.reduction.reduced_model import ReducedModel


class PreparedModel:
    """A design, how it was read, and its reductions.

    Parameters
    ----------
    design
        The design.
    frame
        How it was read; None where it was made from arrays.
    arguments
        Those of `mlmfast.LMM`, by which parts of the rows are read; none where there were none.
    timings
        Seconds that it took so far, by phase.
    """

    #: Whether a fixed factor shall be eliminated, whatever the engine.
    _absorb: bool = False

    def __init__(
        self,
        design: Design,
        frame: ModelFrame | None = None,
        arguments: Mapping[str, Any] | None = None,
        timings: Mapping[str, float] | None = None,
    ) -> None:
        self._design, self._frame = design, frame
        self._arguments: dict[str, Any] = dict(arguments or {})
        self._timings: dict[str, float] = dict(timings or {})
        self._reductions: dict[Engine, ReducedModel] = {}
        self._opened: dict[frozenset[int], PreparedModel] = {}

    @property
    def design(self) -> Design:
        """Columns of y, X and Z."""
        return self._design

    @property
    def fingerprint(self) -> dict[str, Any]:
        """Digests of the data that the model reads; see `mlmfast.design.fingerprint`.

        Examples
        --------
        >>> import mlmfast as mlm
        >>> data = mlm.load_sleepstudy()
        >>> fit = mlm.lmm("Reaction ~ Days + (Days | Subject)", data)
        >>> model = mlm.LMM("Reaction ~ Days + (Days | Subject)", data)
        >>> model.fingerprint == mlm.load(fit.to_json()).manifest["data"]
        True
        """
        return fingerprint(self._design, self._frame)

    def _reduced(self, engine: Engine) -> ReducedModel:
        """The rows reduced for an engine; kept for the next fit."""
        if engine not in self._reductions:
            started = time.perf_counter()
            self._reductions[engine] = reduce_design(self._design, engine=engine)
            self._timings["reduce"] = time.perf_counter() - started
        return self._reductions[engine]

    def _for_engine(self, engine: Engine) -> PreparedModel:
        """The model as an engine takes it: an absorbed factor as columns where it needs these."""
        takes = engine is None or isinstance(engine, CrossedSettings)
        if self._design.absorbed is None or takes or self._frame is None or self._absorb:
            return self
        frame = with_columns(self._frame)
        arguments = {**self._arguments, "absorb": False}
        return PreparedModel(frame.design, frame, arguments, self._timings)

    def _without_bounds(self, terms: Collection[int] | None = None) -> PreparedModel:
        """The model with the variances of some random-effects terms (all by default) unbounded."""
        model = self if self._design.absorbed is None else self._for_engine("dense")
        every = range(len(model.design.random))
        chosen = frozenset(every if terms is None else terms)
        if not chosen:
            return self
        if chosen not in self._opened:
            design = without_bounds(model.design, chosen)
            frame = frame_without_bounds(model._frame, chosen)
            own = PreparedModel(design, frame, model._arguments, model._timings)
            self._opened[chosen] = own
        return self._opened[chosen]


def model_of(source: FitSource) -> PreparedModel:
    """The model that a fit was made from, reduced already."""
    model = PreparedModel(source.design, source.frame)
    model._reductions[None] = source.model
    return model
