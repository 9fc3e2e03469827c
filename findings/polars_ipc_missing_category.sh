#!/usr/bin/env bash
# polars.read_ipc refuses an Arrow file of a pandas categorical with a missing value
#
# polars 2.1.0, pandas 3.1.1, pyarrow 26.0.1
#
# Expected: a categorical with a missing value, written by pyarrow as an Arrow IPC (Feather) file,
# comes back with a null. Arrow says that what stands under a null is of no meaning.
# What happens: ComputeError: pandas leaves -1 in the dictionary indices under the null, pyarrow
# writes it as it is, and polars checks the index without looking at the null. pyarrow reads the
# file, and the same column without the missing value is read by polars.
# Why it matters: Feather is how data for models go from pandas and R to polars; group labels and
# treatments are categoricals, and one dropped visit makes the file unreadable.
#
# Output seen:
#   pyarrow ['low', None, 'high']
#   polars  ComputeError The dictionary key must fit in a `usize`, but -1 does not
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet polars==2.1.0 pandas==3.1.1 pyarrow==26.0.1
cd "$folder"
"$folder/venv/bin/python" - <<'PY'
import sys

import pandas as pd
import polars as pl
import pyarrow.feather as feather

arm = pd.Categorical(["low", None, "high"], categories=["low", "high"])
feather.write_feather(pd.DataFrame({"arm": arm}), "trial.arrow", compression="uncompressed")
print("pyarrow", feather.read_table("trial.arrow")["arm"].to_pylist())
try:
    print("polars ", pl.read_ipc("trial.arrow")["arm"].to_list())
except pl.exceptions.ComputeError as error:
    print("polars ", type(error).__name__, error)
    sys.exit(0)
sys.exit(1)
PY
