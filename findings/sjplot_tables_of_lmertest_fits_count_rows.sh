#!/usr/bin/env bash
# tab_model of sjPlot and model_parameters test an lmerTest fit on the rows' degrees of freedom
#
# R 4.2.2, sjPlot 2.8.12, parameters 0.20.2, lmerTest 3.1-3 (Debian 12: r-cran-sjplot, r-cran-lmertest)
#
# One expects: a table of a fit by lmerTest to have the p-values of its `summary`, for which the package is
#   loaded: Satterthwaite's, here the exact ones of 8 subjects.
# What happens: `tab_model(fit)` and `parameters::model_parameters(fit)` take t on the number of rows less
#   that of parameters (28) unless `p.val =` or `ci_method =` names another method. The table of sjPlot says
#   nothing of it.
# Why it matters: the published table has p = 0.037 and an interval from 0.12, `summary(fit)` has 0.071. With
#   few subjects and many rows each the table is that of the normal distribution.
#
# Output seen:
#   summary of lmerTest: p 0.071
#   t test of means:     p 0.071
#   tab_model:           p 0.037, 0.12 to 3.53
#   model_parameters:    p 0.037, 28 degrees of freedom
set -euo pipefail
command -v Rscript > /dev/null || { echo "needs R with sjPlot and lmerTest" >&2; exit 2; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat > "$folder/table.R" <<'R'
suppressMessages({
  library(lmerTest)
  library(sjPlot)
})
stopifnot(packageVersion("sjPlot") == "2.8.12", packageVersion("parameters") == "0.20.2")
set.seed(4)
data <- expand.grid(visit = 1:4, id = factor(1:8))
data$arm <- factor(c("a", "b")[as.integer(data$id) %% 2 + 1])
data$y <- 1.6 * (data$arm == "b") + rnorm(8)[data$id] + rnorm(32) * 0.5
fit <- lmer(y ~ arm + (1 | id), data)
own <- coef(summary(fit))["armb", "Pr(>|t|)"]
exact <- t.test(y ~ arm, aggregate(y ~ id + arm, data, mean), var.equal = TRUE)$p.value
cells <- trimws(strsplit(gsub("<[^>]+>", "", tab_model(fit)$page.content), "\n")[[1]])
cells <- cells[nchar(cells) > 0]
row <- cells[which(cells == "arm [b]") + 1:3]
limits <- gsub("&nbsp;", " ", gsub("&ndash;", "to", row[2]))
found <- as.data.frame(parameters::model_parameters(fit, effects = "fixed"))[2, ]
cat(sprintf("summary of lmerTest: p %.3f\n", own))
cat(sprintf("t test of means:     p %.3f\n", exact))
cat(sprintf("tab_model:           p %s, %s\n", row[3], limits))
cat(sprintf("model_parameters:    p %.3f, %.0f degrees of freedom\n", found$p, found$df_error))
by_rows <- 2 * pt(-coef(summary(fit))["armb", "t value"], 28)
seen <- abs(own - exact) < 1e-4 && abs(found$p - by_rows) < 1e-6 && row[3] == sprintf("%.3f", by_rows)
quit(status = if (seen && by_rows < 0.05 && exact > 0.05) 0 else 1)
R
Rscript "$folder/table.R"
