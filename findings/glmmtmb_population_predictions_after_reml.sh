#!/usr/bin/env bash
# Population predictions of glmmTMB after REML are those of least squares, not of the fixed effects
#
# R 4.2.2, glmmTMB 1.1.5, lme4 1.1-31 (Debian 12: r-cran-glmmtmb, r-cran-lme4); glmmTMB's issues 983 and
# 1143, open, and 1.1.15 has the same code
#
# One expects: `predict(fit, re.form = NA)` sets the random effects to zero, says the documentation, and
#   is X times `fixef(fit)`, as after lmer and after glmmTMB by maximum likelihood.
# What happens: after `REML = TRUE` the fixed effects are found anew with the random effects held at 0.
#   The slope of the predictions is 0.04, that of `lm`, where `fixef` has 0.40; their standard errors
#   are 0.11 instead of 0.50, which is X vcov(fit) X'. Predictions for a new subject
#   (`allow.new.levels = TRUE`) are right. No message.
# Why it matters: this is the curve that is drawn over the data and reported with its band; with slopes
#   within and between subjects that differ it can have the other sign. ggeffects draws these too.
#
# Output seen:
#   lmer by REML:    slope of fixef 0.399, of the predictions 0.399
#   glmmTMB by ML:   slope of fixef 0.398, of the predictions 0.398, se 0.482, of X vcov X' 0.482
#   glmmTMB by REML: slope of fixef 0.399, of the predictions 0.041, se 0.111, of X vcov X' 0.497
#   lm:              slope 0.041
#   a new subject:   slope of the predictions 0.399
set -euo pipefail
command -v Rscript > /dev/null || { echo "needs R with glmmTMB and lme4" >&2; exit 2; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat > "$folder/population.R" <<'R'
suppressMessages({
  library(lme4)
  library(glmmTMB)
})
stopifnot(packageVersion("glmmTMB") == "1.1.5")
set.seed(7)
data <- expand.grid(visit = 1:4, id = factor(1:18))
data$x <- rnorm(72, 10, 2)
data$y <- 2 * rnorm(18)[data$id] + rnorm(72) + 0.3 * data$x
new <- transform(data[1:2, ], x = c(10, 11))
X <- cbind(1, new$x)
off <- sapply(c("lmer by REML", "glmmTMB by ML", "glmmTMB by REML"), function(name) {
  reml <- endsWith(name, "REML")
  tmb <- startsWith(name, "glmmTMB")
  fit <- if (tmb) glmmTMB(y ~ x + (1 | id), data, REML = reml) else lmer(y ~ x + (1 | id), data, REML = reml)
  beta <- if (tmb) fixef(fit)$cond else fixef(fit)
  predicted <- predict(fit, new, re.form = NA)
  errors <- ""
  if (tmb) {
    se <- predict(fit, new, re.form = NA, se.fit = TRUE)$se.fit[1]
    errors <- sprintf(", se %.3f, of X vcov X' %.3f", se, sqrt(X[1, ] %*% vcov(fit)$cond %*% X[1, ]))
  }
  cat(sprintf("%-16s slope of fixef %.3f, of the predictions %.3f%s\n", paste0(name, ":"), beta[2],
              diff(predicted), errors))
  max(abs(predicted - X %*% beta))
})
cat(sprintf("%-16s slope %.3f\n", "lm:", coef(lm(y ~ x, data))[2]))
fit <- glmmTMB(y ~ x + (1 | id), data, REML = TRUE)
as_new <- predict(fit, transform(new, id = "new"), allow.new.levels = TRUE)
cat(sprintf("%-16s slope of the predictions %.3f\n", "a new subject:", diff(as_new)))
right <- max(abs(as_new - X %*% fixef(fit)$cond)) < 1e-6
quit(status = if (all(off[1:2] < 1e-4) && off[3] > 0.1 && right) 0 else 1)
R
Rscript "$folder/population.R"
