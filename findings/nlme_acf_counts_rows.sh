#!/usr/bin/env bash
# ACF of nlme counts rows, whatever time covariate it is given
#
# R 4.2.2, nlme 3.1-162 (Debian 12: r-cran-nlme)
#
# One expects: `ACF(fit, form = ~ visit | id)` is by differences of visits: the documentation has a
#   time covariate there, which must be integer valued. Of visits 1, 4 and 6 it has lags 2, 3 and 5.
# What happens: rows are put into the order of the covariate, and lags are differences of rows. Lag 1
#   mixes differences of 3 and of 2 visits, lag 2 is a difference of 5; the table is that of
#   `form = ~ 1 | id`. corAR1 with the same formula uses the visits.
# Why it matters: this is the picture by which correlation structures are chosen for unequally spaced
#   visits, and with visits missed at random every lag is such a mixture.
#
# Output seen:
#   ~ visit | id: lags 0 1 2, correlations 1.000 0.572 0.280
#   ~ 1 | id:     lags 0 1 2, correlations 1.000 0.572 0.280
#   by visits:    lags 2 3 5, correlations 0.672 0.471 0.280
set -euo pipefail
command -v Rscript > /dev/null || { echo "needs R with nlme" >&2; exit 2; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat > "$folder/acf.R" <<'R'
library(nlme)
stopifnot(packageVersion("nlme") == "3.1.162")
set.seed(1)
data <- expand.grid(visit = 1:6, id = factor(1:300))
root <- chol(0.8^abs(outer(1:6, 1:6, "-")))
data$y <- as.vector(t(matrix(rnorm(1800), 300) %*% root))
data <- data[data$visit %in% c(1, 4, 6), ]
fit <- gls(y ~ 1, data)
shown <- function(label, lags, values) {
  cat(sprintf("%-13s lags %s, correlations %s\n", label, paste(lags, collapse = " "),
              paste(sprintf("%.3f", values), collapse = " ")))
}
by_visit <- ACF(fit, form = ~ visit | id)
by_row <- ACF(fit, form = ~ 1 | id)
shown("~ visit | id:", by_visit$lag, by_visit$ACF)
shown("~ 1 | id:", by_row$lag, by_row$ACF)
rest <- matrix(resid(fit, type = "pearson"), nrow = 3)
between <- function(i, j) mean(rest[i, ] * rest[j, ]) / mean(rest^2)
shown("by visits:", c(2, 3, 5), c(between(2, 3), between(1, 2), between(1, 3)))
quit(status = if (identical(by_visit$ACF, by_row$ACF) && !any(by_visit$lag > 2)) 0 else 1)
R
Rscript "$folder/acf.R"
