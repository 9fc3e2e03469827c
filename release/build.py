"""Build the source distribution and the wheel, and test both in fresh environments.

    python release/build.py                     # what `make dist` does
    python release/build.py --only-test dist    # test what is in dist/ again

The wheel is built from the source distribution, unpacked into an empty folder, so that one build
shows that both are whole. Nothing here needs more than Python, Rust and pip.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LARGEST_WHEEL = 6_000_000
#: The oldest versions that pyproject.toml allows, and the newest.
ENVIRONMENTS = {
    "oldest": ["numpy==2.0.*", "scipy==1.13.*", "pandas==2.2.2", "narwhals==1.20.*"],
    "newest": ["numpy", "scipy", "pandas", "narwhals"],
}
#: What a wheel and a source distribution hold at least.
IN_WHEEL = ("mlmfast/py.typed", "mlmfast/_core.pyi", "mlmfast/data/sleepstudy.csv",
            "mlmfast/validation/references/fits.json", "licenses/LICENSE", "METADATA",
            "entry_points.txt", "RECORD")  # fmt: skip
IN_SOURCE = ("Cargo.toml", "Cargo.lock", "pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md",
             "src/lib.rs", "python/mlmfast/__init__.py", "tests/dense.py")  # fmt: skip


def run(*command: str | Path, **options: object) -> None:
    """Run a command, shown first; an error ends the script."""
    print("+", *command, flush=True)
    subprocess.run([str(part) for part in command], check=True, **options)  # type: ignore[call-overload]


def environment(folder: Path, packages: list[str]) -> Path:
    """A fresh environment with packages; returns its Python."""
    run(sys.executable, "-m", "venv", folder)
    place = "Scripts" if os.name == "nt" else "bin"
    python = folder / place / "python"
    run(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages)
    return python


def built_source(dist: Path, maturin: Path) -> Path:
    """The source distribution."""
    run(maturin, "-m", "maturin", "sdist", "--out", dist, cwd=ROOT)
    return newest(dist, "*.tar.gz")


def built_wheel(dist: Path, source: Path, maturin: Path, work: Path) -> Path:
    """The wheel, from the source distribution alone."""
    with tarfile.open(source) as archive:
        archive.extractall(work, filter="data")
    (folder,) = work.iterdir()
    started = time.monotonic()
    command = ("build", "--release", "--strip", "--locked", "--out", dist)
    run(maturin, "-m", "maturin", *command, cwd=folder)
    print(f"built in {time.monotonic() - started:.0f} s")
    return newest(dist, "*.whl")


def newest(folder: Path, pattern: str) -> Path:
    """The file that was written last."""
    found = sorted(folder.glob(pattern), key=lambda path: path.stat().st_mtime)
    if not found:
        raise SystemExit(f"there is no {pattern} in {folder}")
    return found[-1]


def check_wheel(wheel: Path) -> None:
    """Its size, what it holds, and its bill of materials."""
    size = wheel.stat().st_size
    print(f"{wheel.name}: {size / 1e6:.2f} MB")
    if size > LARGEST_WHEEL:
        raise SystemExit(f"the wheel has {size:,} bytes, over {LARGEST_WHEEL:,}")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        lacking = [part for part in IN_WHEEL if not any(name.endswith(part) for name in names)]
        bills = [name for name in names if "/sboms/" in name and name.endswith(".json")]
        if lacking or not bills:
            raise SystemExit(f"the wheel lacks {', '.join(lacking) or 'a bill of materials'}")
        bill = json.loads(archive.read(bills[0]))
        unpacked = sum(item.file_size for item in archive.infolist())
    if bill.get("bomFormat") != "CycloneDX" or not bill.get("components"):
        raise SystemExit(f"{bills[0]} is no CycloneDX bill of materials")
    print(f"  unpacked {unpacked / 1e6:.1f} MB, {len(names)} files")
    print(f"  {bills[0]}: CycloneDX {bill['specVersion']}, {len(bill['components'])} components")
    junk = [name for name in names if "__pycache__" in name or name.startswith("tests/")]
    if junk:
        raise SystemExit(f"the wheel holds {junk[0]}")


def check_source(source: Path) -> None:
    """What it holds."""
    with tarfile.open(source) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    lacking = sorted(set(IN_SOURCE) - names)
    if lacking:
        raise SystemExit(f"the source distribution lacks {', '.join(lacking)}")
    print(f"{source.name}: {source.stat().st_size / 1e6:.2f} MB, {len(names)} files")


def test_wheel(wheel: Path, work: Path) -> None:
    """Install it beside the oldest and the newest dependencies, and use it there."""
    for name, packages in ENVIRONMENTS.items():
        print(f"== {name}", flush=True)
        python = environment(work / name, [*packages, str(wheel)])
        run(python, ROOT / "release" / "smoke.py", cwd=work)


def main() -> None:
    """Build and test; any fault ends with its message."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / "dist")
    parser.add_argument("--only-test", type=Path, metavar="DIST", help="build nothing")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        if given.only_test is None:
            maturin = environment(work / "maturin", ["maturin>=1.16,<2"])
            given.out.mkdir(exist_ok=True)
            source = built_source(given.out.resolve(), maturin)
            check_source(source)
            (work / "source").mkdir()
            wheel = built_wheel(given.out.resolve(), source, maturin, work / "source")
        else:
            check_source(newest(given.only_test, "*.tar.gz"))
            wheel = newest(given.only_test, "*.whl").resolve()
        check_wheel(wheel)
        test_wheel(wheel, work)
    print("the source distribution and the wheel are whole")


if __name__ == "__main__":
    main()
