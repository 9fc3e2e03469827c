# One R package fitting one repeated-measures workload; repeated.py starts this as
#   Rscript benches/repeated.R PACKAGE WORKLOAD data.csv OUT.json REPEAT
# The data are loaded, packages attached, a small fit done; the clock runs from the data frame to
# the text of the summary.

arguments <- commandArgs(trailingOnly = TRUE)
package <- arguments[1]
workload <- arguments[2]
out <- arguments[4]
repeat_n <- as.integer(arguments[5])

suppressPackageStartupMessages(library(package, character.only = TRUE))
data <- read.csv(arguments[3], stringsAsFactors = TRUE)
data$id <- factor(data$id)

fits <- list(
  nlme = list(
    unstructured = function(d) {
      d$k <- as.integer(d$visit)
      gls(y ~ arm * visit,
        d,
        correlation = corSymm(form = ~ k | id), weights = varIdent(form = ~ 1 | visit)
      )
    },
    autoregressive = function(d) {
      lme(y ~ x, d, random = ~ 1 | id, correlation = corAR1(form = ~ time | id))
    }
  ),
  glmmTMB = list(
    unstructured = function(d) {
      glmmTMB(y ~ arm * visit + us(visit + 0 | id), d, dispformula = ~0, REML = TRUE)
    },
    autoregressive = function(d) {
      d$step <- factor(d$time)
      glmmTMB(y ~ x + (1 | id) + ar1(step + 0 | id), d, dispformula = ~0, REML = TRUE)
    }
  ),
  mmrm = list(
    unstructured = function(d) mmrm(y ~ arm * visit + us(visit | id), d)
  )
)
kind <- if (workload == "W11") "autoregressive" else "unstructured"
fit <- fits[[package]][[kind]]
if (is.null(fit)) stop("does not fit this model")

report <- function(d) {
  result <- suppressMessages(suppressWarnings(fit(d)))
  list(result, paste(capture.output(print(summary(result))), collapse = "\n"))
}
invisible(try(report(droplevels(data[data$id %in% levels(data$id)[1:60], ])), silent = TRUE))
times <- numeric(0)
worked <- numeric(0)
for (i in seq_len(repeat_n)) {
  spent <- system.time(last <- report(data), gcFirst = FALSE)
  times <- c(times, spent[["elapsed"]])
  worked <- c(worked, spent[["user.self"]] + spent[["sys.self"]])
}
writeLines(sprintf(
  '{"times": [%s], "cpu": [%s], "llf": %.10f, "version": "%s"}',
  paste(sprintf("%.6g", times), collapse = ", "),
  paste(sprintf("%.6g", worked), collapse = ", "),
  as.numeric(logLik(last[[1]])), packageVersion(package)
), out)
