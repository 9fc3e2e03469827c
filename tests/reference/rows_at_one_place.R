# Rows at one place beside a nugget: effects by place and an error of each row; R 4.2.2, glmmTMB 1.1.5.
suppressMessages({library(glmmTMB); library(jsonlite)})
set.seed(11); n <- 72
d <- data.frame(id = rep(1:9, each = 8), t = sample(0:3, n, TRUE), u = sample(0:2, n, TRUE), x = round(rnorm(n), 3))
S <- matrix(0, n, n)
for (i in unique(d$id)) { w <- d$id == i; S[w, w] <- 2 * exp(-as.matrix(dist(d[w, c("t", "u")])) / 2) }
d$y <- round(1 + 0.5 * d$x + as.vector(t(chol(S + 0.5 * diag(n))) %*% rnorm(n)), 3)
d$place <- numFactor(d$t, d$u); d$id <- factor(d$id)
told <- function(f) list(llf = as.numeric(logLik(f)), beta = unname(fixef(f)$cond), se = unname(sqrt(diag(vcov(f)$cond))),
                         variance = as.numeric(VarCorr(f)$cond$id[1, 1]), nugget = sigma(f)^2)
out <- list(reml = told(glmmTMB(y ~ x + exp(place + 0 | id), d, REML = TRUE)), ml = told(glmmTMB(y ~ x + exp(place + 0 | id), d)),
            data = data.frame(id = as.integer(d$id), d[c("t", "u", "x", "y")]))
write(toJSON(out, digits = NA, auto_unbox = TRUE, dataframe = "columns"), "rows_at_one_place.json")
out$data <- NULL; str(out); print(packageVersion("glmmTMB"))
