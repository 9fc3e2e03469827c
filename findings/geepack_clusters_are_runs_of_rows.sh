#!/usr/bin/env bash
# geeglm takes the rows of a subject for one cluster only where they stand together
#
# R 4.2.2, geepack 1.3.9, lme4 1.1-31 (Debian 12: r-cran-geepack, r-cran-lme4)
#
# One expects: `geeglm(y ~ arm, id = id)` groups rows by the values of id, as lmer and lme do: the order
#   of rows is no part of a model.
# What happens: a cluster ends where id changes from one row to the next. Data sorted by visit, as wide
#   tables come after reshaping, have a cluster a row: the correlation is not seen, and the robust
#   standard errors are those of independent rows. "Data are assumed to be sorted", says the help page;
#   no message says that they are not, and the printed number of clusters is 200 for 40 subjects.
# Why it matters: an effect between subjects gets p = 0.022 instead of 0.14, from the same rows.
#
# Output seen:
#   geeglm, sorted by subject: arm 0.414, standard error 0.284, p 0.145, clusters 40
#   geeglm, sorted by visit:   arm 0.414, standard error 0.182, p 0.022, clusters 200
#   lmer, sorted by subject:   arm 0.414, standard error 0.292
#   lmer, sorted by visit:     arm 0.414, standard error 0.292
set -euo pipefail
command -v Rscript > /dev/null || { echo "needs R with geepack and lme4" >&2; exit 2; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat > "$folder/runs.R" <<'R'
suppressMessages({
  library(geepack)
  library(lme4)
})
stopifnot(packageVersion("geepack") == "1.3.9")
set.seed(4)
data <- expand.grid(visit = 1:5, id = 1:40)
data$arm <- data$id %% 2
data$y <- rnorm(40)[data$id] + rnorm(200)
orders <- list("by subject" = order(data$id, data$visit), "by visit" = order(data$visit, data$id))
gee <- sapply(names(orders), function(name) {
  fit <- geeglm(y ~ arm, data = data[orders[[name]], ], id = id, corstr = "exchangeable")
  at <- coef(summary(fit))["arm", ]
  clusters <- length(summary(fit)$clusz)
  cat(sprintf("geeglm, sorted %-11s arm %.3f, standard error %.3f, p %.3f, clusters %d\n",
              paste0(name, ":"), at$Estimate, at$Std.err, at[["Pr(>|W|)"]], clusters))
  c(at$Std.err, clusters)
})
mixed <- sapply(names(orders), function(name) {
  at <- coef(summary(lmer(y ~ arm + (1 | id), data[orders[[name]], ])))["arm", ]
  cat(sprintf("lmer, sorted %-13s arm %.3f, standard error %.3f\n", paste0(name, ":"), at[1], at[2]))
  at[[2]]
})
seen <- gee[1, 2] < 0.7 * gee[1, 1] && gee[2, 1] == 40 && gee[2, 2] == 200
quit(status = if (seen && abs(diff(mixed)) < 1e-6) 0 else 1)
R
Rscript "$folder/runs.R"
