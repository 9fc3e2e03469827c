"""Text of a formula -> tokens: R's names, numbers, strings and operators, and nothing else."""

from __future__ import annotations

import re
from typing import Literal, NamedTuple, TypeAlias

from mlmfast.errors import FormulaError

TokenKind: TypeAlias = Literal["name", "quoted", "number", "text", "operator", "end"]


#: Characters of a formula that a complaint repeats.
_LONGEST = 160


class Token(NamedTuple):
    """A piece of the text; `position` counts characters from 0."""

    kind: TokenKind
    text: str
    position: int


_PATTERN = re.compile(
    r"""\s*(?:
      (?P<quoted>`[^`]+`)
    | (?P<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
    | (?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?L?)
    | (?P<name>(?:[^\W\d]|\.(?!\d))[\w.]*)
    | (?P<operator>%in%|%/%|%%|\*\*|//|\|\||&&|<=|>=|==|!=|[-+*/^:~|&<>=!(),%\[\]])
    )""",
    re.VERBOSE,
)

# Spellings of one operator; R's own comes out.
_SAME = {"**": "^", "//": "%/%", "%": "%%", "&&": "&"}


def tokenize(text: str) -> list[Token]:
    """Cut the text into tokens; an end token closes the list.

    Examples
    --------
    >>> [token.text for token in tokenize("y ~ log(x)")]
    ['y', '~', 'log', '(', 'x', ')', '']
    """
    tokens: list[Token] = []
    position, end = 0, len(text.rstrip())
    while position < end:
        match = _PATTERN.match(text, position)
        if match is None:
            raise unexpected_character(text, position)
        kind = match.lastgroup
        start = match.start(kind or 0)
        piece = match.group(kind or 0)
        if kind == "quoted":
            tokens.append(Token("quoted", piece[1:-1], start))
        elif kind == "text":
            tokens.append(Token("text", re.sub(r"\\(.)", r"\1", piece[1:-1]), start))
        elif kind == "number":
            tokens.append(Token("number", piece, start))
        elif kind == "name":
            tokens.append(Token("name", piece, start))
        else:
            tokens.append(Token("operator", _SAME.get(piece, piece), start))
        position = match.end()
    tokens.append(Token("end", "", end))
    return tokens


def unexpected_character(text: str, position: int) -> FormulaError:
    """Error for a character that starts no token."""
    while text[position].isspace():
        position += 1
    character = text[position]
    if character in "`\"'":
        return FormulaError(f"{at(text, position)}: the quote {character} is not closed")
    return FormulaError(
        f"{at(text, position)}: the character {character!r} has no meaning in a formula; put "
        "backticks around a column name that contains it"
    )


def at(text: str, position: int) -> str:
    """Say where in the formula something is.

    Examples
    --------
    >>> at("y ~ x", 4)
    "formula 'y ~ x', character 5"
    """
    if len(text) > _LONGEST:
        first = max(0, position - _LONGEST // 2)
        shown = text[first : first + _LONGEST]
        before, after = "..." if first else "", "..." if first + _LONGEST < len(text) else ""
        return f"formula '{before}{shown}{after}', character {position + 1}"
    return f"formula {text!r}, character {position + 1}"
