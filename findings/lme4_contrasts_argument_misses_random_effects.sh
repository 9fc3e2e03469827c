#!/usr/bin/env bash
# contrasts of lmer and glmmTMB are of the fixed effects alone, silently
#
# R 4.2.2, lme4 1.1-31, glmmTMB 1.1.5, nlme 3.1-162 (Debian 12: r-cran-lme4, r-cran-glmmtmb,
# r-cran-nlme); remarked in lme4's issue 414, not on the help page; lme4 2.1-0 has the same code
#
# One expects: `lmer(y ~ f + (f | g), contrasts = list(f = "contr.sum"))` codes f by sums to zero
#   wherever it stands, as `lme(contrasts =)` does: the random intercept is then of the mean of levels.
# What happens: the columns of the random effects are coded by the session's contrasts. The fixed
#   intercept is of the mean, the random one of the first level: a standard deviation of 2.99 where
#   that of the mean is 2.27, at the same likelihood. Both are called (Intercept), both slopes f1.
# Why it matters: variances of intercepts and their correlations with slopes are reported, ICCs made
#   of them; in one table with fixed effects of another coding.
#   `contrasts(data$f) <- "contr.sum"` before the fit reaches both parts.
#
# Output seen:
#   lmer, contrasts =:       (Intercept) 2.985 f1 2.635 f2 2.224
#   glmmTMB, contrasts =:    (Intercept) 2.985 f1 2.635 f2 2.225
#   lme, contrasts =:        (Intercept) 2.267 f1 1.508 f2 1.315
#   lmer, contrasts(data$f): (Intercept) 2.267 f1 1.508 f2 1.315
#   log-likelihoods and fixed effects: equal
set -euo pipefail
command -v Rscript > /dev/null || { echo "needs R with lme4, nlme and glmmTMB" >&2; exit 2; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat > "$folder/contrasts.R" <<'R'
suppressMessages({
  library(nlme)
  library(lme4)
  library(glmmTMB)
})
stopifnot(packageVersion("lme4") == "1.1.31", packageVersion("nlme") == "3.1.162")
set.seed(1)
data <- expand.grid(row = 1:4, f = factor(0:2), g = factor(1:30))
data$y <- rnorm(30, 0, 2)[data$g] + rnorm(90, 0, 2)[interaction(data$f, data$g)] + rnorm(360)
sums <- list(f = "contr.sum")
argument <- lmer(y ~ f + (f | g), data, contrasts = sums)
by_tmb <- glmmTMB(y ~ f + (f | g), data, REML = TRUE, contrasts = sums)
by_lme <- lme(y ~ f, random = ~ f | g, data, contrasts = sums)
contrasts(data$f) <- "contr.sum"
of_factor <- lmer(y ~ f + (f | g), data)
sds <- rbind(attr(VarCorr(argument)$g, "stddev"), sqrt(diag(getVarCov(by_lme))),
             attr(VarCorr(of_factor)$g, "stddev"), attr(VarCorr(by_tmb)$cond$g, "stddev"))
names <- c("lmer, contrasts =:      ", "lme, contrasts =:       ", "lmer, contrasts(data$f):",
           "glmmTMB, contrasts =:   ")
for (i in c(1, 4, 2, 3)) {
  cat(names[i], sprintf("%s %.3f", c("(Intercept)", "f1", "f2"), sds[i, ]), "\n")
}
fits <- c(logLik(argument), logLik(by_lme), logLik(of_factor))
fixed <- max(abs(fixef(argument) - fixef(by_lme)))
same <- fixed < 1e-4 && diff(range(fits)) < 1e-3
cat("log-likelihoods and fixed effects:", if (same) "equal" else "differ", "\n")
changed <- min(sds[c(1, 4), 1] / sds[2, 1]) > 1.1 && abs(sds[3, 1] / sds[2, 1] - 1) < 1e-3
quit(status = if (changed && same) 0 else 1)
R
Rscript "$folder/contrasts.R"
