#!/usr/bin/env bash
# ICC1 of multilevel divides by the mean size of groups, which is right for equal groups alone
#
# R 4.2.2, multilevel 2.7, lme4 1.1-31 (Debian 12: r-cran-multilevel, r-cran-lme4)
#
# One expects: "the ICC discussed in the random coefficient modeling literature", as the help page has it: the
#   share of the variance between groups, estimated from the mean squares. Their expectations hold
#   (N - sum n^2 / N) / (J - 1) for the size of groups.
# What happens: the mean size N / J is taken. With unequal groups it is larger, and the ICC is too small.
#   No message.
# Why it matters: teams, classes and clinics are of unequal size, and ICC(1) decides whether groups are
#   modelled at all. With a true ICC of 0.2 in 20 groups of 2 and one of 100 ICC1 is 0.10 on the average of 300
#   draws, where the same mean squares have 0.175 and lmer 0.18.
#
# Output seen:
#   20 groups of 2, one of 100:  ICC1 0.104, mean squares 0.175, lmer 0.182, true 0.200
#   21 groups of 7:              ICC1 0.190, mean squares 0.190, lmer 0.190, true 0.200
set -euo pipefail
command -v Rscript > /dev/null || { echo "needs R with multilevel and lme4" >&2; exit 2; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat > "$folder/share.R" <<'R'
suppressMessages({
  library(lme4)
  library(multilevel)
})
stopifnot(packageVersion("multilevel") == "2.7", packageVersion("lme4") == "1.1.31")
set.seed(1)
shares <- function(sizes) {
  group <- factor(rep(seq_along(sizes), sizes))
  y <- rnorm(length(sizes))[group] * 0.5 + rnorm(length(group))
  anova <- aov(y ~ group)
  squares <- summary(anova)[[1]][["Mean Sq"]]
  size <- (sum(sizes) - sum(sizes^2) / sum(sizes)) / (length(sizes) - 1)
  between <- (squares[1] - squares[2]) / size
  parts <- as.data.frame(VarCorr(suppressMessages(lmer(y ~ 1 + (1 | group)))))$vcov
  c(ICC1(anova), between / (between + squares[2]), parts[1] / sum(parts))
}
told <- function(name, sizes) {
  drawn <- rowMeans(replicate(300, shares(sizes)))
  cat(sprintf("%-28s ICC1 %.3f, mean squares %.3f, lmer %.3f, true 0.200\n", name, drawn[1], drawn[2], drawn[3]))
  drawn
}
unequal <- told("20 groups of 2, one of 100:", rep(c(2, 100), c(20, 1)))
equal <- told("21 groups of 7:", rep(7, 21))
seen <- unequal[1] < 0.15 && abs(unequal[2] - 0.2) < 0.03 && abs(unequal[3] - 0.2) < 0.03
quit(status = if (seen && abs(diff(equal[1:2])) < 1e-9) 0 else 1)
R
Rscript "$folder/share.R"
