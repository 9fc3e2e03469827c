# One R package fitting one animal model; animal.py starts this as
#   Rscript benches/animal.R PACKAGE records.csv pedigree.csv OUT.json
# The data and the relationships that a package takes are in memory when the clock starts.

arguments <- commandArgs(trailingOnly = TRUE)
package <- arguments[1]
suppressPackageStartupMessages(library(package, character.only = TRUE))
data <- read.csv(arguments[2], stringsAsFactors = TRUE)
animals <- read.csv(arguments[3], na.strings = "", colClasses = "character")
data$animal <- factor(data$animal, levels = animals$animal)
data$herd <- factor(data$herd)

relationships <- function() {
  library(pedigreemm)
  as.matrix(getA(pedigree(
    sire = animals$sire, dam = animals$dam, label = as.character(animals$animal)
  )))
}
fits <- list(
  pedigreemm = function() {
    parents <- pedigree(
      sire = animals$sire, dam = animals$dam, label = as.character(animals$animal)
    )
    function() {
      fit <- pedigreemm(y ~ x + (1 | animal) + (1 | herd), data, pedigree = list(animal = parents))
      c(logLik(fit))
    }
  },
  sommer = function() {
    a <- relationships()
    function() {
      fit <- mmer(
        y ~ x,
        random = ~ vsr(animal, Gu = a) + herd, rcov = ~units, data = data,
        verbose = FALSE, date.warning = FALSE
      )
      max(unlist(fit$monitor[1, ]))
    }
  }
)
prepared <- fits[[package]]()
seconds <- system.time(llf <- suppressWarnings(prepared()), gcFirst = FALSE)[["elapsed"]]
writeLines(sprintf(
  '{"seconds": %.6g, "llf": %.10f, "version": "%s"}', seconds, llf, packageVersion(package)
), arguments[4])
