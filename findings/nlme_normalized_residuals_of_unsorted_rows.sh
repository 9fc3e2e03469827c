#!/usr/bin/env bash
# Normalized residuals of nlme are wrong where the rows of a subject do not stand together
#
# R 4.2.2, nlme 3.1-162 (Debian 12: r-cran-nlme); the code of 3.1-169 is the same
#
# One expects: gls and lme take rows in any order: the estimates, the log-likelihood and the other
#   residuals do not depend on it, so those with type = "normalized" do not either.
# What happens: the inverse roots of the correlation matrices are applied to rows in the order of the
#   data as if they were sorted by subject. From data sorted by visit each block holds one visit
#   of several subjects, and what comes is not uncorrelated. Sorted by subject they are right.
# Why it matters: normalized residuals are what `ACF(resType = "normalized")`, qqnorm and plots of a
#   fitted correlation look at; here a right model looks wrong, with a correlation of 0.9 left at lag 1.
#
# Output seen:
#   rows by subject: log-likelihood -161.6957, largest error 0.000, left at lag 1 -0.011
#   rows by visit:   log-likelihood -161.6957, largest error 4.952, left at lag 1 0.895
#   lme, by visit and by subject: largest difference 2.485
set -euo pipefail
command -v Rscript > /dev/null || { echo "needs R with nlme" >&2; exit 2; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat > "$folder/unsorted.R" <<'R'
library(nlme)
stopifnot(packageVersion("nlme") == "3.1.162")
set.seed(4)
by_subject <- expand.grid(visit = 1:4, id = 1:40)
half <- t(chol(0.8^abs(outer(1:4, 1:4, "-"))))
by_subject$y <- as.vector(half %*% matrix(rnorm(160), 4))
by_visit <- by_subject[order(by_subject$visit, by_subject$id), ]
of <- function(data) gls(y ~ factor(visit), data, correlation = corAR1(form = ~ visit | id))
# e_1, then (e_t - phi e_(t-1)) / sqrt(1 - phi^2): what AR(1) residuals are normalized to.
exact <- function(data, fit) {
  phi <- coef(fit$modelStruct$corStruct, unconstrained = FALSE)
  ave(c(resid(fit, type = "pearson")), data$id,
      FUN = function(e) c(e[1], (e[-1] - phi * e[-4]) / sqrt(1 - phi^2)))
}
off <- sapply(list("by subject" = by_subject, "by visit" = by_visit), function(data) {
  fit <- of(data)
  off <- max(abs(c(resid(fit, type = "normalized")) - exact(data, fit)))
  first <- if (identical(data, by_visit)) "by visit:  " else "by subject:"
  cat(sprintf("rows %s log-likelihood %.4f, largest error %.3f, left at lag 1 %.3f\n", first,
              logLik(fit), off, ACF(fit, resType = "normalized")$ACF[2]))
  off
})
of_lme <- function(data) {
  resid(lme(y ~ 1, data, ~ 1 | id, corAR1(form = ~ visit | id)), type = "normalized")
}
place <- order(by_subject$visit, by_subject$id)
lme_off <- max(abs(c(of_lme(by_subject))[place] - c(of_lme(by_visit))))
cat(sprintf("lme, by visit and by subject: largest difference %.3f\n", lme_off))
quit(status = if (off[1] < 1e-6 && min(off[2], lme_off) > 1) 0 else 1)
R
Rscript "$folder/unsorted.R"
