"""`mlmfast.design`: a design from a formula, levels and parameters, without data."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from mlmfast.data.frame import Frame
from mlmfast.design.model_frame import ModelFrame, build_model_frame
from mlmfast.errors import DataError, FormulaError, ModelError
from mlmfast.formula.functions import variables_of
from mlmfast.formula.mixed_formula import parse_formula
from mlmfast.guessed_arguments import told
from mlmfast.simulation.distributions import standardised
from mlmfast.simulation.rows.crossing import Crossing
from mlmfast.simulation.rows.missingness import Missingness
from mlmfast.simulation.rows.rebuild import table_of, variables_of_model
from mlmfast.simulation.streams import Parts, stream
from mlmfast.simulation.study_design import StudyDesign
from mlmfast.simulation.truth.parameters import Truth, covariances, fixed_effects, variance_of_icc
from mlmfast.simulation.truth.residual import residual_truth


@told()
def design(
    formula: str,
    levels: Mapping[str, Any] | None = None,
    params: Any = None,
    varcorr: Mapping[str, Any] | None = None,
    sigma: float | None = None,
    residual: str | None = None,
    *,
    data: Any = None,
    between: Mapping[str, str] | None = None,
    sizes: Mapping[str, Any] | None = None,
    covariates: Mapping[str, str] | None = None,
    partial: Mapping[str, Any] | None = None,
    icc: float | None = None,
    residual_parameters: Any = None,
    residual_scale: str | None = None,
    missing: Mapping[str, Any] | None = None,
    errors: str = "normal",
    random_effects: str = "normal",
    contrasts: Mapping[str, Any] | None = None,
    seed: Any = 0,
) -> StudyDesign:
    """A design without data, with the parameters that responses are drawn from.

    Parameters
    ----------
    formula
        The model, as `mlmfast.lmm` takes it; the response is the name of the column to draw.
    levels
        The variables, which are crossed, the first changing slowest: the number of levels of a
        factor (labelled 1, 2, ...), or the values: a list of text makes a factor, numbers a
        covariate. ``"school/class": 4`` are four classes nested in each school.
    params
        Fixed effects by R's names; 0 for those not named. Or an array of all of them.
    varcorr
        Covariances of the random effects by grouping factor: a matrix (terms stacked), variances,
        one variance, or ``{"sd": [25, 6], "cor": 0.1}``.
    sigma
        Residual standard deviation (at scale 1).
    residual
        Covariance structure of the residuals, such as ``"ar1(Days | Subject)"``.
    data
        Rows instead of ``levels``: a data frame; a response in it is not read.
    between
        Variables of ``levels`` or ``covariates`` that are constant within clusters, such as
        ``{"arm": "Subject"}``: subjects are given the arms in turn (``["a", "a", "b"]`` are two to
        one); several such variables, all their combinations in turn.
    sizes
        Rows of each cluster, in turn: ``{"Subject": [4, 7, 10]}``; the first of the crossing.
    covariates
        Variables drawn at random: ``"normal(mean, sd)"``, ``"uniform(low, high)"``,
        ``"binary(share)"``. `StudyDesign.draw` draws them anew; ``data`` and ``X`` hold one draw.
    partial
        Clusters that some rows have (partial nesting): ``{"therapist": {"arm": "treated"}}``. The
        column ``in_therapist`` is 1 there and 0 elsewhere, for ``(0 + in_therapist | therapist)``;
        other rows are clusters of one row each, or by ``"others": "one"`` a single cluster, by
        ``"pseudo"`` the clusters that they would be in.
    icc
        Instead of ``varcorr`` where there is one random intercept (or effect of an indicator, of
        rows that are grouped): its share of the variance.
    residual_parameters
        Parameters of ``residual`` and ``residual_scale`` by the names that
        `LMMResult.residual_parameters` has, ``{"AR(1)": 0.6}``; or the matrix over the visits.
    residual_scale
        Residual standard deviations that differ from row to row, as `mlmfast.lmm` takes it.
    missing
        ``{"mcar": 0.1}``: a tenth of the responses; ``{"dropout": 0.3, "subject": "Subject",
        "time": "Days"}``: 3 of 10 subjects are gone by the last time, with the same chance to go at
        each after the first (or a list of the shares gone by time); ``{"mar": 0.3, "slope": 1,
        ...}``: the log odds to go rise by ``slope`` for each standard deviation of the last
        response above its mean.
    errors, random_effects
        Their distribution, scaled to the variances given: "normal", "t(5)", "chi2(3)",
        "lognormal(1)", "uniform", "laplace".
    contrasts
        As `mlmfast.LMM` takes it.
    seed
        Of the covariates that ``data`` and ``X`` hold.

    Returns
    -------
    StudyDesign
        With ``data``, ``X``, ``simulate(n, seed)`` and ``draw(rng)``.

    Raises
    ------
    FormulaError, DataError, ModelError
        For names that the model does not have (the nearest is suggested), and matrices that are no
        covariance matrices.

    Examples
    --------
    >>> import mlmfast as mlm
    >>> mlm.design("Reaction ~ Days + (Days | Subject)",
    ...            levels={"Subject": 30, "Days": range(10)},
    ...            params={"(Intercept)": 250, "Days": 10},
    ...            varcorr={"Subject": [[600, 0], [0, 35]]}, sigma=25)
    Design of 300 rows (Subject 30)
      Reaction ~ Days + (Days | Subject)
      fixed effects: (Intercept) = 250, Days = 10
      standard deviations by Subject: (Intercept) 24.49, Days 5.916
      residual standard deviation: 25

    A trial of two arms with correlated visits and dropout:

    >>> trial = mlm.design("y ~ arm * visit", levels={"id": 40, "arm": ["c", "t"],
    ...                    "visit": ["1", "2", "3"]}, between={"arm": "id"},
    ...                    params={"armt:visit3": 0.8}, sigma=1, residual="ar1(visit | id)",
    ...                    residual_parameters={"AR(1)": 0.6},
    ...                    missing={"dropout": 0.2, "subject": "id", "time": "visit"})
    >>> trial.data.groupby("arm", observed=True)["id"].nunique().to_dict()
    {'c': 20, 't': 20}
    """
    response = _response(formula)
    crossing, table = _rows(levels, data, between, sizes, covariates, partial, seed)
    if crossing is not None and response in crossing.names:
        raise DataError(f"levels has the response {response!r}, which is drawn")
    table = table.drop(columns=response, errors="ignore")
    model = _model(formula, table, response, residual, residual_scale, contrasts)
    truth = _truth(model, params, varcorr, sigma, icc, residual_parameters)
    for text, role in ((errors, "errors"), (random_effects, "random_effects")):
        standardised(text, role)
    out = StudyDesign(
        model,
        table,
        model.design,
        truth,
        residual,
        residual_scale,
        contrasts,
        crossing,
        errors,
        random_effects,
        Missingness.of(missing),
        seed,
    )
    if out.missing is not None:
        out.missing.rows(out.data)
    return out


def _response(formula: str) -> str:
    if not isinstance(formula, str):
        raise FormulaError(f"the formula is {formula!r}; give text such as 'y ~ x + (1 | g)'")
    parsed = parse_formula(formula)
    response = parsed.response
    if parsed.smooths:
        raise FormulaError(
            f"{parsed.smooths[0].label}: a design has no smooth terms, whose curves would be drawn "
            "at random; give the curve you mean, as sin(x) or poly(x, 3) with their coefficients"
        )
    if variables_of(response) != (response,):
        raise FormulaError(
            f"the response {response!r} is not the name of a column: responses are drawn on the "
            "scale on which they are normal; name that"
        )
    return response


def _rows(
    levels: Any, data: Any, between: Any, sizes: Any, covariates: Any, partial: Any, seed: Any
) -> tuple[Crossing | None, pd.DataFrame]:
    """The rows, and how they were made where they are no frame given."""
    if (levels is None) == (data is None):
        raise DataError("give levels= or data=, one of both")
    if data is None:
        crossing = Crossing.of(levels, between, sizes, covariates, partial)
        return crossing, crossing.frame(Parts(stream(seed)))
    given = {"between": between, "sizes": sizes, "covariates": covariates, "partial": partial}
    for name, value in given.items():
        if value is not None:
            raise DataError(f"{name}= goes with levels=; data= has its rows already")
    if isinstance(data, pd.DataFrame):
        return None, data.reset_index(drop=True)
    frame = Frame.from_native(data)
    return None, table_of(frame, frame.columns)


def _model(
    formula: str,
    table: pd.DataFrame,
    response: str,
    residual: str | None,
    residual_scale: str | None,
    contrasts: Mapping[str, Any] | None,
) -> ModelFrame:
    with warnings.catch_warnings():
        # Of the response, which is none yet.
        warnings.simplefilter("ignore")
        model = build_model_frame(
            formula,
            table.assign(**{response: np.zeros(len(table))}),
            residual=residual,
            residual_scale=residual_scale,
            contrasts=contrasts,
            na_action="raise",
            absorb=False,
        )
    lacking = [name for name in variables_of_model(model) if name not in table]
    assert not lacking, "the model was read from the table"
    return model


def _truth(
    model: ModelFrame,
    params: Any,
    varcorr: Any,
    sigma: Any,
    icc: Any,
    residual_parameters: Any,
) -> Truth:
    own = model.design
    sigma2, residual, scale = residual_truth(own, sigma, residual_parameters)
    if icc is not None:
        if varcorr is not None:
            raise ModelError("give varcorr or icc, not both")
        varcorr = variance_of_icc(own, icc, sigma2)
    return Truth(
        fixed_effects(own.x_names, params), covariances(own, varcorr), sigma2, residual, scale
    )
