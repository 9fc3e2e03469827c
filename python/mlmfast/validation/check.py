"""One check of a validation, and the requirements that checks belong to."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Requirement:
    """What the software has to do.

    Attributes
    ----------
    code
        ``IQ`` (installation) or ``OQ`` (operation) and a number.
    text
        The requirement.
    """

    code: str
    text: str


@dataclass(frozen=True)
class Check:
    """What was compared with what, and how it came out.

    Attributes
    ----------
    requirement
        Code of the requirement that it tests.
    subject
        What was run: a reference fit, a listing, a file.
    quantity
        What of it was looked at.
    family
        Kind of models that the subject is of; empty where it is no fit.
    difference, tolerance
        Largest difference to what is right, and the largest allowed, both relative to the size of
        the quantity; NaN where nothing is measured.
    holds
        Whether a condition holds, where nothing is measured.
    note
        What was found, where it helps to know.
    """

    requirement: str
    subject: str
    quantity: str
    family: str = ""
    difference: float = math.nan
    tolerance: float = math.nan
    holds: bool = True
    note: str = ""

    @property
    def passed(self) -> bool:
        """Whether the condition holds and the difference, if any, is within the tolerance.

        Examples
        --------
        >>> Check("OQ-1", "a fit", "beta", difference=1e-9, tolerance=1e-7).passed
        True
        >>> Check("OQ-1", "a fit", "beta", difference=float("nan"), tolerance=1e-7).passed
        False
        """
        measured = not math.isnan(self.tolerance)
        # A difference that is no number is no agreement.
        return self.holds and (not measured or self.difference <= self.tolerance)


REQUIREMENTS = (
    Requirement("IQ-1", "The files are those that were built, and the core library is their own."),
    Requirement(
        "IQ-2", "Python and the packages that mlmfast needs have the versions it asks for."
    ),
    Requirement("OQ-1", "The log-likelihood at the estimates is that of the reference programs."),
    Requirement("OQ-2", "Fixed effects agree with the reference programs."),
    Requirement("OQ-3", "Standard errors agree with the reference programs."),
    Requirement("OQ-4", "Variances and covariances of the random effects agree."),
    Requirement("OQ-5", "Residual variances and covariances agree."),
    Requirement("OQ-6", "Random effects (BLUPs) agree."),
    Requirement("OQ-7", "Degrees of freedom by Satterthwaite and by Kenward and Roger agree."),
    Requirement("OQ-8", "Tests of terms (type III) and of nested models agree."),
    Requirement("OQ-9", "Cluster-robust covariances (CR0 to CR3) agree."),
    Requirement("OQ-10", "Listings of PROC MIXED are reproduced to the printed digit."),
    Requirement("OQ-11", "Every fit ends with a certificate that it is at a minimum."),
    Requirement("OQ-12", "Singular and rank-deficient models are fitted and named as such."),
    Requirement("OQ-13", "The likelihood is that of the model, calculated anew by its definition."),
    Requirement(
        "OQ-14", "Results do not depend on threads, order of rows, or alone or in a batch."
    ),
    Requirement("OQ-15", "A saved fit gives the same answers when it is read again."),
    Requirement(
        "OQ-16", "Input that cannot be fitted is refused with a reason; no formula runs code."
    ),
)
