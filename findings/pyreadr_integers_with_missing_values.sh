#!/usr/bin/env bash
# A count that R holds as integers becomes a factor once pyreadr has read it with a missing value
#
# pyreadr 0.5.8 beside rdata 1.1.0 (formulaic 1.2.2, patsy 1.0.3, numpy 2.4.6, pandas 2.3.3)
#
# One expects: an integer column of an .rds file is a numeric column, its NA a missing value.
# What happens: without a missing value it is int32, with one it is a column of Python objects, which
#   formulas take for text: `y ~ dose` has a coefficient for each value instead of a slope. rdata
#   gives nullable integers. An ordered factor comes as an unordered one too.
# Why it matters: doses, visits, ages and counts are integers in R, and one missing cell changes the
#   model that is fitted, from one degree of freedom to many, without a message.
#
# Output seen:
#   pyreadr: whole int32, dose object, grade ordered False
#   rdata:   whole int32, dose Int32, grade ordered True
#   formulaic, by pyreadr: Intercept, dose[T.2], dose[T.3], dose[T.5], dose[T.6]
#   patsy, by pyreadr:     Intercept, dose[T.2], dose[T.3], dose[T.5], dose[T.6]
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
# saveRDS(data.frame(y = c(1.2, 2.1, 2.9, 4.4, 5.3, 6.1), whole = 1:6,
#   dose = c(1L, 2L, 3L, NA, 5L, 6L), grade = ordered(rep(c("low", "mid", "high"), 2),
#   c("low", "mid", "high"))), "data.rds")
base64 -d > "$folder/data.rds" <<'RDS'
H4sIAAAAAAAAA2VQzUrEMBDO5qfLLiiKCPsS7mUv3rYnn0DBm8Qm3RbSzZoUizdfQ59JX0UEbx6skyYDtg4M+eabfN8Mc7sk
hDDCKSVMACTi5vrq4hK4Myg45DFktv3aDJGTtxDv+TzVpy8hXvPzVK/KIUDzAUkhZ+CyCD6FbQ6yaO/qfev1w6TL76XXiTsa
+Pj+pA1YviJDbD/Hb/oT/mZJFzzYc+yJyLN//THmf3fJjH7UxgM6iccZWGZsh7CpFe5d1btqoheFkR7lNJFz65R2GnVZCaew
Lm4/Vu9lo1HNEzl7wm5XWaNxuLIesdg5qXT04n2So+dSyVauSwfOk2kLZ7s1TgxHouFwfd9/h9V+AZp78a8eAgAA
RDS
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" -q install pyreadr==0.5.8 rdata==1.1.0 formulaic==1.2.2 patsy==1.0.3 \
  numpy==2.4.6 pandas==2.3.3
"$folder/venv/bin/python" -W ignore - "$folder/data.rds" <<'PY'
import sys

import formulaic
import patsy
import pyreadr
import rdata

by_pyreadr = pyreadr.read_r(sys.argv[1])[None]
by_rdata = rdata.read_rds(sys.argv[1])
for name, data in (("pyreadr:", by_pyreadr), ("rdata:  ", by_rdata)):
    print(f"{name} whole {data['whole'].dtype}, dose {data['dose'].dtype},",
          f"grade ordered {data['grade'].cat.ordered}")
known = by_pyreadr.dropna()
one = list(formulaic.model_matrix("dose", known).columns)
other = patsy.dmatrix("dose", known).design_info.column_names
print("formulaic, by pyreadr:", ", ".join(one))
print("patsy, by pyreadr:    ", ", ".join(other))
seen = by_pyreadr["dose"].dtype == object and by_pyreadr["whole"].dtype == "int32"
raise SystemExit(not (seen and len(one) == len(other) == 5))
PY
