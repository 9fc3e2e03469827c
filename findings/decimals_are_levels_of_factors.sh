#!/usr/bin/env bash
# A sum of integers made in duckdb is a factor in statsmodels' formulas, a slope if fetched by .df()
#
# duckdb 2.0.1, pyarrow 26.0.1, polars 2.1.0, pandas 2.3.3, statsmodels 0.15.0 (patsy 1.0.3, numpy 2.4.6),
# formulaic 1.2.2
#
# One expects: `SELECT id, y, sum(dose) OVER (PARTITION BY id ORDER BY visit) AS total` has a number, and
#   `mixedlm("y ~ total", ...)` a slope, however the rows are fetched.
# What happens: the sum of a column of integers is of 128 bits, Arrow has it as decimal128(38, 0), and pandas
#   as Python's Decimal objects, which patsy and formulaic take for labels: a coefficient for each
#   total. By duckdb's own `.df()` it is float64. Columns of type DECIMAL, doses and laboratory values
#   in most databases, come in the same way. No message.
# Why it matters: the model has 5 coefficients for the total instead of 1, and the slope one asked for is in no table.
#
# Output seen:
#   df():              float64, mixedlm 2 coefficients, formulaic 2 columns
#   to_arrow_table():  object, mixedlm 6 coefficients, formulaic 6 columns
#   pl():              object, mixedlm 6 coefficients, formulaic 6 columns
#   the third of them:  total[T.Decimal('3')]
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet duckdb==2.0.1 pyarrow==26.0.1 polars==2.1.0 pandas==2.3.3 \
    statsmodels==0.15.0 patsy==1.0.3 numpy==2.4.6 formulaic==1.2.2
"$folder/venv/bin/python" -W ignore - <<'PY'
import sys

import duckdb
import formulaic
import numpy as np
import pandas as pd
import statsmodels.formula.api as smf

rng = np.random.default_rng(1)
data = pd.DataFrame({"id": np.repeat(np.arange(30), 6), "visit": np.tile(np.arange(6), 30)})
data["dose"] = 1
data["y"] = 0.3 * data["visit"] + rng.normal(size=30)[data["id"]] + rng.normal(size=180)
query = duckdb.sql(
    "SELECT id, y, sum(dose) OVER (PARTITION BY id ORDER BY visit) AS total FROM data ORDER BY id, visit"
)
fetched = {
    "df()": query.df(),
    "to_arrow_table()": query.to_arrow_table().to_pandas(),
    "pl()": query.pl().to_pandas(),
}
found = []
for way, frame in fetched.items():
    fit = smf.mixedlm("y ~ total", frame, groups="id").fit()
    columns = formulaic.model_matrix("total", frame).shape[1]
    print(
        f"{way + ':':18} {frame['total'].dtype}, mixedlm {len(fit.fe_params)} coefficients, "
        f"formulaic {columns} columns"
    )
    found.append((len(fit.fe_params), columns))
print("the third of them: ", fit.fe_params.index[2])
sys.exit(0 if found == [(2, 2), (6, 6), (6, 6)] else 1)
PY
