"""The page on studies shows what its examples print."""

import sys
from pathlib import Path

import pytest

from tests.report.test_readme import EXAMPLE, bare, outputs

PAGE = Path(__file__).parents[2] / "docs/STUDIES.md"


def test_the_page_shows_what_its_examples_print(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    examples = list(outputs(PAGE.read_text(encoding="utf-8")))
    assert len(examples) == 2
    for printed, shown in examples:
        assert bare(shown) == bare(printed)


def test_the_measures_of_the_page_are_all_of_them():
    from mlmfast.studies.performance.measures import MEASURES

    text = PAGE.read_text(encoding="utf-8")
    table = text[text.index("| measure |") :].split("\n\n")[0]
    for name, measure in MEASURES.items():
        assert f"`{name}`" in table
        assert not measure.rsimsum or f"`{measure.rsimsum}`" in table


@pytest.mark.parametrize("name", ["cluster_trial.toml", "huang_2018.py"])
def test_the_examples_that_it_names_are_there(name):
    assert (PAGE.parents[1] / "examples" / name).is_file()
    assert name in PAGE.read_text(encoding="utf-8")


def update():
    """Write the outputs into the page: ``python -m tests.studies.test_page``."""
    text = PAGE.read_text(encoding="utf-8")
    printed = iter([output for output, _ in outputs(text)])

    def shown(match):
        return f"```python\n{match[1]}```\n\n```text\n" + "\n".join(bare(next(printed))) + "```"

    PAGE.write_text(EXAMPLE.sub(shown, text), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(update())
