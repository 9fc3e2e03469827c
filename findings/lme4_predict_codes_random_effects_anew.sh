#!/usr/bin/env bash
# predict of lmer and glmmTMB codes factors of random effects by the contrasts of the session
#
# R 4.2.2, lme4 1.1-31, glmmTMB 1.1.5, nlme 3.1-162 (Debian 12: r-cran-lme4, r-cran-glmmtmb, r-cran-nlme)
#
# One expects: a fit predicts the rows it was fitted to as it did, whatever `options(contrasts)` is
#   by then: lm, lme and the fixed part of lmer keep the contrasts of the fit.
# What happens: in `(dose | id)` the columns of dose are made anew by the options of the session. After
#   a fit under contr.sum (which tests of type III ask for) and back under R's defaults, or in
#   another session, predictions are wrong by whole units, without a message, where the levels are
#   0, 1, 2: both codings then name their columns dose1 and dose2. With levels a, b, c it is an
#   error that names other random effects.
# Why it matters: scripts set the options at their top, and fits are kept by saveRDS; new rows are
#   then predicted by a coding the variances do not belong to.
#
# Output seen:
#   lm       largest difference of predictions of the same rows 0.000
#   lme      largest difference of predictions of the same rows 0.000
#   lmer     largest difference of predictions of the same rows 4.437
#   glmmTMB  largest difference of predictions of the same rows 1.704
set -euo pipefail
command -v Rscript > /dev/null || { echo "needs R with lme4, nlme and glmmTMB" >&2; exit 2; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat > "$folder/anew.R" <<'R'
suppressMessages({
  library(nlme)
  library(lme4)
  library(glmmTMB)
})
stopifnot(packageVersion("glmmTMB") == "1.1.5", packageVersion("lme4") == "1.1.31")
set.seed(1)
data <- expand.grid(row = 1:4, dose = factor(0:2), id = factor(1:12))
data$y <- rnorm(12, 0, 2)[data$id] + rnorm(36, 0, 2)[interaction(data$dose, data$id)] + rnorm(144)
options(contrasts = c("contr.sum", "contr.poly"))
fits <- list(lm = lm(y ~ dose * id, data), lme = lme(y ~ dose, data, ~ dose | id),
             lmer = lmer(y ~ dose + (dose | id), data),
             glmmTMB = glmmTMB(y ~ dose + (dose | id), data, REML = TRUE))
before <- lapply(fits, predict, newdata = data)
options(contrasts = c("contr.treatment", "contr.poly"))
moved <- sapply(names(fits), function(name) {
  off <- max(abs(predict(fits[[name]], newdata = data) - before[[name]]))
  cat(sprintf("%-8s largest difference of predictions of the same rows %.3f\n", name, off))
  off
})
quit(status = if (max(moved[1:2]) < 1e-8 && min(moved[3:4]) > 1) 0 else 1)
R
Rscript "$folder/anew.R"
