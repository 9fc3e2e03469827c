#!/usr/bin/env bash
# ci_method = "betwithin" of parameters gives the arms of a trial the degrees of freedom of its rows
#
# R 4.2.2, parameters 0.20.2, lme4 1.1-31, lmerTest 3.1-3, nlme 3.1-162 (Debian 12: r-cran-parameters,
# r-cran-lme4, r-cran-lmertest, r-cran-nlme); the code of 0.29.2 is the same
#
# One expects: between-within degrees of freedom of an effect that is constant within subjects are the
#   number of subjects less that of such coefficients, 12 - 3 = 9 for an arm here (as in SAS, nlme and
#   mmrm), and 47 for a covariate that changes within; p value and interval of a row agree.
# What happens: the larger number goes to every effect that has no random slope: 43 for the arm as for
#   the covariate. The help page speaks of a heuristic that is similar to the published one. The
#   interval is not made of them but of a third number, 10 (the method "ml1"): p = 0.042, and an
#   interval that holds 0.
# Why it matters: the method is taken, the page says so, because clusters are few; tests of treatments
#   given to clusters are then no better than with the residual degrees of freedom.
#
# Output seen:
#   arm1 df 43, p 0.0419, interval -0.105 to 3.451 (of 10 df)
#        lme: df 9, p 0.0654; Satterthwaite: df 9.0
#   x    df 43, p 0.0225, interval 0.054 to 0.643 (of 58 df)
#        lme: df 47, p 0.0221; Satterthwaite: df 48.8
set -euo pipefail
command -v Rscript > /dev/null || { echo "needs R with lmerTest, nlme and parameters" >&2; exit 2; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat > "$folder/between.R" <<'R'
suppressMessages({
  library(nlme)
  library(lmerTest)
  library(parameters)
})
stopifnot(packageVersion("parameters") == "0.20.2")
set.seed(12)
data <- expand.grid(row = 1:5, id = factor(1:12))
data$arm <- factor(as.integer(data$id) %% 3)
data$x <- rnorm(60)
data$y <- 1.5 * (data$arm == 1) + rnorm(12)[data$id] + 0.3 * data$x + rnorm(60)
fit <- lmer(y ~ arm + x + (1 | id), data)
table <- as.data.frame(model_parameters(fit, ci_method = "betwithin", effects = "fixed"))
rows <- match(c("arm1", "x"), table$Parameter)
by_lme <- summary(lme(y ~ arm + x, random = ~ 1 | id, data = data))$tTable
satterthwaite <- coef(summary(fit))
for (i in rows) {
  row <- table[i, ]
  name <- row$Parameter
  implied <- uniroot(function(df) qt(0.975, df) - (row$CI_high - row$CI_low) / 2 / row$SE, c(2, 1e4))
  cat(sprintf("%-4s df %.0f, p %.4f, interval %.3f to %.3f (of %.0f df)\n", name, row$df_error, row$p,
              row$CI_low, row$CI_high, implied$root))
  cat(sprintf("     lme: df %.0f, p %.4f; Satterthwaite: df %.1f\n", by_lme[name, "DF"],
              by_lme[name, "p-value"], satterthwaite[name, "df"]))
}
arm <- table[rows[1], ]
contradict <- arm$p < 0.05 && arm$CI_low < 0
quit(status = if (contradict && arm$df_error == 43 && by_lme["arm1", "DF"] == 9) 0 else 1)
R
Rscript "$folder/between.R"
