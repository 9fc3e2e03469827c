"""Imports go one way down the package, and no files import each other in a circle.

Every import counts: those inside functions and those for types too.
"""

import ast
import sys
from importlib.machinery import PathFinder
from pathlib import Path

import mlmfast._core as _core
from mlmfast.reduction.absorbed.core import AbsorbedCore
from mlmfast.reduction.residual import by_arm, chain, scaled_units, template, walked_series
from mlmfast.reduction.residual.form import ResidualForm

ROOT = Path(__file__).parents[2] / "python" / "mlmfast"

#: From the top to the ground: a package, or a file that stands apart from its package.
FLOORS = [
    "__main__",
    "cli",
    "validation",
    "studies",
    "power_analysis",
    "marginaleffects",
    "maketables",
    "stargazer",
    "sklearn",
    "statsmodels",
    "translation",
    "compare_structures",
    "many_data_sets",
    "by_size",
    "mergeable.arrow_batches",
    "mergeable.reduce",
    "mergeable.reduction",
    "low_level",
    "model",
    "mergeable",
    "absorbed_result",
    "result",
    "typed_calls",
    "plots",
    "report",
    "saving",
    "imputation",
    "diagnostics",
    "smooths",
    "simulation",
    "moments",
    "inference.permutation",
    "inference.comparison",
    "inference.emmeans",
    "smooths.joint",
    "smooths.curves",
    "prediction",
    "inference.intervals",
    "inference.resampling",
    "batch",
    "inference.absorbed",
    "inference.anova",
    "inference.robust",
    "inference.contrasts",
    "clusters.matrices",
    "clusters.simulate",
    "fitted.residual.covariance",
    "fitted.residual.at_points",
    "prepared",
    "fitted.fitted",
    "clusters",
    "degrees_of_freedom",
    "fitted",
    "information",
    "fitting",
    "criterion",
    "reduction",
    "reduction.absorbed.reduce",
    "reduction.engines.choice",
    "reduction.absorbed",
    "reduction.engines.dense",
    "reduction.engines.independence",
    "reduction.engines.sizes",
    "reduction.engines.large_crossed",
    "reduction.engines.differences",
    "reduction.engines.options",
    "reduction.residual",
    "reduction.parameter_block",
    "reduction.scaling",
    "design",
    "formula",
    "relationships",
    "sources",
    "data",
    "covariance",
    "mvn",
    "display",
]

#: Imported by all, importing each other only.
GROUND = len(FLOORS)


def _modules():
    found = {}
    for file in sorted(ROOT.rglob("*.py")):
        parts = list(file.relative_to(ROOT).with_suffix("").parts)
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return found


MODULES = _modules()


def _imported(module):
    """Modules that a module imports anywhere in its text."""
    for node in ast.walk(ast.parse(MODULES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} imports relatively"
            below = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [
                name if name.removeprefix("mlmfast.") in MODULES else node.module for name in below
            ]
        else:
            continue
        for name in names:
            if name == "mlmfast" or name.startswith("mlmfast."):
                yield name.removeprefix("mlmfast").removeprefix(".")


ARROWS = {module: {to for to in _imported(module) if to != module} for module in MODULES if module}


def _floor(module):
    """The floor of the longest entry that holds the module; what has none is the ground."""
    own = [f for f in FLOORS if module == f or module.startswith(f"{f}.")]
    return FLOORS.index(max(own, key=len)) if own else GROUND


def test_imports_point_down():
    up = [
        f"{module} -> {to}"
        for module, tos in ARROWS.items()
        for to in tos
        if to in MODULES and _floor(to) < _floor(module)
    ]
    assert not up


def test_modules_import_the_core_and_never_the_package():
    assert [module for module, tos in ARROWS.items() if "" in tos] == []


def test_no_circle_of_files():
    """Files that import nothing left are taken away until none is: what remains are circles."""
    left = {module: {to for to in tos if to in ARROWS} for module, tos in ARROWS.items()}
    while True:
        free = {module for module, tos in left.items() if not tos}
        if not free:
            break
        left = {m: tos - free for m, tos in left.items() if m not in free}
    assert not left


def test_every_floor_exists():
    assert [floor for floor in FLOORS if floor not in MODULES] == []


def _statements(function):
    """Statements of a body, its docstring aside."""
    return [part for part in function.body if not isinstance(part, ast.Expr)]


def test_the_result_is_a_table_of_contents():
    text = MODULES["result"].read_text(encoding="utf-8")
    assert len(text.splitlines()) < 260
    functions = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef)]
    assert {node.name for node in functions if len(_statements(node)) > 1} <= {"load"}


def test_files_are_short():
    lines = {m: len(f.read_text(encoding="utf-8").splitlines()) for m, f in MODULES.items()}
    assert {module: n for module, n in lines.items() if n > 450} == {}


def _heirs(kind):
    return {kind.__name__}.union(*(_heirs(heir) for heir in kind.__subclasses__()))


#: Classes of cores and of forms of a residual covariance, asked for in reduction/ alone.
KINDS = _heirs(_core.Engine) | {AbsorbedCore.__name__}
KINDS |= _heirs(ResidualForm)


def _asked_kinds(module):
    """Names of classes that a module asks for by isinstance, or by a pattern."""
    for node in ast.walk(ast.parse(MODULES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "isinstance":
            asked = [inner for part in node.args[1:] for inner in ast.walk(part)]
        elif isinstance(node, ast.MatchClass):
            asked = [node.cls]
        else:
            continue
        yield from (getattr(part, "attr", getattr(part, "id", "")) for part in asked)


def test_kinds_are_asked_for_in_reduction_alone():
    for known in (by_arm.ByArm, chain.ChainCovariance, scaled_units.ScaledUnits):
        assert known.__name__ in KINDS
    assert {template.Template.__name__, walked_series.WalkedSeries.__name__} <= KINDS
    assert KINDS & set(_asked_kinds("reduction.engines.cores"))
    asked = {
        module: KINDS & set(_asked_kinds(module))
        for module in MODULES
        if not module.startswith("reduction")
    }
    assert {module: kinds for module, kinds in asked.items() if kinds} == {}


def test_the_engine_of_a_certificate_is_read_in_one_place():
    readers = {
        module
        for module, file in MODULES.items()
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute)
        and (node.attr, getattr(node.value, "attr", "")) == ("engine", "certificate")
    }
    assert readers == {"fitted.record"}


def test_no_benchmark_hides_a_package():
    # A script's folder stands first among the places of imports.
    benches = ROOT.parents[1] / "benches"
    scripts = [file.stem for file in benches.glob("*.py")]
    elsewhere = [path for path in sys.path if Path(path).resolve() != benches]
    assert len(scripts) > 10
    assert [name for name in scripts if PathFinder.find_spec(name, elsewhere)] == []
