"""What SAS and R would refuse, or what has no counterpart, is named with its words."""

import re

import pytest

import mlmfast as mlm

STEP = "proc mixed; class id arm v w; {} run;"
WITH_ARM = "model y = x arm; random int / sub=id; "
WITH_X = "model y = x; random int / sub=id; "

#: Statements, and what the error says.
NOT_READ = {
    "model y = x*;": "MODEL statement: an effect is expected before '*'",
    "model y = x|arm@;": "after '@' stands the largest number of variables",
    WITH_ARM + "lsmeans arm / at (x z)=(1);": "AT has other numbers of variables and of values",
    WITH_X + "estimate 'a' x 1 | int 1 | int 2;": "one bar at most",
    WITH_X + "parms 1 to 1e9 by 1;": "has too many numbers",
    "model y = x; random int / sub=;": "an option has no value",
    "model y = x; random int / sub=id (;": "a '(' among the options is not closed",
    WITH_X + "1 2;": "begins with no word; statements of SAS do",
}

#: Statements, and what is said not to have been carried over.
UNMAPPED = {
    WITH_ARM + "lsmeans x;": "x is no effect of CLASS variables",
    WITH_ARM + "lsmeans arm / slices;": "SLICES has no counterpart",
    WITH_ARM + "lsmeans arm / om=other;": "OM= with a data set",
    WITH_ARM + "lsmeans arm / diff=some;": "DIFF=SOME has no counterpart; there are ALL, CONTROL",
    WITH_ARM + "lsmeans arm / diff=control adjust=tukey;": "ADJUST=TUKEY is for all differences",
    WITH_X + "parms (1) (1 2) / hold=2;": "HOLD= holds has several values",
    WITH_X + "parms (1) (1) / hold=5;": "HOLD= names a parameter that is not one of the 2",
    WITH_X + "parms (1) (1) (2);": "3 values, and the model 2 covariance parameters",
    WITH_X + "parms (1) (1) / eqcons=1,2;": "parameters cannot be held equal",
    WITH_X + "estimate 'b' x 1 / alpha=0.7 upper cl;": "takes an ALPHA= below 0.5",
    "model y = x; random int / sub=id type=lin(1);": "give the matrix as cov=",
    "model y = x; random id / type=un;": "without SUBJECT= is one block of all rows",
    "model y = x; repeated v w / sub=id type=un;": "several repeated effects",
    "model y = x; repeated v / sub=id type=un@ar(1);": "goes with two CLASS variables",
    "model y = x / ddfm=sometimes; random int / sub=id;": "no method of degrees of freedom here",
    "model y = x / weird=3; random int / sub=id;": "WEIRD=3 of MODEL",
    "model y = x; random int / sub=id group=arm*w;": "GROUP= by several variables",
}

#: Calls of R, and what the error says.
CALLS = {
    "glmmTMB(d)": "glmmTMB() has no formula",
    "gam(data = d)": "gam() has no formula",
    "mmrm(data = d)": "mmrm() has no formula",
    "lme(y ~ x, d, random = ~ 1 | id, method = 'XX')": "there are 'REML' and 'ML'",
    "lme(y ~ x, d, random = ~ 1 | id, method = 3)": "method = 3 is not a text in quotes",
    "lmer(y ~ x + (1 | id), d, REML = 3)": "REML = 3 is neither TRUE nor FALSE",
    "lmer(y ~ x + (1 | f(id)), d)": "is not a grouping factor",
    "lmer(y ~ x + (1 | id), d, contrasts = 3)": "not of the form list(factor = 'contr.sum')",
    "lmer(y ~ x + (1 | id), d, contrasts = list(x = 3))": "3 is not the name of a contrast",
    "gls(y ~ x, d, correlation = 3)": "no call such as corAR1()",
    "gls(y ~ x, d, correlation = corAR1(0.3, ~ v | id, fixed = TRUE))": "hold={name: value}",
    "gls(y ~ x, d, correlation = corExp(form = ~ t | id, metric = 'max'))": "are Euclidean here",
    "gls(y ~ x, d, correlation = corAR1(form = ~ v + w | id))": "one visit tells rows apart",
    "gls(y ~ x, d, correlation = corExp(form = ~ t * u | id))": "t * u is not a sum of columns",
    "gls(y ~ x, d, correlation = corSymm(form = ~ v | id + b))": "is not a grouping factor",
    "gls(y ~ x, d, correlation = corAR1(form = v | id))": "is not a one-sided formula",
    "gls(y ~ x, d, weights = varFixed(x))": "x is not a one-sided formula",
    "gls(y ~ x, d, weights = varFoo(~ x))": "there are varIdent, varPower",
    "gls(y ~ x, d, weights = varIdent(form = ~ x))": "not of the form varIdent(form = ~ 1 | f)",
    "gls(y ~ x, d, weights = varPower(form = ~ x + z))": "x + z is no column",
    "gls(y ~ x, d, weights = varPower(0.5, ~ x, fixed = 0.5))": "hold={name: value}",
}


@pytest.mark.parametrize("statements", NOT_READ)
def test_a_step_that_cannot_be_read_says_where(statements):
    with pytest.raises(mlm.FormulaError, match=re.escape(NOT_READ[statements])):
        mlm.from_sas(STEP.format(statements))


@pytest.mark.parametrize("statements", UNMAPPED)
def test_what_a_step_has_without_counterpart_is_named(statements):
    lost = mlm.from_sas(STEP.format(statements)).unmapped
    assert any(UNMAPPED[statements] in text for text in lost), lost


@pytest.mark.parametrize("call", CALLS)
def test_a_call_that_cannot_be_carried_over_says_what(call):
    with pytest.raises(mlm.FormulaError, match=re.escape(CALLS[call])):
        mlm.from_r(call)
