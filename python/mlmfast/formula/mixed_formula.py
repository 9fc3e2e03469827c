"""Text of a mixed-model formula -> its response, fixed part, random terms and offsets."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

from mlmfast.errors import FormulaError
from mlmfast.formula.deparse import deparse, quote_name
from mlmfast.formula.functions import check_functions, is_function, variables_of
from mlmfast.formula.memberships import MEMBERS, read_members
from mlmfast.formula.smooth_terms import SmoothTerm, check_no_smooth, smooths_of
from mlmfast.formula.syntax import Binary, Call, Name, Node, Number, Paren, Unary, parse, summands
from mlmfast.formula.terms import term_list
from mlmfast.running.cached import cached_property


@dataclass(frozen=True)
class RandomTerm:
    """One random-effects term, `structure(expression | group)`.

    Attributes
    ----------
    structure : covariance of the effects within a group, by keyword; "us" if none was written.
    expression : what varies between groups, left of the bar: "1 + Days".
    group : columns whose combinations are the groups.
    text : the term as a formula writes it.
    number : what stands after the group, ``fa(0 + f | g, 2)``; None if nothing does.
    by : column whose levels have covariances of their own, ``us(x | g, by=arm)``; None for one of
        all rows.
    level : level of ``by`` that this term is of, once the data have said which there are.
    shared : name of a factor of one level, all rows, which no columns make: the smooths, or a
        factor of which a row has several levels.
    """

    structure: str
    expression: str
    group: tuple[str, ...]
    text: str
    number: float | None = None
    by: str | None = None
    level: str | None = None
    shared: str = ""


@dataclass(frozen=True)
class MixedFormula:
    """A mixed-model formula in its parts.

    Attributes
    ----------
    response : expression left of the `~`.
    fixed : right-hand side without random terms and offsets.
    random : the random terms, `||` and `a/b` written out.
    offsets : expressions inside `offset()`.
    text : the formula as given.
    smooths : smooth terms; each stands in the fixed part too, for what has no penalty.
    """

    response: str
    fixed: str
    random: tuple[RandomTerm, ...]
    offsets: tuple[str, ...]
    text: str
    smooths: tuple[SmoothTerm, ...] = ()

    @cached_property
    def variables(self) -> tuple[str, ...]:
        """Columns of the data, in the order in which they are met.

        Examples
        --------
        >>> parse_formula("log(y) ~ x:f + (t | site/plot)").variables
        ('y', 'x', 'f', 't', 'site', 'plot')
        """
        fixed_part = (self.response, self.fixed, *self.offsets)
        expressions = (*fixed_part, *(term.expression for term in self.random))
        names = [name for expression in expressions for name in variables_of(expression)]
        for term in self.random:
            names += term.group if term.by is None else (*term.group, term.by)
        return tuple(dict.fromkeys(names))


def parse_formula(text: str) -> MixedFormula:
    """Parse a mixed-model formula as lme4 writes it.

    Parameters
    ----------
    text : for example "y ~ x + (1 + x | site/plot) + offset(z)".

    Returns
    -------
    MixedFormula

    Examples
    --------
    >>> formula = parse_formula("Reaction ~ Days + (Days || Subject)")
    >>> formula.fixed
    'Days'
    >>> [term.text for term in formula.random]
    ['(1 | Subject)', '(0 + Days | Subject)']
    """
    if not isinstance(text, str):
        raise FormulaError(
            f"a formula is text such as 'y ~ x + (1 | g)', not {type(text).__name__}; "
            "it comes before the data"
        )
    if not text.strip():
        raise FormulaError("the formula is empty; write one such as 'y ~ x + (1 | g)'")
    return _parse_text(text)


@lru_cache(maxsize=1024)
def _parse_text(text: str) -> MixedFormula:
    tree = parse(text)
    if isinstance(tree, Unary) and tree.operator == "~":
        raise FormulaError(f"formula {text!r} has no response; write it before the '~'")
    if not isinstance(tree, Binary) or tree.operator != "~":
        raise FormulaError(f"formula {text!r} has no '~' between response and predictors")
    parts = _Parts()
    fixed = _split(tree.right, parts)
    rhs = "1" if fixed is None else deparse(fixed)
    # Expanded here so that a mistake is reported before any data are read.
    expanded = term_list(rhs)
    return MixedFormula(
        response=_response(tree.left),
        fixed=rhs,
        random=tuple(parts.random),
        offsets=tuple(parts.offsets),
        text=text,
        smooths=tuple(smooths_of(expanded.variables, expanded.terms)),
    )


@dataclass
class _Parts:
    random: list[RandomTerm] = field(default_factory=list)
    offsets: list[str] = field(default_factory=list)


def _response(node: Node) -> str:
    if isinstance(node, Binary) and node.operator == "~":
        raise FormulaError(f"'~' may stand only once in a formula: {deparse(node)} ~ ...")
    if _has_bar(node) or (isinstance(node, Binary) and node.operator in {"|", "||"}):
        raise FormulaError(
            f"{deparse(node)} is left of the '~': the response cannot hold a random term '|'"
        )
    check_functions(node)
    check_no_smooth(node, "the response")
    return deparse(node)


def _split(node: Node, parts: _Parts) -> Node | None:
    """Move random terms and offsets into `parts`; return what remains of the sum."""
    if isinstance(node, Binary) and node.operator in {"+", "-"}:
        left: Node | None = None
        for sign, part in summands(node):
            right = part if sign == "-" else _split(part, parts)
            if left is None:
                left = Unary("-", right) if sign == "-" and right is not None else right
            elif right is not None:
                left = Binary(sign, left, right)
        return left
    if isinstance(node, Unary) and node.operator == "+":
        return _split(node.operand, parts)
    if isinstance(node, Call) and node.function == "offset":
        parts.offsets.append(_offset(node))
        return None
    bar = _bar_of(node)
    if bar is not None:
        parts.random.extend(_random_terms(node, bar))
        return None
    if isinstance(node, Binary) and node.operator in {"|", "||"}:
        raise FormulaError(
            f"a random term needs parentheses: write + ({deparse(node)}) or + (1 | group)"
        )
    if isinstance(node, Paren) and isinstance(node.inner, Binary) and _has_bar(node.inner):
        return _split(node.inner, parts)
    return node


def _offset(node: Call) -> str:
    if len(node.arguments) != 1 or node.keywords:
        raise FormulaError(f"{deparse(node)}: offset takes one argument")
    check_functions(node.arguments[0])
    check_no_smooth(node, deparse(node))
    return deparse(node.arguments[0])


def _bar_of(node: Node) -> Binary | None:
    """Return the bar of a random term, `(x | g)` or `structure(x | g)`."""
    inner: Node | None = None
    if isinstance(node, Paren):
        inner = node.inner
    elif isinstance(node, Call) and not is_function(node.function) and node.arguments:
        inner = node.arguments[0]
    if isinstance(inner, Binary) and inner.operator in {"|", "||"}:
        return inner
    return None


def _has_bar(node: Node) -> bool:
    if isinstance(node, Binary) and node.operator in {"+", "-"}:
        return any(_has_bar(part) for _, part in summands(node))
    if isinstance(node, Binary):
        return _has_bar(node.left) or _has_bar(node.right)
    return _bar_of(node) is not None


def _random_terms(node: Node, bar: Binary) -> list[RandomTerm]:
    structure = node.function if isinstance(node, Call) else ""
    number, by = _number(node), _by(node)
    if structure and bar.operator == "||":
        raise FormulaError(
            f"{deparse(node)}: '||' already says that effects are uncorrelated; write one bar"
        )
    if _has_loose_bar(bar.left) or _has_loose_bar(bar.right):
        raise FormulaError(f"{deparse(node)}: a random term has one bar")
    check_no_smooth(node, deparse(node))
    left = deparse(bar.left)
    effects = term_list(left)
    if not effects.terms and not effects.intercept:
        raise FormulaError(f"{deparse(node)} has no random effect; write 1 left of the bar")
    expressions = [left] if bar.operator == "|" else _uncorrelated(left)
    if isinstance(bar.right, Call) and bar.right.function == MEMBERS:
        if structure:
            raise FormulaError(f"{deparse(node)}: mm takes no covariance structure")
        return [_term_of_members(one, bar.right) for one in expressions]
    groups = list(dict.fromkeys(_groups(bar.right)))
    return [
        _random_term(structure, expression, group, number, by)
        for group in groups
        for expression in expressions
    ]


def _term_of_members(expression: str, call: Call) -> RandomTerm:
    """A term whose rows have several levels of a factor: one effect, times their weights."""
    members, effects = read_members(call), term_list(expression)
    text = f"({expression} | {members.name})"
    if len(effects.terms) + effects.intercept > 1:
        raise FormulaError(
            f"{text}: an effect by mm has a term of its own; write (1 | {members.name}) + "
            f"(0 + x | {members.name}), or two bars"
        )
    weights = deparse(call)
    columns = f"0 + {weights}" if effects.intercept else f"0 + {effects.labels[0]}:{weights}"
    return RandomTerm("homdiag", columns, (), text, shared=members.name)


def _number(node: Node) -> float | None:
    """The number after the group, an order or a smoothness."""
    rest = node.arguments[1:] if isinstance(node, Call) else ()
    if not rest:
        return None
    if len(rest) > 1 or not isinstance(rest[0], Number):
        raise FormulaError(
            f"{deparse(node)}: after the group stands at most one number, as in fa(0 + f | g, 2)"
        )
    return float(rest[0].value)


def _by(node: Node) -> str | None:
    """The column of ``by=arm``, whose levels have covariances of their own."""
    if not isinstance(node, Call) or not node.keywords:
        return None
    names = [name for name, _ in node.keywords]
    if names != ["by"]:
        other = next((name for name in names if name != "by"), "by, twice")
        raise FormulaError(
            f"{deparse(node)}: a covariance structure takes no option {other!r} here; there is "
            "by=column, for a covariance at each level of a column"
        )
    column = node.keywords[0][1]
    if not isinstance(column, Name):
        raise FormulaError(f"{deparse(node)}: by= takes the name of a column")
    return column.name


def _has_loose_bar(node: Node) -> bool:
    return isinstance(node, Binary) and node.operator in {"|", "||"}


def _random_term(
    structure: str,
    expression: str,
    group: tuple[str, ...],
    number: float | None,
    by: str | None = None,
) -> RandomTerm:
    factor = ":".join(quote_name(name) for name in group)
    after = "" if number is None else f", {number:g}"
    after += "" if by is None else f", by={quote_name(by)}"
    text = f"{structure}({expression} | {factor}{after})"
    return RandomTerm(structure or "us", expression, group, text, number, by)


def _uncorrelated(expression: str) -> list[str]:
    """One expression per term, as lme4 expands `||`; the columns of a factor stay together."""
    terms = term_list(expression)
    expressions = ["1"] if terms.intercept else []
    return expressions + [f"0 + {label}" for label in terms.labels]


def _groups(node: Node) -> list[tuple[str, ...]]:
    """Return the grouping factors that the right of a bar stands for.

    `a + b` are two, `a/b` is `a` and `a:b`, as sums and nested terms of a fixed part expand.
    """
    if isinstance(node, Paren):
        return _groups(node.inner)
    if isinstance(node, Binary) and node.operator == "+":
        return [group for _, part in summands(node) for group in _groups(part)]
    if isinstance(node, Binary) and node.operator == "/":
        outer, inner = _groups(node.left), _groups(node.right)
        return outer + [_joined(*outer, group) for group in inner]
    if isinstance(node, Binary) and node.operator == ":":
        left, right = _groups(node.left), _groups(node.right)
        return [_joined(a, b) for a in left for b in right]
    if isinstance(node, Name):
        return [(node.name,)]
    if isinstance(node, Call) and node.function in {"factor", "as.factor", "interaction"}:
        # A grouping factor needs no conversion: any column is taken as labels.
        return [tuple(name for argument in node.arguments for name in _groups(argument)[-1])]
    raise _not_a_group(node)


def _joined(*groups: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for group in groups for name in group))


def _not_a_group(node: Node) -> FormulaError:
    text = deparse(node)
    if isinstance(node, Binary) and node.operator in {"-", "*"}:
        return FormulaError(
            f"{text!r} is not a grouping factor; write (1 | a + b) for a term of each, a:b for "
            "their combinations"
        )
    if isinstance(node, Number):
        return FormulaError(f"{text!r} is not a grouping factor; name a column")
    return FormulaError(
        f"{text!r} is not a grouping factor; name a column, a:b or a/b, and compute anything "
        "else as a column of the data"
    )
