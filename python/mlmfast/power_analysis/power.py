"""`mlmfast.power`: power by simulation, alone or along a design."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlmfast.degrees_of_freedom import Ddf, method_of
from mlmfast.errors import DataError, MlmError, ModelError
from mlmfast.fitted.fitted import Fitted
from mlmfast.guessed_arguments import told
from mlmfast.power_analysis.analysis import Analysis
from mlmfast.power_analysis.binomial import exact_interval
from mlmfast.power_analysis.curve import PowerCurve
from mlmfast.power_analysis.hypotheses import hypothesis
from mlmfast.power_analysis.outcome import Hypothesis, Outcome, joined
from mlmfast.prepared.fit_model import check_ddf
from mlmfast.simulation.changed_parameters import with_parameters
from mlmfast.simulation.from_fit import design_of_fit
from mlmfast.simulation.rows import extend
from mlmfast.simulation.streams import Streams, entropy_of
from mlmfast.simulation.study_design import StudyDesign
from mlmfast.words import name_or_number, read_method

Progress = Callable[[int, int], None]


@told()
def power(
    fit_or_design: Fitted | StudyDesign,
    test: Any,
    along: str | None = None,
    values: Sequence[int] | None = None,
    n: int = 1000,
    ddf: Ddf | None = None,
    set: Mapping[str, float] | None = None,
    seed: Any = None,
    *,
    within: str | None = None,
    alpha: float = 0.05,
    level: float = 0.95,
    test_method: str | None = None,
    method: str | None = None,
    formula: str | None = None,
    n_boot: int = 199,
    progress: Progress | None = None,
) -> PowerCurve:
    """Power of a test by simulation, with its exact binomial interval.

    Responses are drawn from the design, or from a fit whose estimates are taken for true, fitted in
    batches and tested. The numbers behind a replicate are the same for all ``values`` (common
    random numbers), so that a curve is smoother than its intervals say.

    Parameters
    ----------
    fit_or_design
        A fit, or what `mlmfast.design` gives.
    test
        A coefficient (t test), a term (type III F test), a linear function (``"a - b = 0"``, or as
        `LMMResult.contrast` takes it); a random effect (``"sd_Days|Subject"`` or
        ``"(1 | Subject)"``: restricted likelihood ratio); the formula of another model, which the
        one fitted is compared with.
    along, values
        A variable, and the numbers of its levels. Of a fit or a design from data further levels
        repeat those there are, new ones of a factor of the fixed effects are refused.
    within
        Instead of ``along``: a cluster (or ``"a:b"``), which is given ``values`` rows each.
    n
        Replicates for each value.
    ddf
        Degrees of freedom, as `mlmfast.lmm` takes them; those of the fit, or "satterthwaite".
        "asymptotic" gives z and chi-square tests.
    set
        Parameters by name set to other values than the design's: fixed effects, ``sd_x|g``,
        ``var_x|g``, ``cor_x.y|g``, ``sigma``, those of a residual structure.
    seed
        int or SeedSequence, the same number the same result; None for fresh entropy, which the
        result's ``seed`` keeps.
    alpha
        Level of the test.
    level
        Of the interval.
    test_method
        "wald" (by default), "lr" (likelihood ratio by ML, chi-square) or "bootstrap" (likelihood
        ratio, parametric bootstrap); for a random effect "exact", "mixture" or "bootstrap", as
        `LMMResult.test_variance` takes them, and "chi-square" (or "lr") where it has no bound.
    method
        "REML" or "ML"; that of the fit, or "REML". Of a fit by moments it has to be said, since
        replicates are fitted by likelihood.
    formula
        Model that is fitted, where it is not the one that responses are drawn from; of a fit
        with ``bounded=False`` without bounds too.
    n_boot
        Samples of each parametric bootstrap.
    progress
        Called with the replicates done and all of them.

    Returns
    -------
    PowerCurve
        A frame with the columns value, power, lower, upper, n, n_failed, mean_estimate. A replicate
        without a test (``n_failed``) rejects nothing. Without ``values`` one row, whose value is
        the number of levels there are (of rows, without ``along``).

    Raises
    ------
    DataError, ModelError
        For names that are not in the model (the nearest is suggested), and numbers that are none.

    Examples
    --------
    >>> import mlmfast as mlm
    >>> fit = mlm.lmm("Reaction ~ Days + (Days | Subject)", mlm.load_sleepstudy())
    >>> curve = mlm.power(fit, "Days", along="Subject", values=[4, 8, 12], n=200,
    ...                   set={"Days": 5}, seed=1)
    >>> list(curve.columns)
    ['value', 'power', 'lower', 'upper', 'n', 'n_failed', 'mean_estimate']
    >>> bool(curve["power"].is_monotonic_increasing)
    True

    References
    ----------
    Green and MacLeod (2016), Methods in Ecology and Evolution 7:493 (simr).
    """
    plan = plan_of(
        fit_or_design, test, along, within, n, ddf, set, seed, alpha, test_method, method, formula,
        n_boot,
    )  # fmt: skip
    check_share("level", level)
    check_progress(progress)
    numbers = plan.numbers(values)
    rows, total = [], len(numbers) * plan.n
    for k, number in enumerate(numbers):
        done = k * plan.n
        found = plan.outcome(number, None if progress is None else _after(progress, done, total))
        rows.append(row_of(number, found, plan, level))
    curve = PowerCurve(rows)
    return described(curve, plan, level)


@dataclass(frozen=True)
class Plan:
    """What is drawn, fitted and tested.

    Attributes
    ----------
    analysis
        The design as it is given, and what is fitted.
    variable, is_within
        Variable whose levels are counted, or clusters whose rows are; empty for none.
    """

    analysis: Analysis
    test: Any
    test_method: str | None
    n_boot: int
    variable: str
    is_within: bool
    n: int
    alpha: float
    seed: Any

    @property
    def present(self) -> int:
        """The number there is."""
        design = self.analysis.design
        if not self.variable:
            return design.nobs
        if self.is_within:
            columns = extend.clusters_of(self.variable)
            return int(design.data.groupby(columns, observed=True).size().max())
        if design.crossing is not None:
            return design.crossing.levels[self.variable].n
        return int(design.data[self.variable].nunique())

    def numbers(self, values: Any) -> list[int]:
        """Numbers of levels or rows that a user gives.

        Raises
        ------
        DataError
        """
        if values is None:
            return [self.present]
        if not self.variable:
            raise DataError("values are numbers of levels of along=, or of rows within=; give one")
        try:
            listed = list(values)
        except TypeError:
            listed = [values]
        if not listed:
            raise DataError("values is empty; give the numbers of levels to try")
        role = "within" if self.is_within else "along"
        return [extend.number_of(role, self.variable, number) for number in listed]

    def hypothesis(self, number: int | None = None) -> Hypothesis:
        """The test in a design with this number of levels or rows."""
        return hypothesis(
            self.analysis.of(self.design(number)), self.test, self.test_method, self.n_boot,
            self.seed,
        )  # fmt: skip

    def design(self, number: int | None = None) -> StudyDesign:
        """The design with this number of levels or rows."""
        if not self.variable or number is None:
            return self.analysis.design
        change = extend.within if self.is_within else extend.along
        try:
            return change(self.analysis.design, self.variable, number)
        except MlmError as error:
            role = "within" if self.is_within else "along"
            raise type(error)(f"{role}={self.variable!r}, {number}: {error}") from None

    def outcome(self, number: int | None, progress: Progress | None = None) -> Outcome:
        """Tests of all replicates."""
        tested = self.hypothesis(number)
        streams, size = Streams(self.seed), self.analysis.of(self.design(number)).batch_size
        parts = []
        for first in range(0, self.n, size):
            count = min(size, self.n - first)
            parts.append(tested.outcome(streams, first, count))
            if progress is not None:
                progress(first + count, self.n)
        found = joined(parts)
        if not np.isfinite(found.pvalue).any():
            where = f" with {number} for {self.variable!r}" if self.variable else ""
            raise ModelError(
                f"none of {self.n} replicates{where} gave a test of {self.test!r}: what is tested "
                "cannot be told from the other effects there, or the model cannot be fitted to "
                "these rows"
            )
        return found


def plan_of(
    fit_or_design: Any,
    test: Any,
    along: str | None,
    within: str | None,
    n: Any,
    ddf: Any,
    changes: Mapping[str, float] | None,
    seed: Any,
    alpha: float,
    test_method: str | None,
    method: str | None,
    formula: str | None,
    n_boot: Any,
) -> Plan:
    """Read what a user asks; `power` documents it."""
    is_fit = isinstance(fit_or_design, Fitted)
    if not is_fit and not isinstance(fit_or_design, StudyDesign):
        raise DataError(
            f"power is of a fit or a design, not of {type(fit_or_design).__name__}; make one by "
            "mlm.lmm(...) or mlm.design(...)"
        )
    design = design_of_fit(fit_or_design) if is_fit else fit_or_design
    record = fit_or_design._record if is_fit else None
    if is_fit:
        _check_refits(fit_or_design, method, formula)
    method = read_method(method or ("REML" if record is None else record.method))
    if ddf is None:
        ddf = "satterthwaite" if record is None else name_or_number(record.ddf)
    check_ddf(ddf, method)
    method_of(ddf)
    for role, count, least in (("n", n, 1), ("n_boot", n_boot, 1)):
        if isinstance(count, bool) or not isinstance(count, int | np.integer) or count < least:
            raise DataError(f"{role} is {count!r}; a whole number from {least} on is needed")
    check_share("alpha", alpha)
    if along is not None and within is not None:
        raise DataError("give along= (more levels) or within= (more rows), not both")
    entropy = entropy_of(seed)
    design = with_parameters(design, {} if changes is None else changes)
    variable = along if along is not None else within
    if variable is not None and not isinstance(variable, str):
        raise DataError(f"along and within name a variable; found {variable!r}")
    plan = Plan(
        Analysis(design, method, ddf, formula), test, test_method, int(n_boot), variable or "",
        within is not None, int(n), float(alpha), entropy,
    )  # fmt: skip
    if variable:
        extend.check_variable(design, variable, is_within=within is not None)
    plan.hypothesis()
    return plan


def _check_refits(fit: Fitted, method: str | None, formula: str | None) -> None:
    """Refuse fits that replicates, which are fitted by likelihood, would not be fitted like.

    Raises
    ------
    ModelError
    """
    if method is None and fit._record.estimator:
        raise ModelError(
            "power fits each replicate by likelihood, and this fit is by "
            f"method={fit.method!r}: give method='REML' or 'ML' for the analysis"
        )
    asked = fit._needs_source("power").asked
    limited = {**fit.held, **({} if asked is None else asked.bounds)}
    if formula is None and limited:
        raise ModelError(
            "power estimates all covariance parameters of each replicate freely, and this fit "
            f"holds or bounds {', '.join(map(str, limited))}: fit without hold= and bounds=, and "
            "give true values by set="
        )


def check_share(name: str, value: Any) -> None:
    """Refuse what is not between 0 and 1.

    Raises
    ------
    ModelError
    """
    good = isinstance(value, float | int) and not isinstance(value, bool) and 0.0 < value < 1.0
    if not good:
        raise ModelError(f"{name} is {value!r}; a number between 0 and 1 is needed")


def check_progress(progress: object) -> None:
    """Refuse what cannot be told how far the replicates are.

    Raises
    ------
    DataError
    """
    if progress is not None and not callable(progress):
        raise DataError(
            f"progress is {progress!r}; give a function of two numbers, the replicates done and "
            "all of them, such as lambda done, total: print(done, total), or leave it out"
        )


def _after(progress: Progress, done: int, total: int) -> Progress:
    return lambda here, _: progress(done + here, total)


def row_of(number: int, found: Outcome, plan: Plan, level: float) -> dict[str, Any]:
    """What a power curve says of one number of levels or rows."""
    tested = np.isfinite(found.pvalue)
    rejected = int((found.pvalue[tested] < plan.alpha).sum())
    lower, upper = exact_interval(rejected, plan.n, level)
    known = np.isfinite(found.estimate)
    return {
        "value": number,
        "power": rejected / plan.n,
        "lower": lower,
        "upper": upper,
        "n": plan.n,
        "n_failed": int((~tested).sum()),
        "mean_estimate": float(found.estimate[known].mean()) if known.any() else np.nan,
    }


def described(curve: PowerCurve, plan: Plan, level: float) -> PowerCurve:
    """The curve with its title, notes and seed."""
    label = plan.hypothesis(int(curve["value"].iloc[0]) if plan.variable else None).label
    curve.title = f"Power of the {label}, alpha {plan.alpha:g}"
    counted = f"rows within {plan.variable}" if plan.is_within else f"levels of {plan.variable}"
    curve.what = counted if plan.variable else "rows"
    notes = [
        f"value: {curve.what}; {100 * level:g}% exact binomial intervals of {plan.n} replicates"
    ]
    failed = int(curve["n_failed"].sum())
    if failed:
        notes.append(f"{failed} replicates gave no test and count as not rejecting")
    curve.notes = tuple(notes)
    curve.seed = plan.seed.entropy
    return curve
