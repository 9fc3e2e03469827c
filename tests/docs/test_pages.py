"""Examples of the site's pages run, its links lead somewhere, its reference is complete."""

import inspect
import json
import re
from pathlib import Path

import pytest
from docs_build import differences, examples, generated, reference, site_check

import mlmfast as mlm

pytest.importorskip("matplotlib")

#: Rows of the page of equivalents.
LINES = re.findall(
    r"^\| .*`mlm[.]lmm", (examples.DOCS / "EQUIVALENTS.md").read_text("utf-8"), re.MULTILINE
)
PAGES = sorted(examples.DOCS.rglob("*.md"))
NAMES = [page.relative_to(examples.DOCS).as_posix() for page in PAGES]
#: Pages whose outputs are stored, and compared by tests of their own.
STORED = {"POWER.md", "STUDIES.md"}
RUN = [name for name in NAMES if name not in {*examples.TESTED_ELSEWHERE, *STORED}]


@pytest.mark.parametrize("name", [n for n in RUN if not n.startswith("reference/")])
def test_the_examples_run(name):
    text = (examples.DOCS / name).read_text("utf-8")
    page = examples.run_page(text, name, slow=False, draw=False)
    assert "{{" not in page.markdown


@pytest.mark.parametrize("name", NAMES)
def test_links_lead_somewhere(name):
    assert site_check.broken_links(examples.DOCS / name) == []


def test_links_of_the_pages_outside_lead_somewhere():
    for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md"):
        assert site_check.broken_links(examples.ROOT / name) == []


def test_broken_links_are_found(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# A `b` title\n[a](#a-b-title) [b](#nowhere) [c](none.md) ![d](data/no.csv)\n")
    assert [fault.split(": ", 1)[1] for fault in site_check.broken_links(page)] == [
        "#nowhere: no such heading",
        "none.md: no such file",
        "data/no.csv: no such file",
    ]


def test_the_navigation_names_pages_that_are_there():
    """Those that it does not name are put at its end."""
    named = re.findall(r"[\w/]+\.md", (examples.ROOT / "mkdocs.yml").read_text("utf-8"))
    assert set(named) <= set(NAMES)
    assert len(named) == len(set(named))


@pytest.fixture(scope="module")
def links():
    return reference.targets()


def test_every_public_name_is_in_the_reference(links):
    missing = set(mlm.__all__) - set(links) - {"__version__", "mvn"}
    assert missing == set()
    assert {
        name for name in mlm.mvn.__all__ if f"mvn.{name}" not in links and name not in links
    } == set()


def test_every_method_of_a_fit_is_in_the_reference(links):
    public = {name for name in dir(mlm.LMMResult) if not name.startswith("_")}
    assert {name for name in public if f"LMMResult.{name}" not in links} == set()


def test_the_reference_shows_signature_sections_and_links(links):
    shown = reference.expand("::: LMMResult\n", links)
    start = shown.index("`LMMResult.conf_int`")
    entry = shown[start : shown.index("\n### ", start)]
    parameters = inspect.signature(mlm.LMMResult.conf_int).parameters
    assert all(f"    {name}: " in entry for name in list(parameters)[1:] if name != "self")
    assert "**Parameters**" in entry
    assert "[`bootstrap`](result.md#lmmresult-bootstrap)" in entry


def test_no_docstring_of_the_reference_loses_a_section(links):
    """Underlined headings become sections: none is left as text."""
    for page in (examples.DOCS / "reference").glob("*.md"):
        shown = reference.expand(page.read_text("utf-8"), links)
        assert not re.search(r"^-{3,}$", shown, re.MULTILINE), page.name


def test_every_finding_has_its_entry():
    found = differences.all_findings()
    assert len(found) == len(list((examples.ROOT / "findings").glob("*.sh")))
    assert all(one.title and one.versions for one in found)


def test_an_example_that_fails_names_page_and_line():
    text = "# A page\n\n```python\nx = 1\n```\n\n```python\nx + y\n```\n"
    with pytest.raises(RuntimeError, match=r"docs/p\.md: the example of line 8: NameError"):
        examples.run_page(text, "p.md")


def test_values_in_the_text_are_those_of_the_run():
    text = (
        "```python\nx = 1\n```\n\nIt is {{ x }}.\n\n```python\nx = 2\n```\n\nNow {{ f'{x:.1f}' }}."
    )
    shown = examples.run_page(text, "p.md").markdown
    assert "It is 1." in shown
    assert "Now 2.0." in shown
    with pytest.raises(RuntimeError, match=r"docs/p\.md: \{\{ z \}\}: NameError"):
        examples.run_page("{{ z }}", "p.md")


def test_links_that_name_a_file_have_its_title():
    found = generated.fill("[DEGREES_OF_FREEDOM.md](DEGREES_OF_FREEDOM.md)\n")
    assert found == "[Degrees of freedom: which name means what](DEGREES_OF_FREEDOM.md)\n"


def test_an_example_that_warns_fails():
    text = "```python\nimport warnings\nwarnings.warn('look')\n```\n"
    with pytest.raises(RuntimeError, match="look"):
        examples.run_page(text, "p.md")


def test_outputs_and_pictures_stand_below_their_code():
    text = (
        "```python\nx = 2\nx + 1\n```\n\n```text\nold\n```\n\n"
        '```python fold caption="A line."\nfrom matplotlib import pyplot\n'
        "pyplot.plot([1, 2])\n```\n"
    )
    page = examples.run_page(text, "a/p.md")
    assert "x + 1\n```\n\n```text\n3\n```" in page.markdown
    assert "old" not in page.markdown
    assert "![A line.](../pictures/a-p-1.svg)" in page.markdown
    assert page.markdown.index("a-p-1.svg") < page.markdown.index("pyplot.plot")
    assert page.pictures["a-p-1.svg"].startswith(b"<?xml")


def test_the_site_has_no_faults_where_it_was_built():
    site = examples.ROOT / "site"
    if not (site / "index.html").exists():
        pytest.skip("the site has not been built: make docs")
    assert site_check.faults(site) == []


def test_faults_of_a_site_are_found(tmp_path: Path):
    (tmp_path / "index.html").write_text(
        '<link rel="stylesheet" href="https://fonts.example/x.css"><a id="here"></a>'
        '<a href="#here">a</a><a href="#there">b</a><a href="other.html">c</a>'
        '<script src="//cdn.example/x.js"></script>'
    )
    assert site_check.faults(tmp_path) == [
        "index.html: fetches https://fonts.example/x.css",
        "index.html: fetches //cdn.example/x.js",
        "index.html: #there: no such heading",
        "index.html: other.html: no such file",
    ]


def test_each_program_has_its_table_of_equivalents():
    text = generated.coming()
    header, rows = generated.equivalents()
    assert [line[3:] for line in text.splitlines() if line.startswith("## ")] == [
        "R", "SAS", "Stata", "SPSS", "Julia", "statsmodels",
    ]  # fmt: skip
    assert len(rows) == len(LINES)
    assert all(len(row) == len(header) for row in rows)
    assert text.count("`mlm.lmm(") == sum(bool(cell) for row in rows for cell in row[1:-1])


def test_bars_in_code_of_tables_are_bars():
    assert generated.fill("| `(1 \\| g)` | a \\| b |\n") == "| `(1 | g)` | a \\| b |\n"


def test_benchmarks_show_the_tables_of_the_readme():
    assert "| W1 sleepstudy" in generated.fill("::: speed\n")


def test_runs_of_benchmarks_stand_as_they_were_measured(tmp_path, monkeypatch):
    monkeypatch.setattr(generated, "RUNS", tmp_path)
    assert generated.fill("::: runs\n").strip() == ""
    facts = {"date": "2026-01-02", "cores": 2, "machine": "x86_64", "python": "3.13.1",
             "pandas": "3.0.0", "rows": "sorted by group", "labels": "str",
             "load_at_the_end": [0.2, 0.1, 0.0],
             "versions": {"ours": "1.0", "slow": "2"}}  # fmt: skip
    one = {"version": "1.0", "times": [0.004, 0.001, 0.0025], "llf": -871.81412}
    results = {"floor 1": {"times": [1e-6]}, "ours": one,
               "slow": {"version": "2", "error": "stopped after 9 s"}}  # fmt: skip
    kept = {"machine": facts, "workloads": {"W1": results}}
    (tmp_path / "run.json").write_text(json.dumps(kept), "utf-8")
    text = generated.fill("::: runs\n")
    assert "## Run of 2026-01-02" in text
    assert "[run.json](results/run.json)" in text
    assert "| W1 | ours 1.0 | 3 | 2.5 ms | 1 ms | 4 ms | -871.8141 |" in text
    assert "| W1 | slow | | stopped after 9 s | | | |" in text
    assert "floor" not in text
