#!/usr/bin/env bash
# marginaleffects 0.6.0 installs beside polars 2, and then no function of it works
#
# marginaleffects 0.6.0 with statsmodels 0.14.5 and pandas 2.3.1, polars 2.1.0 and polars 1.44.2
#
# One expects: its metadata ask for polars of at least 1.26 and know no upper end, so a plain
#   `pip install marginaleffects` gives a pair that works together.
# What happens: polars 2 no longer compares floats with a list of integers (`is_in`), which every
#   call does while it looks at the columns: predictions, slopes, comparisons and hypotheses end in
#   polars' InvalidOperationError. With polars 1.44.2 the same lines work.
# Why it matters: the error names neither package's version nor the data; who builds on
#   marginaleffects has to ask for `polars<2` himself.
#
# Output seen:
#   polars 2.1.0: predictions InvalidOperationError, avg_slopes InvalidOperationError, hypotheses InvalidOperationError
#   polars 1.44.2: predictions 60 rows, avg_slopes 1 rows, hypotheses 1 rows
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
cat > "$folder/try.py" <<'PY'
import sys

import numpy as np
import pandas as pd
import polars
import statsmodels.formula.api as smf
from marginaleffects import avg_slopes, hypotheses, predictions

i = np.arange(60)
data = pd.DataFrame({"x": 2 * np.sin(1.7 * i + 0.3)})
data["y"] = 1 + 0.3 * data.x + 1.2 * np.sin(11.1 * i**1.3)
fit = smf.ols("y ~ x", data).fit()
seen = []
for call in (predictions, avg_slopes, lambda fit: hypotheses(fit, "x = 0")):
    name = getattr(call, "__name__", "").replace("<lambda>", "hypotheses")
    try:
        seen.append(f"{name} {len(call(fit))} rows")
    except polars.exceptions.InvalidOperationError as error:
        seen.append(f"{name} {type(error).__name__}")
print(f"polars {polars.__version__}: {', '.join(seen)}")
failed = sum("InvalidOperationError" in text for text in seen)
sys.exit(0 if failed == (3 if polars.__version__.startswith("2") else 0) else 1)
PY
for version in 2.1.0 1.44.2; do
  "$folder/venv/bin/pip" -q install marginaleffects==0.6.0 statsmodels==0.14.5 pandas==2.3.1 \
    "polars==$version"
  "$folder/venv/bin/python" -W ignore "$folder/try.py"
done
