"""MixedLM: a model with statsmodels' names, arguments and shapes, fitted by mlmfast."""

from __future__ import annotations

from typing import Any

from mlmfast.statsmodels.fitting import fit as _fit
from mlmfast.statsmodels.fitting import regularized as _regularized
from mlmfast.statsmodels.model import distribution as _distribution
from mlmfast.statsmodels.model.arrays import ModelArrays
from mlmfast.statsmodels.model.from_formula import read_model


class MixedLMBase(ModelArrays):
    """A linear mixed model; see `mlmfast.statsmodels.MixedLM`."""

    get_distribution = _distribution.get_distribution
    fit = _fit.fit
    fit_regularized = _regularized.fit_regularized

    @classmethod
    def from_formula(
        cls,
        formula: str,
        data: Any,
        re_formula: str | None = None,
        vc_formula: Any = None,
        subset: Any = None,
        use_sparse: bool = False,
        missing: str = "none",
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        """A model from patsy's formulas and a data frame.

        No code of a formula is run: columns, arithmetic and known functions (``np.log``, ``C``,
        ``Q``, ``I``, ``bs``, ``center``, ``standardize``) are.

        Parameters
        ----------
        formula
            Response and fixed part, ``"y ~ x * C(g)"``.
        data
            pandas frame, or any that mlmfast reads.
        re_formula
            Random effects of the groups, ``"~ x"``; an intercept by default, none at all beside
            ``vc_formula``, as in statsmodels: ``"1"`` adds it.
        vc_formula
            Formulas of variance components by name, each with effects that are independent within
            and between groups, ``{"class": "0 + C(class)"}``.
        subset
            Rows to use: logicals, labels or positions.
        use_sparse
            Without effect: matrices of components are not formed.
        missing
            "none" and "raise" refuse rows with missing values, "drop" leaves them out.
        groups
            Column of the groups, or their labels by row. Required.

        Raises
        ------
        AttributeError
            Without ``groups``.
        """
        if "groups" not in kwargs:
            raise AttributeError(
                "'groups' is a required keyword argument in MixedLM.from_formula: the column that "
                "says which rows belong together"
            )
        if args:
            raise TypeError(f"from_formula takes no positional argument after missing: {args[0]!r}")
        return read_model(cls, formula, data, kwargs, (re_formula, vc_formula), subset, missing)
