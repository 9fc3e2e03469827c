"""Models of which R's tables are in reference/marginal_means.json."""

import json
from functools import cache

from .cases import REFERENCE, read_frame
from .fits import lmm

R = json.loads((REFERENCE / "marginal_means.json").read_text(encoding="utf-8"))

WARPBREAKS = {"wool": ["A", "B"], "tension": ["L", "M", "H"]}
ALFALFA = {
    "Variety": ["Cossack", "Ladak", "Ranger"],
    "Date": ["None", "S1", "S20", "O7"],
    "Block": [str(k) for k in range(1, 7)],
}
FORMULA = "Yield ~ Variety * Date + (1 | Block)"


def warpbreaks(kind):
    """The whole data; "u" with unequal cells, "h" without the cell B:H."""
    data = read_frame("warpbreaks.csv", WARPBREAKS)
    if kind == "u":
        return data.drop(index=[0, 1, 2, 3, 4, 19, 32])
    return data[~((data["wool"] == "B") & (data["tension"] == "H"))] if kind == "h" else data


def chickweight():
    data = read_frame("chickweight.csv", {"Diet": list("1234")})
    return data.assign(o=data["Time"] / 7 + data["Diet"].cat.codes + 1)


def alfalfa(kind):
    """The whole data; "unbalanced", or with an "empty" cell and three more rows left out."""
    data = read_frame("alfalfa.csv", ALFALFA)
    if kind == "unbalanced":
        return data.drop(index=[0, 1, 2, 16, 39, 40, 41, 59])
    if kind == "empty":
        left = data[~((data["Variety"] == "Ladak") & (data["Date"] == "S20"))]
        return left.drop(index=left.index[[2, 16, 39]])
    return data


@cache
def linear(formula, kind, **arguments):
    """A model without random effects, tested with residual degrees of freedom as R's lm."""
    data = chickweight() if kind == "cw" else warpbreaks(kind)
    return lmm(formula, data, ddf="residual", **arguments)


@cache
def mixed(kind, formula=FORMULA, coding=None):
    contrasts = None if coding is None else {"Variety": coding, "Date": coding}
    return lmm(formula, alfalfa(kind), contrasts=contrasts)
