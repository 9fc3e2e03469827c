"""What is for packages that are not installed here is left out."""

from importlib.util import find_spec

_FOR = {"sklearn": "sklearn", "marginaleffects": "marginaleffects", "maketables": "maketables",
        "stargazer": "stargazer"}  # fmt: skip

collect_ignore_glob = [
    f"python/mlmfast/{folder}/*" for folder, package in _FOR.items() if find_spec(package) is None
]
# `make fuzz` installs what it needs.
collect_ignore = [] if find_spec("hypothesis") else ["tests/fuzz.py"]
