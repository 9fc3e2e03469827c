#!/usr/bin/env bash
# pyreadstat cannot give labels in the order of their codes once a value is missing
#
# pyreadstat 1.3.7, pandas 3.1.1 (numpy 2.4.6)
#
# One expects: `formats_as_ordered_category=True` gives a categorical in the order of the codes, its
#   missing values missing, as `formats_as_category=True`, which sorts the labels as text, does.
# What happens: ValueError, "Categorical categories cannot be null": the missing value is put among the
#   categories. SPSS's user-defined missing values, which become missing too, do it alike.
# Why it matters: the option is the only one that keeps the control arm first, and the first level is the
#   reference of the contrasts; few labelled columns of a trial are complete. Codes read without
#   labels, and the labels from the metadata, make the same categorical.
#
# Output seen:
#   complete:      in order ['placebo', 'low', 'high'], as text ['high', 'low', 'placebo']
#   one missing:   in order ValueError, as text ['high', 'low', 'placebo']
#   user missing:  in order ValueError, as text ['high', 'low', 'placebo']
#   from the codes ['placebo', 'low', 'high', nan] levels ['placebo', 'low', 'high']
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet pyreadstat==1.3.7 pandas==3.1.1 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - <<'PY'
import sys

import pandas as pd
import pyreadstat

labels = {1.0: "placebo", 2.0: "low", 3.0: "high"}


def levels(**how):
    try:
        read, _ = pyreadstat.read_sav("trial.sav", apply_value_formats=True, **how)
    except ValueError as error:
        assert "cannot be null" in str(error)
        return "ValueError"
    return read["arm"].cat.categories.tolist()


found = []
for name, codes, missing in (
    ("complete", [1.0, 2.0, 3.0, 1.0], {}),
    ("one missing", [1.0, 2.0, 3.0, None], {}),
    ("user missing", [1.0, 2.0, 3.0, 9.0], {"missing_ranges": {"arm": [9]}}),
):
    more = {9.0: "refused"} if missing else {}
    pyreadstat.write_sav(
        pd.DataFrame({"arm": codes}),
        "trial.sav",
        variable_value_labels={"arm": labels | more},
        **missing,
    )
    in_order = levels(formats_as_ordered_category=True)
    as_text = levels(formats_as_category=True)
    print(f"{name + ':':14} in order {in_order}, as text {as_text}")
    found.append(in_order)
data, about = pyreadstat.read_sav("trial.sav")
named = about.variable_value_labels["arm"]
kind = pd.CategoricalDtype([named[code] for code in sorted(named) if named[code] != "refused"])
arm = data["arm"].map(named).astype(kind)
print("from the codes", arm.tolist(), "levels", arm.cat.categories.tolist())
sys.exit(0 if found == [list(labels.values()), "ValueError", "ValueError"] else 1)
PY
