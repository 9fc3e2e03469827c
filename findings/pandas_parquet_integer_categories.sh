#!/usr/bin/env bash
# Title: an integer categorical written to Parquet by pandas comes back as int64, its levels lost
# Library: pandas 3.1.1 with pyarrow 26.0.1
#
# Expected: a pandas Categorical reads back from Parquet as it was written, as one of text does:
#   the pandas metadata of the file names the column's type and how many categories it has.
# What happens: with integer categories the column is a plain int64 afterwards. The categories, their
#   order and those that no row has are gone, without a word. Categories of text survive, unobserved
#   ones and order included, and so do integer ones in a Feather file.
# Why it matters to users of mixed models: visits 0, 1, 3, 4, 5, 8 held as categories 0 to 8 are a
#   factor in the fixed effects and levels at known places for ar1 or toep. After a round trip the
#   same script fits a straight line over the visit number (1 column, not 5), and a covariance by
#   level becomes one by value. Write text categories, or restore the dtype after reading.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet pandas==3.1.1 pyarrow==26.0.1

"$work/venv/bin/python" - "$work" <<'PYTHON'
import sys

import pandas as pd

work = sys.argv[1]
visits = [0, 1, 3, 4, 5, 8]
frame = pd.DataFrame(
    {
        "number": pd.Categorical(visits, categories=range(9), ordered=True),
        "text": pd.Categorical(map(str, visits), categories=map(str, range(9)), ordered=True),
    }
)
frame.to_parquet(f"{work}/visits.parquet")
frame.to_feather(f"{work}/visits.feather")
parquet, feather = pd.read_parquet(f"{work}/visits.parquet"), pd.read_feather(f"{work}/visits.feather")
for name in frame:
    print(f"{name:7}", "written:", len(frame[name].cat.categories), "levels;",
          "Parquet:", parquet[name].dtype, "; Feather:", feather[name].dtype)
assert str(parquet["number"].dtype) == "int64", "integer categories now survive Parquet"
assert len(parquet["text"].cat.categories) == 9, "text categories no longer survive Parquet"
assert len(feather["number"].cat.categories) == 9, "integer categories no longer survive Feather"
PYTHON
# Output seen:
#   number  written: 9 levels; Parquet: int64 ; Feather: category
#   text    written: 9 levels; Parquet: category ; Feather: category
