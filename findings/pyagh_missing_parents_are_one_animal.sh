#!/usr/bin/env bash
# sortPed() of PyAGH makes one animal of all missing parents, and half sibs of its offspring
#
# Python 3.11, PyAGH 0.3.3, pandas 2.2.3, numpy 1.26.4 (its C++ part is built with pybind11 2.13.6)
#
# One expects: parents that are missing (NaN) to be unknown, as 0 is: the source of `sortPed` says that a
#   missing value is NA or 0, and that NA is made 0.
# What happens: what `fillna` returns is not kept. NaN becomes the text "nan", a founder of its own, who is
#   the sire of all animals without a known sire. No warning.
# Why it matters: pandas reads empty fields and NA as NaN. Animals that have no known relative in
#   common are half sibs in the matrix of `makeA`, and an animal model with it is another model.
#
# Output seen:
#   sires missing as NaN: animals nan s m n c d e f; relationship of c and d 0.25, of c and f 0.00
#   sires missing as 0:   animals s m n c d e f; relationship of c and d 0.00, of c and f 0.00
set -euo pipefail
command -v g++ > /dev/null || { echo "needs g++" >&2; exit 2; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
pip="$folder/env/bin/pip --quiet --disable-pip-version-check"
$pip install pybind11==2.13.6
include=$("$folder/env/bin/python" -c "import pybind11; print(pybind11.get_include())")
CPLUS_INCLUDE_PATH=$include $pip install PyAGH==0.3.3 pandas==2.2.3 numpy==1.26.4
"$folder/env/bin/python" - <<'PYTHON'
import numpy as np
import pandas as pd
import PyAGH

pedigree = pd.DataFrame(
    {"id": list("cdef"), "sire": [np.nan, np.nan, "s", "s"], "dam": list("mnmn")}
)


def shown(what, table):
    matrix, animals = PyAGH.makeA(PyAGH.sortPed(table))
    found = pd.DataFrame(matrix, index=animals, columns=animals)
    unrelated, others = found.loc["c", "d"], found.loc["c", "f"]
    print(
        f"{what:<21} animals {' '.join(animals)}; relationship of c and d {unrelated:.2f}, "
        f"of c and f {others:.2f}"
    )
    return unrelated


as_nan = shown("sires missing as NaN:", pedigree)
as_zero = shown("sires missing as 0:", pedigree.fillna("0"))
raise SystemExit(0 if as_nan == 0.25 and as_zero == 0.0 else 1)
PYTHON
