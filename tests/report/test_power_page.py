"""The page on power shows what its examples print."""

import sys
from pathlib import Path

from tests.report.test_readme import EXAMPLE, bare, outputs

PAGE = Path(__file__).parents[2] / "docs/POWER.md"


def test_the_examples_print_what_the_page_shows():
    examples = list(outputs(PAGE.read_text(encoding="utf-8")))
    assert len(examples) == 2
    for printed, shown in examples:
        assert bare(shown) == bare(printed)


def update():
    """Write the outputs into the page: ``python -m tests.report.test_power_page``."""
    text = PAGE.read_text(encoding="utf-8")
    printed = iter([output for output, _ in outputs(text)])

    def shown(match):
        return f"```python\n{match[1]}```\n\n```text\n" + "\n".join(bare(next(printed))) + "```"

    PAGE.write_text(EXAMPLE.sub(shown, text), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(update())
