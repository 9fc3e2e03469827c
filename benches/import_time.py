"""What the first import costs beyond NumPy and pandas, which a user of data frames has anyway.

    python benches/import_time.py                                   # mlmfast
    python benches/import_time.py --packages mlmfast,glmm --python .bench-venv/bin/python

Each import is a process of its own under `python -X importtime`, after one that writes the
bytecode. The time is that of the modules that NumPy and pandas have not imported before; the least
of several runs, as what disturbs a run only adds to it.
"""

import argparse
import os
import subprocess
import sys
from typing import NamedTuple

FLOOR = "import numpy, pandas"


class Module(NamedTuple):
    """A line of `python -X importtime`: milliseconds without and with what it imports."""

    name: str
    depth: int
    own: float
    whole: float


def imported(python: str, statement: str) -> list[Module]:
    """Modules in the order in which their imports ended."""
    writes = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    command = [python, "-X", "importtime", "-c", statement]
    log = subprocess.run(command, env=writes, capture_output=True, text=True, check=True).stderr
    modules = []
    for line in log.splitlines():
        if line.startswith("import time:") and "cumulative" not in line:
            own, whole, name = line.removeprefix("import time:").split("|")
            indent = len(name) - len(name.lstrip())
            modules.append(Module(name.strip(), indent // 2, int(own) / 1000, int(whole) / 1000))
    return modules


def beyond(python: str, package: str) -> tuple[float, list[Module]]:
    """Milliseconds that a package adds to the floor, and its modules."""
    floor = {module.name for module in imported(python, FLOOR)}
    added = [m for m in imported(python, f"{FLOOR}, {package}") if m.name not in floor]
    return sum(m.own for m in added), added


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--packages", default="mlmfast,glmm", help="those not there are left out")
    parser.add_argument("--python", default=sys.executable, help="the interpreter that has them")
    parser.add_argument("--repeat", type=int, default=9)
    parser.add_argument("--slowest", type=int, default=8, help="modules to list for each package")
    given = parser.parse_args()
    floors = [sum(m.own for m in imported(given.python, FLOOR)) for _ in range(given.repeat)]
    print(f"{FLOOR}: {min(floors):.0f} ms")
    for package in given.packages.split(","):
        try:
            imported(given.python, f"{FLOOR}, {package}")
        except subprocess.CalledProcessError:
            print(f"{package}: not there")
            continue
        least, modules = min(beyond(given.python, package) for _ in range(given.repeat))
        print(f"{package}: {least:.0f} ms beyond these, {len(modules)} modules; most by")
        for m in sorted(modules, key=lambda m: -m.own)[: given.slowest]:
            print(f"  {m.own:6.1f} ms  {m.name}")


if __name__ == "__main__":
    main()
