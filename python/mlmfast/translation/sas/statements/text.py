"""Text of SAS -> statements -> tokens; comments go, macros are refused."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from mlmfast.errors import FormulaError

_TOKEN = re.compile(
    r"""\s*(?:
      (?P<text>'(?:[^']|'')*'|"(?:[^"]|"")*")(?P<literal>[nN](?!\w))?
    | (?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)
    | (?P<name>[A-Za-z_]\w*)
    | (?P<operator>[*|@()=/,.+<>:~^!?\[\]{}$\#-])
    )""",
    re.VERBOSE,
)
#: What begins, ends or stands inside a quotation, a comment or a statement.
_MARK = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|/\*.*?\*/|;", re.DOTALL)


class Token(NamedTuple):
    """A word, a number, a quotation (without its quotes) or an operator of a statement."""

    kind: str
    text: str

    def is_(self, operator: str) -> bool:
        """Whether it is an operator."""
        return self.kind == "operator" and self.text == operator


class Statement(NamedTuple):
    """A statement: its first word in lower case, and the tokens after it."""

    keyword: str
    tokens: tuple[Token, ...]
    text: str


def statements(text: str) -> list[Statement]:
    """The statements of a text, without comments.

    Raises
    ------
    FormulaError
        For a macro, or a quotation or comment without an end.

    Examples
    --------
    >>> [s.keyword for s in statements("proc mixed; /* all */ class a; * model; run;")]
    ['proc', 'class', 'run']
    """
    return [statement_of(part) for part in parts_of(text)]


def statement_of(part: str) -> Statement:
    """A statement from its text.

    Raises
    ------
    FormulaError
    """
    tokens = tuple(_tokens(part))
    if tokens[0].kind != "name":
        raise FormulaError(f"{_short(part)!r} begins with no word; statements of SAS do")
    return Statement(tokens[0].text.lower(), tokens[1:], part)


def parts_of(text: str) -> list[str]:
    """Statements as text, without comments."""
    return [part for part in _parts(text) if part and not part.startswith("*")]


def _parts(text: str) -> Iterator[str]:
    """Text between semicolons, comments inside replaced by blanks."""
    current, at = "", 0
    for mark in _MARK.finditer(text):
        current += text[at : mark.start()]
        at = mark.end()
        if mark.group() == ";":
            yield current.strip()
            current = ""
        else:
            current += " " if mark.group().startswith("/*") else mark.group()
    current = (current + text[at:]).strip()
    if current:
        yield current


def _tokens(part: str) -> Iterator[Token]:
    at = 0
    while at < len(part.rstrip()):
        found = _TOKEN.match(part, at)
        if found is None:
            raise FormulaError(_refusal(part[at:].lstrip(), part))
        at = found.end()
        kind = str(found.lastgroup)
        if kind in {"text", "literal"}:
            quote = found["text"][0]
            inner = found["text"][1:-1].replace(2 * quote, quote)
            yield Token("name" if found["literal"] else "text", inner)
        else:
            yield Token(kind, found[kind])


def _refusal(rest: str, part: str) -> str:
    if rest[0] in "&%":
        return (
            f"{_short(rest)!r} is a macro, and macros are not expanded here; give the text that "
            "OPTIONS MPRINT writes to the log"
        )
    if rest[0] in "'\"":
        return f"{_short(rest)!r} opens a quotation that nothing closes"
    if part.startswith("/*") or rest.startswith("/*"):
        return f"{_short(rest)!r} opens a comment that nothing closes"
    return f"{rest[0]!r} in {_short(part)!r} is not a character of PROC MIXED's statements"


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 40 else line[:37] + "..."


def written(tokens: Sequence[Token]) -> str:
    """Tokens as text again.

    Examples
    --------
    >>> written(statements("class a*b 'x y' 1;")[0].tokens)
    "a*b 'x y' 1"
    """
    out = ""
    for k, token in enumerate(tokens):
        glued = token.kind == "operator" or (k and tokens[k - 1].kind == "operator")
        if out and not glued:
            out += " "
        out += f"'{token.text}'" if token.kind == "text" else token.text
    return out


def cut(tokens: Sequence[Token], operator: str) -> list[tuple[Token, ...]]:
    """Tokens between an operator, outside of parentheses."""
    parts: list[list[Token]] = [[]]
    depth = 0
    for token in tokens:
        depth += token.is_("(") - token.is_(")")
        if depth == 0 and token.is_(operator):
            parts.append([])
        else:
            parts[-1].append(token)
    return [tuple(part) for part in parts]
