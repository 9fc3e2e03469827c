"""Fields of text files that stand for missing values, as SAS and databases write them."""

import numpy as np
import pytest

import mlmfast as mlm
from mlmfast.__main__ import main
from mlmfast.data import files
from mlmfast.errors import DataError

FORMULA = "Reaction ~ Days + (Days | Subject)"
WRITTEN = [".", "null"]


@pytest.fixture(scope="module")
def data():
    return mlm.load_sleepstudy()


@pytest.fixture(scope="module")
def path(data, tmp_path_factory):
    own = data.astype({"Reaction": object, "Days": object})
    own.loc[3, "Reaction"], own.loc[7, "Days"], own.loc[9, "Reaction"] = ".", "null", ""
    path = tmp_path_factory.mktemp("texts") / "rows.csv"
    own.to_csv(path, index=False)
    return str(path)


@pytest.fixture(scope="module")
def expected(data):
    return mlm.lmm(FORMULA, data.drop(index=[3, 7, 9]))


@pytest.mark.parametrize("whole", [True, False])
def test_they_are_missing_where_they_are_named(path, expected, whole, monkeypatch):
    if not whole:
        monkeypatch.setattr(files, "_WHOLE", 0)
    memory = mlm.lmm(FORMULA, path, na_values=WRITTEN)
    reduced = mlm.reduce(FORMULA, path, na_values=WRITTEN)
    assert memory.llf == expected.llf
    assert reduced.n_dropped == 3
    np.testing.assert_allclose(reduced.fit().bse, expected.bse, rtol=1e-10)


def test_the_command_line_names_them(path, expected, capsys):
    assert main(["fit", path, FORMULA, "--na-values", *WRITTEN]) == 0
    assert "177 (3 dropped" in capsys.readouterr().out


def test_text_in_a_column_of_numbers_says_what_to_do(path):
    with pytest.raises(DataError, match=r"'\.' in row 3; .* or give na_values=\['\.'\]"):
        mlm.reduce(FORMULA, path)


def test_what_is_no_list_of_texts_or_no_text_file_is_refused(path, data):
    with pytest.raises(DataError, match=r"give a list of texts, such as \['\.', 'null'\]"):
        mlm.lmm(FORMULA, path, na_values=".")
    with pytest.raises(DataError, match="the list is no text file"):
        mlm.reduce(FORMULA, [data], na_values=["."])


def test_what_was_kept_of_other_fields_is_not_gone_on_with(path, tmp_path):
    first = mlm.reduce(FORMULA, path, na_values=WRITTEN, resume=tmp_path)
    with pytest.raises(DataError, match=r"'\.' in row 3"):
        mlm.reduce(FORMULA, path, na_values=["null"], resume=tmp_path)
    assert mlm.reduce(FORMULA, path, na_values=WRITTEN, resume=tmp_path).nobs == first.nobs
