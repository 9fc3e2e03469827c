"""Each structure over distances with a nugget, as ``sp_exp(time | id, nugget)``.

References: SAS/STAT User's Guide, The MIXED Procedure, REPEATED statement, option LOCAL; Pinheiro
and Bates (2000), Mixed-Effects Models in S and S-PLUS, section 5.3.2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.covariance.nuggets.base import WithNugget
from mlmfast.covariance.spatial.exponential_decay import ExponentialDecay
from mlmfast.covariance.spatial.gaussian import SpatialGaussian
from mlmfast.covariance.spatial.linear_decay import SpatialLinear
from mlmfast.covariance.spatial.linear_logarithm import SpatialLinearLogarithm
from mlmfast.covariance.spatial.matern import SpatialMatern
from mlmfast.covariance.spatial.power import ByPower
from mlmfast.covariance.spatial.power_anisotropic import SpatialPowerAnisotropic
from mlmfast.covariance.spatial.rational_quadratic import SpatialRationalQuadratic
from mlmfast.covariance.spatial.spherical import SpatialSpherical


@dataclass(frozen=True, eq=False)
class _Exponential(ExponentialDecay):
    """exp(-z), without the steps of a chain, which a nugget is none of."""

    def kernel(self, z: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        value = np.exp(-z)
        return value, -value, value


@dataclass(frozen=True, eq=False)
class SpatialExponentialNugget(WithNugget, _Exponential):
    """`sp_exp` with a nugget.

    Examples
    --------
    >>> SpatialExponentialNugget.keyword
    'sp_exp_nugget'
    """

    keyword: ClassVar[str] = "sp_exp_nugget"
    space: ClassVar[str] = "sp_exp_nugget"
    label: ClassVar[str] = "spatial exponential with a nugget"
    formula: ClassVar[str] = "variance exp(-d_ij / range) + nugget 1(i = j)"
    parameters: ClassVar[str] = "those of sp_exp, and the variance of the nugget"
    use: ClassVar[str] = "as sp_exp, with measurement error beside"
    range_name: ClassVar[str] = "SP(EXP)"


@dataclass(frozen=True, eq=False)
class SpatialPowerNugget(WithNugget, ByPower, _Exponential):
    """`sp_pow` with a nugget.

    Examples
    --------
    >>> SpatialPowerNugget.keyword
    'sp_pow_nugget'
    """

    keyword: ClassVar[str] = "sp_pow_nugget"
    space: ClassVar[str] = "sp_pow_nugget"
    label: ClassVar[str] = "spatial power with a nugget"
    formula: ClassVar[str] = "variance rho^d_ij + nugget 1(i = j)"
    parameters: ClassVar[str] = "those of sp_pow, and the variance of the nugget"
    use: ClassVar[str] = "as sp_pow, with measurement error beside"
    range_name: ClassVar[str] = "SP(POW)"


@dataclass(frozen=True, eq=False)
class SpatialPowerAnisotropicNugget(WithNugget, SpatialPowerAnisotropic):
    """`sp_powa` with a nugget.

    Examples
    --------
    >>> SpatialPowerAnisotropicNugget.keyword
    'sp_powa_nugget'
    """

    keyword: ClassVar[str] = "sp_powa_nugget"
    space: ClassVar[str] = "sp_powa_nugget"
    label: ClassVar[str] = "anisotropic spatial power with a nugget"
    formula: ClassVar[str] = (
        "variance rho_1^|x_i1 - x_j1| rho_2^|x_i2 - x_j2| ... + nugget 1(i = j)"
    )
    parameters: ClassVar[str] = "those of sp_powa, and the variance of the nugget"
    use: ClassVar[str] = "as sp_powa, with measurement error beside"
    range_name: ClassVar[str] = "SP(POWA)"


@dataclass(frozen=True, eq=False)
class SpatialGaussianNugget(WithNugget, SpatialGaussian):
    """`sp_gau` with a nugget.

    Examples
    --------
    >>> SpatialGaussianNugget.keyword
    'sp_gau_nugget'
    """

    keyword: ClassVar[str] = "sp_gau_nugget"
    space: ClassVar[str] = "sp_gau_nugget"
    label: ClassVar[str] = "spatial Gaussian with a nugget"
    formula: ClassVar[str] = "variance exp(-(d_ij / range)^2) + nugget 1(i = j)"
    parameters: ClassVar[str] = "those of sp_gau, and the variance of the nugget"
    use: ClassVar[str] = "as sp_gau, with measurement error beside"
    range_name: ClassVar[str] = "SP(GAU)"


@dataclass(frozen=True, eq=False)
class SpatialSphericalNugget(WithNugget, SpatialSpherical):
    """`sp_sph` with a nugget.

    Examples
    --------
    >>> SpatialSphericalNugget.keyword
    'sp_sph_nugget'
    """

    keyword: ClassVar[str] = "sp_sph_nugget"
    space: ClassVar[str] = "sp_sph_nugget"
    label: ClassVar[str] = "spatial spherical with a nugget"
    formula: ClassVar[str] = (
        "variance (1 - 3 d_ij / (2 range) + d_ij^3 / (2 range^3)) 1(d_ij < range) + nugget 1(i = j)"
    )
    parameters: ClassVar[str] = "those of sp_sph, and the variance of the nugget"
    use: ClassVar[str] = "as sp_sph, with measurement error beside"
    range_name: ClassVar[str] = "SP(SPH)"


@dataclass(frozen=True, eq=False)
class SpatialLinearNugget(WithNugget, SpatialLinear):
    """`sp_lin` with a nugget.

    Examples
    --------
    >>> SpatialLinearNugget.keyword
    'sp_lin_nugget'
    """

    keyword: ClassVar[str] = "sp_lin_nugget"
    space: ClassVar[str] = "sp_lin_nugget"
    label: ClassVar[str] = "spatial linear with a nugget"
    formula: ClassVar[str] = "variance (1 - rho d_ij) 1(rho d_ij < 1) + nugget 1(i = j)"
    parameters: ClassVar[str] = "those of sp_lin, and the variance of the nugget"
    use: ClassVar[str] = "as sp_lin, with measurement error beside"
    range_name: ClassVar[str] = "SP(LIN)"


@dataclass(frozen=True, eq=False)
class SpatialLinearLogarithmNugget(WithNugget, SpatialLinearLogarithm):
    """`sp_linl` with a nugget.

    Examples
    --------
    >>> SpatialLinearLogarithmNugget.keyword
    'sp_linl_nugget'
    """

    keyword: ClassVar[str] = "sp_linl_nugget"
    space: ClassVar[str] = "sp_linl_nugget"
    label: ClassVar[str] = "spatial linear in the logarithm of distance with a nugget"
    formula: ClassVar[str] = "variance (1 - rho log d_ij) 1(rho log d_ij < 1) + nugget 1(i = j)"
    parameters: ClassVar[str] = "those of sp_linl, and the variance of the nugget"
    use: ClassVar[str] = "as sp_linl, with measurement error beside"
    range_name: ClassVar[str] = "SP(LINL)"


@dataclass(frozen=True, eq=False)
class SpatialRationalQuadraticNugget(WithNugget, SpatialRationalQuadratic):
    """`sp_ratio` with a nugget.

    Examples
    --------
    >>> SpatialRationalQuadraticNugget.keyword
    'sp_ratio_nugget'
    """

    keyword: ClassVar[str] = "sp_ratio_nugget"
    space: ClassVar[str] = "sp_ratio_nugget"
    label: ClassVar[str] = "spatial rational quadratic with a nugget"
    formula: ClassVar[str] = "variance 1 / (1 + (d_ij / range)^2) + nugget 1(i = j)"
    parameters: ClassVar[str] = "those of sp_ratio, and the variance of the nugget"
    use: ClassVar[str] = "as sp_ratio, with measurement error beside"
    range_name: ClassVar[str] = "range"


@dataclass(frozen=True, eq=False)
class SpatialMaternNugget(WithNugget, SpatialMatern):
    """`sp_matern` with a nugget.

    Examples
    --------
    >>> SpatialMaternNugget.keyword
    'sp_matern_nugget'
    """

    keyword: ClassVar[str] = "sp_matern_nugget"
    space: ClassVar[str] = "sp_matern_nugget"
    label: ClassVar[str] = "spatial Matern with a nugget"
    formula: ClassVar[str] = "variance f(d_ij / range, nu) of Matern + nugget 1(i = j)"
    parameters: ClassVar[str] = "those of sp_matern, and the variance of the nugget"
    use: ClassVar[str] = "as sp_matern, with measurement error beside"
    range_name: ClassVar[str] = "SP(MATERN)"
