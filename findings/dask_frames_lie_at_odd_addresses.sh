#!/usr/bin/env bash
# Columns of a frame that came through Dask lie at odd addresses
#
# distributed 2026.8.0, pandas 3.1.1, numpy 2.4.6
#
# One expects: a float64 column of a pandas frame is an aligned array, at an address that 8 divides,
#   as NumPy makes them; code in C, C++, Fortran or Rust that is handed one counts on it.
# What happens: on a worker, a frame that was scattered to it has its columns inside the message that
#   it came in, wherever they happen to begin: `flags.aligned` is False. So has, now and then, one that
#   was sent as an argument.
# Why it matters: software that fits mixed models hands columns to compiled code without a copy. That
#   refuses such an array (Rust's numpy: "not contiguous or not aligned"), copies it, or reads it
#   slowly or, on some processors, not at all; and the same call works on the same frame locally.
#   Take `np.require(column, requirements="A")`, which copies only where it must.
#
# Output seen:
#   here:                  20 of 20 aligned
#   scattered to a worker: 0 of 20 aligned
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet distributed==2026.8.0 pandas==3.1.1 numpy==2.4.6
cat > "$folder/look.py" <<'PYTHON'
import sys

import numpy as np
import pandas as pd
from distributed import Client, LocalCluster


def aligned(frame):
    return bool(frame["y"].to_numpy().flags.aligned)


if __name__ == "__main__":
    frames = [
        pd.DataFrame({"y": np.arange(float(n)), "t": np.arange(n) % 3, "g": np.repeat("text", n)})
        for n in range(1000, 21000, 1000)
    ]
    with (
        LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        here = [aligned(frame) for frame in frames]
        scattered = [client.submit(aligned, client.scatter(f), pure=False).result() for f in frames]
    print(f"here:                  {sum(here)} of 20 aligned")
    print(f"scattered to a worker: {sum(scattered)} of 20 aligned")
    # Which of them are is chance.
    sys.exit(0 if all(here) and not all(scattered) else 1)
PYTHON
"$folder/venv/bin/python" -W ignore "$folder/look.py"
