# Reduced rank random effects; R 4.2.2, glmmTMB 1.1.5.
suppressMessages({library(glmmTMB); library(jsonlite)})
set.seed(3); n <- 40; K <- 4
d <- expand.grid(f = factor(letters[1:K]), rep = 1:3, g = factor(1:n))
L <- matrix(c(1, .8, -.5, .3, 0, .6, .7, -.4), 4)
b <- matrix(rnorm(n * 2), n) %*% t(L)
d$y <- round(c(1, 2, 0, 1)[d$f] + b[cbind(as.integer(d$g), as.integer(d$f))] + rnorm(nrow(d), 0, .6), 3)
tight <- glmmTMBControl(optCtrl = list(iter.max = 1e4, eval.max = 1e4, rel.tol = 1e-14, x.tol = 1e-12))
of <- function(m) list(llf = as.numeric(logLik(m)), beta = unname(fixef(m)$cond),
  se = unname(sqrt(diag(vcov(m)$cond))), sigma2 = sigma(m)^2,
  vcov = matrix(as.numeric(VarCorr(m)$cond$g), K))
out <- list(two = of(glmmTMB(y ~ f + rr(0 + f | g, 2), data = d, REML = TRUE, control = tight)),
            one = of(glmmTMB(y ~ f + rr(0 + f | g, 1), data = d, control = tight)),
            f = as.character(d$f), g = as.integer(d$g), y = d$y)
write(toJSON(out, digits = NA, auto_unbox = TRUE), "reduced_rank.json")
