"""The separator and the decimal sign of a text, by its first lines."""

import pytest

from mlmfast.data.files import read_table
from mlmfast.data.separators import TextForm, text_form
from mlmfast.errors import DataError

FORMS = {
    "y,x\n1.5,a\n": (",", "."),
    "y;x\n1,5;a\n": (";", ","),
    "y;x\n1.5;a\n": (";", "."),
    "y\tx\n1,5\ta\n": ("\t", ","),
    "y|x\n1|a\n": ("|", "."),
    "y x\n1.5 a\n": (r"\s+", "."),
    "y  x\n  1,5   a\n": (r"\s+", ","),
    # A separator cuts every line into as many fields.
    '"Days, counted";y\n1;2\n': (";", "."),
    "y,note\n1,a;b\n2,c\n": (",", "."),
    "time,y\n10:30,1\n11:45,2\n": (",", "."),
    'y,x\n"1,5",a\n"2,5",b\n': (",", "."),
    # Text with a comma is no number.
    "y;place\n1.5;Bern, West\n": (";", "."),
    "y\n1\n": (",", "."),
}


@pytest.mark.parametrize("text", FORMS)
def test_the_form_of_a_text(text):
    if text.startswith('y,x\n"'):
        with pytest.raises(DataError, match="cannot both separate fields"):
            text_form(text)
        return
    assert text_form(text) == TextForm(*FORMS[text])


def test_the_name_of_the_file_decides_where_lines_do_not():
    assert text_form("a,b\tc\n1,2\t3\n", "\t").separator == "\t"
    assert text_form("a,b\tc\n1,2\t3\n", ",").separator == ","


def test_numbers_in_two_ways_are_refused():
    with pytest.raises(DataError, match=r"two ways, '2.5' and '1,5'"):
        text_form("y;x\n1,5;2.5\n")
    assert text_form("y;x\n1,5;2.5\n", decimal=",") == TextForm(";", ",")
    for grouped in ("1.234,5", "1,234.5", "1 234,5", "1,234,567", "1.234.567"):
        with pytest.raises(DataError, match="groups its digits"):
            text_form(f"y;x\n{grouped};2\n")


def test_thousands_are_not_taken_for_decimals():
    with pytest.raises(DataError, match="'1,234' may be a decimal number or groups"):
        text_form("y;x\n1,234;2\n12,500;3\n")
    assert text_form("y;x\n1,234;2\n12,5;3\n").decimal == ","
    assert text_form("y;x\n0,234;2\n").decimal == ","
    assert text_form("y;x\n1,234;2\n", decimal=",").decimal == ","


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("y,host\n1.5,192.168.100.200\n2.5,192.168.100.201\n", "'192.168.100.200' groups"),
        ('y,codes\n1.5,"1,2"\n2.5,"3,4"\n', "'1,2' stands in quotes"),
        ('y,codes\n1.5,"1,200"\n2.5,"3,400"\n', "'1,200' stands in quotes"),
        ("y;code\n1;2,5\n2;2.5\n", "two ways, '2.5' and '2,5'"),
        ("y;code\n1;1,234\n2;1,235\n", "'1,234' may be"),
    ],
)
def test_what_is_said_of_a_sign_helps(text, message, tmp_path):
    """The advice followed: the numbers come out as numbers, the text as text."""
    with pytest.raises(DataError, match=message) as refused:
        text_form(text)
    assert "decimal='.' (--decimal .)" in str(refused.value)
    path = tmp_path / "a.csv"
    path.write_text(text)
    table = read_table(str(path), decimal=".")
    first = text.splitlines()[1].split(text[1], 1)
    assert table["y"].tolist()[0] == float(first[0])
    assert table.iloc[0, 1] == first[1].strip('"')


def test_a_number_in_quotes_between_other_separators():
    """What the other advice comes to."""
    assert text_form('y;x\n"1,5";a\n"2,5";b\n') == TextForm(";", ",")
    assert text_form('y,x\n"1.5",a\n"2.5",b\n') == TextForm(",", ".")


def test_numbers_come_out_as_numbers(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("y;g\n1,5;a\n-2,25e1;b\n;c\n")
    table = read_table(str(path))
    assert table["y"].tolist()[:2] == [1.5, -22.5]
    assert table["y"].isna().sum() == 1
