"""What a user may choose of the iterative engine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Integral
from typing import Any, Literal, TypeAlias

from mlmfast.errors import ModelError
from mlmfast.newton.options import NewtonOptions, check_settings


@dataclass(frozen=True)
class IterativeSettings:
    """Settings of the stochastic traces.

    Parameters
    ----------
    probes
        Random probes of the log-determinant and of the traces of the gradient; the Monte Carlo
        errors fall as 1 / sqrt(probes), time grows with them. "exact" takes every direction once,
        which leaves no Monte Carlo error and costs a solve for each random effect.
    seed
        Seed of the probes: same seed, same digits.

    Examples
    --------
    >>> IterativeSettings(probes=60).seed
    0
    """

    #: With intercept, one covariate and two factors the columns fill two blocks of 16.
    probes: int | Literal["exact"] = 28
    seed: int = 0
    # Iterations of conjugate gradients; no annotation, since it is no option.
    most_iterations = 2_000

    def __post_init__(self) -> None:
        if self.probes != "exact" and not _is_count(self.probes, 2):
            raise ModelError(f"probes is {self.probes!r}; use a whole number from 2, or 'exact'")
        if not _is_count(self.seed, 0) or self.seed >= 2**64:
            raise ModelError(f"the seed of the probes is {self.seed!r}; use a whole number from 0")


@dataclass(frozen=True)
class StartSettings(IterativeSettings):
    """The same where another engine will have the last word.

    More iterations say that factors are nearly confounded; the other engine is then the faster one.
    """

    most_iterations = 100


def _is_count(value: Any, smallest: int) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= smallest


#: Engines that can be asked for by ``options={"engine": ...}``.
ENGINES = ("nested", "crossed", "iterative", "dense")
#: Forms of the crossed engine's factor that can be asked for by ``options={"schur": ...}``.
SCHUR = ("cheaper", "dense", "sparse")


@dataclass(frozen=True)
class CrossedSettings:
    """Settings of the crossed engine.

    Parameters
    ----------
    schur
        How the matrix that remains of the factors but the leading one is factored: "dense",
        "sparse" (supernodes in a fill-reducing order), or "cheaper", whichever takes less by the
        counts of a symbolic factorisation.

    Examples
    --------
    >>> CrossedSettings(schur="sparse").schur
    'sparse'
    """

    schur: str = "cheaper"

    def __post_init__(self) -> None:
        if self.schur not in SCHUR:
            raise ModelError(f"schur is {self.schur!r}; use 'cheaper', 'dense' or 'sparse'")


_SETTINGS: dict[str, type[CrossedSettings] | type[IterativeSettings]] = {
    "crossed": CrossedSettings,
    "iterative": IterativeSettings,
}


_BY_DEFAULT = NewtonOptions()

#: An engine asked for; None leaves the choice to the model.
Engine: TypeAlias = Literal["nested", "dense"] | CrossedSettings | IterativeSettings | None


def read_options(
    options: NewtonOptions | Mapping[str, Any] | None,
) -> tuple[Engine, NewtonOptions]:
    """The engine asked for (None: the model decides) and the settings of the iteration.

    The crossed and the iterative engine come as their settings.

    Raises
    ------
    ModelError
        For an engine or a setting that is not known, or one of another engine.

    Examples
    --------
    >>> read_options({"engine": "crossed", "schur": "sparse", "max_iter": 50})[0]
    CrossedSettings(schur='sparse')
    >>> read_options({"engine": "iterative", "probes": 60})[0]
    IterativeSettings(probes=60, seed=0)
    """
    if options is None:
        return None, _BY_DEFAULT
    if isinstance(options, NewtonOptions):
        check_settings(options)
        return None, options
    if not isinstance(options, Mapping):
        raise ModelError(f"options is {options!r}; give a dict such as {{'max_iter': 200}}")
    settings = dict(options)
    engine = settings.pop("engine", None)
    if engine is not None and engine not in ENGINES:
        known = "'nested', 'crossed', 'iterative' or 'dense'"
        raise ModelError(f"engine is {engine!r}; use {known}")
    # The engines without settings of their own stand for themselves.
    chosen: Engine = engine if engine in {"nested", "dense"} else None
    names: list[str] = []
    for name, kind in _SETTINGS.items():
        fields = kind.__dataclass_fields__
        own = {field: settings.pop(field) for field in fields if field in settings}
        if own and engine != name:
            raise ModelError(
                f"{' and '.join(own)} are options of the {name} engine; leave them out or add "
                f"'engine': {name!r}"
            )
        if engine == name:
            chosen = kind(**own)
        names.extend(fields)
    try:
        newton = NewtonOptions(**settings)
    except TypeError:
        known = ", ".join(["engine", *names, *NewtonOptions.__dataclass_fields__])
        unknown = [repr(n) for n in settings if n not in NewtonOptions.__dataclass_fields__]
        raise ModelError(f"unknown options: {', '.join(unknown)}; there are {known}") from None
    check_settings(newton)
    return chosen, newton
