"""The text of ``residual=``: structures, their numbers, coordinates, arms and subjects."""

from __future__ import annotations

import re
from dataclasses import dataclass

from mlmfast.covariance import STRUCTURES, CovarianceStructure
from mlmfast.covariance.names import canonical, unknown_structure
from mlmfast.errors import FormulaError
from mlmfast.formula.deparse import deparse
from mlmfast.formula.syntax import Binary, Call, Name, Node, Number, Paren, parse

#: ``(us(a) @ ar1(b)) | id``
_WRAPPED = re.compile(r"\s*\((.*@.*\))\s*\)\s*\|(.*)", re.DOTALL)
PRODUCT = " @ "
#: Calls that make levels of what they are given.
_FACTOR = ("factor", "as.factor", "C")
#: Words after the subject for a nugget, SAS's among them.
_NUGGET = ("nugget", "local", "LOCAL")
#: Words that other programs have for groups with parameters of their own.
_BY_ARM = ("by", "group", "GROUP")


@dataclass(frozen=True)
class StructureCall:
    """``toep(visit, 3)``: a structure's keyword, its coordinates, and its number if one is given.

    Attributes
    ----------
    keyword
        Keyword.
    coordinates
        Columns that tell a subject's rows apart.
    number
        Order or smoothness; None for the structure's default.
    free
        Whether the number is a parameter (``nu=free``).
    as_levels
        Whether the visits count one by one, ``ar1(factor(week) | id)``, whatever they are.
    """

    keyword: str
    coordinates: tuple[str, ...]
    number: float | None = None
    free: bool = False
    as_levels: bool = False


@dataclass(frozen=True)
class ResidualFormula:
    """``structure(coordinates | arm / subject)`` in its parts.

    Attributes
    ----------
    calls
        The structure; two for a direct product.
    arm
        Column each level of which has its own parameters, or None.
    subject
        Columns whose combinations are the subjects.
    text
        As written.
    """

    calls: tuple[StructureCall, ...]
    arm: str | None
    subject: tuple[str, ...]
    text: str

    @property
    def structure(self) -> str:
        """Keyword, those of a product joined by @."""
        return PRODUCT.join(call.keyword for call in self.calls)

    @property
    def coordinates(self) -> tuple[str, ...]:
        """Columns that tell a subject's rows apart."""
        return tuple(name for call in self.calls for name in call.coordinates)

    @property
    def variables(self) -> tuple[str, ...]:
        """Columns of the data that are used."""
        arm = () if self.arm is None else (self.arm,)
        return (*self.coordinates, *arm, *self.subject)


def parse_residual(text: str) -> ResidualFormula:
    """Parse the text of ``residual=``.

    Raises
    ------
    FormulaError
        Where it is not of the form ``structure(visit | subject)``.

    Examples
    --------
    >>> parse_residual("us(visit | arm / id)").subject
    ('id',)
    >>> parse_residual("us(outcome) @ ar1(visit | id)").structure
    'us @ ar1'
    >>> parse_residual("toep(visit | id, 2)").calls[0].number
    2.0
    >>> parse_residual("ar1(factor(week) | id)").calls[0].as_levels
    True
    """
    if not isinstance(text, str):
        raise FormulaError(
            f"residual is text such as 'us(visit | subject)', not {type(text).__name__}"
        )
    parts = _product_parts(text)
    last = _bar_outside(_tree(parts[-1], text))
    calls = [_call(_tree(part, text), text) for part in parts[:-1]]
    if any(bar is not None for _, bar in calls):
        raise FormulaError(
            f"in residual={text!r} '| subject' stands once, in the last factor of the product"
        )
    if isinstance(last, tuple):
        call, bar = _call(last[0], text)
        bar = last[1] if bar is None else bar
    else:
        call, bar = _call(last, text)
    if bar is None:
        raise FormulaError(
            f"residual={text!r} has no '| subject'; write {call.keyword}(visit | id)"
        )
    arm: str | None = None
    if isinstance(bar, Binary) and bar.operator == "/":
        arm, bar = _label(bar.left, text), bar.right
    all_calls = (*(c for c, _ in calls), call)
    _check_distinct(all_calls, text)
    return ResidualFormula(all_calls, arm, _subject(bar, text), text)


def _check_distinct(calls: tuple[StructureCall, ...], text: str) -> None:
    """Refuse a product of two structures over one column: their parameters are not told apart."""
    columns = [name for call in calls for name in (call.coordinates if len(calls) > 1 else ())]
    twice = next((name for name in columns if columns.count(name) > 1), None)
    if twice is not None:
        raise FormulaError(
            f"residual={text!r} takes {twice!r} twice; the factors of a direct product are over "
            "different columns, as in us(outcome) @ ar1(visit | id)"
        )


def structure_kind(call: StructureCall, text: str) -> type[CovarianceStructure]:
    """The class of a structure.

    Raises
    ------
    FormulaError
        For an unknown keyword, a number that the structure does not take, or several columns of
        visits.
    """
    kind = STRUCTURES.get(call.keyword)
    if kind is None:
        raise unknown_structure(call.keyword)
    if not kind.for_residuals:
        raise FormulaError(
            f"{call.keyword!r} is for random effects, its matrices are singular: write "
            f"{call.keyword}(0 + visit | subject, number) in the formula, or fa(visit | "
            "subject, number) as the residual"
        )
    if kind.needs == "levels" and len(call.coordinates) > 1:
        raise FormulaError(f"{call.keyword!r} takes one column of visits: {text!r}")
    if kind.option is None and (call.number is not None or call.free):
        raise FormulaError(f"{call.keyword!r} takes no number: {text!r}")
    return kind


def structure_label(structure: str) -> str:
    """What a structure, or a product of structures, assumes.

    Examples
    --------
    >>> structure_label("us @ ar1")
    'direct product of unstructured and first-order autoregressive'
    """
    labels = [STRUCTURES[word].label for word in structure.split(PRODUCT)]
    return labels[0] if len(labels) == 1 else f"direct product of {' and '.join(labels)}"


def structure_formula(structure: str) -> str:
    """Covariance of two visits in one line.

    Examples
    --------
    >>> structure_formula("ar1")
    'sigma^2 rho^|i - j|'
    """
    formulas = [STRUCTURES[word].formula for word in structure.split(PRODUCT)]
    return formulas[0] if len(formulas) == 1 else " times ".join(f"({f})" for f in formulas)


def is_correlated(structure: str) -> bool:
    """Whether there may be correlations between visits.

    Examples
    --------
    >>> is_correlated("diag"), is_correlated("diag @ us")
    (False, True)
    """
    words = structure.split(PRODUCT)
    return len(words) > 1 or not STRUCTURES[words[0]].independent


def takes_matrices(formula: ResidualFormula) -> bool:
    """Whether a structure, or a factor of a product, is over known matrices."""
    kinds = (STRUCTURES.get(call.keyword) for call in formula.calls)
    return any(kind is not None and kind.takes_matrices for kind in kinds)


def takes_coordinates(structure: str) -> bool:
    """Whether a structure is over points rather than visits."""
    return STRUCTURES[structure.split(PRODUCT)[0]].needs == "coordinates"


def _product_parts(text: str) -> list[str]:
    """Factors of a direct product: the text cut at each @ outside of quotes."""
    wrapped = _WRAPPED.fullmatch(text)
    if wrapped:
        text = f"{wrapped.group(1)} | {wrapped.group(2)}"
    pieces = re.split(r"(`[^`]*`|@)", text)
    parts, current = [], ""
    for piece in pieces:
        if piece == "@":
            parts.append(current)
            current = ""
        else:
            current += piece
    return [*parts, current]


def _tree(part: str, text: str) -> Node:
    if not part.strip() and "@" in text:
        raise FormulaError(f"residual={text!r} lacks a structure beside '@'")
    if "@" in text and "(" not in part:
        raise FormulaError(
            f"residual={text!r}: each factor of a direct product names its column, as in "
            "us(outcome) @ ar1(visit | id)"
        )
    return parse(canonical(part))


def _bar_outside(tree: Node) -> Node | tuple[Node, Node]:
    """``us(visit) | id``: the structure and what stands after the bar."""
    if isinstance(tree, Binary) and tree.operator == "|":
        return tree.left, tree.right
    return tree


def _call(tree: Node, text: str) -> tuple[StructureCall, Node | None]:
    """A structure, and what stands after the bar among its arguments."""
    while isinstance(tree, Paren):
        tree = tree.inner
    if not isinstance(tree, Call) or not tree.arguments:
        raise FormulaError(f"residual={text!r} is not of the form structure(visit | subject)")
    tree = _with_nugget(tree, text)
    _check_arm(tree, text)
    arguments = list(tree.arguments)
    options: list[tuple[str | None, Node]] = [(None, a) for a in arguments if not _is_column(a)]
    options += tree.keywords
    columns = [a for a in arguments if _is_column(a)]
    bar: Node | None = None
    names = []
    as_levels = False
    for column in columns:
        name = column
        if isinstance(column, Binary) and column.operator == "|" and bar is None:
            name, bar = column.left, column.right
        inner = _inside_factor(name)
        as_levels |= inner is not name
        names.append(_name(inner, text))
    number, free = _number(tree.function, options, text)
    kind = STRUCTURES.get(tree.function)
    # All bands are every covariance, in coordinates in which fewer steps are needed.
    unnumbered = kind.unnumbered if kind and number is None and not free else None
    return StructureCall(unnumbered or tree.function, tuple(names), number, free, as_levels), bar


def _check_arm(tree: Call, text: str) -> None:
    """Say how parameters by arm are written where ``by=`` was."""
    for word, arm in tree.keywords:
        if word in _BY_ARM:
            raise FormulaError(
                f"residual={text!r}: parameters by arm are written before the subject, "
                f"{tree.function}(visit | {deparse(arm)} / subject), not {word}="
            )


def _with_nugget(tree: Call, text: str) -> Call:
    """``sp_exp(time | id, nugget)`` or ``nugget=True`` as the structure of that keyword."""
    bars = [k for k, node in enumerate(tree.arguments) if isinstance(node, Binary)]
    after = tree.arguments[bars[0] + 1 :] if bars else ()
    words = [node for node in after if isinstance(node, Name) and node.name in _NUGGET]
    said = [value for name, value in tree.keywords if name == "nugget"]
    if not words and not said:
        return tree
    if said and not (isinstance(said[0], Name) and said[0].name in {"True", "TRUE"}):
        raise FormulaError(f"residual={text!r}: write nugget, or nugget=True")
    structure = STRUCTURES.get(tree.function)
    keyword = "" if structure is None else f"{structure.keyword}_nugget"
    if keyword not in STRUCTURES:
        raise FormulaError(
            f"residual={text!r}: a nugget goes with structures over distances (sp_exp, sp_gau, "
            f"sp_sph, ...), not with {tree.function!r}; for an AR(1) beside a nugget write "
            "sp_pow(time | id, nugget) over times that are numbers, and for an effect of each row "
            "(1 | row) in the formula"
        )
    arguments = tuple(node for node in tree.arguments if node not in words)
    return Call(keyword, arguments, tuple(item for item in tree.keywords if item[0] != "nugget"))


def _inside_factor(node: Node) -> Node:
    """``week`` of ``factor(week)``."""
    if isinstance(node, Call) and node.function in _FACTOR and not node.keywords:
        return node.arguments[0] if len(node.arguments) == 1 else node
    return node


def _is_column(node: Node) -> bool:
    return not isinstance(node, Number)


def _number(
    keyword: str, options: list[tuple[str | None, Node]], text: str
) -> tuple[float | None, bool]:
    if not options:
        return None, False
    kind = STRUCTURES.get(keyword)
    name, value = options[0]
    known = () if kind is None else kind.option_names
    if kind is not None and (len(options) > 1 or (name is not None and name not in known)):
        takes = f"takes {' or '.join(f'{k}=' for k in known)}" if known else "takes no number"
        raise FormulaError(f"{keyword!r} {takes}: {text!r}")
    if (
        isinstance(value, Name)
        and value.name == "free"
        and kind is not None
        and kind.option == "nu"
    ):
        return None, True
    if not isinstance(value, Number):
        raise FormulaError(f"{deparse(value)} in residual={text!r} is not a number")
    return value.value, False


def _name(node: Node, text: str) -> str:
    if isinstance(node, Call) and node.function in _FACTOR:
        raise FormulaError(
            f"{deparse(node)} in residual={text!r}: {node.function} takes a column alone here; "
            "give the column that order of levels in the data"
        )
    if not isinstance(node, Name):
        raise FormulaError(f"{deparse(node)} in residual={text!r} is not the name of a column")
    return node.name


def _subject(node: Node, text: str) -> tuple[str, ...]:
    while isinstance(node, Paren):
        node = node.inner
    if isinstance(node, Binary) and node.operator == ":":
        return (*_subject(node.left, text), *_subject(node.right, text))
    return (_label(node, text),)


def _label(node: Node, text: str) -> str:
    """A column that is taken as labels, whatever it holds: ``factor(id)`` is ``id``."""
    return _name(_inside_factor(node), text)
