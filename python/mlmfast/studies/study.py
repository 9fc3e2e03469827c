"""Study: a simulation study, planned, run, resumed."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mlmfast.errors import DataError
from mlmfast.guessed_arguments import told
from mlmfast.studies.performance.needed import n_for
from mlmfast.studies.plan.conditions import Condition
from mlmfast.studies.plan.identity import level
from mlmfast.studies.plan.method import Method
from mlmfast.studies.plan.plan import Chunk, Plan
from mlmfast.studies.replicates.chunk import chunk_table
from mlmfast.studies.replicates.draw import Source
from mlmfast.studies.result import StudyResult
from mlmfast.studies.running.folder import Folder
from mlmfast.studies.running.run import run_study
from mlmfast.studies.running.shard import Shard
from mlmfast.words import did_you_mean

if TYPE_CHECKING:
    import pandas as pd

#: Conditions that a message lists.
_LISTED = 6


@told()
class Study:
    """A simulation study: data of known truth, drawn many times, and methods applied to them.

    Aims apart, the parts are those of Morris, White and Crowther (2019, Statistics in Medicine
    38:2074-2102): data-generating mechanisms, estimands, methods, performance measures.

    Parameters
    ----------
    conditions
        A factorial grid, ``{"n_groups": [10, 30], "icc": [0.1, 0.3]}``, or a list of dicts. Values
        are numbers, texts, True, False or None.
    generate
        A function of (condition, rng) that returns a data frame or a dict of arrays; rng is a
        `numpy.random.Generator` of this replicate alone, and the only source of randomness. Or a
        `design`, of which the factors of the conditions are names that `StudyDesign.under` knows;
        or a function of the condition that returns one.
    methods
        By name a `Method`, a mixed model, or a function of (data, condition). That returns a dict
        from estimand to an estimate, to (estimate, standard error, df, p value, lower, upper), as
        many as there are, or to a dict of those names (of one estimand without its name too); or a
        result with ``params`` and ``bse``, such as statsmodels'. ``"converged"``, ``"singular"``
        and ``"error"`` in the dict are flags.
    estimands
        By name the true value: a number, a function of the condition, the name of a factor of the
        conditions, or None where it is unknown. The name is that of a coefficient, of a linear
        function of them (``"armB - armA"``), or of a covariance parameter (``"sd_(Intercept)|g"``,
        ``"var_x|g"``, ``"sigma"``, ...: an estimate without standard error). With a design a list
        of fixed effects, whose true values it has.
    n_replicates
        Of each condition.
    seed
        A whole number. The stream of a replicate is a PCG64DXSM generator started by
        ``SeedSequence(seed, spawn_key=(*words of the condition, replicate))``. The condition goes
        by what it holds and not by where it stands, so that a study may be extended.
    chunk
        Replicates that are run, written and finished at a time. Results do not depend on it.
    stop_at
        Monte Carlo standard errors, such as ``{"coverage": 0.005}``, at which a condition ends
        before ``n_replicates``. They are looked at after each chunk, in order, so that it does not
        depend on the executor where a condition ends. Shares are judged after adding two successes
        and two failures; power is that at the level of 5 per cent.
    common_random_numbers
        Whether replicate i has the same stream in all conditions. Conditions then differ by what
        they change alone: of a design to the last digit where they have the same rows (effects and
        residuals have streams of their own), of a function as far as it asks ``rng`` for the same.
        Differences between conditions are then more precise; their estimates are correlated.

    Examples
    --------
    >>> import numpy as np, mlmfast as mlm
    >>> def trial(condition, rng):
    ...     g = np.repeat(np.arange(condition["n_groups"]), 5)
    ...     t = g % 2.0
    ...     y = 0.5 * t + rng.normal(size=g.max() + 1)[g] + rng.normal(size=g.size)
    ...     return {"y": y, "t": t, "g": g}
    >>> study = mlm.Study(
    ...     conditions={"n_groups": [10, 30]},
    ...     generate=trial,
    ...     methods={"REML": mlm.Method("y ~ t + (1 | g)")},
    ...     estimands={"t": 0.5},
    ...     n_replicates=40,
    ...     seed=1,
    ... )
    >>> study.data({"n_groups": 10}, replicate=7).shape
    (50, 3)
    >>> import tempfile
    >>> folder = tempfile.mkdtemp()
    >>> result = study.run(folder, progress=False)
    >>> result.replicates.shape
    (80, 14)
    >>> table = result.performance(["bias", "coverage"])
    >>> table[["n_groups", "method", "estimand", "measure"]]
       n_groups method estimand   measure
    0        10   REML        t      bias
    1        10   REML        t  coverage
    2        30   REML        t      bias
    3        30   REML        t  coverage
    """

    def __init__(
        self,
        conditions: Mapping[str, Any] | Sequence[Mapping[str, Any]],
        generate: Any,
        methods: Mapping[str, Method | Callable[..., Any]],
        estimands: Mapping[str, Any],
        n_replicates: int = 1000,
        seed: int = 0,
        *,
        chunk: int = 1000,
        stop_at: Mapping[str, float] | None = None,
        common_random_numbers: bool = False,
    ) -> None:
        self._plan = Plan.of(
            conditions,
            generate,
            methods,
            estimands,
            n_replicates,
            seed,
            chunk,
            stop_at,
            common_random_numbers,
        )

    #: Replicates for a Monte Carlo standard error, before anything is run; see `needed.n_for`.
    n_for = staticmethod(n_for)

    @property
    def conditions(self) -> list[dict[str, Any]]:
        """The conditions in order, a dict each."""
        return [dict(condition.values) for condition in self._plan.conditions]

    @property
    def fingerprint(self) -> str:
        """Digits that stand for all that the results depend on, versions of programs aside."""
        return self._plan.fingerprint

    def __repr__(self) -> str:
        plan = self._plan
        return (
            f"<Study: {len(plan.conditions)} conditions x {plan.n_replicates:,} replicates, "
            f"methods {', '.join(plan.methods)}; estimands {', '.join(plan.estimands)}; "
            f"seed {plan.seed}>"
        )

    def run(
        self,
        path: str | os.PathLike[str],
        executor: Any = None,
        progress: bool = True,
        shard: str | tuple[int, int] | None = None,
        extend: bool = False,
    ) -> StudyResult:
        """Run what is not finished in a folder, and return the results.

        A study that was stopped, by whatever, goes on with the same call and ends with the same
        files.

        Parameters
        ----------
        path
            Folder of the study: ``plan.json``, and a Parquet file for each finished chunk.
        executor
            None: here, on the threads of the core. A `concurrent.futures.Executor` (processes,
            threads, loky), a `joblib.Parallel`, or a `dask.distributed.Client`. The results are
            the same to the bit.
        progress
            Whether to say on standard error what is done, at which rate, and the time left.
        shard
            ``"i/k"``: the i-th of k shares, for job arrays; all write to one folder.
        extend
            Whether the folder may hold a smaller plan, of fewer replicates or conditions and
            otherwise the same.

        Raises
        ------
        DataError
            For a folder of another plan, saying what differs.
        MlmError
            Where a worker died; the same call goes on.
        OSError
            Where a file cannot be written; what was finished stays.
        """
        folder = Folder(path)
        run_study(self._plan, folder, executor, bool(progress), Shard.read(shard), extend)
        return StudyResult(path)

    def data(self, condition: Any, replicate: int | None = None) -> Any:
        """Draw the data of one replicate again, as the methods saw them.

        Parameters
        ----------
        condition
            Values of its factors (as many as tell it from the others), its position, or a ``key``
            of the results, which says the replicate too.
        replicate
            Its number, from 0.
        """
        found, number = self._place(condition, replicate)
        return Source(self._plan, self._plan.conditions[found]).draw(number).table()

    def rows(self, condition: Any, replicate: int | None = None) -> pd.DataFrame:
        """Run one replicate alone; its rows are those of the results. Arguments as of `data`."""
        found, number = self._place(condition, replicate)
        rows: pd.DataFrame = chunk_table(self._plan, Chunk(found, number, number + 1)).to_pandas()
        return rows

    def _place(self, condition: Any, replicate: Any) -> tuple[int, int]:
        if isinstance(condition, str) and replicate is None:
            condition, replicate = self._of_key(condition)
        number = -1 if isinstance(replicate, bool) or replicate is None else int(replicate)
        if number < 0:
            raise DataError(f"replicate is {replicate!r}; give its number, from 0")
        return self._position(condition), number

    def _of_key(self, key: str) -> tuple[int, str]:
        seed, _, rest = key.partition("/")
        name, _, number = rest.partition("/")
        names = [condition.name for condition in self._plan.conditions]
        if seed != str(self._plan.seed) or name not in names or not number.isdigit():
            raise DataError(f"{key!r} is no key of this study's results")
        return names.index(name), number

    def _position(self, condition: Any) -> int:
        every = self._plan.conditions
        if isinstance(condition, Mapping):
            return self._of_values(condition)
        try:
            return int(range(len(every))[condition])
        except (TypeError, IndexError):
            raise DataError(
                f"condition is {condition!r}; give values of its factors, or its position from 0 "
                f"to {len(every) - 1}"
            ) from None

    def _of_values(self, values: Mapping[str, Any]) -> int:
        factors = self._plan.factors
        for name in values:
            if name not in factors:
                hint = did_you_mean(str(name), factors)
                raise DataError(
                    f"{name!r} is no factor of the conditions{hint} ({', '.join(factors)})"
                )
        wanted = {name: level(value, name) for name, value in values.items()}
        found = [k for k, own in enumerate(self._plan.conditions) if _agrees(own, wanted)]
        if not found:
            there = "; ".join(map(str, self._plan.conditions[:_LISTED]))
            more = ", ..." if len(self._plan.conditions) > _LISTED else ""
            raise DataError(f"no condition has {dict(values)}; there are: {there}{more}")
        if len(found) > 1:
            apart = [name for name in factors if name not in wanted]
            raise DataError(
                f"{len(found)} of the conditions have {dict(values)}; give {', '.join(apart)} too"
            )
        return found[0]


def _agrees(condition: Condition, values: Mapping[str, Any]) -> bool:
    return all(
        condition.values[name] == value and type(condition.values[name]) is type(value)
        for name, value in values.items()
    )
