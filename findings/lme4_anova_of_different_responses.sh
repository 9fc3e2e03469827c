#!/usr/bin/env bash
# anova of lmer and glmmTMB tests a model of y against a model of log(y)
#
# R 4.2.2, lme4 1.1-31, glmmTMB 1.1.5, nlme 3.1-162 (Debian 12: r-cran-lme4, r-cran-glmmtmb,
# r-cran-nlme); lme4 2.1-0 has the same checks, of the data and the subset
#
# One expects: what lm and lme do: models of another response are left out with a warning, since
#   likelihoods of y and of log(y) cannot be compared without the Jacobian.
# What happens: the table has a chi-squared statistic and p < 2e-16 for the model of log(y), which has
#   the same columns and one more of noise. Against its own smaller model the noise has p = 0.16.
#   No message.
# Why it matters: whether to take logarithms is asked just here, and AIC and BIC stand in the same table;
#   the answer follows from the units of y.
#
# Output seen:
#   lmer, y against log(y):       chi-squared 504.17, p 1.2e-111
#   glmmTMB, y against log(y):    chi-squared 504.17, p 1.2e-111
#   lmer, log(y) against log(y):  chi-squared   2.01, p 0.16
#   lm:  models with response ‘"log(y)"’ removed because response differs from model 1
#   lme: some fitted objects deleted because response differs from the first model
set -euo pipefail
command -v Rscript > /dev/null || { echo "needs R with lme4, nlme and glmmTMB" >&2; exit 2; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat > "$folder/responses.R" <<'R'
suppressMessages({
  library(nlme)
  library(lme4)
  library(glmmTMB)
})
stopifnot(packageVersion("glmmTMB") == "1.1.5", packageVersion("lme4") == "1.1.31")
set.seed(5)
data <- expand.grid(visit = 1:4, id = factor(1:20))
data$x <- runif(80, 1, 5)
data$noise <- rnorm(80)
data$y <- 20 + data$x + rnorm(20)[data$id] + rnorm(80)
last <- function(label, table) {
  cat(sprintf("%-29s chi-squared %6.2f, p %.2g\n", label, table$Chisq[2], table[2, ncol(table)]))
  table$Chisq[2]
}
quiet <- function(a, b) suppressMessages(anova(a, b))
lmers <- list(lmer(y ~ x + (1 | id), data), lmer(log(y) ~ x + noise + (1 | id), data),
              lmer(log(y) ~ x + (1 | id), data))
tmbs <- list(glmmTMB(y ~ x + (1 | id), data), glmmTMB(log(y) ~ x + noise + (1 | id), data))
found <- c(last("lmer, y against log(y):", quiet(lmers[[1]], lmers[[2]])),
           last("glmmTMB, y against log(y):", quiet(tmbs[[1]], tmbs[[2]])))
own <- last("lmer, log(y) against log(y):", quiet(lmers[[3]], lmers[[2]]))
said <- function(call) tryCatch(call, warning = conditionMessage, error = conditionMessage)
cat("lm: ", said(anova(lm(y ~ x, data), lm(log(y) ~ x + noise, data))), "\n")
cat("lme:", said(anova(lme(y ~ x, data, ~ 1 | id, method = "ML"),
                       lme(log(y) ~ x + noise, data, ~ 1 | id, method = "ML"))), "\n")
quit(status = if (all(found > 100) && own < 4) 0 else 1)
R
Rscript "$folder/responses.R"
