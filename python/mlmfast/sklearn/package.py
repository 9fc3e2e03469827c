"""What is taken of scikit-learn itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__all__ = [
    "BaseEstimator",
    "RegressorMixin",
    "_check_sample_weight",
    "check_is_fitted",
    "column_or_1d",
    "r2_score",
    "validate_data",
]

if TYPE_CHECKING:
    BaseEstimator: Any = object
    RegressorMixin: Any = object
    r2_score: Any
    _check_sample_weight: Any
    check_is_fitted: Any
    column_or_1d: Any
    validate_data: Any
else:
    try:
        from sklearn.base import BaseEstimator, RegressorMixin
        from sklearn.metrics import r2_score
        from sklearn.utils.validation import (
            _check_sample_weight,
            check_is_fitted,
            column_or_1d,
            validate_data,
        )
    except ImportError as error:
        raise ImportError(
            "mlmfast.sklearn needs scikit-learn 1.6 or later; run: pip install 'mlmfast[sklearn]'"
        ) from error
