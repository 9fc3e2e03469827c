"""Types of the compiled core; shapes stand in the docstrings of its Rust sources."""

from collections.abc import Sequence
from typing import TypeAlias, final

from mlmfast.arrays import CodeArray, FloatArray

__all__ = [
    "CollinearRandomEffects",
    "Nesting",
    "NotNested",
    "Reduction",
    "__version__",
    "column_statistics",
]

__version__: str

#: Contiguous memory, offset and stride of a column's values in it.
_Values: TypeAlias = tuple[FloatArray, int, int]
_Column: TypeAlias = tuple[_Values | None, float, float]
_Entry: TypeAlias = tuple[int, int, int]

def column_statistics(columns: Sequence[_Values], n_rows: int) -> FloatArray: ...

class NotNested(ValueError): ...
class CollinearRandomEffects(ValueError): ...

@final
class Nesting:
    def __new__(
        cls, n_rows: int, codes: Sequence[CodeArray], n_units: Sequence[int]
    ) -> Nesting: ...
    def codes(self, level: int) -> CodeArray: ...

@final
class Reduction:
    def __new__(
        cls,
        nesting: Nesting,
        *,
        z: Sequence[Sequence[_Column]],
        x: Sequence[_Column],
        y: Sequence[_Column],
        noise: Sequence[float],
        terms: Sequence[Sequence[tuple[int, bool]]],
        sqrt_weights: FloatArray | None = None,
        visits: CodeArray | None = None,
        n_visits: int = 0,
        share: bool = True,
    ) -> Reduction: ...
    @property
    def kept(self) -> list[int]: ...
    @property
    def x_factor(self) -> FloatArray: ...
    @property
    def ols(self) -> FloatArray: ...
    @property
    def y_scale(self) -> FloatArray: ...
    @property
    def within(self) -> tuple[FloatArray, int]: ...
    def visit_moments(self, fit: int) -> tuple[FloatArray, FloatArray]: ...
    @property
    def bases(self) -> list[FloatArray]: ...
    @property
    def size(self) -> tuple[int, int]: ...
    def evaluate(
        self,
        g: Sequence[FloatArray],
        fits: Sequence[int],
        entries: Sequence[_Entry],
        reml: bool,
        derivatives: bool,
    ) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]: ...
    def solve(
        self, g: Sequence[FloatArray], fits: Sequence[int]
    ) -> tuple[FloatArray, FloatArray, FloatArray]: ...
    def information_derivatives(
        self, g: Sequence[FloatArray], fit: int, entries: Sequence[_Entry]
    ) -> FloatArray | None: ...
    def likelihood_derivatives(
        self, g: Sequence[FloatArray], fits: Sequence[int], entries: Sequence[_Entry], reml: bool
    ) -> list[FloatArray]: ...
    def information_second_derivatives(
        self,
        g: Sequence[FloatArray],
        fit: int,
        entries: Sequence[_Entry],
        weights: FloatArray | None = None,
    ) -> FloatArray | None: ...
    def conditional(
        self, g: Sequence[FloatArray], fit: int, beta: FloatArray
    ) -> list[tuple[FloatArray, FloatArray]] | None: ...
