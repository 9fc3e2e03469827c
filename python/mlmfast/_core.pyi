"""Types of the compiled core; shapes stand in the docstrings of its Rust sources."""

from collections.abc import Sequence
from typing import Literal, TypeAlias, final

import numpy as np
from numpy.typing import NDArray
from typing_extensions import disjoint_base

from mlmfast.arrays import CodeArray, FloatArray, IntArray

__all__ = [
    "CollinearRandomEffects",
    "CrossedReduction",
    "Crossing",
    "DenseReduction",
    "Engine",
    "IterativeReduction",
    "NestedBatch",
    "NestedReduction",
    "Nesting",
    "NotConverged",
    "NotNested",
    "__version__",
    "autocorrelations_chart",
    "autocorrelations_of",
    "birth_order",
    "code_numbers",
    "code_runs",
    "code_texts",
    "coefficient_maps",
    "column_statistics",
    "compress_rows",
    "copy_responses",
    "count_codes",
    "draw_streams",
    "inbreeding",
    "innovations",
    "led_derivatives",
    "memory_left",
    "merge_rows",
    "newton_steps",
    "precision_variances",
    "require_room",
    "run_chain",
    "scoring_steps",
    "solve_triangle",
    "squares_about",
    "stacked_statistics",
    "symmetric_eigen",
    "test_bases",
    "translate_codes",
    "triangle_covariances",
    "unstructured_chart",
    "unstructured_matrices",
    "unstructured_move",
    "unstructured_nearest",
    "unstructured_theta",
    "user_coefficients",
    "user_covariances",
    "walk_series",
]

__version__: str

#: Contiguous memory, offset and stride of a column's values in it.
_Values: TypeAlias = tuple[FloatArray, int, int]
_Column: TypeAlias = tuple[_Values | None, float, float]
#: A code for each row, and the value that each code stands for.
_Coded: TypeAlias = tuple[CodeArray, FloatArray]
#: Step by row, classes of ends and of steps, combinations, whether series close, share of an end,
#: weights of every class, whether iterations walk along the rows.
_Series: TypeAlias = tuple[
    CodeArray, int, int, list[tuple[float, float, float]], bool, float, int, bool
]
#: Parameters; that of each class of starts, the two of each class of steps one after the other, and
#: the correlation parameters of each class of steps, as offsets and positions.
_Chain: TypeAlias = tuple[
    int, NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]
]
_Entry: TypeAlias = tuple[int, int, int]
#: Columns of X that are kept, R, Q'y, scale of y; by level, the basis of Z.
_Coordinates: TypeAlias = tuple[
    Sequence[int], FloatArray, FloatArray, FloatArray, Sequence[FloatArray]
]
#: By level, its terms as (columns, how they may be changed).
_Terms: TypeAlias = Sequence[Sequence[tuple[int, str]]]
#: Row offsets, columns and values of a symmetric matrix.
_Relationship: TypeAlias = tuple[FloatArray, CodeArray, FloatArray]

#: theta; criteria there if known; the last step, its run, stretch of the next scoring step, steps
#: that are left.
_Start: TypeAlias = tuple[
    FloatArray,
    Sequence[FloatArray] | None,
    FloatArray,
    NDArray[np.int64],
    FloatArray,
    NDArray[np.int64],
]

def memory_left() -> float: ...
def require_room() -> None: ...
def column_statistics(columns: Sequence[_Values], n_rows: int) -> FloatArray: ...
def stacked_statistics(
    columns: FloatArray, parts: tuple[IntArray, IntArray] | None = None
) -> FloatArray: ...
def copy_responses(
    values: FloatArray, out: FloatArray, offset: FloatArray | None = None
) -> FloatArray: ...
def compress_rows(
    codes: CodeArray,
    n_cells: int,
    columns: Sequence[_Column | _Coded],
    weights: FloatArray | None = None,
) -> tuple[NDArray[np.int64], FloatArray, FloatArray]: ...
def merge_rows(
    codes: CodeArray,
    n_cells: int,
    n_columns: int,
    pieces: Sequence[tuple[FloatArray, FloatArray]],
) -> tuple[NDArray[np.int64], FloatArray, FloatArray]: ...
def code_texts(
    ends: NDArray[np.int64],
    bytes: NDArray[np.uint8],
    present: NDArray[np.uint8] | None,
    first: int,
    n: int,
    few: int,
) -> tuple[CodeArray, NDArray[np.uint32], list[str] | None]: ...
def code_numbers(
    numbers: NDArray[np.int64], most: int
) -> tuple[CodeArray, NDArray[np.uint32]] | None: ...
def code_runs(numbers: NDArray[np.int64]) -> tuple[CodeArray, NDArray[np.uint32]] | None: ...
def translate_codes(codes: CodeArray, table: CodeArray) -> CodeArray: ...
def count_codes(codes: CodeArray, n_codes: int) -> NDArray[np.int64]: ...
def draw_streams(
    states: NDArray[np.uint64], parts: Sequence[tuple[Literal["normal", "uniform"], int]]
) -> FloatArray: ...
def squares_about(values: FloatArray, center: float) -> float: ...
def symmetric_eigen(matrices: FloatArray) -> tuple[FloatArray, FloatArray]: ...
def newton_steps(
    gradient: FloatArray, hessian: FloatArray, expected: FloatArray, floor: float
) -> tuple[FloatArray, FloatArray, FloatArray]: ...
def scoring_steps(gradient: FloatArray, expected: FloatArray) -> FloatArray: ...
def led_derivatives(
    jacobian: FloatArray,
    curvature: FloatArray,
    gradient: FloatArray,
    hessian: FloatArray,
    expected: FloatArray,
) -> tuple[FloatArray, FloatArray, FloatArray]: ...
def autocorrelations_chart(
    partial: FloatArray, weight: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]: ...
def autocorrelations_of(partial: FloatArray) -> FloatArray: ...
def unstructured_chart(
    k: int, theta: FloatArray, weight: FloatArray
) -> tuple[FloatArray, FloatArray]: ...
def unstructured_move(k: int, theta: FloatArray, step: FloatArray) -> FloatArray: ...
def unstructured_matrices(k: int, theta: FloatArray) -> FloatArray: ...
def unstructured_nearest(
    k: int, entries: FloatArray, lift: float
) -> tuple[FloatArray, FloatArray]: ...
def unstructured_theta(matrices: FloatArray) -> FloatArray: ...
def test_bases(
    parts: Sequence[FloatArray], gamma: FloatArray, maps: FloatArray, degrees: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]: ...
def coefficient_maps(
    factor: FloatArray, center: FloatArray, scale: FloatArray, constant: int | None
) -> FloatArray: ...
def user_coefficients(
    maps: FloatArray,
    solved: tuple[FloatArray, FloatArray, FloatArray],
    responses: tuple[FloatArray, FloatArray, FloatArray],
    sigma2: FloatArray,
    constant: int | None,
) -> tuple[FloatArray, FloatArray]: ...
def user_covariances(maps: FloatArray, g: FloatArray, sigma2: FloatArray) -> FloatArray: ...
def run_chain(f: FloatArray, z: FloatArray) -> FloatArray: ...
def walk_series(
    a: FloatArray, b: FloatArray, starts: CodeArray, values: FloatArray, whiten: bool
) -> FloatArray: ...
def innovations(z: FloatArray, y: FloatArray, g: FloatArray) -> FloatArray: ...
def birth_order(parents: CodeArray) -> tuple[CodeArray, CodeArray]: ...
def inbreeding(parents: CodeArray) -> tuple[FloatArray, FloatArray]: ...
def solve_triangle(
    triangle: tuple[NDArray[np.int64], CodeArray, FloatArray], right: FloatArray, transposed: bool
) -> FloatArray: ...
def triangle_covariances(
    triangle: tuple[NDArray[np.int64], CodeArray, FloatArray], rows: CodeArray
) -> FloatArray: ...
def precision_variances(
    precision: tuple[NDArray[np.int64], CodeArray, FloatArray],
) -> tuple[FloatArray, float] | None: ...

class NotNested(ValueError): ...
class CollinearRandomEffects(ValueError): ...
class NotConverged(ArithmeticError): ...

@final
class Nesting:
    def __new__(
        cls,
        n_rows: int,
        codes: Sequence[CodeArray],
        n_units: Sequence[int],
        positions: CodeArray | None = None,
    ) -> Nesting: ...
    def codes(self, level: int) -> CodeArray: ...

@disjoint_base
class Engine:
    @property
    def name(self) -> Literal["nested", "crossed", "dense", "iterative"]: ...
    def offers(self, name: str) -> bool: ...
    @property
    def kept(self) -> list[int]: ...
    @property
    def x_factor(self) -> FloatArray: ...
    @property
    def ols(self) -> FloatArray: ...
    @property
    def y_scale(self) -> FloatArray: ...
    @property
    def within(self) -> tuple[FloatArray, FloatArray | int]: ...
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
        exact: bool = False,
    ) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]: ...
    def gradient(
        self,
        g: Sequence[FloatArray],
        fits: Sequence[int],
        entries: Sequence[_Entry],
        reml: bool,
    ) -> tuple[FloatArray, FloatArray]: ...
    def solve(
        self, g: Sequence[FloatArray], fits: Sequence[int]
    ) -> tuple[FloatArray, FloatArray, FloatArray]: ...
    def likelihood_derivatives(
        self,
        g: Sequence[FloatArray],
        fits: Sequence[int],
        entries: Sequence[_Entry],
        reml: bool,
        exact: bool = True,
    ) -> list[FloatArray]: ...
    def information_derivatives(
        self, g: Sequence[FloatArray], fit: int, entries: Sequence[_Entry]
    ) -> FloatArray | None: ...
    def information_second_derivatives(
        self,
        g: Sequence[FloatArray],
        fit: int,
        entries: Sequence[_Entry],
        weights: FloatArray | None = None,
    ) -> FloatArray | None: ...
    def information_second_sums(
        self,
        g: Sequence[FloatArray],
        fits: Sequence[int],
        entries: Sequence[_Entry],
        weights: FloatArray,
    ) -> FloatArray: ...
    def part_values(self, g: Sequence[FloatArray], fit: int) -> list[FloatArray] | None: ...
    def part_derivatives(
        self,
        g: Sequence[FloatArray],
        fit: int,
        entries: Sequence[_Entry],
        e: FloatArray,
        c: FloatArray | None,
    ) -> list[FloatArray] | None: ...
    def conditional(
        self, g: Sequence[FloatArray], fit: int, beta: FloatArray
    ) -> list[tuple[FloatArray, FloatArray]] | None: ...
    def prediction_error(
        self,
        g: Sequence[FloatArray],
        fit: int,
        codes: Sequence[CodeArray],
        z: Sequence[FloatArray],
    ) -> tuple[FloatArray, FloatArray] | None: ...

#: Coefficients, their covariances and degrees of freedom; residual variance and G; sums and scales
#: of the likelihood; quartiles of the residuals; sizes of the units.
_SummaryNumbers: TypeAlias = tuple[
    list[list[float]], float, list[float], list[list[float]], list[float], list[float]
]

@final
class NestedReduction(Engine):
    def __new__(
        cls,
        nesting: Nesting,
        *,
        z: Sequence[Sequence[_Column]],
        x: Sequence[_Column],
        y: Sequence[_Column],
        noise: Sequence[float],
        terms: _Terms,
        sqrt_weights: FloatArray | None = None,
        visits: CodeArray | None = None,
        n_visits: int = 0,
        series: _Series | None = None,
        chain: _Chain | None = None,
        share: bool = True,
        responses: tuple[FloatArray, FloatArray, FloatArray] | None = None,
        n_obs: int | None = None,
        counts: NDArray[np.int64] | None = None,
        coordinates: _Coordinates | None = None,
    ) -> NestedReduction: ...
    def ordinary_steps(
        self,
        blocks: Sequence[tuple[int, int, int]],
        fits: Sequence[int],
        start: _Start,
        settings: tuple[float, float, float, float],
        reml: bool,
    ) -> tuple[FloatArray, bytes] | None: ...
    def whole_fit(
        self,
        blocks: Sequence[tuple[int, int, int]],
        fit: int,
        settings: tuple[float, float, float, float],
        ends: tuple[int, float, float, float, int],
        reml: bool,
    ) -> FloatArray | None: ...
    def summary_numbers(
        self,
        theta: Sequence[float],
        rows: tuple[CodeArray, int, Sequence[_Column], Sequence[_Column], _Column],
        reml: bool,
    ) -> _SummaryNumbers | None: ...
    def lag_products(self, fit: int) -> FloatArray: ...
    def class_squares(self, fit: int) -> FloatArray: ...

#: Columns of all designs or of one that all share, which are the constant 1, centers, scales.
_Stack: TypeAlias = tuple[FloatArray, Sequence[bool], FloatArray, FloatArray]

@final
class NestedBatch(Engine):
    @staticmethod
    def of(
        nesting: Nesting | None,
        *,
        z: Sequence[_Stack],
        x: _Stack,
        y: _Stack,
        noise: FloatArray,
        terms: _Terms,
        sqrt_weights: FloatArray | None = None,
        parts: tuple[IntArray, IntArray, Sequence[CodeArray], IntArray] | None = None,
    ) -> tuple[NestedBatch, list[int]]: ...
    def __len__(self) -> int: ...
    @property
    def within(self) -> tuple[FloatArray, FloatArray]: ...
    def ordinary_steps(
        self,
        blocks: Sequence[tuple[int, int, int]],
        fits: Sequence[int],
        start: _Start,
        settings: tuple[float, float, float, float],
        reml: bool,
    ) -> tuple[FloatArray, bytes] | None: ...

@final
class Crossing:
    def __new__(
        cls,
        n_rows: int,
        codes: Sequence[CodeArray],
        n_units: Sequence[int],
        effects: Sequence[int],
        schur: str,
        precisions: Sequence[_Relationship | None] | None = None,
        fixed: int | None = None,
    ) -> Crossing: ...
    def codes(self, level: int) -> CodeArray: ...
    @property
    def order(self) -> int: ...
    @property
    def schur(self) -> str: ...
    @property
    def cost(self) -> tuple[float, float]: ...

@final
class CrossedReduction(Engine):
    def __new__(
        cls,
        crossing: Crossing,
        *,
        z: Sequence[Sequence[_Column]],
        x: Sequence[_Column],
        y: Sequence[_Column],
        noise: Sequence[float],
        terms: _Terms,
        sqrt_weights: FloatArray | None = None,
        n_obs: int | None = None,
    ) -> CrossedReduction: ...
    @property
    def schur(self) -> str: ...
    @property
    def curvature(self) -> str: ...
    def fixed_moments(
        self,
        g: Sequence[FloatArray],
        fit: int,
        units: Sequence[int],
        variances: bool = True,
    ) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray] | None: ...

@final
class DenseReduction(Engine):
    def __new__(
        cls,
        codes: Sequence[CodeArray],
        n_units: Sequence[int],
        components: CodeArray,
        n_components: int,
        relationships: Sequence[_Relationship | None],
        *,
        z: Sequence[Sequence[_Column]],
        x: Sequence[_Column],
        y: Sequence[_Column],
        noise: Sequence[float],
        terms: _Terms,
        sqrt_weights: FloatArray | None = None,
        visits: CodeArray | None = None,
        n_visits: int = 0,
        n_obs: int | None = None,
    ) -> DenseReduction: ...

@final
class IterativeReduction(Engine):
    def __new__(
        cls,
        codes: Sequence[CodeArray],
        n_levels: Sequence[int],
        *,
        z: Sequence[Sequence[_Column]],
        x: Sequence[_Column],
        y: Sequence[_Column],
        noise: Sequence[float],
        terms: _Terms,
        sqrt_weights: FloatArray | None = None,
        probes: int = 30,
        exact: bool = False,
        seed: int = 0,
        tolerance: float = 1e-10,
        max_iter: int = 2000,
    ) -> IterativeReduction: ...
    @property
    def n_probes(self) -> int: ...
    def moments(self, fit: int) -> list[FloatArray]: ...
    def monte_carlo(
        self, g: Sequence[FloatArray], fit: int, entries: Sequence[_Entry], reml: bool
    ) -> tuple[float, FloatArray, FloatArray, FloatArray] | None: ...
    def conditional_means(self, g: Sequence[FloatArray], fit: int) -> list[FloatArray] | None: ...
