#!/usr/bin/env bash
# A missing value of SPSS that haven keeps is missing in `y ~ age` and 999 in `y ~ scale(age)`
#
# R 4.2.2, haven 2.5.1, lme4 1.1-31 (Debian 12: r-cran-haven, r-cran-lme4); haven's issue 588 has it of mean()
#
# One expects: after `read_sav(..., user_na = TRUE)` `is.na(age)` is TRUE where SPSS has a user-defined
#   missing value, here 999 for "refused", so models leave the row out, whatever function of age they have.
# What happens: `y ~ age` leaves it out. Any function of age, `scale(age)`, `log(age)`, `I(age / 10)`,
#   computes with the number 999, and its result is not missing: the rows are in the fit as people of
#   999 years. `mean(age, na.rm = TRUE)` has 999 too. No message.
# Why it matters: one refusal takes the slope away, 0.02 instead of 1.09 a decade, and a script goes wrong
#   in the moment in which a covariate is centred or scaled.
#
# Output seen:
#   is.na: 4 of 60
#   y ~ age:                         56 rows, slope  0.1094
#   y ~ I(age / 10):                 60 rows, slope  0.0247
#   y ~ scale(age):                  60 rows, slope  0.5921
#   y ~ log(age):                    60 rows, slope  1.2682
#   y ~ I(age / 10), zap_missing:    56 rows, slope  1.0937
set -euo pipefail
command -v Rscript > /dev/null || { echo "needs R with haven and lme4" >&2; exit 2; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat > "$folder/missing.R" <<'R'
suppressMessages({
  library(haven)
  library(lme4)
})
stopifnot(packageVersion("haven") == "2.5.1", packageVersion("lme4") == "1.1.31")
file <- file.path(commandArgs(TRUE), "survey.sav")
set.seed(1)
id <- rep(1:15, each = 4)
age <- rep(round(runif(15, 20, 70)), each = 4)
age[5:8] <- 999
y <- 0.1 * ifelse(age == 999, 45, age) + rnorm(15)[id] + rnorm(60)
write_sav(data.frame(id, y, age = labelled_spss(age, c(refused = 999), na_values = 999)), file)
data <- read_sav(file, user_na = TRUE)
cat(sprintf("is.na: %d of %d\n", sum(is.na(data$age)), nrow(data)))
shown <- function(term, data, rest = "") {
  fit <- lmer(as.formula(paste("y ~", term, "+ (1 | id)")), data)
  cat(sprintf("%-32s %d rows, slope %7.4f\n", paste0("y ~ ", term, rest, ":"), nobs(fit), fixef(fit)[2]))
  c(nobs(fit), fixef(fit)[[2]])
}
plain <- shown("age", data)
decades <- shown("I(age / 10)", data)
scaled <- shown("scale(age)", data)
logs <- shown("log(age)", data)
right <- shown("I(age / 10)", zap_missing(data), ", zap_missing")
rows <- plain[1] == 56 && decades[1] == 60 && scaled[1] == 60 && logs[1] == 60
seen <- rows && abs(right[2] / plain[2] - 10) < 1e-4 && decades[2] < 0.1 * right[2]
quit(status = if (seen) 0 else 1)
R
Rscript "$folder/missing.R" "$folder"
