"""Estimable functions of a fixed-effects design, and the hypotheses of type I, II and III."""

from mlmfast.inference.anova.functions import (
    EstimableFunctions,
    functions_of_columns,
    functions_of_formula,
)
from mlmfast.inference.anova.hypotheses import of_coefficients, type_one, type_three, type_two
from mlmfast.inference.anova.terms import TermParts

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
