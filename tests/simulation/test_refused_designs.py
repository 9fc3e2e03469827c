"""What a design cannot be made of is said with what was given."""

import re

import pytest

import mlmfast as mlm

GIVEN = {
    "formula": "y ~ x + (1 | g)",
    "levels": {"g": 4, "t": 3},
    "covariates": {"x": "normal"},
    "sigma": 1.0,
    "varcorr": {"g": 1.0},
}
DROPOUT = {"subject": "g", "time": "t"}
REFUSED = [
    ({"formula": 3}, "the formula is 3; give text"),
    ({"levels": {"g": True, "t": 3}}, "levels of 'g': True; give their number"),
    ({"levels": {"g": 4.5, "t": 3}}, "levels of 'g': 4.5; give their number"),
    ({"levels": {"g": 4, "t": [None, 2]}}, "holds something else than text and numbers"),
    ({"levels": {3: 4}}, "3 is no name of a variable"),
    ({"levels": {"g": 4, "x": 3}}, "'x' is in levels and in covariates"),
    ({"levels": {"g": 10**5, "t": 10**5}}, "cross to 10,000,000,000 rows; at most 50,000,000"),
    ({"levels": {"g/c": 3}}, "'g' is no variable of the design"),
    ({"covariates": {"x": "uniform(2, 1)"}}, "has no width; write uniform(low, high)"),
    ({"covariates": {"x": "binary(2)"}}, "the share of ones lies between 0 and 1"),
    ({"covariates": {"x": "normal(a)"}}, "has something in it that is no number"),
    ({"covariates": {"x": "normal(1, 2, 3)"}}, "normal takes 0 or 2 finite numbers"),
    ({"covariates": {"x": "normal(0, inf)"}}, "normal takes 0 or 2 finite numbers"),
    ({"covariates": {"x": "normal(0, -1)"}}, "normal(-1): the number must be positive"),
    ({"missing": 3}, "missing is 3; give a dict such as"),
    ({"missing": {"mcar": 0.1, "mar": 0.1}}, "missing takes one of mcar, dropout, mar"),
    ({"missing": {"mcar": [0.1, 0.2]}}, "'mcar' is one share of the rows"),
    ({"missing": {"dropout": 0.1, "slope": 2, **DROPOUT}}, "'slope' goes with 'mar'"),
    ({"missing": {"dropout": [0.1, 0.2], **DROPOUT}}, "missing has 2 shares, and 't' 3 times"),
    ({"missing": {"mar": 0.1, "subject": "h", "time": "t"}}, "'h' is no variable of the design"),
    ({"partial": 3}, "partial is 3; give a dict such as"),
    ({"levels": None, "data": {"g": [1, 2], "x": [1.0, 2.0]}}, "covariates= goes with levels="),
]


@pytest.mark.parametrize(("changes", "message"), REFUSED)
def test_refusals(changes, message):
    with pytest.raises(mlm.MlmError, match=re.escape(message)):
        mlm.design(**{**GIVEN, **changes})


SLOPES = mlm.design(
    "y ~ x + (x | g)", levels={"g": 9, "x": range(4)}, varcorr={"g": [4, 1]}, sigma=1
)
SERIES = mlm.design(
    "y ~ x", levels={"id": 9, "x": [1, 2, 3]}, sigma=2, residual="ar1(x | id)",
    residual_parameters={"AR(1)": 0.5},
)  # fmt: skip
TWICE = [
    (SLOPES, {"sigma": 1.0, "Residual": 2.0}),
    (SLOPES, {"sd_x|g": 1.0, "var_x|g": 2.0}),
    (SLOPES, {"cor_x.(Intercept)|g": 0.1, "cov_(Intercept).x|g": 0.1}),
    (SERIES, {"sigma": 1.0, "Residual": 2.0}),
    (SERIES, {"sigma": 1.0, "Variance": 2.0}),
]


@pytest.mark.parametrize(("design", "values"), TWICE)
def test_a_parameter_is_not_set_by_two_of_its_names(design, values):
    with pytest.raises(mlm.ModelError, match="set has one parameter twice"):
        mlm.power(design, "x", n=10, set=values)


@pytest.mark.parametrize(
    ("values", "message"),
    [(3, "set is 3; give a dict"), ({"sigma": -1.0}, "'sigma' is -1.0; a positive number")],
)
def test_values_that_no_parameter_has(values, message):
    with pytest.raises(mlm.ModelError, match=message):
        mlm.power(SLOPES, "x", n=10, set=values)
