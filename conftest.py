"""What is for packages that are not installed here is left out."""

import sys
from importlib.util import find_spec

import pytest

_FOR = {"sklearn": "sklearn", "marginaleffects": "marginaleffects", "maketables": "maketables",
        "stargazer": "stargazer"}  # fmt: skip

collect_ignore_glob = [
    f"python/mlmfast/{folder}/*" for folder, package in _FOR.items() if find_spec(package) is None
]
# `make fuzz` installs what it needs.
collect_ignore = [] if find_spec("hypothesis") else ["tests/fuzz.py"]


@pytest.fixture(autouse=True)
def _pictures_are_closed():
    """Pictures left open by many tests would be warned of in another one."""
    yield
    pyplot = sys.modules.get("matplotlib.pyplot")
    if pyplot is not None:
        pyplot.close("all")
