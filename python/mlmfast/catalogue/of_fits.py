"""What is said of a fit: how it ended, and what its covariance parameters are."""

from mlmfast.catalogue.entry import Entry

_SINGULAR = "SingularFitWarning"
_SIMPLER = "Use a covariance structure with fewer parameters."

ENTRIES = (
    Entry(
        "MLM301",
        "no certificate of convergence",
        "ConvergenceWarning",
        "The iteration ended at a point that is not proven to be an optimum: the Newton decrement "
        "is not small, or the Hessian is not positive semidefinite. Estimates are not to be "
        "reported.",
        "Read fit.certificate. Simplify the random effects or the residual structure, rescale "
        "covariates of very different sizes, or start from other values (start=, grid=).",
    ),
    Entry(
        "MLM302",
        "a profile found a better fit",
        "ConvergenceWarning",
        "On the way of a profile -2 log-likelihood fell below that of the fit, which is a local "
        "minimum.",
        "Fit again with start= or grid= near the values that the profile shows.",
    ),
    Entry(
        "MLM400",
        "on the boundary",
        _SINGULAR,
        "The estimate lies on the boundary of the parameters in a way that has no code of its own.",
        "Read fit.certificate.boundary.",
    ),
    Entry(
        "MLM401",
        "a variance of 0",
        _SINGULAR,
        "The estimated variance of a random effect is 0: the data show no more variation between "
        "the levels than the residuals explain. Fixed effects and their standard errors are valid "
        "for the model without that effect.",
        "Keep the term if the design demands it, and say so; or leave it out. fit.ranova() and "
        "fit.test_variance() test it.",
        r"variance of .* is 0(: the curve is a straight line)?$",
    ),
    Entry(
        "MLM402",
        "a correlation of +-1",
        _SINGULAR,
        "Two random effects of a term are estimated to be perfectly correlated.",
        "Leave one of them out, write (x || g) for independent effects, or centre x.",
        r"correlation is \+-1 for ",
    ),
    Entry(
        "MLM403",
        "a singular covariance of random effects",
        _SINGULAR,
        "The covariance matrix of the random effects of a term has a rank below its size.",
        "Leave out effects, or use a structure with fewer parameters: (x || g), cs(...), fa(...).",
        r"covariance matrix is singular for ",
    ),
    Entry(
        "MLM411",
        "a residual variance of 0 in the limit",
        _SINGULAR,
        "Random effects can take up all of the variance of every row, and -2 log-likelihood is "
        "flat along the way there.",
        "Leave out a random term, or use one with fewer parameters.",
        r"the residual variance goes to 0: ",
    ),
    Entry(
        "MLM412",
        "a residual variance of 0 at a visit",
        _SINGULAR,
        "One visit (of one arm) is fitted exactly.",
        "Check the rows of that visit for constants or copies. " + _SIMPLER,
        r"the residual variance of .* is 0 \(",
    ),
    Entry(
        "MLM413",
        "a singular residual covariance",
        _SINGULAR,
        "Some combination of the visits has no residual variance.",
        _SIMPLER + " Check for visits that copy others.",
        r"the residual covariance.* is singular$",
    ),
    Entry(
        "MLM414",
        "a likelihood without a maximum",
        "ConvergenceWarning",
        "The likelihood grows without bound as the residual covariance becomes singular, because "
        "too few subjects have all of the visits. There are no estimates to report.",
        _SIMPLER,
        r"the likelihood of .* has no maximum: ",
    ),
    Entry(
        "MLM415",
        "a local maximum only",
        _SINGULAR,
        "The estimates are those of a local maximum; elsewhere the likelihood grows without bound.",
        _SIMPLER,
        r"a local maximum: ",
    ),
    Entry(
        "MLM416",
        "a residual scale without a bound",
        "ConvergenceWarning",
        "Rows of one level of residual_scale= are fitted exactly, and the likelihood grows without "
        "bound as its standard deviation goes to 0.",
        "Leave out the scale, or the fixed effects that fit these rows exactly.",
        r"the likelihood has no maximum: ",
    ),
    Entry(
        "MLM417",
        "a parameter at an end of its range",
        _SINGULAR,
        "A parameter of the residual covariance is estimated at an end of its range, such as a "
        "correlation of 0 by a structure that allows none below.",
        "Report it as such: Wald intervals do not apply to it. A structure without it gives the "
        "same likelihood.",
        r".* an end of its range$",
    ),
    Entry(
        "MLM418",
        "no estimate without bounds",
        "ConvergenceWarning",
        "With bounded=False -2 log-likelihood falls up to where V, the covariance matrix of the "
        "rows, is singular, and on to where it is none: negative variances leave nothing of some "
        "combination of rows.",
        "Fit with bounds (bounded=True), or leave out some of the random effects.",
        r"V = Z G Z' \+ R is nearly singular",
    ),
    Entry(
        "MLM419",
        "a singular V under REML",
        _SINGULAR,
        "V = Z G Z' + R leaves some combination of a subject's rows no variance, and restricted "
        "likelihood takes a combination of the fixed effects as known by it. Their standard errors "
        "are too small, and covariance parameters have none.",
        _SIMPLER + " Check for visits that few subjects have.",
        r"V itself is singular",
    ),
    Entry(
        "MLM420",
        "an inverse of a singular residual covariance",
        _SINGULAR,
        "The residual covariance is singular, and the groups of the random effects beside it are "
        "too large to evaluate V, which needs no inverse of it. Estimates and standard errors of "
        "fixed effects are right; degrees of freedom may be some per cent off.",
        _SIMPLER,
        r"R is inverted though it is singular",
    ),
    Entry(
        "MLM421",
        "a flat likelihood",
        _SINGULAR,
        "Parameters of the terms named can be exchanged for each other without a change of the "
        "likelihood.",
        "Leave out one of the terms.",
        r".*: the likelihood is flat, parameters cannot be told apart$",
    ),
    Entry(
        "MLM422",
        "random effects that the residual covariance holds",
        _SINGULAR,
        "The residual structure expresses the covariance of the random effects already; these are "
        "held at 0.",
        "Leave out one of the two.",
        r".* cannot be told apart from .*, which holds its covariance already",
    ),
    Entry(
        "MLM423",
        "visits that no subject has together",
        _SINGULAR,
        "A structure with a covariance for each pair of visits was given pairs that never occur in "
        "one subject.",
        "Use a structure whose covariances depend on fewer parameters (toeph, ar1h, cs, ...).",
        r"visits .* are never seen in one subject: ",
    ),
    Entry(
        "MLM424",
        "covariances that are no parameters",
        _SINGULAR,
        "No row tells the covariances named, as their visits or effects never meet; they do not "
        "count as parameters and are NaN.",
        "Nothing, if only the fixed effects matter, which do not depend on them. A structure with "
        "fewer parameters says what they are.",
        r"no data tell ",
    ),
    Entry(
        "MLM425",
        "variances that fixed effects take up",
        _SINGULAR,
        "The restricted likelihood does not depend on the parameters named, since the fixed part "
        "holds a coefficient for each level. They are held at 0.",
        "Leave out the random term, or the fixed effects of the same levels.",
        r"the restricted likelihood does not depend on ",
    ),
    Entry(
        "MLM426",
        "a parameter that the data do not determine",
        _SINGULAR,
        "The likelihood is the same for all values of the parameter; it has no standard error.",
        "Leave out its term, or hold it at a value (hold=).",
        r"the data do not determine ",
    ),
    Entry(
        "MLM427",
        "parameters that cannot be told apart",
        _SINGULAR,
        "The data determine combinations of the parameters named only: the sums and differences "
        "that are given with their standard errors.",
        "Leave out one of the terms, or report the combinations.",
        r"(?!.*: the likelihood is flat).* cannot be told apart($|: the data determine )",
    ),
    Entry(
        "MLM428",
        "residuals held independent",
        _SINGULAR,
        "Of the residual covariance the data tell one variance alone; the inference is that of "
        "least squares.",
        "Leave out residual=.",
        r"residuals are held independent, ",
    ),
    Entry(
        "MLM429",
        "standard errors that are a choice",
        _SINGULAR,
        "Fixed effects and their standard errors depend on parameters that the data do not "
        "determine.",
        "Do not report them. " + _SIMPLER,
        r"fixed effects and their standard errors depend on what is not determined$",
    ),
    Entry(
        "MLM430",
        "coefficients without a standard error",
        _SINGULAR,
        "The standard errors of the coefficients named depend on what the data do not determine, "
        "and are not given; those of the others are valid.",
        "Report the others, or use a structure with fewer parameters.",
        r"no standard error is given for ",
    ),
    Entry(
        "MLM431",
        "a range in a corner of the likelihood",
        _SINGULAR,
        "Correlations of sp_lin and sp_linl end at a distance, and the likelihood has a corner "
        "where that is the distance of two rows. Its maximum lies in one: it falls on both sides, "
        "and has no second derivative by the range, which is held there.",
        "Report the range without a standard error, or use sp_sph, which is smooth and ends at a "
        "distance too.",
        r".* in a corner of -2 log-likelihood, where ",
    ),
)
