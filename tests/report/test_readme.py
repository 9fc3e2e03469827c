"""The README shows what its examples print."""

import contextlib
import io
import re
import sys
from pathlib import Path

README = Path(__file__).parents[2] / "README.md"
EXAMPLE = re.compile(r"```python\n(.*?)```\n\n```text\n(.*?)```", re.DOTALL)


def outputs(text):
    """What each example prints, in order, run in one namespace."""
    namespace = {}
    for code, shown in EXAMPLE.findall(text):
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(code, "README.md", "exec"), namespace)
        yield printed.getvalue(), shown


def bare(text):
    """The lines without blanks at their ends, which a Markdown file would not keep."""
    return [line.rstrip() for line in text.split("\n")]


def comparable(text):
    """The lines without the Newton decrement, which is rounding error of the machine."""
    return bare(re.sub(r"decrement \S+", "decrement", text))


def test_the_examples_print_what_the_readme_shows():
    examples = list(outputs(README.read_text(encoding="utf-8")))
    assert len(examples) == 6
    for printed, shown in examples:
        assert comparable(shown) == comparable(printed)


def update():
    """Write the outputs into the README: ``python -m tests.test_readme``."""
    text = README.read_text(encoding="utf-8")
    printed = iter([output for output, _ in outputs(text)])

    def shown(match):
        return f"```python\n{match[1]}```\n\n```text\n" + "\n".join(bare(next(printed))) + "```"

    README.write_text(EXAMPLE.sub(shown, text), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(update())
