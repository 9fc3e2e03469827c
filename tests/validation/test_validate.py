"""The qualification of an installation: it passes here, and fails where something is wrong."""

import base64
import csv
import hashlib
import json
import shutil
from html.parser import HTMLParser
from importlib import metadata
from pathlib import Path

import pytest

import mlmfast as mlm
from mlmfast.cli import commands as cli
from mlmfast.validation import installation
from mlmfast.validation.check import REQUIREMENTS, Check
from mlmfast.validation.references import reference_fits
from mlmfast.validation.report import ValidationReport

from ..cases import REFERENCE, reference
from ..reference import ship

PLACE = Path(mlm.__file__).parent / "validation" / "references"


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    folder = tmp_path_factory.mktemp("validation")
    found = mlm.validate(folder / "report.html", progress=False)
    return found, folder


def test_this_installation_passes(report):
    found, _ = report
    assert [check for check in found.checks if not check.passed] == []
    assert found.passed
    assert not found.untested
    assert found.seconds < 120
    assert set(found.by_requirement()["result"]) == {"passed"}


def test_every_family_is_compared(report):
    found, _ = report
    families = {check.family for check in found.checks} - {""}
    assert families >= {reference(name)["family"] for name in ship.NAMES}
    table = found.by_family()
    assert (table["difference"] <= table["tolerance"]).all()
    assert set(table["family"]) == families


def test_json_beside_the_page_holds_what_the_page_says(report):
    found, folder = report
    data = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    assert data["passed"] is True
    assert len(data["checks"]) == len(found.checks)
    assert {row["code"] for row in data["requirements"]} == {r.code for r in REQUIREMENTS}
    assert data["surroundings"]["versions"]["mlmfast"] == mlm.__version__
    text = (folder / "report.html").read_text(encoding="utf-8")
    assert data["surroundings"]["build"]["hash of the build"] in text
    assert found.verdict in text


class _Links(HTMLParser):
    def __init__(self):
        super().__init__()
        self.found, self.open = [], []

    def handle_starttag(self, tag, attrs):
        if tag in {"script", "link", "img", "iframe", "object"}:
            self.found.append(tag)
        self.found += [value for name, value in attrs if name in {"src", "href"}]
        if tag not in {"meta", "br"}:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_needs_nothing_from_elsewhere(report):
    found, _ = report
    parser = _Links()
    parser.feed(found.html())
    assert parser.found == []
    assert parser.open == []
    assert "url(" not in found.html()


def test_shipped_references_are_those_of_the_tests():
    """``python tests/reference/ship.py`` writes them."""
    assert (PLACE / "fits.json").read_text(encoding="utf-8") == ship.text()
    tables = {path.name for path in PLACE.glob("*.csv")}
    assert tables == set(ship.tables())
    for name in tables:
        assert (PLACE / name).read_bytes() == (REFERENCE / "data" / name).read_bytes()


def test_references_say_where_they_are_from():
    for fit in reference_fits():
        assert fit.source
        assert fit.about


# -- what is wrong is found -----------------------------------------------------------------------

#: A quantity of a reference changed in the last digits that it is trusted to.
WRONG = {
    "loglik": lambda expect: expect.update(loglik=expect["loglik"] + 1e-4),
    "beta": lambda expect: expect["beta"].update(Days=expect["beta"]["Days"] * (1 + 1e-5)),
    "se": lambda expect: expect["se"].update(Days=expect["se"]["Days"] * (1 + 1e-4)),
    "sigma": lambda expect: expect.update(sigma=expect["sigma"] * (1 + 1e-4)),
    "df_satterthwaite": lambda expect: expect["df_satterthwaite"].update(Days=16.9),
    "df_kr": lambda expect: expect["df_kr"].update(Days=None),
    "varcorr": lambda expect: expect["varcorr"]["Subject"]["cov"][1].__setitem__(1, 35.08),
    "ranef": lambda expect: expect["ranef"]["Subject"]["308"].__setitem__(1, 9.2),
    "names": lambda expect: expect.update(beta={"(Intercept)": 251.4, "Day": 10.47}),
}


def folder_with(tmp_path, name, change):
    """References with one fit, changed."""
    cases = json.loads((PLACE / "fits.json").read_text(encoding="utf-8"))
    case = cases[name]
    change(case["expect"])
    (tmp_path / "fits.json").write_text(json.dumps({name: case}))
    shutil.copyfile(PLACE / case["data"], tmp_path / case["data"])
    return tmp_path


def checks_of(folder):
    from mlmfast.validation.compared import compared

    return [check for case in reference_fits(folder) for check in compared(case)]


def test_an_unchanged_reference_passes(tmp_path):
    folder = folder_with(tmp_path, "sleepstudy_slope_corr_reml", lambda expect: None)
    assert all(check.passed for check in checks_of(folder))


@pytest.mark.parametrize("quantity", WRONG)
def test_a_wrong_reference_fails(tmp_path, quantity):
    folder = folder_with(tmp_path, "sleepstudy_slope_corr_reml", WRONG[quantity])
    failed = [check for check in checks_of(folder) if not check.passed]
    assert len(failed) == 1, failed


@pytest.mark.parametrize("name", ["orthodont_us_reml", "orthodont_cs_by_sex_reml"])
def test_a_wrong_residual_covariance_fails(tmp_path, name):
    def change(expect):
        value = expect["residual_cov"]
        own = value if "cov" in value else next(iter(value.values()))
        own["cov"][1][0] *= 1.001
        own["cov"][0][1] *= 1.001

    failed = [check for check in checks_of(folder_with(tmp_path, name, change)) if not check.passed]
    assert [check.requirement for check in failed] == ["OQ-5"]


def test_the_command_ends_with_1_where_a_reference_is_wrong(tmp_path, capsys):
    (tmp_path / "own").mkdir()
    name = "sleepstudy_slope_corr_reml"
    folder = folder_with(tmp_path / "own", name, WRONG["beta"])
    page = tmp_path / "report.html"
    assert cli.main(["validate", "--references", str(folder), "--out", str(page)]) == 1
    out, _ = capsys.readouterr()
    assert "FAILED: 1 of" in out
    assert "OQ-2 sleepstudy_slope_corr_reml: fixed effects, difference 1e-05" in out
    assert "What failed" in page.read_text(encoding="utf-8")
    assert json.loads(page.with_suffix(".json").read_text(encoding="utf-8"))["passed"] is False


def test_references_that_cannot_be_read(tmp_path, capsys):
    assert cli.main(["validate", "--references", str(tmp_path), "--quiet"]) == 2
    assert "holds no reference fits that can be read" in capsys.readouterr().err
    (tmp_path / "fits.json").write_text('{"one": {"family": "a"}}')
    with pytest.raises(mlm.DataError, match="can be read"):
        mlm.validate(references=tmp_path)


def test_a_report_that_cannot_be_written_is_refused_first(tmp_path, capsys):
    assert cli.main(["validate", "--out", str(tmp_path / "no" / "report.html")]) == 2
    assert "there is no folder" in capsys.readouterr().err


def test_requirements_that_nothing_tests_are_no_pass():
    checks = (Check("OQ-1", "a", "b"),)
    found = ValidationReport(checks, (), {}, "2026-11-30T00:00:00+00:00", 1.0)
    assert not found.passed
    assert found.verdict.startswith("INCOMPLETE")
    assert "OQ-2" in found.untested


# -- files as they were built ---------------------------------------------------------------------


@pytest.fixture
def wheel(tmp_path):
    """A package laid out as an installed wheel, with its RECORD."""
    package, info = tmp_path / "mlmfast", tmp_path / "mlmfast-1.0.0.dist-info"
    package.mkdir()
    info.mkdir()
    (package / "a.py").write_text("A = 1\n")
    (package / "b.py").write_text("B = 2\n")
    rows = []
    for path in sorted(package.iterdir()):
        digest = base64.urlsafe_b64encode(hashlib.sha256(path.read_bytes()).digest())
        rows.append((f"mlmfast/{path.name}", f"sha256={digest.rstrip(b'=').decode()}", "6"))
    with open(info / "RECORD", "w", newline="") as file:
        csv.writer(file).writerows([*rows, ("mlmfast-1.0.0.dist-info/RECORD", "", "")])
    (info / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: mlmfast\nVersion: 1.0.0\n"
        "Requires-Dist: numpy>=2.0\nRequires-Dist: scipy>=99.0\n"
        "Requires-Dist: matplotlib>=3.9 ; extra == 'plot'\n"
    )
    return metadata.Distribution.at(info), package


def files_check(distribution):
    found = installation.installation_checks(distribution)
    return next(check for check in found if check.subject == "files")


def test_files_are_compared_with_those_of_the_wheel(wheel):
    distribution, package = wheel
    assert files_check(distribution).passed
    assert "2 files" in files_check(distribution).note
    (package / "a.py").write_text("A = 3\n")
    (package / "b.py").unlink()
    changed = files_check(distribution)
    assert not changed.passed
    assert changed.note == "changed or missing: mlmfast/a.py, mlmfast/b.py"


def test_versions_that_are_too_old_are_found(wheel):
    found = {c.subject: c for c in installation.installation_checks(wheel[0])}
    assert found["numpy"].passed
    assert not found["scipy"].passed
    assert "matplotlib" not in found


def test_requirements_are_those_of_the_project():
    text = (Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8")
    for name, least in installation.required(None).items():
        assert f'"{name}>={least}"' in text


def test_the_hash_of_a_build_is_that_of_its_files(wheel):
    _, package = wheel
    before = installation.hashes(package)
    lines = "".join(f"{before[name]}  {name}\n" for name in ("a.py", "b.py"))
    expected = hashlib.sha256(lines.encode()).hexdigest()
    assert installation.hash_of_build(before) == expected
    (package / "__pycache__").mkdir()
    (package / "__pycache__" / "a.pyc").write_bytes(b"x")
    assert installation.hashes(package) == before
    (package / "b.py").write_text("B = 3\n")
    assert installation.hash_of_build(installation.hashes(package)) != expected
