#!/usr/bin/env bash
# Satterthwaite's degrees of freedom by lmerTest fall to 0.3 when the response has small units
#
# R 4.2.2, lme4 1.1-31, lmerTest 3.1-3 (Debian 12: r-cran-lme4, r-cran-lmertest), the newest version
#
# One expects: a response in other units has coefficients and standard errors in those units, and the same
#   t value, degrees of freedom and p value.
# What happens: derivatives are taken numerically with steps that do not shrink below 1e-4 once a standard
#   deviation is below about 2e-5. With sigma 2.4e-6 the step is many times the parameter: 6.4 degrees
#   of freedom instead of 17.0, and with 2.4e-7 0.32, p = 0.37 instead of 0.000003. No message.
# Why it matters: metres where micrometres are measured, mol/l, ampere and farad are common units, and a
#   clear effect becomes none, or the reverse, by the choice of a unit.
#
# Output seen:
#   sleepstudy, reaction times times 1:      t 6.771, df 17.00, p 3.3e-06
#   sleepstudy, reaction times times 1e-06:  t 6.771, df 17.00, p 3.3e-06
#   sleepstudy, reaction times times 1e-07:  t 6.771, df  6.37, p 0.00039
#   sleepstudy, reaction times times 1e-08:  t 6.771, df  0.32, p 0.37
set -euo pipefail
command -v Rscript > /dev/null || { echo "needs R with lmerTest" >&2; exit 2; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat > "$folder/units.R" <<'R'
suppressMessages(library(lmerTest))
stopifnot(packageVersion("lmerTest") == "3.1.3")
rows <- sapply(c(1, 1e-6, 1e-7, 1e-8), function(unit) {
  data <- sleepstudy
  data$response <- data$Reaction * unit
  at <- coef(summary(lmer(response ~ Days + (Days | Subject), data)))["Days", ]
  cat(sprintf("sleepstudy, reaction times times %-7s t %.3f, df %5.2f, p %.2g\n", sprintf("%g:", unit),
              at["t value"], at["df"], at["Pr(>|t|)"]))
  at[c("t value", "df")]
})
same <- diff(range(rows["t value", ])) < 1e-3 && abs(rows["df", 2] - 17) < 0.1
quit(status = if (same && rows["df", 3] < 10 && rows["df", 4] < 1) 0 else 1)
R
Rscript "$folder/units.R"
