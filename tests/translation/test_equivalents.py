"""Each row of the page of equivalents is one model, in all programs that can be asked here."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import mlmfast as mlm
import mlmfast.statsmodels as smf

PAGE = (Path(__file__).parents[2] / "docs/EQUIVALENTS.md").read_text(encoding="utf-8")
#: Cells between bars that are not escaped.
LINES = [line for line in PAGE.splitlines() if line.startswith("| ") and "`mlm.lmm" in line]
ROWS = {}
for _line in LINES:
    _cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", _line)[1:-1]]
    ROWS[_cells[0]] = [cell.replace("\\|", "|") for cell in _cells[1:]]
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture(scope="module")
def d():
    rng = np.random.default_rng(12)
    ids = np.repeat(np.arange(60), 4)
    data = pd.DataFrame(
        {
            "id": [f"i{k:02d}" for k in ids],
            "site": [f"s{k // 6}" for k in ids],
            "item": [f"t{k}" for k in rng.integers(0, 7, 240)],
            "arm": np.array(["a", "b", "c"])[ids % 3],
            "v": [f"v{k}" for k in np.tile([1, 2, 3, 4], 60)],
            "visit": np.tile([1, 2, 3, 4], 60),
            "time": np.tile([0.0, 1.0, 2.5, 3.0], 60),
            "x": rng.normal(size=240),
            "w": rng.uniform(0.5, 2.0, 240),
        }
    )
    e = rng.normal(size=(60, 4)) * np.sqrt(1 - 0.4**2)
    for k in range(1, 4):
        e[:, k] += 0.4 * e[:, k - 1]
    y = rng.normal(0, 1.5, 60)[ids] + rng.normal(0, 0.8, 60)[ids] * data["time"]
    y += rng.normal(0, 3, 10)[ids // 6] + rng.normal(0, 1, 7)[data["item"].str[1:].astype(int)]
    y += rng.normal(0, 0.9, (10, 3))[ids // 6, ids % 3]
    data["y"] = y + (1.0 + 0.3 * (ids % 3)) * e.ravel()
    return data


def test_the_page_has_its_rows():
    assert len(ROWS) == len(LINES) >= 17
    assert all(len(cells) == 7 for cells in ROWS.values())
    assert sum(bool(cells[5]) for cells in ROWS.values()) >= 6


# Beside correlated residuals little may be left of an intercept's variance.
@pytest.mark.filterwarnings("ignore::mlmfast.errors.SingularFitWarning")
@pytest.mark.parametrize("model", ROWS)
def test_row(d, model):
    in_r, in_sas, _, _, _, in_statsmodels, here = (cell.strip("`") for cell in ROWS[model])
    expected = eval(here, {"mlm": mlm, "d": d})
    assert expected.converged
    call = mlm.from_r(in_r)
    assert not call.unmapped
    found = {"R": call(d).llf}
    head = "proc mixed method=ml;" if "method=ml" in in_sas else "proc mixed;"
    if in_sas:
        step = mlm.from_sas(f"{head} {in_sas} run;")
        assert not step.unmapped
        found["SAS"] = step(d).fit.llf
    if in_statsmodels:
        found["statsmodels"] = eval(in_statsmodels, {"smf": smf, "d": d, "np": np}).llf
    assert found == pytest.approx(dict.fromkeys(found, expected.llf), abs=1e-7)


@pytest.mark.parametrize("code", BLOCKS)
def test_block(d, code, capsys):
    exec(code, {"mlm": mlm, "d": d})
    assert "mlm.lmm(" in capsys.readouterr().out
