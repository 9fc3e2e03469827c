"""Tables of estimated marginal means and of contrasts between them."""

from __future__ import annotations

from typing import Any

import numpy as np

from mlmfast.errors import ModelError
from mlmfast.guessed_arguments import told
from mlmfast.inference.emmeans.comparisons.cld import LetteredMeans, lettered
from mlmfast.inference.emmeans.comparisons.sided import (
    Hypothesis,
    hypothesis,
    one_sided_adjustment,
)
from mlmfast.inference.emmeans.contrast_rows import Method, contrast_rows, interaction_rows
from mlmfast.inference.emmeans.estimates.table import (
    ResponseTable,
    TableOfEstimates,
    TableOfTests,
)
from mlmfast.inference.emmeans.joint import JointTests, joint_test
from mlmfast.inference.emmeans.nonlinear.regrid import (
    back_transformed,
    known_transformation,
    regridded,
    spread_of,
)
from mlmfast.inference.multiplicity.adjustments import adjustment_name


class EstimateTable(TableOfEstimates):
    """Estimates of labelled linear functions, with what is made of them.

    Base of `EMMeans` and `Contrasts`.
    """

    def summary(
        self,
        *,
        adjust: str | None = None,
        level: float | None = None,
        seed: int | None = None,
        type: str = "linear",
        tran: object = None,
        bias_adjust: bool = False,
        sigma: float | None = None,
    ) -> Any:
        """Show the same estimates under another adjustment or level, or taken back.

        Parameters
        ----------
        adjust, level, seed
            As of `contrast`.
        type
            "response": where the model is of a function of the response such as ``log(y)``, means
            and their limits are taken back to the response's scale, differences of logarithms to
            ratios; standard errors by the delta method, tests as before. See `regrid` for
            differences on the response's scale, and for ``tran``, ``bias_adjust``, ``sigma``.

        Examples
        --------
        >>> import mlmfast as mlm
        >>> data = mlm.load_sleepstudy()
        >>> data["late"] = ["yes" if day > 4 else "no" for day in data.Days]
        >>> means = mlm.lmm("log(Reaction) ~ late + (1 | Subject)", data).emmeans("late")
        >>> means.summary(type="response").frame["response"].round(1).tolist()
        [269.2, 319.9]
        >>> means.pairs().summary(type="response").frame["ratio"].round(3).tolist()
        [0.841]
        """
        table = self._again(
            level=self.level if level is None else level,
            adjust=self.adjust if adjust is None else adjust,
            seed=self.seed if seed is None else seed,
        )
        if type == "linear" and (tran, bias_adjust, sigma) == (None, False, None):
            return table
        if type == "linear":
            raise ModelError("tran=, bias_adjust= and sigma= go with type='response'")
        if type != "response":
            raise ModelError(f"type is {type!r}; use 'linear' or 'response'")
        kind = known_transformation(self._functions, tran)
        spread = spread_of(self._functions, sigma) if bias_adjust else 0.0
        frame = back_transformed(table.frame, kind, self._estimate_name, spread)
        note = f"Taken back from the scale of {kind.name}; standard errors by the delta method"
        if kind.of_differences:
            note = f"Tests and limits are of differences of logarithms, shown as {kind.name}s"
        more = [f"Bias adjusted by a standard deviation of {spread:.5g}"] if bias_adjust else []
        return ResponseTable(frame, [*table.notes, note, *more], self._functions)

    def regrid(
        self,
        to: object = "response",
        *,
        tran: object = None,
        bias_adjust: bool = False,
        sigma: float | None = None,
    ) -> EstimateTable:
        """Take estimates of a function of the response to the response's own scale.

        Where the model is of ``log(y)``, ``sqrt(y)``, ``y^p``, ``1/y`` and the like, contrasts of
        the result are differences on the scale of y. The covariance is D V D, with D the
        derivatives of the inverse (the delta method); a contrast has the smallest degrees of
        freedom of what it involves, as in R's emmeans.

        Parameters
        ----------
        to
            "response", or a transformation to take of the response: "log" (differences are then
            logarithms of ratios), "log2", "log10", "log1p", "sqrt", "inverse", "logit", "probit",
            "cloglog", "asin.sqrt", or a number for a power.
        tran
            The transformation that the model is of, where its formula does not say: one of those.
        bias_adjust
            Add h''(eta) sigma^2 / 2: the mean of y rather than the value whose transform is the
            mean.
        sigma
            The standard deviation of g(y) about its mean, that of random effects included; by
            default that of all rows, where they have one.

        Examples
        --------
        >>> import mlmfast as mlm
        >>> data = mlm.load_sleepstudy()
        >>> data["late"] = ["yes" if day > 4 else "no" for day in data.Days]
        >>> means = mlm.lmm("log(Reaction) ~ late + (1 | Subject)", data).emmeans("late")
        >>> means.regrid().pairs()[["contrast", "estimate", "SE"]].round(2)
           contrast  estimate    SE
        0  no - yes     -50.7  4.98
        """
        functions = regridded(self._functions, to, tran, bool(bias_adjust), sigma)
        name = "response" if to == "response" else None
        about = self._about if not bias_adjust else (*self._about, "Bias adjusted")
        return type(self)(
            functions,
            level=self.level,
            adjust=self.adjust,
            seed=self.seed,
            n_means=self._n_means,
            about=about,
            estimate_name=name,
        )

    def test(
        self,
        null: float = 0.0,
        *,
        adjust: str | None = None,
        joint: bool = False,
        by: Any = ...,
        delta: float = 0.0,
        side: str = "two-sided",
        level: float | None = None,
    ) -> TableOfTests | JointTests:
        r"""Test each row against `null`, or all rows of a family together.

        Parameters
        ----------
        null
            Value tested for.
        adjust
            Adjustment within each family; by default that of the table. One-sided tests have
            "sidak" in place of "tukey", "dunnett", "mvt", "simulation" and "scheffe"; "dunnett"
            by name is Dunnett's one-sided test, for comparisons with a control.
        joint
            One F test a family: all its functions are 0.
        by
            Other columns to split by; by default those of the table.
        delta
            A margin. With both sides, a test of equivalence: H0 says that the estimate is delta
            or more away from the null; t is (\|estimate - null\| - delta) / SE and p its lower
            tail, the larger of two one-sided tests' p (Schuirmann 1987).
        side
            "two-sided"; "less", with a margin "nonsuperiority" (H0: null + delta or more);
            "greater", with a margin "noninferiority" (H0: null - delta or less).
        level
            With a side or a margin, level of each one-sided limit, shown as lower and upper:
            equivalence is shown where both lie within the margin (0.95: the limits of a two-sided
            interval of 90 %).

        Returns
        -------
        TableOfTests, a data frame with notes, or `JointTests`

        Examples
        --------
        >>> import mlmfast as mlm
        >>> data = mlm.load_sleepstudy()
        >>> data["late"] = ["yes" if day > 4 else "no" for day in data.Days]
        >>> pairs = mlm.lmm("Reaction ~ late + (1 | Subject)", data).emmeans("late").pairs()
        >>> test = pairs.test(delta=60.0)
        >>> test[["contrast", "t_ratio", "p_value", "lower", "upper"]].round(3)
           contrast  t_ratio  p_value   lower   upper
        0  no - yes   -1.228    0.111 -62.167 -45.344
        """
        functions = self._functions if by is ... else self._regrouped(by)
        asked = hypothesis(null, delta, side)
        if joint:
            if asked != Hypothesis():
                raise ModelError("a joint test is against 0; leave out null, delta and side")
            return joint_test(functions)
        kept = self.adjust if adjust is None else adjustment_name(adjust)
        if not asked.is_plain:
            kept = one_sided_adjustment(kept, adjust is not None, asked.side)
        elif level is not None:
            raise ModelError("level is for tests with a side or a margin; see summary(level=)")
        other = type(self)(
            functions,
            level=self.level if level is None else level,
            adjust=kept,
            seed=self.seed,
            n_means=self._n_means if by is ... else None,
            estimate_name=self._estimate_name,
        )
        frame = other._computed(other.level, asked, tested=True)
        if asked.is_plain:
            frame = frame.drop(columns=["lower", "upper"])
        notes = [asked.note, *other._notes(frame)]
        if asked.is_plain:
            # Neither limits nor their level are shown.
            notes = [note.split("; confidence level")[0] for note in notes]
            notes = [note.replace("P values and intervals", "P values") for note in notes]
        else:
            notes = [note.replace("; confidence", "; one-sided limits, each of") for note in notes]
        return TableOfTests(frame, notes, functions)

    def cld(
        self,
        alpha: float = 0.05,
        *,
        adjust: str | None = None,
        reverse: bool = False,
        delta: float = 0.0,
    ) -> LetteredMeans:
        """Compact letters: means that share one are not shown to differ.

        Pairs of means within each family are tested, and letters set by insert and absorb (Piepho
        2004), as few as its sweeps find. Means are sorted, "a" that of the smallest.

        Parameters
        ----------
        alpha
            Means differ where p <= alpha.
        adjust
            Adjustment of the pairs, by default "tukey".
        reverse
            Largest first.
        delta
            A margin: means share a letter where they are shown to be equivalent.

        Examples
        --------
        >>> import mlmfast as mlm
        >>> data = mlm.load_sleepstudy()
        >>> data["part"] = [f"p{day // 2}" for day in data.Days]
        >>> means = mlm.lmm("Reaction ~ part + (1 | Subject)", data).emmeans("part")
        >>> means.cld()[["part", "group"]].to_numpy().tolist()
        [['p0', 'a'], ['p1', 'a'], ['p2', 'b'], ['p3', 'b'], ['p4', 'c']]
        """
        if not isinstance(alpha, int | float | np.number) or not 0 < alpha < 1:
            raise ModelError(f"alpha is {alpha!r}; it must lie between 0 and 1, such as 0.05")
        asked = hypothesis(0.0, delta, 0)
        pairs = self.contrast("pairwise", adjust=adjust)
        kept = pairs.adjust
        if asked.delta:
            kept = one_sided_adjustment(kept, adjust is not None)
        shown = pairs._again(adjust=kept)
        p = shown._computed(1.0 - alpha, asked, tested=True)["p_value"]
        return lettered(self, shown, p.to_numpy(dtype=np.float64), alpha, reverse, asked.delta)

    def pwpp(self, ax: Any = None, *, adjust: str | None = None) -> Any:
        """Plot p-values of all pairs of means, a panel for each family; the matplotlib figure.

        Means stand from the smallest to the largest; a line joins two at the p-value of their
        difference, adjusted as `contrast` does.
        """
        from mlmfast.display.pair_plot import pair_plot

        pairs = self.contrast("pairwise", adjust=adjust)
        functions, place = self._functions, 0
        panels = []
        for key, rows in functions.groups():
            k = len(rows)
            n = k * (k - 1) // 2
            own = self.frame.iloc[rows]
            names = own[functions.own_labels].astype(str).agg(" ".join, axis=1).tolist()
            title = ", ".join(f"{a} = {b}" for a, b in zip(functions.by, key, strict=True))
            p = pairs["p_value"].to_numpy(dtype=np.float64)[place : place + n]
            panels.append((title, names, own[self._estimate_name].to_numpy(dtype=np.float64), p))
            place += n
        return pair_plot(panels, ", ".join(functions.own_labels), pairs.adjust, ax)

    @told()
    def contrast(
        self,
        method: Method = "eff",
        *,
        by: Any = ...,
        simple: Any = None,
        adjust: str | None = None,
        ref: Any = None,
        interaction: Any = None,
        level: float | None = None,
        seed: int = 0,
    ) -> Contrasts:
        """Contrasts between the rows of each family.

        Parameters
        ----------
        method
            "pairwise", "revpairwise", "trt.vs.ctrl" (control `ref`, by default the first),
            "trt.vs.ctrlk" (the last), "poly", "consec" (neighbours), "mean_chg" (after against
            before), "eff" (against the mean of all), "del.eff" (against the mean of the others),
            "identity"; or your own: a dict of name to coefficients (numbers in the order of the
            rows, or a dict by label), a data frame or a matrix with a row a contrast.
        by
            Columns that split the rows; by default those of the table, None for no split.
        simple
            Columns that are compared, within each combination of the others: simple effects. The
            same as ``by`` with the others.
        adjust
            "none", "tukey", "dunnett" or "mvt" (exact, by the multivariate t distribution),
            "simulation", "sidak", "bonferroni", "scheffe", "holm", "hochberg", "hommel", "BH"
            ("fdr"), "BY". By default the one that goes with the method: tukey for pairs, dunnett
            against a control, mvt for consec and mean_chg, fdr for effects, none otherwise.
        ref
            Label of the control.
        interaction
            A method, or a list of one for each factor: contrasts of contrasts, such as
            differences in differences.
        level
            Level of the (simultaneous) intervals.
        seed
            Seed of adjust="simulation".

        Examples
        --------
        >>> import mlmfast as mlm
        >>> data = mlm.load_sleepstudy()
        >>> data["week"] = [f"w{1 + day // 4}" for day in data.Days]
        >>> means = mlm.lmm("Reaction ~ week + (1 | Subject)", data).emmeans("week")
        >>> means.contrast("trt.vs.ctrl")["estimate"].round(2).tolist()
        [39.65, 76.36]
        """
        by = by if simple is None else self._all_but(simple, by)
        functions = self._functions if by is ... else self._regrouped(by)
        if interaction is not None:
            combined = interaction_rows(functions, interaction)
            n_means, default = None, "none"
        else:
            combined, n_means, default = contrast_rows(functions, method, ref)
        return Contrasts(
            combined,
            level=self.level if level is None else level,
            adjust=default if adjust is None else adjust,
            seed=seed,
            n_means=n_means,
            about=self._about,
        )

    def pairs(self, **arguments: Any) -> Contrasts:
        """All pairwise differences; see `contrast`."""
        return self.contrast("pairwise", **arguments)


class Contrasts(EstimateTable):
    """Contrasts of estimated marginal means.

    Attributes
    ----------
    frame : DataFrame
        Labels, estimate, SE, df, lower, upper, t_ratio, p_value; NaN where not estimable.
    """

    def plot(self, ax: Any = None) -> Any:  # type: ignore[override]
        """Contrasts with their intervals and a line at 0; the matplotlib figure."""
        return self._plot("contrast", ax, null=0.0)

    def cld(self, *_: Any, **__: Any) -> Any:
        """Letters are those of means, `EMMeans.cld`.

        Raises
        ------
        ModelError
            Always: letters of differences would compare these with each other.
        """
        raise ModelError(
            "compact letters are of means, and these are contrasts of them; use the table of "
            "means: fit.emmeans(...).cld(), with adjust= for the pairs"
        )
