"""The Matern correlation with its derivatives at many distances, beside another build.

    python benches/matern.py                    # this build, and SciPy's Bessel functions
    python benches/matern.py --before PATH      # and another's Python folder, in turns

Processor seconds, best of some rounds, for 2e5 distances: smoothness estimated (all derivatives),
smoothness known, and the values alone by `scipy.special.kv`, the least that Bessel functions cost.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np

POINTS = 200_000


def seconds(action: Callable[[], object]) -> float:
    """Processor seconds of a call."""
    start = time.process_time()
    action()
    return time.process_time() - start


def measure() -> dict[str, float]:
    """Seconds by what is computed."""
    from scipy.special import gamma, kv

    from mlmfast.covariance import STRUCTURES

    rng = np.random.default_rng(1)
    distances, points = rng.uniform(0.01, 10.0, POINTS), np.arange(3.0)
    free = STRUCTURES["sp_matern"](3, points)
    known = STRUCTURES["sp_matern"](3, points, 1.3)
    half = STRUCTURES["sp_matern"](3, points, 1.5)
    theta = free.from_natural(np.array([[1.2, 1.7, 1.3]]))
    held = known.from_natural(np.array([[1.2, 1.7]]))
    z = distances / 1.7
    return {
        "smoothness estimated": seconds(lambda: free.at_distances(theta, distances)),
        "smoothness 1.3": seconds(lambda: known.at_distances(held, distances)),
        "smoothness 1.5": seconds(lambda: half.at_distances(held, distances)),
        "SciPy, values alone": seconds(lambda: 2 / gamma(1.3) * (z / 2) ** 1.3 * kv(1.3, z)),
    }


def main() -> None:
    """Run the builds in turns."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--before", help="Python folder of another build")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(measure()))
        return
    builds = {"now": os.environ.get("PYTHONPATH", "")}
    if arguments.before:
        builds["before"] = arguments.before
    best: dict[str, dict[str, float]] = {}
    for _ in range(arguments.rounds):
        for build, path in builds.items():
            environment = {**os.environ, "PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1"}
            command = [sys.executable, __file__, "--child"]
            done = subprocess.run(
                command, env=environment, capture_output=True, text=True, check=True
            )
            for name, value in json.loads(done.stdout).items():
                own = best.setdefault(name, {})
                own[build] = min(own.get(build, np.inf), value)
    for name, own in best.items():
        ratio = f"   before / now {own['before'] / own['now']:.1f}" if "before" in own else ""
        print(f"{name:24}" + "".join(f"{b:>9} {s:.3f} s" for b, s in own.items()) + ratio)


if __name__ == "__main__":
    main()
