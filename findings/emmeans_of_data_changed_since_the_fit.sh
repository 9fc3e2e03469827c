#!/usr/bin/env bash
# emmeans of lme, gls and glmmTMB is at the covariates that the data frame has by now
#
# R 4.2.2, emmeans 1.8.4-1, nlme 3.1-162, glmmTMB 1.1.5, lme4 1.1-31 (Debian 12: r-cran-emmeans, r-cran-nlme,
# r-cran-glmmtmb, r-cran-lme4)
#
# One expects: means of a fit are by the rows that were fitted, as those of lm and lmer are, so what becomes
#   of the data frame afterwards does not matter.
# What happens: of lme, gls and glmmTMB the frame's name is looked up again and the mean of the covariate
#   taken from what it holds then. No message, and `summary(fit)` is the same as before. After lmer it is so
#   as soon as the formula has `log(age)`.
# Why it matters: covariates are centred between two fits in most scripts. The arms' means of the first fit
#   are then at age 0 instead of 50: 1.0 for 5.0, with three times the standard error.
#
# Output seen:
#   lm:      mean of arm a 4.961 (SE 0.223), with age centred after the fit 4.961 (SE 0.223)
#   lmer:    mean of arm a 4.971 (SE 0.328), with age centred after the fit 4.971 (SE 0.328)
#   lme:     mean of arm a 4.971 (SE 0.328), with age centred after the fit 0.981 (SE 1.048)
#   gls:     mean of arm a 4.961 (SE 0.223), with age centred after the fit 1.820 (SE 1.149)
#   glmmTMB: mean of arm a 4.970 (SE 0.310), with age centred after the fit 1.025 (SE 1.046)
set -euo pipefail
command -v Rscript > /dev/null || { echo "needs R with emmeans, nlme, lme4 and glmmTMB" >&2; exit 2; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat > "$folder/means.R" <<'R'
suppressMessages({
  library(nlme)
  library(lme4)
  library(glmmTMB)
  library(emmeans)
})
stopifnot(packageVersion("emmeans") == "1.8.4.1", packageVersion("nlme") == "3.1.162")
set.seed(3)
data <- expand.grid(visit = 1:4, id = factor(1:20))
data$arm <- factor(c("a", "b")[as.integer(data$id) %% 2 + 1])
data$age <- rnorm(80, 50, 8)
data$y <- 0.1 * data$age + rnorm(20)[data$id] + rnorm(80)
fits <- list(lm = lm(y ~ arm + age, data), lmer = lmer(y ~ arm + age + (1 | id), data),
             lme = lme(y ~ arm + age, data, ~ 1 | id), gls = gls(y ~ arm + age, data),
             glmmTMB = glmmTMB(y ~ arm + age + (1 | id), data))
of <- function(fit) unlist(as.data.frame(emmeans(fit, "arm"))[1, c("emmean", "SE")])
before <- sapply(fits, of)
data$age <- data$age - 50
after <- sapply(fits, of)
for (name in names(fits)) {
  cat(sprintf("%-8s mean of arm a %.3f (SE %.3f), with age centred after the fit %.3f (SE %.3f)\n",
              paste0(name, ":"), before[1, name], before[2, name], after[1, name], after[2, name]))
}
moved <- abs(before[1, ] - after[1, ])
seen <- all(moved[c("lm", "lmer")] < 1e-9) && all(moved[c("lme", "gls", "glmmTMB")] > 3)
quit(status = if (seen) 0 else 1)
R
Rscript "$folder/means.R"
