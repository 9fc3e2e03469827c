# Reference fits of smooth terms; R 4.2.2, mgcv 1.8-41, nlme 3.1-162.
suppressMessages({library(mgcv); library(nlme); library(jsonlite)})
set.seed(20); n <- 150
d <- data.frame(x = round(runif(n, 2, 5), 3), z = round(rnorm(n), 3), t = rep(1:10, 15),
                f = rep_len(c("A", "B", "C"), n), g = sprintf("g%02d", rep(1:15, each = 10)),
                w = round(runif(n, 0.5, 2), 2))
u <- rnorm(15, 0, 0.5)[rep(1:15, each = 10)]
d$y <- round(sin(2 * d$x) + c(0, 0.5, -0.3)[factor(d$f)] + (d$f == "B") * 0.3 * (d$x - 3.5)^2 + u +
             d$z * cos(2 * d$x) + rnorm(n, 0, 0.5), 3)
d$v <- round(sin(2 * d$x) + 0.5 * sin(2 * d$z) + rnorm(n) / sqrt(d$w), 3)
d$noise <- round(rnorm(n) + 0.35 * sin(3 * d$x), 3)
d$f <- factor(d$f); d$g <- factor(d$g)
at <- c(1.5, 2, 2.6, 3.3, 4.1, 5, 5.5)
new <- data.frame(x = at, z = 0.5, f = "B", g = "g03", w = 1, t = 1)
of_gam <- function(m) {
  p <- predict(m, new, se.fit = TRUE, exclude = "s(g)"); s <- predict(m, new, type = "terms", se.fit = TRUE)
  tab <- summary(m)$s.table; keep <- rownames(tab) != "s(g)"; one <- colnames(s$fit) != "s(g)"
  list(score = as.numeric(m$gcv.ubre), sigma2 = m$sig2, edf = tab[keep, "edf"], ref_df = tab[keep, "Ref.df"],
       F = tab[keep, "F"], p = tab[keep, "p-value"], names = rownames(tab)[keep],
       fit = as.numeric(p$fit), se = as.numeric(p$se.fit), total = sum(m$edf),
       terms = as.data.frame(s$fit[, one, drop = FALSE]), terms_se = as.data.frame(s$se.fit[, one, drop = FALSE]))
}
of_gamm <- function(m) list(llf = as.numeric(logLik(m$lme)), sigma2 = m$lme$sigma^2, edf = as.numeric(summary(m$gam)$s.table[, "edf"]),
  fit = as.numeric(predict(m$gam, new)), se = as.numeric(predict(m$gam, new, se.fit = TRUE)$se.fit))
fit <- function(formula, weights = rep(1, n)) {
  d$weight <- weights
  of_gam(gam(formula, data = d, weights = weight, method = "REML", control = gam.control(epsilon = 1e-12, newton = list(conv.tol = 1e-10))))
}
out <- list(
  plain = fit(y ~ s(x, bs = "ps", k = 10)),
  few = fit(y ~ s(x, bs = "ps", k = 6)),
  group = fit(y ~ f + s(x, bs = "ps", k = 10) + s(g, bs = "re")),
  factor = fit(y ~ f + s(x, bs = "ps", k = 8, by = f) + s(g, bs = "re")),
  number = fit(y ~ f + s(x, bs = "ps", k = 8, by = z)),
  two = fit(v ~ f + s(x, bs = "ps", k = 10) + s(z, bs = "ps", k = 7), weights = d$w),
  noise = fit(noise ~ s(x, bs = "ps", k = 12)),
  straight = fit(noise ~ s(z, bs = "ps", k = 10)))
ctrl <- lmeControl(opt = "optim", tolerance = 1e-10, msTol = 1e-12, reltol = 1e-14, maxIter = 200)
out$gamm_ml <- of_gamm(gamm(y ~ f + s(x, bs = "ps", k = 10), random = list(g = ~1), data = d, method = "ML", control = ctrl))
out$gamm_reml <- of_gamm(gamm(y ~ f + s(x, bs = "ps", k = 10), random = list(g = ~1), data = d, method = "REML", control = ctrl))
out$gamm_ar1 <- of_gamm(gamm(y ~ f + s(x, bs = "ps", k = 10), correlation = corAR1(form = ~ t | g), data = d, method = "REML", control = ctrl))
out$data <- d; out$at <- at
write(toJSON(out, digits = NA, auto_unbox = TRUE, dataframe = "columns"), "smooths.json")
