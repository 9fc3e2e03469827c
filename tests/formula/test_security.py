"""Text from outside cannot run code, and Ctrl-C ends a fit and nothing else."""

import signal
import subprocess
import sys

import pytest

import mlmfast as mlm
from mlmfast.errors import MlmError

from ..problems import nested_frame


@pytest.fixture
def frame():
    return nested_frame().copy()


ESCAPES = [
    "y ~ __import__('os').system('touch {mark}')",
    "y ~ x + I(__import__('pathlib').Path('{mark}').touch())",
    "y ~ open('{mark}', 'w')",
    'y ~ x + exec(\'open("{mark}", "w")\')',
    'y ~ x + eval(\'open("{mark}", "w")\')',
    "y ~ np.log(open('{mark}', 'w'))",
    "y ~ np.savetxt('{mark}', x)",
    "y ~ np.asarray(x).tofile('{mark}')",
    "y ~ x.to_csv('{mark}')",
    "y ~ x.tofile('{mark}')",
    "y ~ (lambda: open('{mark}', 'w'))()",
    "y ~ [open('{mark}', 'w') for _ in (1,)]",
    "y ~ {{open('{mark}', 'w')}}",
    "y ~ ().__class__.__base__.__subclasses__()",
    "y ~ x.__class__",
    "y ~ np.log.__class__",
    "y ~ np.__builtins__",
    "y ~ C(x, __import__('os').system('touch {mark}'))",
    "y ~ poly(x, open('{mark}', 'w'))",
    "y ~ `x`.__class__",
    'y ~ f\'{{open("{mark}", "w")}}\'',
    "y ~ x if open('{mark}', 'w') else z",
    "y ~ (q := open('{mark}', 'w'))",
    "y ~ offset(open('{mark}', 'w'))",
    "open('{mark}', 'w') ~ x",
    "log(__import__('os').system('touch {mark}')) ~ x",
    "y ~ x + (open('{mark}', 'w') | a)",
    "y ~ x + (1 | __import__('os').system('touch {mark}'))",
]


@pytest.mark.parametrize("formula", ESCAPES)
def test_formula_text_cannot_reach_python(frame, formula, tmp_path):
    mark = tmp_path / "mark"
    with pytest.raises(MlmError):
        mlm.lmm(formula.format(mark=mark), frame)
    assert not mark.exists()


@pytest.mark.parametrize("argument", ["weights", "offset", "contrasts", "residual"])
def test_other_text_cannot_reach_python_either(frame, argument, tmp_path):
    mark = tmp_path / "mark"
    text = f"__import__('pathlib').Path('{mark}').touch()"
    value = {"f": text} if argument == "contrasts" else text
    with pytest.raises(MlmError):
        mlm.lmm("y ~ x + f + (1 | a)", frame, **{argument: value})
    assert not mark.exists()


def test_a_column_name_cannot_reach_python(frame, tmp_path):
    mark = tmp_path / "mark"
    name = f"open('{mark}', 'w')"
    fit = mlm.lmm(f"y ~ `{name}` + (1 | a)", frame.rename(columns={"x": name}))
    assert fit.rank == 2
    assert not mark.exists()


INTERRUPTED = """
import numpy as np, mlmfast as mlm
rng = np.random.default_rng(0)
n, m = 400_000, 20_000
g, x = rng.integers(0, m, n), rng.normal(size=(5, n))
y = rng.normal(size=m)[g] + rng.normal(size=n)
data = {"y": y, "g": g} | {f"x{k}": column for k, column in enumerate(x)}
try:
    print("fitting", flush=True)
    while True:
        mlm.lmm("y ~ x0 + x1 + x2 + x3 + x4 + (x0 + x1 + x2 | g)", data)
except KeyboardInterrupt:
    rows = {name: column[:500] for name, column in data.items()} | {"g": g[:500] % 20}
    print("interrupted", mlm.lmm("y ~ x0 + (1 | g)", rows).nobs)
"""


def test_ctrl_c_ends_a_fit_and_nothing_else():
    command = [sys.executable, "-W", "ignore", "-c", INTERRUPTED]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "fitting\n"
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(timeout=1.5)
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=60)
    assert output == "interrupted 500\n"
    assert process.returncode == 0
