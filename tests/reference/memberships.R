# Multiple membership by lme4 with a random-effects matrix made by hand; R 4.2.2, lme4 1.1-31.
suppressMessages({library(lme4); library(Matrix); library(jsonlite)})
set.seed(7); n <- 240; L <- 12
d <- data.frame(x = round(rnorm(n), 3), a = sample(L, n, TRUE), b = sample(L, n, TRUE),
                w = round(runif(n), 2), id = rep(1:40, each = 6))
u <- rnorm(L, 0, 1); s <- rnorm(L, 0, 0.7); v <- rnorm(40, 0, 0.6)
d$y <- round(1 + 0.5 * d$x + 0.5 * (u[d$a] + u[d$b]) + v[d$id] + rnorm(n, 0, 0.8), 3)
d$z <- round(1 + d$w * (u[d$a] + s[d$a] * d$x) + (1 - d$w) * (u[d$b] + s[d$b] * d$x) + rnorm(n, 0, 0.8), 3)
d$member <- factor(rep(1:L, length.out = n))
member <- function(weight_a, weight_b, x = 1)
  t(sparseMatrix(c(seq_len(n), seq_len(n)), c(d$a, d$b), x = c(weight_a * x, weight_b * x), dims = c(n, L)))
by_hand <- function(formula, Z, REML = TRUE) {
  # The terms on `member` are replaced, in lme4's order of terms.
  f <- lFormula(formula, d, REML = REML, control = lmerControl(check.nobs.vs.nlev = "ignore"))
  for (k in names(Z)) f$reTrms$Ztlist[[k]][] <- 0
  Zt <- f$reTrms$Ztlist
  for (k in names(Z)) Zt[[k]] <- Z[[k]]
  f$reTrms$Zt <- do.call(rbind, unname(Zt))
  dev <- do.call(mkLmerDevfun, f)
  opt <- optimizeLmer(dev, control = list(FtolAbs = 1e-14, FtolRel = 1e-14, XtolRel = 1e-12, maxfun = 1e5), optimizer = "bobyqa")
  opt <- nloptwrap(opt$par, dev, rep(0, length(opt$par)), rep(Inf, length(opt$par)), control = list(xtol_abs = 1e-12, ftol_abs = 1e-13))
  opt$fval <- opt$fval; m <- mkMerMod(environment(dev), opt, f$reTrms, fr = f$fr)
  vc <- as.data.frame(VarCorr(m)); re <- ranef(m, condVar = TRUE)
  list(llf = as.numeric(logLik(m)), beta = fixef(m), se = sqrt(diag(as.matrix(vcov(m)))), groups = vc$grp, vcov = vc$vcov,
       b = as.numeric(getME(m, "b")), terms = names(f$reTrms$cnms), var1 = vc$var1)
}
half <- rep(0.5, n)
out <- list(
  equal = by_hand(y ~ x + (1 | member) + (1 | id), list(`1 | member` = member(half, half))),
  weighted = by_hand(z ~ x + (1 | member) + (0 + x | member),
    list(`1 | member` = member(d$w, 1 - d$w), `0 + x | member` = member(d$w, 1 - d$w, d$x)), REML = FALSE),
  data = d)
write(toJSON(out, digits = NA, auto_unbox = TRUE, dataframe = "columns"), "memberships.json")
print(out$equal); print(out$weighted)
