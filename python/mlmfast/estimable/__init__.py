"""Estimable functions of a fixed-effects design, and the hypotheses of type I, II and III."""

from mlmfast.estimable.functions import (
    EstimableFunctions,
    functions_of_columns,
    functions_of_formula,
)
from mlmfast.estimable.hypotheses import of_coefficients, type_one, type_three, type_two
from mlmfast.estimable.terms import TermParts

__all__ = [
    "EstimableFunctions",
    "TermParts",
    "functions_of_columns",
    "functions_of_formula",
    "of_coefficients",
    "type_one",
    "type_three",
    "type_two",
]
