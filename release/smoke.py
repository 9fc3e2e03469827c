"""What an installed mlmfast has to do, wherever it was installed: run by the Python that has it.

python release/smoke.py
"""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import tempfile
from importlib import metadata
from pathlib import Path

EXPECTED = "-871.8141"


def main() -> None:
    """Fit, use the command line, and qualify the installation."""
    import mlmfast as mlm

    place = Path(mlm.__file__).resolve()
    if (
        Path(sysconfig.get_paths()["purelib"]).resolve() not in place.parents
        and Path(sysconfig.get_paths()["platlib"]).resolve() not in place.parents
    ):
        raise SystemExit(f"this is not the installed package: {place}")
    names = ("numpy", "scipy", "pandas", "narwhals")
    print("with", ", ".join(f"{name} {metadata.version(name)}" for name in names))
    if metadata.version("mlmfast") != mlm.__version__:
        raise SystemExit("the version of the wheel is not that of the core library")
    fit = mlm.lmm("Reaction ~ Days + (Days | Subject)", mlm.load_sleepstudy())
    if f"{fit.llf:.4f}" != EXPECTED:
        raise SystemExit(f"the log-likelihood is {fit.llf:.4f} and not {EXPECTED}")
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "report.html"
        command = [sys.executable, "-W", "error", "-m", "mlmfast"]
        subprocess.run([*command, "demo"], check=True, stdout=subprocess.DEVNULL)
        subprocess.run([*command, "validate", "--out", str(page)], check=True)
        if not page.with_suffix(".json").exists():
            raise SystemExit("validate wrote no report")


if __name__ == "__main__":
    main()
