#!/usr/bin/env bash
# duckdb keeps the levels of a factor from a pandas frame and forgets them from everything else
#
# duckdb 2.0.1, pandas 3.1.1, pyarrow 26.0.1, polars 2.1.0; duckdb's issues 14937 and 15236, closed
#
# One expects: a factor with levels placebo, low, high stays one. duckdb has a type for it, ENUM, and makes
#   one of a pandas categorical, so a query of the same column from an Arrow table, a polars frame or
#   a Parquet file has it too, and COPY to Parquet writes a dictionary.
# What happens: only the pandas frame gives an ENUM. From Arrow, polars and Parquet the column is text, and
#   an ENUM written to Parquet is text for every reader. An unordered categorical comes back from
#   pandas marked as ordered; by `.arrow()` it is not. No message.
# Why it matters: text has the reference level high, by the alphabet, and levels without rows are gone. R takes
#   polynomial contrasts of an ordered factor. Adding one query, or one storage step, changes
#   which arm all effects are compared with.
#
# Output seen:
#   from pandas:             ENUM('placebo', 'low', 'high')
#   from Arrow:              VARCHAR
#   from polars:             VARCHAR
#   from Parquet by pandas:  VARCHAR
#   Parquet by pandas:       dictionary<values=string, indices=int8, ordered=0>
#   Parquet by duckdb:       string
#   pandas to pandas:        ['placebo', 'low', 'high'] ordered True
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet duckdb==2.0.1 pandas==3.1.1 pyarrow==26.0.1 polars==2.1.0
cd "$folder"
"$folder/venv/bin/python" - <<'PY'
import sys

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

levels = ["placebo", "low", "high"]
frame = pd.DataFrame({"arm": pd.Categorical(["low", "placebo"], levels)})
arrow = pa.Table.from_pandas(frame)
polars = pl.DataFrame({"arm": pl.Series(["low", "placebo"], dtype=pl.Enum(levels))})
frame.to_parquet("pandas.parquet")
duckdb.sql("COPY (SELECT * FROM frame) TO 'duckdb.parquet'")
kinds = {
    "pandas": duckdb.sql("SELECT arm FROM frame"),
    "Arrow": duckdb.sql("SELECT arm FROM arrow"),
    "polars": duckdb.sql("SELECT arm FROM polars"),
    "Parquet by pandas": duckdb.sql("SELECT arm FROM 'pandas.parquet'"),
}
for source, query in kinds.items():
    kinds[source] = str(query.types[0])
    print(f"{'from ' + source + ':':24} {kinds[source]}")
written = [str(pq.read_schema(f"{name}.parquet").field("arm").type) for name in ("pandas", "duckdb")]
print("Parquet by pandas:      ", written[0])
print("Parquet by duckdb:      ", written[1])
back = duckdb.sql("SELECT arm FROM frame").df()["arm"].cat
print("pandas to pandas:       ", back.categories.tolist(), "ordered", back.ordered)
texts = [kind for source, kind in kinds.items() if source != "pandas"]
same = kinds["pandas"].startswith("ENUM") and set(texts) == {"VARCHAR"}
sys.exit(0 if same and "dictionary" in written[0] and written[1] == "string" and back.ordered else 1)
PY
