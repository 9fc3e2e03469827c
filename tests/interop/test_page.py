"""Every block of the page on other packages runs, those of packages that are installed here."""

import re
from importlib.util import find_spec
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[2] / "docs/OTHER_PACKAGES.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python ?(\w*)\n(.*?)```", PAGE, re.DOTALL)
NEEDS = {
    "": (),
    "tables": ("maketables", "stargazer", "great_tables"),
    "sklearn": ("sklearn",),
    "marginaleffects": ("marginaleffects",),
}


def test_the_page_has_its_blocks():
    assert [extra for extra, _ in BLOCKS] == list(NEEDS)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("extra", NEEDS)
def test_block(extra):
    for package in NEEDS[extra]:
        if find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    namespace = {}
    exec(BLOCKS[0][1], namespace)
    exec(dict(BLOCKS)[extra], namespace)
