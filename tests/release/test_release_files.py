"""Files that a release consists of: versions agree, actions are pinned, links lead somewhere."""

import re
from pathlib import Path

import pytest

import mlmfast as mlm

ROOT = Path(__file__).parents[2]


def text_of(name):
    return (ROOT / name).read_text(encoding="utf-8")


def test_versions_agree():
    (version,) = re.findall(
        r'^version = "(.+)"$', text_of("Cargo.toml").partition("[lib]")[0], re.M
    )
    assert version == mlm.__version__
    assert re.search(rf'name = "mlmfast"\nversion = "{re.escape(version)}"', text_of("Cargo.lock"))
    cited = re.search(r"^version: (.+)$", text_of("CITATION.cff"), re.M).group(1)
    released = re.findall(
        r"^## \[(\d+\.\d+\.\d+)\] - (\d{4}-\d\d-\d\d)$", text_of("CHANGELOG.md"), re.M
    )
    assert released[0][0] == cited
    assert f'date-released: "{released[0][1]}"' in text_of("CITATION.cff")
    assert version == cited
    assert "## [Unreleased]\n" in text_of("CHANGELOG.md")


def test_pages_that_are_listed_exist():
    links = re.findall(r"\]\(([^)]+)\)", text_of("llms.txt"))
    assert len(links) > 10
    assert [link for link in links if not (ROOT / link).is_file()] == []


def workflow():
    yaml = pytest.importorskip("yaml", reason="PyYAML reads the workflow")
    return yaml.safe_load(text_of(".github/workflows/release.yml"))


def test_actions_are_pinned_to_a_version():
    used = re.findall(r"uses: (\S+)", text_of(".github/workflows/release.yml"))
    assert used
    assert all(re.fullmatch(r"[\w./-]+@v\d+(\.\d+)*", name) for name in used)


def test_the_workflow_builds_for_every_platform_and_publishes_what_was_tested():
    jobs = workflow()["jobs"]
    names = {entry["name"] for entry in jobs["wheels"]["strategy"]["matrix"]["include"]}
    assert names == {
        f"{system}-{machine}"
        for system, machines in {
            "manylinux": ("x86-64", "aarch64"),
            "musllinux": ("x86-64", "aarch64"),
            "macos": ("x86-64", "arm64"),
            "windows": ("x86-64", "arm64"),
        }.items()
        for machine in machines
    }
    for job in jobs.values():
        needed = job.get("needs", [])
        assert set([needed] if isinstance(needed, str) else needed) <= set(jobs)
    assert set(jobs["publish"]["needs"]) == {"source", "wheels", "free-threaded"}
    assert jobs["publish"]["if"] == "startsWith(github.ref, 'refs/tags/v')"


def test_the_oldest_environment_is_that_of_the_project():
    asked = dict(
        re.findall(r'"(numpy|scipy|pandas|narwhals)>=([\d.]+)"', text_of("pyproject.toml"))
    )
    tested = dict(re.findall(r'"(\w+)==([\d.]+?)(?:\.\*)?"', text_of("release/build.py")))
    assert tested == asked
