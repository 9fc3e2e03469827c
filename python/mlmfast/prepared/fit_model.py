"""The fit of one model: its arguments read, the rows reduced, the record made, warnings given."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.degrees_of_freedom import Ddf, DegreesOfFreedom, ddf_text, method_of
from mlmfast.design.model_frame import ModelFrame
from mlmfast.errors import ModelError
from mlmfast.fitted.certificates.certificate import is_minimum
from mlmfast.fitted.estimates import estimates_of
from mlmfast.fitted.fitted import Fitted
from mlmfast.fitted.make_record import LaterRecord, make_record
from mlmfast.fitted.origin.provenance import Provenance, provenance_of
from mlmfast.fitted.origin.source import FitSource
from mlmfast.fitted.record import FitRecord
from mlmfast.fitting.covariance_fit import CovarianceFit
from mlmfast.fitting.fit import fit_covariance
from mlmfast.fitting.parms.request import is_open
from mlmfast.fitting.starts.given import read_starts
from mlmfast.newton.options import NewtonOptions
from mlmfast.prepared.fit_warnings import warn_of
from mlmfast.prepared.model import PreparedModel
from mlmfast.reduction.engines.options import Engine, read_options
from mlmfast.reduction.parameter_steps import in_parameters
from mlmfast.reduction.reduced_model import ReducedModel
from mlmfast.words import read_estimator, read_method

if TYPE_CHECKING:
    from mlmfast.fitting.parms.fit import ParmsFit
    from mlmfast.fitting.parms.request import Parms

_Result = TypeVar("_Result", bound=Fitted)
#: A record, or how to make it.
Recorded: TypeAlias = FitRecord | Callable[[], FitRecord]


@dataclass(frozen=True)
class Wishes:
    """What a user asks of single covariance parameters, as given to `mlmfast.LMM.fit`."""

    start: Mapping[str, Any] | FloatArray | None = None
    hold: Mapping[str, float] | None = None
    bounds: Mapping[str, tuple[float | None, float | None]] | None = None
    grid: Mapping[str, Sequence[float]] | Sequence[Mapping[str, float]] | None = None
    bounded: bool = True

    @property
    def of_parameters(self) -> bool:
        """Whether something is asked beside starting matrices."""
        return _is_given(self.hold) or _is_given(self.bounds) or self.grid is not None


def fit_model(
    model: PreparedModel,
    make: Callable[[Recorded, FitSource, Mapping[str, float]], _Result],
    method: str = "REML",
    options: NewtonOptions | Mapping[str, Any] | None = None,
    ddf: Ddf | None = None,
    wishes: Wishes | None = None,
    tell: Callable[[Fitted], None] = warn_of,
) -> _Result:
    """Fit a model; `mlmfast.LMM.fit` documents the arguments.

    Parameters
    ----------
    make
        What the result is made by.
    tell
        What warns of the result.
    """
    method = read_method(method)
    if ddf is not None:
        check_ddf(ddf, method)
    engine, settings = read_options(options)
    wishes = Wishes() if wishes is None else wishes
    as_asked = vars(wishes)
    model = model._for_engine(engine)
    if wishes.bounded is not True or _is_given(wishes.bounds):
        model, wishes = without_bounds_asked(model, engine, method, wishes)
    reduced = model._reduced(engine)
    if ddf is None:
        ddf = "asymptotic" if reduced.is_vast else "satterthwaite"
    degrees = check_ddf(ddf, method)
    started = time.perf_counter()
    text = ddf_text(ddf)
    asked = {"method": method, "ddf": text, "options": options, **as_asked}
    came = provenance_of(model._arguments, asked)
    record, source = _fit(reduced, model._frame, method, settings, text, wishes, came)
    timings = {**model._timings, "iterate": time.perf_counter() - started}
    result = make(record, source, timings)
    if degrees.eager:
        result._basis()
    if isinstance(record, FitRecord):
        tell(result)
    return result


def without_bounds_asked(
    model: PreparedModel, engine: Engine, method: str, wishes: Wishes
) -> tuple[PreparedModel, Wishes]:
    """The model with what ``bounded=False`` or open ``bounds`` free of its bound, and what is left.

    Raises
    ------
    ModelError
        Where ``bounded`` is not True or False, or a structure takes no negative variances.
    """
    check_bounded(wishes.bounded)
    bounds = wishes.bounds if isinstance(wishes.bounds, Mapping) else {}
    if not wishes.bounded:
        open_names = {name for name, pair in bounds.items() if is_open(pair)}
        left = {name: pair for name, pair in bounds.items() if name not in open_names}
        given = wishes.bounds if not open_names else left
        return model._without_bounds(), replace(wishes, bounds=given)
    if not any(is_open(pair) for pair in bounds.values()):
        return model, wishes
    from mlmfast.fitting.parms.open_bounds import open_terms

    terms, left = open_terms(model._reduced(engine), method, bounds)
    return model._without_bounds(terms), replace(wishes, bounds=left)


def check_bounded(bounded: object) -> None:
    """Refuse what is neither True nor False.

    Raises
    ------
    ModelError
    """
    if not isinstance(bounded, bool | np.bool_):
        raise ModelError(
            f"bounded is {bounded!r}; use False to let variances of random effects be negative "
            "(NOBOUND), or True"
        )


def _fit(
    reduced: ReducedModel,
    frame: ModelFrame | None,
    method: str,
    settings: NewtonOptions,
    ddf: str,
    wishes: Wishes,
    came: Provenance,
) -> tuple[Recorded, FitSource]:
    theta, named = (
        (None, {}) if wishes.start is None else read_starts(reduced, method, wishes.start)
    )
    parms = None
    if named or wishes.of_parameters:
        reduced = in_parameters(reduced)
        parms = _fit_with_parms(reduced, method, settings, theta, named, wishes)
        found, held, scale = parms.covariance, tuple(parms.held), parms.log_sigma2
    else:
        found, held, scale = fit_covariance(reduced, method, settings, theta), (), None
        if _has_nothing_to_tell(reduced, found):
            later = LaterRecord(reduced, frame, method, found, ddf)
            return later, FitSource(reduced, found.criterion, found.theta, frame, None, came)
    # As a batch has them, to the bit.
    estimates = estimates_of(reduced, found.criterion, found.theta, scale)
    reduced, covariance = found.single(reduced)
    record = make_record(reduced, frame, method, covariance, estimates, ddf, held)
    if wishes.hold:
        record = replace(record, n_theta=record.n_theta - len(wishes.hold))
    made = (reduced, covariance.criterion, covariance.theta, frame, parms, came)
    return record, FitSource(*made, asked=_limits(wishes))


def _limits(wishes: Wishes) -> Parms | None:
    """Values held and bounds that were asked for."""
    if not (_is_given(wishes.hold) or _is_given(wishes.bounds)):
        return None
    from mlmfast.fitting.parms.request import Parms

    return Parms(hold=wishes.hold or {}, bounds=wishes.bounds or {})


def _has_nothing_to_tell(reduced: ReducedModel, found: CovarianceFit) -> bool:
    """Whether a fit ended at a minimum inside, and nothing is to warn of: see `warn_of`."""
    if not reduced.profiled or reduced.iterative is not None or reduced.design.absorbed is not None:
        return False
    newton = found.newton
    ends = is_minimum(newton.decrement[0], newton.min_eigenvalue[0]) and newton.converged[0]
    inside = not found.singular.any() and found.criterion.flat is None and not found.confounded
    return bool(ends) and inside and len(reduced.kept) == len(reduced.design.x)


def _fit_with_parms(
    reduced: ReducedModel,
    method: str,
    settings: NewtonOptions,
    theta: FloatArray | None,
    named: dict[str, Any],
    wishes: Wishes,
) -> ParmsFit:
    from mlmfast.fitting.parms.fit import fit_with_parms
    from mlmfast.fitting.parms.request import Parms

    if reduced.iterative is not None:
        raise ModelError(
            "the iterative engine takes no start by parameter name, hold=, bounds= or "
            "grid=; leave them out, or fit with options={'engine': 'crossed'}"
        )
    hold: Mapping[str, float] = {} if wishes.hold is None else wishes.hold
    asked = Parms(named, hold, {} if wishes.bounds is None else wishes.bounds, wishes.grid)
    return fit_with_parms(reduced, method, settings, theta, asked)


class _Unsaid(str):
    """A default of ``method=``, which nobody wrote: ``REML=`` may speak instead."""

    __slots__ = ()


#: Default of ``method=`` beside ``REML=``.
BY_DEFAULT: str = _Unsaid("REML")


def method_by(method: str, REML: bool | None, moments: bool = False) -> str:
    """The method of estimation where R's ``REML=`` may stand for it.

    ``moments`` says whether "type1" to "type3" and "mivque0" are methods too.

    Raises
    ------
    ModelError
        Where the two contradict each other, or are not known.
    """
    read = read_estimator if moments else read_method
    said = None if isinstance(method, _Unsaid) else read(method)
    if REML is None:
        return said or "REML"
    if not isinstance(REML, bool | np.bool_):
        raise ModelError(f"REML is {REML!r}; use True or False, or method='REML' or 'ML'")
    asked = "REML" if REML else "ML"
    if said not in {None, asked}:
        raise ModelError(
            f"method={said!r} and REML={bool(REML)} contradict each other; leave one out"
        )
    return asked


def _is_given(wishes: object) -> bool:
    """Whether something is asked of parameters; what it is asked by is looked at later."""
    return wishes is not None and not (isinstance(wishes, Mapping) and not wishes)


def check_ddf(ddf: Ddf, method: str) -> DegreesOfFreedom:
    """The method of degrees of freedom, refused where it does not go with the estimation's."""
    found = method_of(ddf)
    found.check(method == "REML")
    return found
