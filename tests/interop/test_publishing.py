"""Fits and tables in maketables, stargazer and rtflite: the numbers that stand in them."""

import re

import pandas as pd
import pytest

import mlmfast as mlm


@pytest.fixture(scope="module")
def fits():
    data = mlm.load_sleepstudy()
    return [
        mlm.lmm("Reaction ~ Days + (1 | Subject)", data),
        mlm.lmm("Reaction ~ Days + (Days | Subject)", data, ddf="kenward-roger"),
    ]


def cells(html):
    """Cells of a table by the text that their row begins with."""
    rows = re.findall(r"<tr.*?</tr>", html, re.DOTALL)
    found = {}
    for row in rows:
        parts = re.findall(r"<t[dh].*?>(.*?)</t[dh]>", row, re.DOTALL)
        text = [re.sub(r"<.*?>", " ", part).strip() for part in parts]
        if text:
            found.setdefault(text[0], text[1:])
    return found


def test_maketables(fits):
    pytest.importorskip("maketables", reason="maketables is not installed")
    from maketables import ETable

    import mlmfast.maketables

    mlmfast.maketables.register()
    html = ETable(fits).make(type="html")
    found = cells(html)
    assert "Reaction" in html
    for k, fit in enumerate(fits):
        estimate, error = found["Days"][k].replace("*", "").split()
        assert float(estimate) == pytest.approx(fit.params["Days"], abs=5e-4)
        assert float(error.strip("()")) == pytest.approx(fit.bse["Days"], abs=5e-4)
        assert found["Groups: Subject"][k] == "18"
        sd = float(fit.varcorr["Subject"].iloc[0, 0]) ** 0.5
        assert float(found["SD (Intercept) | Subject"][k]) == pytest.approx(sd, abs=5e-4)
    assert float(found["SD Days | Subject"][1]) == pytest.approx(5.922, abs=5e-4)
    assert found["SD Days | Subject"][0] == "-"
    with_df = cells(ETable(fits[:1], coef_fmt="b:.3f df:.1f").make(type="html"))
    assert float(with_df["Days"][0].split()[1]) == pytest.approx(fits[0].df["Days"], abs=0.05)


def test_what_maketables_asks_for(fits):
    """Its plug-in attributes, whether it is installed or not."""
    one, two = fits
    table = two.__maketables_coef_table__
    assert list(table.columns[:4]) == ["b", "se", "t", "p"]
    pd.testing.assert_series_equal(table["p"], two.pvalues, check_names=False)
    assert two.__maketables_depvar__ == "Reaction"
    assert two.__maketables_stat__("N") == 180
    assert two.__maketables_stat__("ll") == two.llf
    assert two.__maketables_stat__("r2") is None
    assert two.__maketables_vcov_info__ == {"vcov_type": "Kenward-Roger"}
    assert "SD Days | Subject" not in one.__maketables_default_stat_keys__
    residual = mlm.lmm("Reaction ~ Days", mlm.load_sleepstudy(), residual="ar1(Days | Subject)")
    shown = residual.__maketables_default_stat_keys__
    assert residual.__maketables_stat__(shown[-1]) == pytest.approx(0.8, abs=0.1)


def test_stargazer(fits):
    pytest.importorskip("stargazer", reason="stargazer is not installed")
    from stargazer.stargazer import Stargazer

    import mlmfast.stargazer

    html = mlmfast.stargazer.add_random_effects(Stargazer(fits), fits).render_html()
    found = cells(html)
    for k, fit in enumerate(fits):
        assert float(found["Days"][k].replace("*", "")) == pytest.approx(
            fit.params["Days"], abs=5e-4
        )
    assert found["Groups: Subject"] == ["18", "18"]
    assert found["Observations"] == ["180", "180"]
    assert "R<sup>2</sup>" not in html
    intervals = Stargazer(fits)
    intervals.show_confidence_intervals(True)
    lower = fits[0].conf_int()["lower"]["Days"]
    assert f"{lower:.3f}" in intervals.render_html()


def test_rtflite(fits):
    """By polars: version 2.6.0 refuses frames of pandas."""
    rtflite = pytest.importorskip("rtflite", reason="rtflite is not installed")
    polars = pytest.importorskip("polars")
    table = polars.DataFrame(fits[0].covtest().tidy().round(3))
    text = rtflite.RTFDocument(df=table).rtf_encode()
    for value in table["estimate"]:
        assert f"{value}" in text
