#!/usr/bin/env bash
# One labelled value makes an age a factor: pandas.read_spss and read_stata, then any formula
#
# pandas 3.1.1, pyreadstat 1.3.7, formulaic 1.2.2, patsy 1.0.3 (numpy 2.4.6)
#
# One expects: a numeric variable of a survey, of which only the code 999 has a label, "refused", stays
#   numeric. In SPSS and Stata it does: labels are shown, procedures compute with the numbers.
# What happens: a column with any value label becomes a categorical, its unlabelled numbers levels.
#   Where SPSS has 999 declared missing, so that no row has the label, read_spss still does so, and
#   nothing in the column reminds of it. `y ~ age` then has a coefficient for each age but one.
# Why it matters: a slope becomes as many degrees of freedom as there are ages, and a rank-deficient
#   model where age is constant within subjects; no message.
#
# Output seen:
#   read_spss, 999 missing:  category, values [30.0, 41.0, 52.0, nan, 63.0, 28.0]
#   read_spss, 999 valid:    category, values [30.0, 41.0, 52.0, 'refused', 63.0, 28.0]
#   read_stata:              category, values [30, 41, 52, 'refused', 63, 28]
#   formulaic: Intercept, age[T.30.0], age[T.41.0], age[T.52.0], age[T.63.0]
#   patsy:     Intercept, age[T.30.0], age[T.41.0], age[T.52.0], age[T.63.0]
#   read_spss(convert_categoricals=False): float64
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" -q install pandas==3.1.1 pyreadstat==1.3.7 formulaic==1.2.2 patsy==1.0.3 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PY'
import formulaic
import pandas as pd
import patsy
import pyreadstat

survey = pd.DataFrame({"age": [30.0, 41.0, 52.0, 999.0, 63.0, 28.0]})
labels = {"age": {999: "refused"}}
pyreadstat.write_sav(
    survey, "missing.sav", variable_value_labels=labels, missing_ranges={"age": [999]}
)
pyreadstat.write_sav(survey, "valid.sav", variable_value_labels=labels)
pyreadstat.write_dta(survey.astype("int32"), "valid.dta", variable_value_labels=labels)
read = {
    "read_spss, 999 missing:": pd.read_spss("missing.sav"),
    "read_spss, 999 valid:": pd.read_spss("valid.sav"),
    "read_stata:": pd.read_stata("valid.dta"),
}
for name, data in read.items():
    print(f"{name:<24} {data['age'].dtype}, values {data['age'].tolist()}")
known = read["read_spss, 999 missing:"].dropna()
one = list(formulaic.model_matrix("age", known).columns)
other = patsy.dmatrix("age", known).design_info.column_names
print("formulaic:", ", ".join(one))
print("patsy:    ", ", ".join(other))
numbers = pd.read_spss("missing.sav", convert_categoricals=False)["age"]
print("read_spss(convert_categoricals=False):", numbers.dtype)
factors = all(data["age"].dtype == "category" for data in read.values())
assert factors and numbers.dtype == "float64", "labelled numbers stay numbers now"
assert len(one) == len(other) == 5
PY
