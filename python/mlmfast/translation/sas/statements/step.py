"""The statements of one PROC MIXED step, each in its parts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from mlmfast.errors import FormulaError
from mlmfast.translation.sas.statements.effects import Effect, effects_of
from mlmfast.translation.sas.statements.linear import LinearStatement, linear_statement
from mlmfast.translation.sas.statements.options import Option, numbers, options_of
from mlmfast.translation.sas.statements.text import Statement, Token, cut, parts_of, statement_of


@dataclass(frozen=True)
class Effects:
    """Effects with options: RANDOM, REPEATED, LSMEANS."""

    effects: tuple[Effect, ...]
    options: tuple[Option, ...]
    text: str

    def option(self, *names: str) -> Option | None:
        """The option of one of these names."""
        return next((o for o in self.options if o.name in names), None)


@dataclass
class Step:
    """One PROC MIXED step.

    Attributes
    ----------
    options : of the PROC statement
    classes : CLASS variables in their order, with options of their own
    response, model : of the MODEL statement
    ignored : statements without effect on numbers, as written
    unknown : statements that are not understood, as written
    """

    options: tuple[Option, ...]
    classes: dict[str, tuple[Option, ...]] = field(default_factory=dict)
    response: str = ""
    model: Effects | None = None
    random: list[Effects] = field(default_factory=list)
    repeated: Effects | None = None
    lsmeans: list[Effects] = field(default_factory=list)
    linear: list[LinearStatement] = field(default_factory=list)
    parms: tuple[list[list[float]], tuple[Option, ...]] | None = None
    prior: tuple[tuple[Option, ...], tuple[Option, ...]] | None = None
    weight: str | None = None
    by: tuple[str, ...] = ()
    ignored: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)


#: Statements that print, save or name, and steps around this one.
_SILENT = frozenset(
    {"ods", "title", "title1", "title2", "title3", "footnote", "footnote1", "label", "id", "store"}
    | {"options", "option", "goptions", "libname", "filename", "attrib"}
)
_WORDS = re.compile(r"(?P<first>[A-Za-z_]\w*)(?:\s+(?P<second>\w+))?")
_ENDS = frozenset({"run", "quit", "data", "proc"})


def read_step(text: str) -> Step:
    """Read a text that holds one PROC MIXED step.

    Raises
    ------
    FormulaError
        Where there is none, several, or a statement that cannot be read.

    Examples
    --------
    >>> step = read_step("proc mixed method=ml; class g; model y = x / s; random int / sub=g;")
    >>> step.response, [str(e) for e in step.model.effects], list(step.classes)
    ('y', ['x'], ['g'])
    """
    head, *own = _own_statements(text)
    spelled: dict[str, str] = {}
    step = Step(tuple(options_of(head.tokens[1:])))
    for statement in own:
        tokens = tuple(
            token._replace(text=spelled.setdefault(token.text.lower(), token.text))
            if token.kind == "name"
            else token
            for token in statement.tokens
        )
        _take(step, statement._replace(tokens=tokens))
    if step.model is None:
        raise FormulaError("the step has no MODEL statement")
    return step


def _own_statements(text: str) -> list[Statement]:
    """The statements of the step; those around it are passed over unread, as data lines are."""
    every = parts_of(text)
    words = [_WORDS.match(part) for part in every]
    named = [(found["first"].lower(), (found["second"] or "").lower()) if found else ("", "")
             for found in words]  # fmt: skip
    starts = [k for k, (first, _) in enumerate(named) if first == "proc"]
    mixed = [k for k in starts if named[k][1] == "mixed"]
    if len(mixed) != 1:
        others = [named[k][1].upper() for k in starts]
        what = f"{len(mixed)} PROC MIXED steps" if mixed else "no PROC MIXED step"
        found = f" (found PROC {', '.join(others)})" if others and not mixed else ""
        raise FormulaError(f"the text has {what}{found}; give one, from 'proc mixed' to 'run;'")
    first = mixed[0]
    ends = [k for k in range(first + 1, len(every)) if named[k][0] in _ENDS]
    return [statement_of(part) for part in every[first : ends[0] if ends else len(every)]]


def _take(step: Step, statement: Statement) -> None:
    word, tokens = statement.keyword, statement.tokens
    try:
        if word == "class":
            _take_classes(step, tokens)
        elif word == "model":
            _take_model(step, statement)
        elif word == "random":
            step.random.append(_effects(statement))
        elif word == "repeated":
            _only_once(step.repeated, word)
            step.repeated = _effects(statement)
        elif word in {"lsmeans", "lsmean"}:
            step.lsmeans.append(_effects(statement))
        elif word in {"estimate", "contrast"}:
            step.linear.append(linear_statement(statement))
        elif word == "parms":
            _only_once(step.parms, word)
            step.parms = _parms(tokens)
        elif word == "prior":
            _only_once(step.prior, word)
            step.prior = _prior(tokens)
        elif word == "weight":
            step.weight = _names(tokens)[0]
        elif word == "by":
            step.by = _names(tokens)
        elif word in _SILENT:
            step.ignored.append(statement.text)
        else:
            step.unknown.append(statement.text)
    except FormulaError as error:
        raise FormulaError(f"{word.upper()} statement: {error}") from None


def _only_once(found: object, word: str) -> None:
    if found is not None:
        raise FormulaError(f"a step has one {word.upper()} statement, and this is the second")


def _names(tokens: Sequence[Token]) -> tuple[str, ...]:
    names = tuple(
        token.text
        for token in tokens
        if token.kind == "name" and token.text.lower() not in {"descending", "notsorted"}
    )
    if not names:
        raise FormulaError("it names no variable")
    return names


def _take_classes(step: Step, tokens: Sequence[Token]) -> None:
    parts = cut(tokens, "/")
    shared = tuple(options_of(parts[1])) if len(parts) > 1 else ()
    at, own = 0, parts[0]
    while at < len(own):
        if own[at].kind != "name":
            raise FormulaError(f"{own[at].text!r} stands among its variables")
        name, options = own[at].text, shared
        at += 1
        if at < len(own) and own[at].is_("("):
            end = next((k for k in range(at, len(own)) if own[k].is_(")")), None)
            if end is None:
                raise FormulaError(f"the '(' after {name} is not closed")
            options = (*options_of(own[at + 1 : end]), *shared)
            at = end + 1
        step.classes[name] = options


def _take_model(step: Step, statement: Statement) -> None:
    _only_once(step.model, "model")
    sides = cut(statement.tokens, "=")
    head = sides[0]
    if len(sides) < 2 or len(head) != 1 or head[0].kind != "name":
        raise FormulaError("it is not of the form 'model response = effects / options;'")
    step.response = head[0].text
    tokens = statement.tokens[2:]
    step.model = _effects(statement._replace(tokens=tokens))


def _effects(statement: Statement) -> Effects:
    parts = cut(statement.tokens, "/")
    options = tuple(options_of(parts[1])) if len(parts) > 1 else ()
    return Effects(tuple(effects_of(parts[0])), options, statement.text)


def _parms(tokens: Sequence[Token]) -> tuple[list[list[float]], tuple[Option, ...]]:
    """Values of each parameter, and the options."""
    parts = cut(tokens, "/")
    options = tuple(options_of(parts[1])) if len(parts) > 1 else ()
    values: list[list[float]] = []
    group: list[Token] | None = None
    bare: list[Token] = []
    for token in parts[0]:
        if token.is_("(") and group is None:
            values += _bare_values(bare)
            group, bare = [], []
        elif token.is_(")") and group is not None:
            values.append(list(numbers(group)))
            group = None
        elif group is not None:
            group.append(token)
        else:
            bare.append(token)
    if group is not None:
        raise FormulaError("a '(' among its values is not closed")
    values += _bare_values(bare)
    if not all(values):
        raise FormulaError("a pair of parentheses holds no value")
    return values, options


def _prior(tokens: Sequence[Token]) -> tuple[tuple[Option, ...], tuple[Option, ...]]:
    """The distribution, and the options."""
    parts = cut(tokens, "/")
    return tuple(options_of(parts[0])), tuple(options_of(parts[1])) if len(parts) > 1 else ()


def _bare_values(tokens: Sequence[Token]) -> list[list[float]]:
    """Values without parentheses: each is a parameter's, and so is a range, ``1 to 2 by .5``."""
    own: list[list[Token]] = []
    for k, token in enumerate(tokens):
        before = tokens[k - 1] if k else None
        joins = _is_range_word(token) or (before is not None and _is_range_word(before))
        signed = before is not None and (before.is_("-") or before.is_("+"))
        if token.is_(","):
            continue
        if own and (joins or signed):
            own[-1].append(token)
        else:
            own.append([token])
    return [list(numbers(part)) for part in own]


def _is_range_word(token: Token) -> bool:
    return token.kind == "name" and token.text.lower() in {"to", "by"}
