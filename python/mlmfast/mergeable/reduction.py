"""Reduction: the statistics of a model's rows, from one place or many; fitted without the rows."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mlmfast.design.model_frame import ModelFrame
from mlmfast.errors import ModelError
from mlmfast.guessed_arguments import told
from mlmfast.low_level import Reduction as ArrayReduction
from mlmfast.low_level.coordinates import Coordinates
from mlmfast.low_level.merging import Part as ArrayPart
from mlmfast.mergeable.coding.plan import Plan
from mlmfast.mergeable.content import Content, merge_contents
from mlmfast.mergeable.model import fit_content, model_frame
from mlmfast.mergeable.storage import of_bytes, read, to_bytes, write
from mlmfast.prepared.fit_model import Wishes
from mlmfast.running.cached import cached_property

if TYPE_CHECKING:
    from mlmfast.degrees_of_freedom import Ddf
    from mlmfast.newton.options import NewtonOptions
    from mlmfast.result import LMMResult


class Reduction(ArrayReduction):
    """What a likelihood needs of rows that were read by a formula: see `mlmfast.reduce`.

    It is a `mlmfast.low_level.Reduction`, with `deviance`, `gradient`, `gls` and the rest, that
    holds few weighted rows for each cluster instead of the rows themselves. Reductions by one plan
    are merged: clusters are joined by their labels.

    Examples
    --------
    >>> import mlmfast as mlm
    >>> data = mlm.load_sleepstudy()
    >>> a, b = data[:77], data[77:]
    >>> parts = [mlm.reduce("Reaction ~ Days + (Days | Subject)", [a]),
    ...          mlm.reduce("Reaction ~ Days + (Days | Subject)", [b])]
    >>> both = parts[0] + parts[1]
    >>> both.nobs, both.n_groups
    (180, {'Subject': 18})
    >>> round(both.fit().deviance, 6)
    1743.628272
    """

    def __init__(self, content: Content) -> None:
        self._content = content

    @cached_property
    def _frame(self) -> ModelFrame:
        return model_frame(self._content)

    @cached_property
    def _part(self) -> ArrayPart:  # type: ignore[override]
        return ArrayPart(self._frame.design, {}, {})

    @cached_property
    def _coordinates(self) -> Coordinates:
        if self.plan.residual is not None:
            raise ModelError(
                "the likelihood by theta is that of independent residuals, and this reduction has "
                f"residual={self.plan.residual!r}; use fit()"
            )
        return Coordinates(self._model)

    def __reduce__(self) -> tuple[type[Reduction], tuple[Content]]:
        return Reduction, (self._content,)

    # -- what it is ------------------------------------------------------------------------------

    @property
    def plan(self) -> Plan:
        """How the rows were coded: give it to `mlmfast.reduce` to code others alike."""
        return self._content.plan

    @property
    def formula(self) -> str:
        """The formula."""
        return self.plan.formula

    @property
    def nobs(self) -> int:
        """Rows used."""
        return self._content.n_obs

    @property
    def n_dropped(self) -> int:
        """Rows left out because a variable of the model was missing."""
        return self._content.n_dropped

    @property
    def n_withheld(self) -> int:
        """Rows of clusters that were too small to leave their place (``min_cluster_size``)."""
        return self._content.n_withheld

    @property
    def n_groups(self) -> dict[str, int]:
        """Levels of each grouping factor."""
        if self._content.n_obs == 0:
            return {":".join(term.group): 0 for term in self.plan.parsed.random}
        return {factor.name: factor.n_levels for factor in self._design.factors}

    @property
    def n_rows(self) -> int:
        """Weighted rows that stand for those read."""
        content = self._content
        if content.units is not None:
            return len(self._design.y)
        return 0 if content.rows is None else len(content.rows.weights)

    @property
    def nbytes(self) -> int:
        """Bytes of the statistics."""
        return self._content.nbytes

    @property
    def parts(self) -> dict[str, str]:
        """By the fingerprint of each part that had rows, where it came from."""
        return dict(self._content.parts)

    def __repr__(self) -> str:
        return (
            f"<Reduction of {self.formula!r}: {self.nobs:,} rows in {len(self.parts):,} parts, as "
            f"{self.n_rows:,} weighted rows, {self.nbytes / 1e6:,.1f} MB>"
        )

    # -- fits ------------------------------------------------------------------------------------

    @told()
    def fit(
        self,
        method: str = "REML",
        ddf: Ddf | None = None,
        *,
        start: Mapping[str, Any] | None = None,
        options: NewtonOptions | Mapping[str, Any] | None = None,
        hold: Mapping[str, float] | None = None,
        bounds: Mapping[str, tuple[float | None, float | None]] | None = None,
    ) -> LMMResult:
        """The fit as `mlmfast.LMM.fit` gives it, with what needs no rows.

        Examples
        --------
        >>> import mlmfast as mlm
        >>> data = mlm.load_sleepstudy()
        >>> fit = mlm.reduce("Reaction ~ Days + (Days | Subject)", [data]).fit(ddf="kenward-roger")
        >>> fit.bse.round(4).tolist(), fit.df.round(4).tolist()
        ([6.8246, 1.5458], [17.0, 17.0])
        """
        wishes = Wishes(start, hold, bounds)
        return fit_content(self._content, self._frame, method, options, ddf, wishes)

    # -- rows from several places ----------------------------------------------------------------

    def __add__(self, other: ArrayReduction) -> Reduction:
        """The reduction of the rows of both; see `merge`."""
        return Reduction.merge([self, other]) if isinstance(other, Reduction) else NotImplemented

    @classmethod
    def merge(cls, parts: Sequence[Reduction]) -> Reduction:  # type: ignore[override]
        """The reduction of the rows of all parts, as if they had been read together.

        A cluster of one label is one cluster, whichever parts its rows come from.

        Raises
        ------
        DataError
            Where a part comes twice, or parts are of another formula, or coded by other levels.
        """
        return cls(merge_contents([part._content for part in parts]))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write an Arrow IPC file, which `mlmfast.load_reduction` reads; it holds no code."""
        write(self._content, path)

    def to_bytes(self) -> bytes:
        """What `save` writes."""
        return to_bytes(self._content)

    @classmethod
    def from_bytes(cls, data: bytes) -> Reduction:
        """Read what `to_bytes` gave; no code is run."""
        return cls(of_bytes(data))


def load_reduction(path: str | os.PathLike[str]) -> Reduction:
    """Read a reduction that `Reduction.save` wrote; no code is run.

    Raises
    ------
    DataError
        Where the file holds none, or one of another version, or is damaged.
    """
    return Reduction(read(path))
