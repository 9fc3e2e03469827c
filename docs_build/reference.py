"""The reference: public names with their signatures and docstrings, as Markdown.

A line ``::: LMMResult`` of a page gives way to the class with its methods and attributes, a line
``::: lmm`` to the function, ``::: *`` to every public name that no page has. A name in backticks
in a docstring links to where it stands.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parents[1] / "docs"
_LINE = re.compile(r"^::: (\S+)[ ]*$", re.MULTILINE)
_HEADER = re.compile(r"^([A-Z][A-Za-z ]+)\n-{3,}\n", re.MULTILINE)
_ITEMS = ("Parameters", "Attributes", "Raises", "Returns", "Yields", "Warns")
#: Classes that one makes; others come from a call, and their arguments are their own affair.
_MADE = {"LMM", "NewtonOptions", "Study", "Method", "Reduction", "MVN"}
#: Lines of a signature are broken past this length.
_WIDE = 88


@dataclass(frozen=True)
class Entry:
    """A documented name: ``LMMResult.conf_int``, an object, and what it is an attribute of."""

    name: str
    value: Any
    owner: type | None = None

    @property
    def anchor(self) -> str:
        """Where links go."""
        return self.name.lower().replace(".", "-")

    @property
    def is_callable(self) -> bool:
        """Whether it has a signature to show."""
        if inspect.isclass(self.value):
            return self.name in _MADE
        return callable(self.value)

    @property
    def doc(self) -> str:
        """The docstring."""
        return inspect.getdoc(self.value) or ""


def resolve(name: str) -> Any:
    """The object of a dotted name below ``mlmfast``.

    Raises
    ------
    AttributeError
        Where there is none.
    """
    value, path = importlib.import_module("mlmfast"), "mlmfast"
    for part in name.split("."):
        path = f"{path}.{part}"
        try:
            value = getattr(value, part)
        except AttributeError:
            value = importlib.import_module(path)
    return value


def entries(name: str) -> list[Entry]:
    """A name, and the public members of a class that are the package's own."""
    value = resolve(name)
    short = name.rsplit(".", 1)[-1] if inspect.isclass(value) else name
    first = Entry(short, value)
    if not inspect.isclass(value):
        return [first]
    members = []
    for member in sorted(set(dir(value)), key=lambda n: (n.lower(), n)):
        if member.startswith("_") or not _own(value, member):
            continue
        found = getattr(value, member)
        if inspect.getdoc(found) and (callable(found) or _is_descriptor(value, member)):
            members.append(Entry(f"{short}.{member}", found, value))
    return [first, *members]


def _own(owner: type, member: str) -> bool:
    """Whether a class of the package defines a member, and not pandas or an exception of Python."""
    for cls in owner.__mro__:
        if member in vars(cls):
            return cls.__module__.startswith("mlmfast")
    return False


def _is_descriptor(owner: type, member: str) -> bool:
    found = inspect.getattr_static(owner, member)
    return hasattr(type(found), "__get__") and type(found).__name__ != "member_descriptor"


def names_of(text: str) -> list[str]:
    """What the lines ``:::`` of a page ask for; ``::: *`` for public names that no page has."""
    found = _LINE.findall(text)
    return [name for one in found for name in (_others() if one == "*" else [one])]


@functools.cache
def _others() -> list[str]:
    """Public names that have no place of their own yet."""
    package = importlib.import_module("mlmfast")
    pages = (DOCS / "reference").glob("*.md")
    placed = {name for page in pages for name in _LINE.findall(page.read_text(encoding="utf-8"))}
    modules = {name for name in package.__all__ if inspect.ismodule(getattr(package, name))}
    return sorted(set(package.__all__) - placed - modules - {"__version__"}, key=str.lower)


def targets() -> dict[str, str]:
    """Page and anchor by documented name, of all pages."""
    found = {}
    for page in sorted((DOCS / "reference").glob("*.md")):
        for name in names_of(page.read_text(encoding="utf-8")):
            for entry in entries(name):
                found[entry.name] = f"{page.name}#{entry.anchor}"
    return found


def expand(text: str, links: dict[str, str]) -> str:
    """The page with its lines ``:::`` as Markdown."""

    def shown(match: re.Match[str]) -> str:
        names = _others() if match[1] == "*" else [match[1]]
        return "\n\n".join(_entry(e, links) for name in names for e in entries(name))

    return _LINE.sub(shown, text)


def _entry(entry: Entry, links: dict[str, str]) -> str:
    level = "###" if entry.owner is not None else "##"
    parts = [f"{level} `{entry.name}` {{ #{entry.anchor} }}"]
    if entry.is_callable:
        parts.append(f"```python\n{signature(entry)}\n```")
    parts.append(document(entry.doc, links, entry.owner or entry.value))
    return "\n\n".join(parts)


def signature(entry: Entry) -> str:
    """Name and arguments, without self; one a line where they are many."""
    short = entry.name.rsplit(".", 1)[-1]
    try:
        found = inspect.signature(entry.value)
    except (TypeError, ValueError):
        return short + "(...)"
    arguments = list(found.parameters.values())
    if entry.owner is not None and inspect.isfunction(entry.value) and arguments:
        arguments = arguments[1:]
    texts = [str(argument).replace("'", "") if argument.default in _PLAIN else _text(argument)
             for argument in arguments]  # fmt: skip
    texts = _with_marks(arguments, texts)
    back = "" if found.return_annotation is found.empty else f" -> {_bare(found.return_annotation)}"
    line = f"{short}({', '.join(texts)}){back}"
    if len(line) <= _WIDE:
        return line
    inner = "".join(f"    {text},\n" for text in texts)
    return f"{short}(\n{inner}){back}"


_PLAIN = (None, inspect.Parameter.empty)


def _text(argument: inspect.Parameter) -> str:
    kind = "" if argument.annotation is argument.empty else f": {_bare(argument.annotation)}"
    equals = " = " if kind else "="
    return f"{argument.name}{kind}{equals}{argument.default!r}"


def _bare(annotation: object) -> str:
    return annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)


def _with_marks(arguments: list[inspect.Parameter], texts: list[str]) -> list[str]:
    """``*`` before the arguments that are given by name alone."""
    kinds = [argument.kind for argument in arguments]
    keyword = inspect.Parameter.KEYWORD_ONLY
    if keyword in kinds and inspect.Parameter.VAR_POSITIONAL not in kinds:
        texts.insert(kinds.index(keyword), "*")
    return texts


def document(doc: str, links: dict[str, str], owner: Any) -> str:
    """A numpydoc docstring as Markdown."""
    first, *rest = _HEADER.split(doc)
    parts = [_prose(first.strip(), links, owner)]
    for title, body in zip(rest[::2], rest[1::2], strict=True):
        text = body.strip("\n")
        shown = _items(text, links, owner) if title in _ITEMS else _prose(text, links, owner)
        parts.append(f"**{title}**\n\n{shown}")
    return "\n\n".join(part for part in parts if part)


def _items(body: str, links: dict[str, str], owner: Any) -> str:
    """``name : type`` with its text as a list of definitions."""
    out = []
    for block in re.split(r"\n(?=\S)", body):
        head, _, text = block.partition("\n")
        name, colon, kind = head.partition(" : ")
        label = f"`{name}`" + (f" : {_linked(kind, links, owner)}" if colon else "")
        text = _prose(inspect.cleandoc(text), links, owner) if text.strip() else ""
        indented = text.replace("\n", "\n    ")
        out.append(f"{label}\n\n:   {indented}" if text else f"- {label}")
    return "\n\n".join(out)


def _prose(text: str, links: dict[str, str], owner: Any) -> str:
    """Paragraphs with their names linked, doctests as code."""
    parts = []
    for block in re.split(r"\n\s*\n", text):
        if block.lstrip().startswith(">>>"):
            parts.append(f"```pycon\n{block}\n```")
        elif block.strip() and all(line.startswith("    ") for line in block.splitlines()):
            parts.append(block)
        else:
            parts.append(_linked(block, links, owner))
    return "\n\n".join(parts)


def _linked(text: str, links: dict[str, str], owner: Any) -> str:
    """Names in backticks as links; other signs of Markdown mean themselves."""
    out = []
    for part in re.split(r"(``[^`]+``|`[^`\n]+`)", text):
        if part.startswith("`"):
            out.append(_code(part.strip("`"), links, owner))
        else:
            out.append(re.sub(r"([*_<|\[\]$])", r"\\\1", part))
    return "".join(out)


def _code(name: str, links: dict[str, str], owner: Any) -> str:
    own = f"{owner.__name__}.{name}" if inspect.isclass(owner) else name
    for candidate in (own, name, name.removeprefix("mlmfast."), name.removeprefix("mlm."),
                      name.rsplit(".", 1)[-1], f"LMMResult.{name}"):  # fmt: skip
        if candidate in links:
            return f"[`{name}`]({links[candidate]})"
    return f"`{name}`"
