"""In what two plans differ, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlmfast.studies.plan.conditions import Condition

#: What a study may be extended in.
_GROWING = ("n_replicates", "conditions", "truths", "stop_at")


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Differences between the records of two plans; empty where there are none.

    Examples
    --------
    >>> differences({"seed": 1, "chunk": 500}, {"seed": 2, "chunk": 500})
    ['seed is 1 there and 2 here']
    """
    out: list[str] = []
    for name in [*old, *(name for name in new if name not in old)]:
        if name == "conditions":
            out += _conditions(old, new)
        elif name == "truths":
            out += _truths(old, new)
        elif name == "methods" and isinstance(old.get(name), Mapping):
            out += _methods(old[name], new[name])
        elif name == "generate" and old.get(name) != new.get(name):
            out.append(f"generate: {_function(old[name], new[name])}")
        elif old.get(name) != new.get(name):
            out.append(f"{name} is {old.get(name)!r} there and {new.get(name)!r} here")
    return out


def hindrances(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Differences that forbid to go on from one plan with the other, which may be larger."""
    fixed = [{k: v for k, v in plan.items() if k not in _GROWING} for plan in (old, new)]
    out = differences(*fixed)
    if new["n_replicates"] < old["n_replicates"]:
        out.append(
            f"n_replicates is {old['n_replicates']} there and only {new['n_replicates']} here"
        )
    lost = [str(c) for c in _named(old).values() if c.name not in _named(new)]
    out += [f"the condition ({text}) is not in this plan" for text in lost[:3]]
    return out + _truths(old, new)


def _named(plan: Mapping[str, Any]) -> dict[str, Condition]:
    found = [Condition.of(values) for values in plan["conditions"]]
    return {condition.name: condition for condition in found}


def _conditions(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    there, here = _named(old), _named(new)
    lost = [f"the condition ({c}) is there only" for name, c in there.items() if name not in here]
    more = [f"the condition ({c}) is here only" for name, c in here.items() if name not in there]
    out = lost[:3] + more[:3]
    if not out and list(there) != list(here):
        out = ["the conditions are in another order"]
    return out


def _truths(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    there = dict(zip(_named(old), old["truths"], strict=True))
    here = dict(zip(_named(new), new["truths"], strict=True))
    for name, condition in _named(old).items():
        for estimand, value in there[name].items():
            other = here.get(name, {}).get(estimand, value)
            if other != value:
                return [
                    f"the true value of {estimand!r} is {value} there and {other} here "
                    f"(condition {condition})"
                ]
    return []


def _methods(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    out = [f"method {name!r} is there only" for name in old if name not in new]
    out += [f"method {name!r} is here only" for name in new if name not in old]
    for name in old:
        if name not in new or old[name] == new[name]:
            continue
        one, other = old[name].get("model"), new[name].get("model")
        if one is None or other is None:
            out.append(f"method {name!r}: {_function(old[name], new[name])}")
            continue
        parts = [key for key in {**one, **other} if one.get(key) != other.get(key)]
        out += [
            f"method {name!r}: {key} is {one.get(key)!r} there and {other.get(key)!r} here"
            for key in parts
        ]
    if not out and list(old) != list(new):
        out = ["the methods are in another order"]
    return out


def _function(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    if old.get("name") != new.get("name"):
        return f"it is {old.get('name', 'a model')!r} there and {new.get('name', 'a model')!r} here"
    if old.get("code") != new.get("code"):
        return f"the code of {new.get('name')!r} has changed"
    return f"values that {new.get('name')!r} holds have changed"
