"""A pytest plug-in: statsmodels' own tests of MixedLM, run unchanged against mlmfast's.

pytest -p tests.statsmodels.their_tests --pyargs statsmodels.regression.tests.test_lme
"""

from mlmfast.statsmodels import install

install(se="statsmodels")
