# Residual variances sigma^2 (c + |v|^p)^2 by nlme's varConstPower; R 4.2.2, nlme 3.1-162.
suppressMessages({library(nlme); library(jsonlite)})
set.seed(3); n <- 240
own <- data.frame(x = round(rnorm(n), 3), v = round(rexp(n, 1 / 3), 2), id = rep(1:40, each = 6),
                  arm = rep(c("a", "b"), each = 3, length.out = n), t = rep(1:6, 40))
own$v[1:20] <- 0
own$y <- round(1 + own$x + rnorm(40)[own$id] + 1.2 * (0.7 + own$v^0.8) * rnorm(n), 3)
dialyzer <- read.csv("data/dialyzer_t.csv"); dialyzer$QB <- factor(dialyzer$QB)
chick <- read.csv("data/chickweight.csv"); chick$Diet <- factor(chick$Diet)
orthodont <- read.csv("data/orthodont.csv")
gc <- glsControl(maxIter = 200, msMaxIter = 500, tolerance = 1e-11, msTol = 1e-13)
lc <- lmeControl(maxIter = 200, msMaxIter = 500, tolerance = 1e-11, msTol = 1e-13)
told <- function(f) {
  s <- coef(f$modelStruct$varStruct, unconstrained = FALSE)
  list(llf = as.numeric(logLik(f)), sigma = f$sigma, scale = as.list(s),
       beta = unname(if (inherits(f, "gls")) coef(f) else fixef(f)), se = unname(sqrt(diag(if (inherits(f, "gls")) f$varBeta else f$varFix))))
}
near <- function(form, ...) varConstPower(0.7, 0.7, form = form)
out <- list(
  chick = told(gls(weight ~ Time * Diet, chick, weights = varConstPower(form = ~ Time), control = gc)),
  dialyzer = told(lme(rate ~ (pressure + I(pressure^2) + I(pressure^3)) * QB, dialyzer, ~ pressure | Subject,
                      weights = varConstPower(form = ~ pressure), control = lc)),
  orthodont = told(lme(distance ~ age * Sex, orthodont, ~ 1 | Subject, weights = varConstPower(form = ~ age | Sex),
                       control = lc)),
  own_gls = told(gls(y ~ x, own, weights = near(~ v), control = gc, method = "ML")),
  own_lme = told(lme(y ~ x, own, ~ 1 | id, weights = near(~ v), control = lc)),
  own_ar1 = told(gls(y ~ x, own, correlation = corAR1(0.2, form = ~ t | id), weights = near(~ v), control = gc)),
  own_comb = told(lme(y ~ x, own, ~ 1 | id, weights = varComb(varIdent(form = ~ 1 | arm), near(~ v)), control = lc,
                      method = "ML")),
  data = own)
write(toJSON(out, digits = NA, auto_unbox = TRUE, dataframe = "columns"), "constant_power.json")
out$data <- NULL; str(out)
