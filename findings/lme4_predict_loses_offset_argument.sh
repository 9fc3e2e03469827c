#!/usr/bin/env bash
# predict of lmer's fit drops an offset given as an argument once there is newdata
#
# R 4.2.2, lme4 1.1-31 (Debian 12: r-cran-lme4)
#
# One expects: `lmer(..., offset = off)` and `lmer(... + offset(off))` are one model with one
#   prediction, as with lm, whose documentation says that both are taken from newdata.
# What happens: they are one fit, but `predict(fit, newdata)` of the first leaves the offset out.
#   Without newdata it is in. No message; newdata has the column.
# Why it matters: predictions of new rows, and what is built on them, are off by the offset, while
#   every check against the fitted values is right.
#
# Output seen:
#   offset in the formula: largest difference of predict(fit) and predict(fit, the same rows) 0.000
#   offset as an argument: largest difference of predict(fit) and predict(fit, the same rows) 27.000
#   lm, as an argument:    largest difference of predict(fit) and predict(fit, the same rows) 0.000
set -euo pipefail
command -v Rscript > /dev/null || { echo "needs R with lme4" >&2; exit 2; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat > "$folder/offset.R" <<'R'
suppressMessages(library(lme4))
stopifnot(packageVersion("lme4") == "1.1.31")
data <- transform(sleepstudy, off = 3 * Days)
gap <- function(label, fit) {
  found <- max(abs(predict(fit) - predict(fit, data)))
  cat(sprintf("%-22s largest difference of predict(fit) and predict(fit, the same rows) %.3f\n",
              label, found))
  found
}
inside <- gap("offset in the formula:", lmer(Reaction ~ Days + offset(off) + (1 | Subject), data))
beside <- gap("offset as an argument:", lmer(Reaction ~ Days + (1 | Subject), data, offset = off))
plain <- gap("lm, as an argument:", lm(Reaction ~ Days, data, offset = off))
quit(status = if (inside < 1e-8 && plain < 1e-8 && abs(beside - 27) < 1e-8) 0 else 1)
R
Rscript "$folder/offset.R"
