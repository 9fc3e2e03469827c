"""Examples of a page: run in order, with what they print and draw put below them.

A fence ```` ```python ```` is run. Words after ``python`` say how: ``slow`` (left out by the tests,
not by the site), ``fold`` (the code is folded away, its picture is not), ``quiet`` (nothing below),
``caption="..."`` (of its picture, also its alternative text), ``alone`` (not run).
An output that stands below in a fence ```` ```text ```` gives way to that of the run. In the text
``{{ expression }}`` gives way to its value, so that no number of a page is typed.
"""

from __future__ import annotations

import ast
import contextlib
import io
import os
import re
import tempfile
import textwrap
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
#: Data sets that pages read as ``data/name.csv``, and that the site offers under that name.
DATA = ROOT / "tests" / "reference" / "data"
#: Pages whose examples need what their own tests prepare, or packages of another environment.
TESTED_ELSEWHERE = {
    "EQUIVALENTS.md": "tests/translation/test_equivalents.py",
    "INSIDE_YOUR_PACKAGE.md": "tests/low_level/test_page.py",
    "OTHER_PACKAGES.md": "tests/interop/test_page.py",
    "STATSMODELS.md": "tests/statsmodels/test_page.py",
}
_FENCE = re.compile(
    r"^```python(?P<words>[^\n]*)\n(?P<code>.*?)^```[ ]*$(?:\n\n```text\n(?P<shown>.*?)^```[ ]*$)?",
    re.MULTILINE | re.DOTALL,
)
#: A value in the text.
_VALUE = re.compile(r"\{\{(?P<value>.+?)\}\}")
_CAPTION = re.compile(r'caption="([^"]*)"')
_WORDS = {"slow", "fold", "quiet", "alone"}


@dataclass(frozen=True)
class Example:
    """A block of code of a page."""

    code: str
    words: frozenset[str]
    caption: str
    line: int

    @classmethod
    def of(cls, match: re.Match[str], page: str) -> Example:
        """The example of a fence.

        Raises
        ------
        ValueError
            For a word that is not known.
        """
        caption = _CAPTION.search(match["words"])
        words = frozenset(_CAPTION.sub("", match["words"]).split())
        line = match.string.count("\n", 0, match.start()) + 2
        if words - _WORDS:
            raise ValueError(f"{page}:{line}: {sorted(words - _WORDS)} are no words of an example")
        return cls(match["code"], words, caption[1] if caption else "", line)


@dataclass(frozen=True)
class Output:
    """What an example printed and drew."""

    text: str
    pictures: tuple[bytes, ...]


def examples(text: str, page: str) -> list[Example]:
    """The examples of a page in order."""
    return [Example.of(match, page) for match in _FENCE.finditer(text)]


@contextlib.contextmanager
def place() -> Iterator[None]:
    """A folder to run examples in, with the data sets in ``data/``; figures are drawn unseen."""
    import matplotlib

    matplotlib.use("Agg")
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "data").symlink_to(DATA)
        os.chdir(folder)
        try:
            yield
        finally:
            os.chdir(before)


def run(example: Example, page: str, namespace: dict[str, Any], *, draw: bool = True) -> Output:
    """Run an example as a session would: a last line that is an expression is shown.

    Raises
    ------
    RuntimeError
        Where it fails, or warns; it names the page and the line.
    """
    tree = ast.parse("\n" * (example.line - 1) + example.code, page)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    printed = io.StringIO()
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(printed):
            warnings.simplefilter("error")
            exec(compile(tree, page, "exec"), namespace)
            if last is not None:
                _show(eval(compile(ast.Expression(last.value), page, "eval"), namespace))
            pictures = _pictures(draw)
    except Exception as error:
        raise RuntimeError(f"docs/{page}: the example of line {example.line}: {error!r}") from error
    return Output(printed.getvalue(), pictures)


def _show(value: object) -> None:
    """Print a value as a session does; axes and figures are seen instead."""
    kind = type(value)
    drawn = ("matplotlib", "mpl_toolkits")
    if value is None or kind.__module__.startswith(drawn):
        return
    first = next(iter(value.flat), None) if kind.__name__ == "ndarray" else None  # type: ignore[attr-defined]
    if not type(first).__module__.startswith(drawn):
        print(repr(value))


def _pictures(draw: bool) -> tuple[bytes, ...]:
    from matplotlib import pyplot

    found = []
    for number in pyplot.get_fignums() if draw else ():
        buffer = io.BytesIO()
        # The same picture is the same file.
        with pyplot.rc_context({"svg.hashsalt": "mlmfast"}):
            pyplot.figure(number).savefig(buffer, format="svg", metadata={"Date": None})
        found.append(buffer.getvalue())
    pyplot.close("all")
    return tuple(found)


@dataclass
class Page:
    """A page with its examples run: its Markdown, the pictures by file name, seconds."""

    markdown: str
    pictures: dict[str, bytes]
    seconds: float


def run_page(text: str, page: str, *, slow: bool = True, draw: bool = True) -> Page:
    """Run all examples of a page in one namespace and put what they give below them.

    Parameters
    ----------
    text, page
        Its Markdown, and its name below ``docs/``.
    slow
        Run the slow ones too.
    draw
        Make files of the pictures.
    """
    started, pictures, namespace = time.perf_counter(), dict[str, bytes](), {"__name__": "__page__"}
    stem = Path(page).with_suffix("").as_posix().replace("/", "-").lower()

    def shown(match: re.Match[str]) -> str:
        example = Example.of(match, page)
        fence = f"```python\n{match['code']}```"
        if "alone" in example.words or ("slow" in example.words and not slow):
            return fence
        output = run(example, page, namespace, draw=draw)
        names = []
        for picture in output.pictures:
            names.append(f"{stem}-{len(pictures) + 1}.svg")
            pictures[names[-1]] = picture
        up = "../" * page.count("/")
        return "\n\n".join(_below(example, fence, output, [f"{up}pictures/{n}" for n in names]))

    parts, end = [], 0
    with place():
        for match in _FENCE.finditer(text):
            parts += [_with_values(text[end : match.start()], page, namespace), shown(match)]
            end = match.end()
        parts.append(_with_values(text[end:], page, namespace))
    return Page("".join(parts), pictures, time.perf_counter() - started)


def _with_values(text: str, page: str, namespace: dict[str, Any]) -> str:
    """The text between examples with the values that it names."""

    def value(match: re.Match[str]) -> str:
        try:
            return str(eval(match["value"].strip(), namespace))
        except Exception as error:
            raise RuntimeError(f"docs/{page}: {match[0]}: {error!r}") from error

    return _VALUE.sub(value, text)


def _below(example: Example, fence: str, output: Output, pictures: list[str]) -> list[str]:
    if "fold" in example.words:
        parts = ['??? note "The code"\n\n' + textwrap.indent(fence, "    ")]
    else:
        parts = [fence]
    text = "\n".join(line.rstrip() for line in output.text.splitlines())
    if text.strip() and "quiet" not in example.words:
        parts.append(f"```text\n{text}\n```")
    caption = example.caption or "What the code above draws."
    for picture in pictures if "quiet" not in example.words else ():
        below = f"\n<figcaption markdown>{caption}</figcaption>" if example.caption else ""
        alternative = re.sub(r"[$\\\[\]`]", "", caption)
        parts.append(f"<figure markdown>\n![{alternative}]({picture}){below}\n</figure>")
    # A picture before its folded code: the code is for those who ask.
    return [*parts[1:], parts[0]] if "fold" in example.words else parts
