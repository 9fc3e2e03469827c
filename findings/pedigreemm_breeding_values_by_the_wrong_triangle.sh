#!/usr/bin/env bash
# ranef() of pedigreemm multiplies by a root of the relationships that is not transposed
#
# R 4.2.2, pedigreemm 0.3-5 (CRAN), lme4 1.1-31 (Debian 12: r-cran-lme4)
#
# One expects: ranef(fit) of pedigreemm(y ~ x + (1 | id), pedigree = ...) gives the breeding values,
#   best linear predictors: sigma_a^2 A Z'V^-1 (y - X beta) at the estimates.
# What happens: the model is fitted with R Z', R'R = A upper triangular, so that breeding values are
#   R'b; ranef() returns R b. Estimates, likelihood and predict() are those of the animal model; the
#   breeding values are others, with a correlation of 0.6 to the right ones here. No message.
# Why it matters: ranking animals or lines by breeding value is what the package is used for.
#
# Output seen:
#   pedigreemm's fit,    largest difference to the BLUP of y:          0.0000
#   pedigreemm's ranef,  largest difference to the breeding values:    3.7262, correlation 0.628
#   R'b,                 largest difference to the breeding values:    0.0000
set -euo pipefail
command -v Rscript > /dev/null || { echo "needs R with lme4 and pedigreemm" >&2; exit 2; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat > "$folder/breeding.R" <<'R'
if (!requireNamespace("pedigreemm", quietly = TRUE)) {
  message("needs pedigreemm")
  quit(status = 2)
}
suppressMessages(library(pedigreemm))
stopifnot(packageVersion("pedigreemm") == "0.3.5")
set.seed(1)
n <- 60
sire <- dam <- rep(NA_integer_, n)
for (i in 11:n) {
  sire[i] <- sample(5, 1)
  dam[i] <- sample(6:(i - 1), 1)
}
parents <- pedigree(sire = sire, dam = dam, label = as.character(1:n))
A <- suppressMessages(as.matrix(getA(parents)))
id <- rep(1:n, each = 3)
data <- data.frame(id = factor(id, levels = 1:n), x = rnorm(3 * n))
data$y <- 10 + 1.5 * drop(t(chol(A)) %*% rnorm(n))[id] + data$x + rnorm(3 * n)
fit <- pedigreemm(y ~ x + (1 | id), data, pedigree = list(id = parents))
variances <- as.data.frame(VarCorr(fit))$vcov
X <- cbind(1, data$x)
V <- variances[1] * A[id, id] + diag(variances[2], 3 * n)
residual <- data$y - X %*% fixef(fit)
breeding <- drop(variances[1] * A[, id] %*% solve(V, residual))
white <- ranef(as(fit, "merMod"))$id[, 1]
given <- ranef(fit)$id[, 1]
transposed <- drop(as.matrix(t(fit@relfac$id) %*% white))
of_y <- max(abs(predict(fit) - drop(X %*% fixef(fit)) - breeding[id]))
of_given <- max(abs(given - breeding))
of_transposed <- max(abs(transposed - breeding))
cat(sprintf("pedigreemm's fit,    largest difference to the BLUP of y:          %.4f\n", of_y))
cat(sprintf(
  "pedigreemm's ranef,  largest difference to the breeding values:    %.4f, correlation %.3f\n",
  of_given, cor(given, breeding)
))
cat(sprintf("R'b,                 largest difference to the breeding values:    %.4f\n", of_transposed))
quit(status = if (of_y < 1e-6 && of_transposed < 1e-6 && of_given > 1) 0 else 1)
R
Rscript "$folder/breeding.R"
