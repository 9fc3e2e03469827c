"""What the data do not determine of a fit's covariance parameters, as names and plain numbers."""

from __future__ import annotations

from dataclasses import dataclass

#: What is said where fixed effects depend on a choice.
ERRORS_DEPEND = "fixed effects and their standard errors depend on what is not determined"


@dataclass(frozen=True)
class Combination:
    """A linear combination of covariance parameters that the data determine.

    Examples
    --------
    >>> Combination(("Var(a) | g", "Cov(a, b) | g"), (1.0, -2.0)).name
    'Var(a) | g - 2 Cov(a, b) | g'
    """

    parameters: tuple[str, ...]
    weights: tuple[float, ...]

    @property
    def name(self) -> str:
        """The combination as text."""
        out = ""
        for name, weight in zip(self.parameters, self.weights, strict=True):
            sign = "-" if weight < 0 else "+" if out else ""
            size = "" if abs(weight) == 1.0 else f"{abs(weight):.6g} "
            out += f" {sign} {size}{name}" if out else f"{sign}{size}{name}"
        return out


@dataclass(frozen=True)
class UndeterminedRecord:
    """Covariance parameters that the data do not determine.

    Attributes
    ----------
    n
        Directions of the parameters along which the criterion is constant: that many fewer
        parameters are counted.
    names
        Parameters that move along them, which have no standard error.
    unseen
        Those of them that do not enter V at all, such as a covariance of levels that never meet:
        no value is reported.
    absorbed
        Those that the fixed effects take up under REML, held at 0.
    groups
        The others, by which are told apart from which.
    combined
        What is determined of these.
    errors_depend
        Whether fixed effects and their standard errors depend on a choice among them.
    effects
        Fixed effects whose standard errors do, which have none.
    independent
        Whether residuals of which the data tell one variance alone are held independent.
    """

    n: int
    names: tuple[str, ...]
    unseen: tuple[str, ...] = ()
    absorbed: tuple[str, ...] = ()
    groups: tuple[tuple[str, ...], ...] = ()
    combined: tuple[Combination, ...] = ()
    errors_depend: bool = False
    effects: tuple[str, ...] = ()
    independent: bool = False

    @property
    def messages(self) -> tuple[str, ...]:
        """What a reader must know before the numbers."""
        out = []
        if self.unseen:
            what = "is no parameter" if len(self.unseen) == 1 else "are no parameters"
            met = "visits never meet in one subject"
            if any(" | " in name for name in self.unseen):
                met = "effects never meet in one level"
            out.append(f"no data tell {_listed(self.unseen)} (the {met}), which {what} of this fit")
        if self.absorbed:
            it = "it" if len(self.absorbed) == 1 else "them"
            out.append(
                f"the restricted likelihood does not depend on {_listed(self.absorbed)}, as the "
                f"fixed effects take up what would tell {it}; held at 0"
            )
        for group in self.groups:
            own = [c.name for c in self.combined if set(c.parameters) <= set(group)]
            told = f": the data determine {_listed(own)} only" if own else ""
            if len(group) == 1:
                out.append(f"the data do not determine {group[0]}")
            else:
                out.append(f"{_listed(group)} cannot be told apart{told}")
        if self.independent:
            out.append(
                "residuals are held independent, with one variance, which is all that is told of "
                "them: the inference of least squares"
            )
        if self.errors_depend:
            out.append(ERRORS_DEPEND)
        if self.effects:
            out.append(f"no standard error is given for {_listed(self.effects)}")
        return tuple(out)


#: Parameters that a message names.
_MOST_NAMED = 6


def _listed(names: tuple[str, ...] | list[str]) -> str:
    """Names in a sentence."""
    shown = list(names[:_MOST_NAMED])
    if len(names) > _MOST_NAMED:
        shown.append(f"{len(names) - _MOST_NAMED} more")
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"
