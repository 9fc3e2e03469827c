#!/usr/bin/env bash
# polars forgets the order of an ordered Arrow dictionary, and sorts its levels as text
#
# polars 2.1.0, pandas 3.1.1, pyarrow 26.0.1
#
# Expected: an ordered categorical of pandas (placebo < low < high) written to Parquet comes to
# polars with its order, as an Enum: Arrow's dictionary type says ordered=True.
# What happens: it becomes a Categorical, whose levels have no order but that of their text:
# high, low, placebo.
# Why it matters: programs for mixed models take the first level as the reference. The same file
# gives differences from placebo through pandas or pyarrow and differences from "high" through
# polars; the order of visits by name (week 10 before week 2) goes with it.
#
# Output seen:
#   pandas  ['placebo', 'low', 'high'] ordered: True
#   pyarrow dictionary<values=string, indices=int8, ordered=1>
#   polars  Categorical ['high', 'low', 'placebo']
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
import pyarrow.parquet as pq

order = ["placebo", "low", "high"]
arm = pd.Categorical(["low", "high", "placebo"], categories=order, ordered=True)
pd.DataFrame({"arm": arm}).to_parquet("trial.parquet")
by_pandas = pd.read_parquet("trial.parquet")["arm"].cat
by_polars = pl.read_parquet("trial.parquet")["arm"]
levels = by_polars.unique().sort().cast(pl.String).to_list()
print("pandas ", by_pandas.categories.tolist(), "ordered:", by_pandas.ordered)
print("pyarrow", pq.read_table("trial.parquet").schema.field("arm").type)
print("polars ", by_polars.dtype, levels)
sys.exit(0 if by_polars.dtype == pl.Categorical and levels == sorted(order) else 1)
PY
