"""A design under other conditions: parameters, sizes and options by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from mlmfast.errors import ModelError
from mlmfast.simulation.changed_parameters import known_parameters, with_parameters
from mlmfast.simulation.distributions import standardised
from mlmfast.simulation.rows.extend import along
from mlmfast.simulation.rows.missingness import Missingness
from mlmfast.simulation.streams import Parts, stream
from mlmfast.simulation.true_model import AnyModel, TrueModel
from mlmfast.simulation.truth.parameters import covariances, variance_of_icc
from mlmfast.words import did_you_mean

_OPTIONS = ("icc", "errors", "random_effects", "missing", "sizes", "partial")


def under(design: AnyModel, condition: Mapping[str, Any]) -> AnyModel:
    """The design under a condition of a study.

    Parameters
    ----------
    condition
        By name: fixed effects; covariance parameters as `LMMResult.profile` names them
        (``sd_x|g``, ``cor_x.y|g``, ``sigma``) or ``var_x|g``, ``cov_x.y|g``, ``Residual``, those of
        a residual structure; the number of levels of a variable (``Subject`` or ``n_Subject``;
        ``n_groups`` where there is one grouping factor); ``icc``, ``errors``, ``random_effects``,
        ``missing``, ``sizes``, ``partial`` as `mlmfast.design` takes them.

    Raises
    ------
    DataError, ModelError
        For a name that is none of these; the nearest is suggested.

    Examples
    --------
    >>> import mlmfast as mlm
    >>> d = mlm.design("y ~ x + (1 | g)", levels={"g": 10, "x": range(4)}, icc=0.1, sigma=1)
    >>> other = d.under({"n_groups": 20, "icc": 0.5, "x": 1.5})
    >>> other.nobs, float(other.params["x"]), float(other.varcorr["g"].iloc[0, 0])
    (80, 1.5, 1.0)
    """
    numbers, options, parameters = _sorted(design, condition)
    out = design
    if "sizes" in options:
        out = _with_sizes(out, options["sizes"])
    if "partial" in options:
        out = _with_partial(out, options["partial"])
    for name, n in numbers.items():
        out = replace(along(out, name, n), row_order=None, level_orders=())
    out = with_parameters(out, parameters)
    if "icc" in options:
        variance = variance_of_icc(out.design, options["icc"], out.truth.sigma2)
        out = replace(out, truth=replace(out.truth, covariances=covariances(out.design, variance)))
    for key, role in (("errors", "errors"), ("random_effects", "effects")):
        if key in options:
            standardised(options[key], key)
            out = replace(out, **{role: options[key]})
    if "missing" in options:
        out = replace(out, missing=Missingness.of(options["missing"]))
        if out.missing is not None:
            out.missing.rows(out.data)
    return out


def _sorted(
    design: TrueModel, condition: Mapping[str, Any]
) -> tuple[dict[str, int], dict[str, Any], dict[str, Any]]:
    """Numbers of levels, options and parameters."""
    numbers: dict[str, int] = {}
    options: dict[str, Any] = {}
    parameters: dict[str, Any] = {}
    known = known_parameters(design)
    variables = _countable(design)
    for name, value in condition.items():
        if name in _OPTIONS:
            options[name] = value
        elif name in known:
            parameters[name] = value
        elif name in variables:
            numbers[variables[name]] = value
        else:
            everything = [*known, *variables, *_OPTIONS]
            hint = did_you_mean(name, everything)
            raise ModelError(
                f"the design has nothing named {name!r}{hint} (there are {', '.join(everything)})"
            )
    return numbers, options, parameters


def _countable(design: TrueModel) -> dict[str, str]:
    """Names for numbers of levels, and the variables meant."""
    names = list(design.data) if design.crossing is None else list(design.crossing.levels)
    out = {f"n_{name}": str(name) for name in names} | {str(name): str(name) for name in names}
    single = [factor for factor in design.design.factors if len(factor.columns) == 1]
    if len(design.design.factors) == 1 and single:
        out["n_groups"] = single[0].columns[0]
    return out


def _with_partial(design: AnyModel, partial: Any) -> AnyModel:
    if design.crossing is None:
        raise ModelError("partial goes with a design made from levels=")
    crossing = design.crossing.with_partial(partial)
    table = crossing.frame(Parts(stream(design.row_seed)))
    return replace(design.with_rows(table), crossing=crossing)


def _with_sizes(design: AnyModel, sizes: Any) -> AnyModel:
    if design.crossing is None:
        raise ModelError("sizes goes with a design made from levels=")
    if not isinstance(sizes, Mapping):
        groups = _countable(design)
        if "n_groups" not in groups:
            raise ModelError("sizes is a dict by variable where there are several grouping factors")
        sizes = {groups["n_groups"]: sizes}
    crossing = design.crossing.with_sizes(sizes)
    table = crossing.frame(Parts(stream(design.row_seed)))
    return replace(design.with_rows(table), crossing=crossing)
