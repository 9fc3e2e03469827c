#!/usr/bin/env bash
# formulae (Bambi's formulas) sorts the levels of a pandas categorical as text
#
# formulae 0.9.0 beside patsy 1.0.3 and formulaic 1.2.2 (numpy 2.4.6, pandas 2.3.3)
#
# One expects: the first category is the reference level, as in R, patsy and formulaic, all of which
#   a formula `y ~ arm + (1 | id)` is written for.
# What happens: an unordered categorical of placebo, low, high has the reference "high". Only one
#   marked `ordered=True` keeps its order.
# Why it matters: categoricals with the control first come from Stata, SPSS, R's factors and Parquet.
#   The same frame and formula give differences from placebo in one package and from the highest dose
#   in the other; nothing says so but the names of the coefficients.
#
# Output seen:
#   formulae:          arm[low], arm[placebo]
#   formulae, ordered: arm[low], arm[high]
#   patsy:             arm[T.low], arm[T.high]
#   formulaic:         arm[T.low], arm[T.high]
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" -q install formulae==0.9.0 patsy==1.0.3 formulaic==1.2.2 numpy==2.4.6 pandas==2.3.3
"$folder/venv/bin/python" -W ignore - <<'PY'
import formulaic
import pandas as pd
import patsy
from formulae import design_matrices

arms = ["placebo", "low", "high"]
data = pd.DataFrame({"y": [1.0, 2, 3, 4, 5, 6], "arm": pd.Categorical(arms * 2, arms)})
ordered = data.assign(arm=pd.Categorical(arms * 2, arms, ordered=True))


def by_formulae(frame):
    return list(design_matrices("y ~ arm", frame).common.terms["arm"].labels)


found = {
    "formulae": by_formulae(data),
    "formulae, ordered": by_formulae(ordered),
    "patsy": patsy.dmatrix("arm", data).design_info.column_names[1:],
    "formulaic": list(formulaic.model_matrix("arm", data).columns)[1:],
}
for name, labels in found.items():
    print(f"{name + ':':18}", ", ".join(labels))
seen = found["formulae"] == ["arm[low]", "arm[placebo]"]
others = found["patsy"] == found["formulaic"] == ["arm[T.low]", "arm[T.high]"]
raise SystemExit(not (seen and others and found["formulae, ordered"] == ["arm[low]", "arm[high]"]))
PY
