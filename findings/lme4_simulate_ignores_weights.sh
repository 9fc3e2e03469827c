#!/usr/bin/env bash
# simulate and the parametric bootstrap of lme4 leave the weights of lmer out
#
# R 4.2.2, lme4 1.1-31 (Debian 12: r-cran-lme4)
#
# One expects: after `lmer(..., weights = w)`, whose residual variance is sigma^2 / w, simulated
#   responses have that variance, and a parametric bootstrap gives estimates around those of the fit.
# What happens: every row has the residual variance sigma^2. Rows of weight 10 vary twice as much as
#   the model says; the bootstrap's estimates of sigma lie around 2.0 where the fit has 0.94, and
#   no interval of `confint(method = "boot")` holds the estimate.
# Why it matters: `bootMer`, `confint(method = "boot")` and pbkrtest's `PBmodcomp` are built on it:
#   intervals and tests of a weighted model are of another one. Without a message.
#
# Output seen:
#   variance of simulated rows of weight 1: 1.69, the model's 1.67
#   variance of simulated rows of weight 10: 1.67, the model's 0.88
#   sigma 0.940, mean of 100 bootstrap estimates 1.991
set -euo pipefail
command -v Rscript > /dev/null || { echo "needs R with lme4" >&2; exit 2; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat > "$folder/simulate.R" <<'R'
suppressMessages(library(lme4))
stopifnot(packageVersion("lme4") == "1.1.31")
set.seed(1)
data <- data.frame(id = factor(rep(1:12, each = 5)), w = rep(c(1, 10), length.out = 60))
data$trt <- factor(ifelse(as.integer(data$id) %% 2 == 0, "a", "b"))
data$y <- rnorm(12)[data$id] + rnorm(60) / sqrt(data$w)
fit <- lmer(y ~ trt + (1 | id), data, weights = w)
by_row <- apply(as.matrix(simulate(fit, 4000, seed = 1)), 1, var)
drawn <- tapply(by_row, data$w, mean)
model <- as.data.frame(VarCorr(fit))$vcov[1] + sigma(fit)^2 / c(1, 10)
cat(sprintf("variance of simulated rows of weight %d: %.2f, the model's %.2f\n", c(1L, 10L), drawn,
            model), sep = "")
boot <- mean(bootMer(fit, sigma, nsim = 100, seed = 1)$t)
cat(sprintf("sigma %.3f, mean of 100 bootstrap estimates %.3f\n", sigma(fit), boot))
quit(status = if (drawn[2] > 1.5 * model[2] && boot > 1.5 * sigma(fit)) 0 else 1)
R
Rscript "$folder/simulate.R"
