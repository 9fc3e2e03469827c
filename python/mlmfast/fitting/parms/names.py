"""The covariance parameters that values and bounds are given for, by their names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import numpy as np

from mlmfast.criterion.parameters.covariance_parameter import CovarianceParameter
from mlmfast.criterion.parameters.functions import CovarianceFunctions
from mlmfast.criterion.parameters.spellings import Asked, asked_for
from mlmfast.errors import ModelError
from mlmfast.fitting.parms.request import finite_number, is_open


@dataclass(frozen=True)
class NamedParameters:
    """What is wished of the covariance parameters of a model, read by name."""

    functions: CovarianceFunctions

    def find(self, name: str) -> int:
        """Position of a parameter by its name, however it is spelled."""
        return self._asked(name).position

    def _asked(self, name: str) -> Asked:
        found = asked_for(name, self.functions.parameters)
        if found is not None:
            return found
        names = [p.name for p in self.functions.parameters]
        others = [alias for p in self.functions.parameters for alias, _ in p.aliases]
        near = get_close_matches(str(name), names + others, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ModelError(
            f"{name!r} is no covariance parameter of this model{hint} "
            f"(parameters: {', '.join(names + others)})"
        )

    def values(self, wishes: Mapping[str, Any]) -> dict[int, float]:
        """Values by position; a parameter may be named once.

        Raises
        ------
        ModelError
        """
        self.only_once(wishes)
        return {self.find(name): self.value(name, value) for name, value in wishes.items()}

    def only_once(self, names: Iterable[str]) -> None:
        """Refuse two names of one parameter, of which one would be passed over.

        Raises
        ------
        ModelError
        """
        first: dict[int, str] = {}
        for name in names:
            position = self.find(name)
            if position in first:
                raise ModelError(
                    f"{first[position]!r} and {name!r} are one parameter, "
                    f"{self.functions.parameters[position].name}; give one of them"
                )
            first[position] = name

    def value(self, name: str, value: Any) -> float:
        """A value under the parameter's own name: the root of a variance."""
        number = finite_number(name, value)
        position, power = self._asked(name)
        parameter = self.functions.parameters[position]
        if power != 1.0 and number < 0:
            raise ModelError(f"{name!r} is a variance; {number:g} is negative")
        number = float(number ** (1.0 / power)) if power != 1.0 else number
        if not parameter.lower <= number <= parameter.upper:
            raise ModelError(
                f"{number:g} lies outside the range of {name!r}, {parameter.lower:g} to "
                f"{parameter.upper:g}"
            )
        if number == 0.0 and self._is_correlated(parameter):
            raise ModelError(
                f"{name!r} cannot be 0: the correlations of that effect would be undefined; leave "
                "the effect out of its term instead"
            )
        return number

    def _is_correlated(self, parameter: CovarianceParameter) -> bool:
        if parameter.kind != "sd" or not parameter.places:
            return False
        structure = self.functions.model.design.random[parameter.places[0][0]].structure
        return structure.mixes and structure.size > 1

    def bounds(
        self, wishes: Mapping[str, tuple[float | None, float | None]]
    ) -> dict[int, tuple[float, float]]:
        """Bounds by position, infinite where there is none."""
        self.only_once(wishes)
        out = {}
        for name, pair in wishes.items():
            if not isinstance(pair, tuple | list) or len(pair) != 2:
                raise ModelError(
                    f"bounds of {name!r} are {pair!r}; give (lower, upper), None for no bound"
                )
            parameter = self.functions.parameters[self.find(name)]
            low, high = pair
            if is_open(pair):
                raise ModelError(
                    f"bounds of {name!r} are open on both sides and bound nothing; leave them out"
                )
            # 0 for a standard deviation is no bound of its own.
            is_edge = low is None or (low == 0 and parameter.lower == 0)
            lower = parameter.lower if is_edge else self._bound(name, low)
            upper = parameter.upper if high is None else self._bound(name, high)
            if not lower <= upper:
                raise ModelError(f"bounds of {name!r}: {low!r} is not below {high!r}")
            out[self.find(name)] = (lower, upper)
        return out

    def _bound(self, name: str, value: Any) -> float:
        if isinstance(value, float | int) and np.isinf(value):
            return float(value)
        return self.value(name, value)

    def check_contradictions(
        self, hold: Mapping[int, float], bounds: Mapping[int, tuple[float, float]]
    ) -> None:
        """Refuse values held outside their bounds."""
        for position in sorted(set(hold) & set(bounds)):
            lower, upper = bounds[position]
            if not lower <= hold[position] <= upper:
                name = self.functions.parameters[position].name
                raise ModelError(f"{name!r} is held at {hold[position]:g}, outside its bounds")
