#!/usr/bin/env bash
# predict of nlme's lme scales the random effects' covariates anew by the new data
#
# R 4.2.2, nlme 3.1-162 (Debian 12: r-cran-nlme)
#
# One expects: `scale(age)` and `poly(age, 2)` in a formula keep the centre, the spread and the basis
#   of the data that were fitted, so that predictions of the same rows are the same whatever rows
#   stand beside them. lme4 keeps them, and nlme does for the fixed effects.
# What happens: in `random = ~ scale(age) | Subject` they are made from newdata. The prediction at age
#   14 depends on the other rows of newdata.
# Why it matters: centring time in both parts is the usual advice for growth curves; each subject's
#   predicted curve is then wrong (by more than a millimetre here) unless newdata has the ages of the fit.
#
# Output seen:
#   lme, scale in fixed alone:       0.000
#   lme, scale in fixed and random:  1.334
#   lme, poly in random:             1.722
#   lmer, scale in fixed and random: 0.000
set -euo pipefail
command -v Rscript > /dev/null || { echo "needs R with nlme and lme4" >&2; exit 2; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat > "$folder/bases.R" <<'R'
suppressMessages({library(nlme); library(lme4)})
stopifnot(packageVersion("nlme") == "3.1.162")
data <- as.data.frame(nlme::Orthodont)
data$Subject <- factor(as.character(data$Subject))
later <- data$age >= 12
gap <- function(label, fit) {
  found <- max(abs(predict(fit, data[later, ]) - predict(fit)[later]))
  cat(sprintf("%-32s %.3f\n", label, found))
  found
}
alone <- gap("lme, scale in fixed alone:",
             lme(distance ~ scale(age), data, random = ~ 1 | Subject))
both <- gap("lme, scale in fixed and random:",
            lme(distance ~ scale(age), data, random = ~ scale(age) | Subject))
basis <- gap("lme, poly in random:",
             lme(distance ~ age, data, random = ~ poly(age, 1) | Subject))
other <- gap("lmer, scale in fixed and random:",
             lmer(distance ~ scale(age) + (scale(age) | Subject), data))
quit(status = if (alone < 1e-8 && other < 1e-8 && both > 1 && basis > 1) 0 else 1)
R
Rscript "$folder/bases.R"
