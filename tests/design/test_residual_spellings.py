"""A residual structure may be written as its users write it elsewhere."""

import numpy as np
import pytest

import mlmfast as mlm
from mlmfast.covariance import STRUCTURES
from mlmfast.formula.residual_formula import parse_residual

from ..residual_models import trial

# as written, as it is understood
SPELLINGS = {
    "US(visit | id)": "us(visit | id)",
    "AR(1)(visit | id)": "ar1(visit | id)",
    "ar( 1 )(visit | id)": "ar1(visit | id)",
    "ARH(1)(visit | id)": "ar1h(visit | id)",
    "ARMA(1,1)(visit | id)": "arma11(visit | id)",
    "ANTE(1)(visit | id)": "adh(visit | id)",
    "VC(visit | id)": "homdiag(visit | id)",
    "TOEP(2)(visit | id)": "toep(visit | id, 2)",
    "toep2(visit | arm / id)": "toep(visit | arm / id, 2)",
    "TOEPH(3)(visit | id)": "toeph(visit | id, 3)",
    "fa(2)(visit | id)": "fa(visit | id, 2)",
    "fa2(visit | id)": "fa(visit | id, 2)",
    "FA(k=2)(visit | id)": "fa(visit | id, 2)",
    "un(1)(visit | id)": "un(visit | id, 1)",
    "SP(EXP)(x, y | id)": "sp_exp(x, y | id)",
    "sp(pow)(t | id)": "sp_pow(t | id)",
    "SP(GAU)(t | id)": "sp_gau(t | id)",
    "sp_matern(nu=2.5)(t | id)": "sp_matern(t | id, nu=2.5)",
    "us(visit) | arm / id": "us(visit | arm / id)",
    "us(outcome) @ ar1(visit) | id": "us(outcome) @ ar1(visit | id)",
    "UN(outcome) @ AR(1)(visit) | id": "us(outcome) @ ar1(visit | id)",
    "(us(outcome) @ ar1(visit)) | id": "us(outcome) @ ar1(visit | id)",
}


@pytest.mark.parametrize(("written", "meant"), SPELLINGS.items())
def test_spellings(written, meant):
    found, expected = parse_residual(written), parse_residual(meant)
    assert found.calls == expected.calls
    assert (found.arm, found.subject) == (expected.arm, expected.subject)
    assert found.text == written


@pytest.mark.parametrize("keyword", [k for k in STRUCTURES if STRUCTURES[k].sas])
def test_the_names_of_sas(keyword):
    """Every TYPE= that the table of structures shows is understood, or one with its number."""
    name = STRUCTURES[keyword].sas.split(", ")[-1].replace("(q)", "(2)")
    if name == "LIN(2)":
        pytest.skip("its matrices are an argument")
    found = parse_residual(f"{name}(t | id)").calls[0].keyword
    # One band of un is diag; car1 is sp_exp.
    assert found == {"UN(1)": "un", "SP(EXP)": "sp_exp"}.get(name, keyword)


def test_a_fit_is_the_same_however_it_is_written():
    frame = trial(seed=5)
    one = mlm.lmm("y ~ x", frame, residual="TOEP(2)(visit | subject)")
    two = mlm.lmm("y ~ x", frame, residual="toep(visit | subject, 2)")
    assert one.deviance == two.deviance
    again = mlm.load(one.to_json())
    new = frame.head(4)
    np.testing.assert_array_equal(
        *(
            f.predict(new, ranef=False, interval="prediction", ddf="asymptotic")
            for f in (again, two)
        )
    )


def test_a_start_that_is_singular_to_rounding_is_left():
    """A Gaussian correlation over 100 neighbours: R at the first start has no Cholesky factor."""
    rng = np.random.default_rng(0)
    frame = {
        "y": rng.normal(size=3000),
        "t": np.tile(np.arange(100), 30),
        "id": np.repeat(np.arange(30), 100),
    }
    fit = mlm.lmm("y ~ 1", frame, residual="sp_gau(t | id)")
    assert fit.converged
    independent = mlm.lmm("y ~ 1", frame)
    assert fit.deviance <= independent.deviance + 1e-8
