#!/usr/bin/env bash
# plm without index= takes the first two columns of the data for subject and time, whatever they hold
#
# R 4.2.2, plm 2.6-2 (Debian 12: r-cran-plm)
#
# One expects: a model of subjects that were not named to be refused, as `lmer` without a bar is and as `plm`
#   of a table with repeated pairs warns.
# What happens: without `index =` the first two columns are subject and time. Where these happen to name each
#   row once (site and round before the id of the person) there is no message; the printed call does not
#   tell the subject, only numbers n and T do.
# Why it matters: columns of a file come in any order. The effect within sites goes by the name of the effect
#   within persons.
#
# Output seen:
#   plm(y ~ x, data):                    x -0.2157 (n = 5)
#   plm(y ~ x, data, index = "person"):  x -0.2365 (n = 10)
#   deviations from means of persons:    x -0.2365
#   deviations from means of sites:      x -0.2157
set -euo pipefail
command -v Rscript > /dev/null || { echo "needs R with plm" >&2; exit 2; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat > "$folder/index.R" <<'R'
suppressMessages(library(plm))
stopifnot(packageVersion("plm") == "2.6.2")
options(warn = 2)
set.seed(6)
person <- factor(rep(1:10, each = 4))
y <- rnorm(10)[person] * 0.5 + rnorm(40)
x <- rnorm(40)
data <- data.frame(site = factor(rep(1:5, 8)), round = rep(1:8, each = 5), person = person, y = y, x = x)
plain <- plm(y ~ x, data = data, model = "within")
named <- plm(y ~ x, data = data, model = "within", index = "person")
within <- function(by) {
  own <- function(v) v - ave(v, by)
  sum(own(x) * own(y)) / sum(own(x)^2)
}
told <- function(label, value, n = NULL) {
  cat(sprintf("%-36s x %.4f%s\n", label, value, if (is.null(n)) "" else sprintf(" (n = %d)", n)))
}
told("plm(y ~ x, data):", coef(plain), pdim(plain)$nT$n)
told("plm(y ~ x, data, index = \"person\"):", coef(named), pdim(named)$nT$n)
told("deviations from means of persons:", within(data$person))
told("deviations from means of sites:", within(data$site))
seen <- abs(coef(plain) - within(data$site)) < 1e-8 && abs(coef(named) - within(data$person)) < 1e-8
quit(status = if (seen && abs(coef(plain) - coef(named)) > 0.01) 0 else 1)
R
Rscript "$folder/index.R"
