"""The page for package authors runs line by line, and so does its example package."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import mlmfast as mlm

ROOT = Path(__file__).parents[2]
BLOCKS = re.findall(
    r"```python\n(.*?)```", (ROOT / "docs/INSIDE_YOUR_PACKAGE.md").read_text("utf-8"), re.DOTALL
)
PACKAGE = ROOT / "examples" / "own_package"


@pytest.fixture(scope="module")
def arrays():
    rng = np.random.default_rng(2)
    site = rng.integers(12, size=120)
    X = np.column_stack([np.ones(120), rng.normal(size=120)])
    Y = rng.normal(size=(12, 4))[site] + rng.normal(size=(120, 4)) + X @ [[1.0] * 4, [0.5] * 4]
    y = Y[:, 0] + rng.normal(size=12)[site] * X[:, 1]
    return {"y": y, "X": X, "site": site, "Y": Y, "rater": rng.integers(4, size=120)}


@pytest.fixture
def on_path(monkeypatch):
    monkeypatch.syspath_prepend(str(PACKAGE))


def test_every_block_runs(arrays, on_path):
    namespace = dict(arrays)
    for block in BLOCKS:
        exec(block, namespace)
    assert len(BLOCKS) == 4
    found = namespace["found"]
    assert namespace["penalised"](found.theta) > namespace["rows"].deviance(found.theta) - 2.0
    assert namespace["batch"].params.shape == (4, 2)


def test_the_package_is_forty_lines_of_code(arrays, on_path):
    text = (PACKAGE / "icc_by_site" / "__init__.py").read_text("utf-8")
    lines = [line for line in text.splitlines() if line.strip()]
    assert len(lines) <= 45
    from icc_by_site import share_of_variance, shares_of_variance

    shares = shares_of_variance(arrays["Y"], arrays["site"], arrays["X"][:, 1:])
    for k, share in enumerate(shares):
        model = mlm.LMM.from_arrays(arrays["Y"][:, k], arrays["X"], groups=arrays["site"])
        expected = model.fit().icc()
        value, error = share_of_variance(arrays["Y"][:, k], arrays["site"], arrays["X"][:, 1:])
        assert share == value == pytest.approx(expected["estimate"].iloc[0], rel=1e-9)
        assert error == pytest.approx(expected["se"].iloc[0], rel=1e-6)
    assert np.isnan(shares_of_variance(np.zeros((120, 1)), arrays["site"])).all()


ALONE = """
import sys
from mlmfast import Reduction
import numpy as np
rows = Reduction(np.arange(8.0) ** 2, np.ones((8, 1)), groups=np.arange(8) // 2)
found = rows.estimate()
rows.hessian(found.theta), rows.gls(found.theta), rows.blups(found.theta)
known = {name.partition(".")[0] for name in sys.modules}
print(sorted(known & {"pandas", "scipy", "narwhals", "pyarrow", "polars", "matplotlib"}))
"""


def test_numpy_is_all_it_needs():
    done = subprocess.run(
        [sys.executable, "-c", ALONE], capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "[]", done.stderr
