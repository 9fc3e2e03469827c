"""Text of a formula -> operators and factors, split where patsy splits.

A factor is whatever stands between two operators outside of brackets: ``np.log(x)``, ``x > 3``,
``C(g, Treatment(2))``. Its text, spaced as patsy spaces it, is its name.
"""

from __future__ import annotations

import io
import tokenize
from dataclasses import dataclass

from mlmfast.statsmodels.errors import PatsyFormulaError

_OPERATORS = frozenset(["~", "+", "-", "*", "/", ":", "**", "(", ")"])
_OPENING, _CLOSING = frozenset("([{"), frozenset(")]}")
_SKIPPED = frozenset(
    [tokenize.NEWLINE, tokenize.NL, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER]
)


@dataclass(frozen=True)
class Part:
    """An operator, or the text of a factor or number."""

    kind: str
    text: str


def parts_of(text: str) -> list[Part]:
    """Split a formula.

    Examples
    --------
    >>> [part.text for part in parts_of("y ~ np.log( x )*C(g,Sum)")]
    ['y', '~', 'np.log(x)', '*', 'C(g, Sum)']
    """
    tokens = _python_tokens(text)
    parts: list[Part] = []
    at = 0
    while at < len(tokens):
        if tokens[at] in _OPERATORS:
            parts.append(Part("operator", tokens[at]))
            at += 1
            continue
        end = _end_of_factor(tokens, at, text)
        words = tokens[at:end]
        kind = "number" if len(words) == 1 and words[0][0].isdigit() else "factor"
        parts.append(Part(kind, spaced(words)))
        at = end
    return parts


def _python_tokens(text: str) -> list[str]:
    if not isinstance(text, str):
        raise PatsyFormulaError(f"a formula is text such as 'y ~ x', and this is {type(text)}")
    try:
        found = list(tokenize.generate_tokens(io.StringIO(text.strip()).readline))
    except (tokenize.TokenError, SyntaxError):
        raise PatsyFormulaError(
            f"{text!r}: a bracket or a quote is not closed, or closes nothing"
        ) from None
    words = [token.string for token in found if token.type not in _SKIPPED]
    bad = [token.string.strip() for token in found if token.type == tokenize.ERRORTOKEN]
    odd = next(filter(None, bad), None)
    if odd is not None:
        problem = "a quote is not closed" if odd[0] in "'\"" else f"{odd!r} is no part of a formula"
        raise PatsyFormulaError(f"{text!r}: {problem}")
    return [word for word in words if not word.isspace()]


def _end_of_factor(tokens: list[str], start: int, text: str) -> int:
    depth = 0
    for at in range(start, len(tokens)):
        token = tokens[at]
        if depth == 0 and token in _OPERATORS and not (token == "(" and at > start):
            return at
        depth += (token in _OPENING) - (token in _CLOSING)
        if depth < 0:
            raise PatsyFormulaError(f"{text!r}: {token!r} closes nothing")
    return len(tokens)


_BEFORE_NAME = frozenset(["+", "-", "~"])


def spaced(words: list[str]) -> str:
    """Python tokens with the spaces that patsy puts between them.

    Examples
    --------
    >>> spaced(["I", "(", "x", "**", "2", ",", "-", "1", ")"])
    'I(x ** 2, -1)'
    """
    out: list[str] = []
    unary = True
    depth: list[str] = []
    for word in words:
        if word in _CLOSING:
            out.append(word)
            depth = depth[:-1]
            unary = False
        elif word in _OPENING:
            out.append(word)
            depth.append(word)
            unary = True
        elif word == ",":
            out.append(", ")
            unary = True
        elif word == ".":
            out.append(word)
            unary = False
        elif word == "=" and depth:
            out.append("=")
            unary = True
        elif _is_operator(word):
            out.append(word if unary and word in _BEFORE_NAME else f" {word} ")
            unary = True
        else:
            beside = out and (out[-1][-1:].isalnum() or out[-1][-1:] in "_'\"")
            out.append(f" {word}" if beside else word)
            unary = False
    return "".join(out).strip()


def _is_operator(word: str) -> bool:
    return not (word[0].isalnum() or word[0] in "_'\".`")
