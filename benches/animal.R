# One R package fitting one animal model; animal.py starts this as
#   Rscript benches/animal.R PACKAGE records.csv pedigree.csv OUT.json
# The data are in memory when the clock starts, and the relationship matrix that sommer inverts.

arguments <- commandArgs(trailingOnly = TRUE)
package <- arguments[1]
suppressPackageStartupMessages(library(package, character.only = TRUE))
data <- read.csv(arguments[2], stringsAsFactors = TRUE)
animals <- read.csv(arguments[3], na.strings = "", colClasses = "character")
data$animal <- factor(data$animal, levels = animals$id)
data$herd <- factor(data$herd)

relationships <- function() {
  library(pedigreemm)
  as.matrix(getA(pedigree(
    sire = animals$sire, dam = animals$dam, label = as.character(animals$id)
  )))
}
fits <- list(
  pedigreemm = function() {
    function() {
      parents <- pedigree(
        sire = animals$sire, dam = animals$dam, label = as.character(animals$id)
      )
      fit <- pedigreemm(y ~ x + (1 | animal) + (1 | herd), data, pedigree = list(animal = parents))
      c(logLik(fit))
    }
  },
  sommer = function() {
    # By Henderson's equations (`mmec`): `mmer` takes several times as long.
    a <- relationships()
    function() {
      inverse <- as(solve(a), "CsparseMatrix")
      attr(inverse, "inverse") <- TRUE
      fit <- mmec(
        y ~ x,
        random = ~ vsc(isc(animal), Gu = inverse) + herd, rcov = ~units, data = data,
        verbose = FALSE, dateWarning = FALSE
      )
      max(unlist(fit$llik))
    }
  }
)
prepared <- fits[[package]]()
times <- system.time(llf <- suppressWarnings(prepared()), gcFirst = FALSE)
writeLines(sprintf(
  '{"seconds": %.6g, "used": %.6g, "llf": %.10f, "version": "%s"}',
  times[["elapsed"]], times[["user.self"]] + times[["sys.self"]], llf, packageVersion(package)
), arguments[4])
