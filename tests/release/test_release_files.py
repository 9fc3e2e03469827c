"""Files that a release consists of: versions agree, actions are pinned, links lead somewhere."""

import re
from pathlib import Path

import pytest

import mlmfast as mlm

ROOT = Path(__file__).parents[2]


def text_of(name):
    return (ROOT / name).read_text(encoding="utf-8")


def released():
    """Version and date of each heading of the changelog, the last first."""
    return re.findall(
        r"^## \[(\d+\.\d+\.\d+)\] - (\d{4}-\d\d-\d\d)$", text_of("CHANGELOG.md"), re.M
    )


def test_versions_agree():
    head = text_of("Cargo.toml").partition("[lib]")[0]
    (version,) = re.findall(r'^version = "(.+)"$', head, re.M)
    assert version == mlm.__version__
    assert f'name = "mlmfast"\nversion = "{version}"' in text_of("Cargo.lock")


def test_what_is_cited_is_the_last_release_or_the_next():
    """Before its release it stands in CITATION.cff alone."""
    cited = re.search(r"^version: (.+)$", text_of("CITATION.cff"), re.M).group(1)
    for version, date in released()[:1]:
        assert (cited, version) == (version, mlm.__version__)
        assert f'date-released: "{date}"' in text_of("CITATION.cff")
    assert re.fullmatch(r"\d+\.\d+\.\d+", cited)
    assert text_of("CHANGELOG.md").count("## [Unreleased]\n") == 1


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
