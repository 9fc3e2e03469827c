"""What a fit warns of."""

from __future__ import annotations

from mlmfast.catalogue.codes import codes_of_notes
from mlmfast.errors import AliasedWarning, ConvergenceWarning, SingularFitWarning, warn
from mlmfast.fitted.certificates.boundary_messages import STRAIGHT
from mlmfast.fitted.certificates.in_corners import CORNER
from mlmfast.fitted.certificates.singular_v import is_v_singular
from mlmfast.fitted.fitted import Fitted
from mlmfast.fitting.undetermined.record import ERRORS_DEPEND


def warn_of(fit: Fitted) -> None:
    """At most one warning of each kind, with the remedy."""
    if fit.aliased:
        warn(
            f"columns of X left out because they depend on earlier ones: {', '.join(fit.aliased)}",
            AliasedWarning,
            "MLM101",
        )
    if not fit.converged:
        named = "; ".join(fit.certificate.boundary)
        remedy = "simplify the random effects, or start from other values"
        if named:
            remedy = f"{named}. Use a structure with fewer parameters"
        warn(
            "the fit did not reach a certified minimum (decrement "
            f"{fit.certificate.newton_decrement:.1e}): {remedy}",
            ConvergenceWarning,
            "MLM301",
            *codes_of_notes(fit.certificate.boundary),
        )
    elif fit.singular and not _are_straight(fit):
        found = fit._record.undetermined
        what, advice = "singular fit", "consider a simpler covariance structure"
        if all(CORNER in text for text in fit.certificate.boundary):
            what, advice = "a range without a standard error", "sp_sph is smooth in its range"
        if found is not None and set(fit.certificate.boundary) <= set(found.messages):
            what = "the data do not determine all covariance parameters"
        valid = "Estimates and standard errors of the fixed effects are valid"
        depend = found is not None and found.errors_depend
        if depend or ERRORS_DEPEND in fit.certificate.boundary:
            valid = "Fixed effects and standard errors that depend on them are a choice, no result"
        elif is_v_singular(fit.certificate.boundary):
            valid = "Standard errors of fixed effects along it are 0, and those of others too small"
        elif any(text.startswith("a local maximum") for text in fit.certificate.boundary):
            valid = "Estimates and standard errors are those of this local maximum"
        warn(
            f"{what}: {'; '.join(fit.certificate.boundary)}. {valid}; {advice}",
            SingularFitWarning,
            *codes_of_notes(fit.certificate.boundary),
        )


def _are_straight(fit: Fitted) -> bool:
    """Whether all that is on the boundary are curves that are straight lines."""
    return bool(fit.certificate.boundary) and all(
        text.endswith(STRAIGHT) for text in fit.certificate.boundary
    )
