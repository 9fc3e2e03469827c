# lme4 fitting one workload; compare.py starts this as
#   Rscript benches/lme4.R data.csv FORMULA GROUPS OUT.json REPEAT BUDGET VARIANT
# VARIANT: "default", or "fast" = nloptwrap without the derivative check.
# Like measure.py: the data are loaded, one small fit warms up, the clock runs from the
# data frame to the text of the summary. GROUPS: comma-separated columns read as strings.

arguments <- commandArgs(trailingOnly = TRUE)
formula <- as.formula(arguments[2])
groups <- strsplit(arguments[3], ",")[[1]]
out <- arguments[4]
repeat_n <- as.integer(arguments[5])
budget <- as.numeric(arguments[6])
variant <- arguments[7]

suppressPackageStartupMessages(library(lme4))
control <- if (variant == "fast") {
  lmerControl(optimizer = "nloptwrap", calc.derivs = FALSE)
} else {
  lmerControl()
}

report <- function(fit) paste(capture.output(print(summary(fit))), collapse = "\n")
whole <- function(formula, data) report(lmer(formula, data, control = control))

status_mb <- function(field) {
  line <- grep(paste0("^", field), readLines("/proc/self/status"), value = TRUE)
  as.numeric(gsub("[^0-9]", "", line)) / 1024
}
seconds <- function(expression) system.time(expression, gcFirst = FALSE)[["elapsed"]]

# system.time has a resolution of 1 ms: short fits are timed in batches
timed <- function(f) {
  once <- seconds(f())
  if (once > 0.1) {
    return(once)
  }
  n <- min(20, ceiling(0.2 / max(once, 0.002)))
  seconds(for (i in seq_len(n)) f()) / n
}
repeated <- function(f) {
  times <- numeric(0)
  while (length(times) == 0 || (sum(times) < budget && length(times) < repeat_n)) {
    times <- c(times, timed(f))
  }
  times
}

fields <- list(version = sprintf('"%s"', packageVersion("lme4")))
save_fields <- function() {
  pairs <- sprintf('"%s": %s', names(fields), unlist(fields))
  writeLines(sprintf("{%s}", paste(pairs, collapse = ", ")), out)
}
vector_json <- function(x) sprintf("[%s]", paste(sprintf("%.9g", x), collapse = ", "))

invisible(suppressWarnings(whole(Reaction ~ Days + (Days | Subject), sleepstudy)))

data <- if (requireNamespace("data.table", quietly = TRUE)) {
  data.table::fread(arguments[1], data.table = FALSE, showProgress = FALSE)
} else {
  read.csv(arguments[1])
}
for (group in groups) data[[group]] <- as.character(data[[group]])

invisible(gc())
try(cat("5", file = "/proc/self/clear_refs"), silent = TRUE)
before <- status_mb("VmRSS")
first <- seconds(suppressMessages(suppressWarnings(whole(formula, data))))
fields$memory_mb <- sprintf("%.3f", status_mb("VmHWM") - before)
fields$rows <- nrow(data)
fields$times <- vector_json(first)
save_fields()

run <- function() suppressMessages(suppressWarnings(whole(formula, data)))
if (first < budget) fields$times <- vector_json(repeated(run))
save_fields()

fit <- suppressMessages(suppressWarnings(lmer(formula, data, control = control)))
fields$llf <- sprintf("%.10f", as.numeric(logLik(fit)))
save_fields()

# The fit alone: lmer without what lFormula does.
parsed <- lFormula(formula, data, control = control)
alone <- function() {
  deviance <- do.call(mkLmerDevfun, c(parsed, list(control = control)))
  optimum <- optimizeLmer(deviance, optimizer = control$optimizer, control = control$optCtrl)
  mkMerMod(environment(deviance), optimum, parsed$reTrms, fr = parsed$fr)
}
if (first < budget) {
  fields$fit_times <- vector_json(repeated(function() suppressMessages(suppressWarnings(alone()))))
}
save_fields()
