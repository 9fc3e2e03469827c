"""The reference fits of other programs: their files, data, and how their names map to ours."""

import json
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

REFERENCE = Path(__file__).parent / "reference"
ALL = sorted(path.stem for path in (REFERENCE / "fits").glob("*.json"))


@cache
def reference(case_id):
    """The reference file as a dict; read it, do not change it."""
    return json.loads((REFERENCE / "fits" / f"{case_id}.json").read_text(encoding="utf-8"))


def cases_with(key):
    """Names of the reference fits that hold `key` among their expected values."""
    return [case_id for case_id in ALL if key in reference(case_id)["expect"]]


def cases_of(*families):
    """Names of the reference fits whose family starts with one of `families`."""
    return [case_id for case_id in ALL if reference(case_id)["family"].startswith(families)]


def read_frame(file, levels):
    """The CSV with the columns of `levels` as categoricals in that order."""
    # Only an empty field is missing: alfalfa has a level "None".
    frame = pd.read_csv(
        REFERENCE / "data" / file,
        dtype=dict.fromkeys(levels, str),
        keep_default_na=False,
        na_values=[""],
    )
    for column, order in levels.items():
        frame[column] = pd.Categorical(frame[column], categories=order)
    return frame


def data_of(case_id):
    case = reference(case_id)
    return read_frame(case["data"], case["levels"])


def tolerance(case_id, quantity, at_most_digits=9):
    """Relative tolerance for the digits the reference trusts, 1e-5 where it does not say.

    The exact references hold 15 digits; a fit in double precision is asked for 9.
    """
    digits = reference(case_id)["digits"].get(quantity, 6)
    return 10.0 ** (1 - min(digits, at_most_digits))


def our_group(case_id, name):
    """Our name of a grouping factor: the inner factor of `a/b` is `a:b` here and `b:a` in lme4."""
    return ":".join(reversed(name.split(":"))) if _is_nesting(case_id) else name


def our_level(case_id, group, level):
    """Our label of a level of the reference's factor `group`."""
    is_reversed = ":" in group and _is_nesting(case_id)
    return ":".join(reversed(level.split(":"))) if is_reversed else level


def _is_nesting(case_id):
    return "/" in reference(case_id)["formula"]


def varcorr_of(case_id):
    """{our group: (effect names, covariance matrix)}."""
    groups = reference(case_id)["expect"].get("varcorr", {})
    return {
        our_group(case_id, group): (value["names"], np.array(value["cov"], dtype=float))
        for group, value in groups.items()
    }


# Structures whose visits all have one variance.
HOMOGENEOUS = ("ad", "ar1", "car1", "cs", "sp_exp", "toep")


def has_visit_labels(case_id):
    """Whether the reference's residual covariance is over visits, or points on a line."""
    case = reference(case_id)
    value = case["expect"]["residual_cov"]
    one_axis = "," not in case["residual"].split("|")[0]
    untyped = "type" not in value or {"cov", "variance_by_level"} & set(value)
    return bool(not case.get("residual_scale") and untyped and one_axis)


def residual_matrix_of(case_id, frame):
    """R of one subject's rows, by the formulas of the reference's README."""
    case = reference(case_id)
    value, kind = case["expect"]["residual_cov"], case["residual"].split("(")[0]
    columns = case["residual"].split("(")[1].split("|")[0].replace(" ", "").split(",")
    points = frame[columns].to_numpy(dtype=float)
    gap = np.sqrt(((points[:, None] - points[None]) ** 2).sum(axis=2))
    if kind == "sp_gau":
        correlation = np.exp(-((gap / value["range"]) ** 2))
    elif kind == "arma11":
        phi, theta = value["phi"], value["theta"]
        first = (1 + phi * theta) * (phi + theta) / (1 + 2 * phi * theta + theta**2)
        correlation = np.where(gap == 0, 1.0, first * phi ** np.maximum(gap - 1, 0))
    else:
        correlation = value["rho"] ** gap
    scale = np.ones(len(frame))
    if case.get("residual_scale"):
        scale = frame[case["residual_scale"]].astype(str).map(value["scale"]).to_numpy(dtype=float)
    return value["variance"] * correlation * np.outer(scale, scale)


def residual_cov_of(case_id):
    """{group: (visit labels, covariance matrix)}, the group None where there is one covariance."""
    value = reference(case_id)["expect"]["residual_cov"]
    if {"cov", "variance"} & set(value):
        return {None: _residual_matrix(value)}
    return {group: _residual_matrix(part) for group, part in value.items()}


def _residual_matrix(value):
    """A reference's residual covariance; labels None: those of the fit, numbers on a line."""
    if "cov" in value:
        return value["levels"], lambda _: np.array(value["cov"], dtype=float)
    if "variance_by_level" in value:
        by_level = value["variance_by_level"]
        return list(by_level), lambda _: np.diag(list(by_level.values()))
    return None, lambda points: value["variance"] * value["rho"] ** distances(points)


def distances(points):
    """|x_i - x_j| of points on a line."""
    return np.abs(np.subtract.outer(points, points))


def sigma_of(case_id):
    """The residual standard deviation at weight 1; None where visits or groups differ."""
    expect = reference(case_id)["expect"]
    if "residual_cov" not in expect:
        return expect["sigma"]
    if not has_visit_labels(case_id):
        return np.sqrt(expect["residual_cov"]["variance"])
    kind = reference(case_id)["residual"].split("(")[0]
    cov = residual_cov_of(case_id)
    if kind not in HOMOGENEOUS or len(cov) > 1:
        return None
    _, matrix = cov[None]
    return expect.get("sigma", np.sqrt(matrix(np.zeros(1))[0, 0]))


def n_parameters_of(case_id):
    """Number of all parameters; the fits with residual structures count only the covariance's."""
    expect = reference(case_id)["expect"]
    return expect["npar"] if "npar" in expect else expect["rank_x"] + expect["npar_cov"]
