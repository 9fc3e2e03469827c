"""What is said of predictions, of many fits, of studies, and in statsmodels' place."""

from mlmfast.catalogue.entry import Entry

ENTRIES = (
    Entry(
        "MLM501",
        "rows whose mean the data do not determine",
        "NonEstimableWarning",
        "New rows combine levels in a way that no row of the data tells; they are predicted as "
        "NaN.",
        "Leave them out, or give nonestimable='value' for what the coding of the factors makes of "
        "them.",
    ),
    Entry(
        "MLM502",
        "random effects that hang on covariances that no data tell",
        "NonEstimableWarning",
        "Predictions or random effects of these rows depend on covariances that are no parameters "
        "of the fit; they are NaN.",
        "Give ranef=False for the population, use a structure with fewer parameters, or "
        "nonestimable='value' for any that the data allow.",
    ),
    Entry(
        "MLM601",
        "coefficients of one name with different meanings",
        "DifferentContrastsWarning",
        "The fits of a batch code a factor differently, as some lack its first levels: a "
        "coefficient of one name is another contrast in each.",
        "Declare the levels by a categorical, or compare means and contrasts.",
    ),
    Entry(
        "MLM701",
        "results of several versions",
        "MixedVersionsWarning",
        "A study goes on in a folder that other versions of mlmfast, NumPy or SciPy began; last "
        "digits may differ from what one version would have given.",
        "Go on with the versions named, or begin a new folder.",
    ),
    Entry(
        "MLM801",
        "statsmodels: variance components as dictionaries",
        "OldFormatWarning",
        "exog_vc was given as dictionaries, which statsmodels deprecates too.",
        "Give a VCSpec, or vc_formula=.",
    ),
    Entry(
        "MLM802",
        "statsmodels: arguments of an optimiser",
        "IgnoredArgumentWarning",
        "Arguments of statsmodels' optimisers have no effect here, where Newton's method goes to a "
        "proven optimum.",
        "Leave them out.",
    ),
    Entry(
        "MLM803",
        "statsmodels: arguments that fit does not know",
        "FutureWarning",
        "statsmodels ignores these arguments with this warning, and so does the fit here.",
        "Leave them out.",
    ),
    Entry(
        "MLM804",
        "statsmodels: no optimum with parameters held",
        "ConvergenceWarning",
        "The fit with parameters held (free=) did not reach an optimum.",
        "Give other start_params, or hold other parameters.",
    ),
    Entry(
        "MLM805",
        "statsmodels: no certificate of convergence",
        "ConvergenceWarning",
        "As MLM301.",
        "Use fewer random effects.",
    ),
    Entry(
        "MLM806",
        "statsmodels: a singular covariance of random effects",
        "SingularMatrixWarning",
        "A variance is 0 or a correlation +-1, estimated or held. statsmodels has no test for it.",
        "As the codes of chapter 4 say; fixed effects and their standard errors are valid.",
    ),
)
