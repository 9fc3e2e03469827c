#!/usr/bin/env bash
# rtflite refuses the data frames of pandas
#
# rtflite 2.6.0 with narwhals 2.29.0, polars 1.44.2, pandas 2.3.1
#
# One expects: RTFDocument(df=...) takes "pandas, polars or any narwhals-compatible" frames, as its
#   documentation says.
# What happens: a frame of polars is taken, one of pandas is refused with "DataFrame.to_native() takes
#   1 positional argument but 2 were given".
# Why it matters: tables of clinical trials (estimated means, contrasts, tests of covariances) come as
#   data frames of pandas from most packages for mixed models, and have to be converted first:
#   polars.from_pandas(table.reset_index()).
#
# Output seen:
#   polars: 977 characters of RTF
#   pandas: DataFrame.to_native() takes 1 positional argument but 2 were given
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" -q install rtflite==2.6.0 narwhals==2.29.0 polars==1.44.2 pandas==2.3.1 \
  pyarrow==22.0.0
"$folder/venv/bin/python" -W ignore - <<'PY'
import pandas as pd
import polars as pl
import rtflite

text = rtflite.RTFDocument(df=pl.DataFrame({"a": [1.5]})).rtf_encode()
print(f"polars: {len(text)} characters of RTF")
try:
    rtflite.RTFDocument(df=pd.DataFrame({"a": [1.5]})).rtf_encode()
except Exception as error:
    reason = "takes 1 positional argument but 2 were given"
    refused = reason in str(error)
    print(f"pandas: DataFrame.to_native() {reason}" if refused else f"pandas: {error}")
else:
    refused = False
    print("pandas: taken")
raise SystemExit(0 if refused else 1)
PY
