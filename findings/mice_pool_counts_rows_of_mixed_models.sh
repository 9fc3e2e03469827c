#!/usr/bin/env bash
# pool of mice tests arms of a trial on the degrees of freedom of its rows
#
# R 4.2.2, mice 3.15.0, lme4 1.1-31, lmerTest 3.1-3, nlme 3.1-162, broom.mixed 0.2.9.4 (Debian 12: r-cran-mice,
# r-cran-lme4, r-cran-lmertest, r-cran-nlme, r-cran-broom.mixed)
#
# One expects: what is pooled over imputations has no more degrees of freedom than one complete data set has:
#   Barnard and Rubin's formula starts from those of the complete-data test, 8 for two arms of 5 subjects.
# What happens: `pool(with(imp, lmer(...)))`, and of lme, takes `df.residual(fit)`, the rows less the
#   coefficients, for those of every coefficient. Fits by lmerTest change nothing. `dfcom =` takes
#   one number for all coefficients. No message.
# Why it matters: with 10 subjects and 20 visits an arm is tested by t on 194 degrees of freedom, not 8, and
#   the pooled p value is half of that of the first imputed data set.
#
# Output seen:
#   lmerTest, first imputation: t 2.117, degrees of freedom   8.0, p 0.0671
#   pool, lmer:                 t 2.130, degrees of freedom 194.0, p 0.0344
#   pool, lme:                  t 2.130, degrees of freedom 196.0, p 0.0344
#   pool, dfcom = 8:            t 2.130, degrees of freedom   6.5, p 0.0734
set -euo pipefail
command -v Rscript > /dev/null || { echo "needs R with mice, lmerTest and nlme" >&2; exit 2; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat > "$folder/pool.R" <<'R'
suppressMessages({
  library(mice)
  library(nlme)
  library(lmerTest)
  library(broom.mixed)
})
stopifnot(packageVersion("mice") == "3.15.0", packageVersion("lme4") == "1.1.31")
set.seed(3)
data <- expand.grid(visit = 1:20, id = 1:10)
data$arm <- as.numeric(data$id <= 5)
data$y <- rnorm(10)[data$id] + rnorm(200) * 0.5 + 1.8 * data$arm
data$y[c(3, 50)] <- NA
imputed <- suppressWarnings(mice(data, m = 5, printFlag = FALSE, seed = 1))
fits <- with(imputed, lmer(y ~ arm + (1 | id)))
told <- function(name, t_value, df, p) {
  cat(sprintf("%-27s t %.3f, degrees of freedom %5.1f, p %.4f\n", name, t_value, df, p))
  c(t_value, df, p)
}
pooled <- function(name, fits, ...) {
  row <- summary(pool(fits, ...))[2, ]
  told(name, row$statistic, row$df, row$p.value)
}
row <- summary(fits$analyses[[1]])$coefficients["arm", ]
first <- told("lmerTest, first imputation:", row["t value"], row["df"], row["Pr(>|t|)"])
by_lmer <- pooled("pool, lmer:", fits)
by_lme <- pooled("pool, lme:", with(imputed, lme(y ~ arm, random = ~ 1 | id)))
of_subjects <- pooled("pool, dfcom = 8:", fits, dfcom = 8)
seen <- abs(first[2] - 8) < 0.1 && by_lmer[2] > 150 && by_lme[2] > 150 && of_subjects[2] < 8
quit(status = if (seen && by_lmer[3] < 0.75 * first[3]) 0 else 1)
R
Rscript "$folder/pool.R"
