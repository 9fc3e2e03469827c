#!/usr/bin/env bash
# lmerTest's type II test of a factor changes when a covariate is measured from another origin
#
# R 4.2.2, lme4 1.1-31, lmerTest 3.1-3 (Debian 12: r-cran-lme4, r-cran-lmertest)
#
# One expects: a type II test of `f` in `y ~ z * f + (1 | g)` is of f beside z, without z:f, so that
#   adding a constant to z changes nothing: car's Anova(type = 2) and the type I test keep their F.
# What happens: lmerTest follows SAS's notion of containment, where a factor is not contained in its
#   product with a covariate. Type II of f is then type III of f, the comparison of levels where
#   z is 0: F = 0.59 becomes 9.17 (p = 0.55 becomes 0.0002) when 5 is added to z.
# Why it matters: type II is often chosen to be safe from just this. Who writes `year` as 2024
#   instead of 0 gets another test of the treatment from the same model.
#
# Output seen:
#   type II, z from 0: F of f 0.5947, p 0.5537
#   type II, z from 5: F of f 9.1655, p 0.0002
#   type I of f, z from 0: F 0.4813; z from 5: F 0.4813
#   difference of log-likelihoods: below 1e-6
set -euo pipefail
command -v Rscript > /dev/null || { echo "needs R with lme4 and lmerTest" >&2; exit 2; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat > "$folder/origin.R" <<'R'
suppressMessages(library(lmerTest))
stopifnot(packageVersion("lmerTest") == "3.1.3")
i <- 0:119
data <- data.frame(g = factor(i %/% 6), f = factor(c("a", "b", "c")[(i * 7 + i %/% 4) %% 3 + 1]))
data$x <- 2 * sin(1.7 * i + 0.3)
data$y <- 1 + 0.5 * data$x + sin(2.3 * (i %/% 6)) + 0.4 * (data$f == "b") * data$x +
  1.2 * sin(11.1 * i^1.3)
test <- function(origin) {
  data$z <- data$x + origin
  fit <- lmer(y ~ z * f + (1 | g), data)
  two <- anova(fit, type = 2)["f", ]
  cat(sprintf("type II, z from %g: F of f %.4f, p %.4f\n", origin, two$`F value`, two$`Pr(>F)`))
  c(two = two$`F value`, one = anova(fit, type = 1)["f", "F value"], llf = logLik(fit))
}
here <- test(0)
there <- test(5)
cat(sprintf("type I of f, z from 0: F %.4f; z from 5: F %.4f\n", here["one"], there["one"]))
gap <- abs(here["llf"] - there["llf"])
cat("difference of log-likelihoods:", if (gap < 1e-6) "below 1e-6" else gap, "\n")
moved <- abs(here["two"] / there["two"] - 1) > 0.1
same <- abs(here["one"] / there["one"] - 1) < 1e-4
quit(status = if (moved && same && gap < 1e-6) 0 else 1)
R
Rscript "$folder/origin.R"
