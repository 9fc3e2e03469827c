#!/usr/bin/env bash
# After maximum likelihood emmeans mixes two fits: degrees of freedom beyond what the subjects give
#
# R 4.2.2, emmeans 1.8.4-1, pbkrtest 0.5.2, lme4 1.1-31, lmerTest 3.1-3 (Debian 12: r-cran-emmeans,
# r-cran-pbkrtest, r-cran-lme4, r-cran-lmertest); the code of emmeans in August 2026 and of pbkrtest 0.5.6
# is the same
#
# One expects: Kenward and Roger's method is of the restricted likelihood. After
#   `lmer(..., REML = FALSE)` it is refused, as by lmerTest, or the model is fitted anew by REML:
#   means of 3 subjects an arm have 6 degrees of freedom (5.9 with rows missing).
# What happens: the standard errors are those of a fit by REML that pbkrtest makes inside, the means
#   those of maximum likelihood, and the degrees of freedom, 13.4, compare the one fit's covariance
#   with the other's. `pbkrtest::get_Lb_ddf` gives the same 13.4. No message.
# Why it matters: Kenward-Roger is what emmeans takes for lmer by default, and models compared by
#   likelihood ratios are fitted by maximum likelihood. The intervals of the means are an eighth too short;
#   9 subjects in 3 arms can never give 13 degrees of freedom.
#
# Output seen:
#   REML: mean 0.312, se 0.5916, df 5.90, -1.14 to 1.77
#   ML:   mean 0.309, se 0.5916, df 13.36, -0.97 to 1.58
#   get_Lb_ddf: 5.90 after REML, 13.36 after ML
#   lmerTest after ML: Kenward-Roger's method is only available for REML model fits
set -euo pipefail
command -v Rscript > /dev/null || { echo "needs R with lme4, lmerTest, pbkrtest and emmeans" >&2; exit 2; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat > "$folder/ml.R" <<'R'
suppressMessages({
  library(lme4)
  library(emmeans)
  library(pbkrtest)
})
stopifnot(packageVersion("emmeans") == "1.8.4.1", packageVersion("pbkrtest") == "0.5.2")
set.seed(3)
data <- expand.grid(visit = 1:4, id = factor(1:9))
data$arm <- factor(as.integer(data$id) %% 3)
data$y <- rnorm(9)[data$id] + rnorm(36) + 0.2 * data$visit
data <- data[-c(3, 8, 14, 22), ]
reml <- lmer(y ~ arm + visit + (1 | id), data)
ml <- update(reml, REML = FALSE)
told <- function(name, fit) {
  row <- summary(emmeans(fit, "arm"))[1, ]
  cat(sprintf("%s mean %.3f, se %.4f, df %.2f, %.2f to %.2f\n", name, row$emmean, row$SE, row$df,
              row$lower.CL, row$upper.CL))
  row
}
one <- told("REML:", reml)
other <- told("ML:  ", ml)
L <- c(1, 0, 0, mean(data$visit))
direct <- c(get_Lb_ddf(reml, L), get_Lb_ddf(ml, L))
cat(sprintf("get_Lb_ddf: %.2f after REML, %.2f after ML\n", direct[1], direct[2]))
refusal <- tryCatch(
  as.character(anova(lmerTest::as_lmerModLmerTest(ml), ddf = "Kenward-Roger")),
  error = conditionMessage
)
cat("lmerTest after ML:", refusal, "\n")
same_se <- abs(one$SE - other$SE) < 1e-5
quit(status = if (same_se && other$df > 2 * one$df && one$df < 6) 0 else 1)
R
Rscript "$folder/ml.R"
