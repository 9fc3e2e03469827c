import pytest

from mlmfast.errors import FormulaError
from mlmfast.formula.mixed_formula import RandomTerm, parse_formula


def random_texts(formula):
    return [term.text for term in parse_formula(formula).random]


def test_the_parts_of_a_formula():
    formula = parse_formula("log(y) ~ x * f + offset(z) + (1 + x | g) - 1 + cs(0 + f | h)")
    assert formula.response == "log(y)"
    assert formula.fixed == "x * f - 1"
    assert formula.offsets == ("z",)
    assert formula.random == (
        RandomTerm("us", "1 + x", ("g",), "(1 + x | g)"),
        RandomTerm("cs", "0 + f", ("h",), "cs(0 + f | h)"),
    )
    assert parse_formula(formula.text) is formula


@pytest.mark.parametrize(
    ("formula", "fixed"),
    [
        ("y ~ x", "x"),
        ("y ~ 1", "1"),
        ("y ~ (1 | g)", "1"),
        ("y ~ offset(z)", "1"),
        ("y ~ (1 | g) - 1", "-1"),
        ("y ~ 0 + x + (1 | g)", "0 + x"),
        ("y ~ (x + (1 | g))", "x"),
        ("y ~ a + (1 | g) + b:c", "a + b:c"),
        ("y ~ (a + b)^2 + (1 | g)", "(a + b)^2"),
        ("y ~ (a + b)**2", "(a + b)^2"),
        ("y ~ I(x**2)", "I(x^2)"),
        ("y ~ GNP.deflator + .x", "GNP.deflator + .x"),
        ("y ~ `a b` + `x`", "`a b` + x"),
        ("y ~ A * B + A * C - C", "A * B + A * C - C"),
        ("y ~\n  x +\n\tz", "x + z"),
        ("y ~ np.log(x) + I(a | b)", "np.log(x) + I(a | b)"),
    ],
)
def test_the_fixed_part(formula, fixed):
    assert parse_formula(formula).fixed == fixed


@pytest.mark.parametrize(
    ("formula", "terms"),
    [
        ("y ~ (x || g)", ["(1 | g)", "(0 + x | g)"]),
        ("y ~ (1 + x + z || g)", ["(1 | g)", "(0 + x | g)", "(0 + z | g)"]),
        ("y ~ (0 + x || g)", ["(0 + x | g)"]),
        ("y ~ (f || g)", ["(1 | g)", "(0 + f | g)"]),
        ("y ~ (x * z || g)", ["(1 | g)", "(0 + x | g)", "(0 + z | g)", "(0 + x:z | g)"]),
        ("y ~ (1 | a/b)", ["(1 | a)", "(1 | a:b)"]),
        ("y ~ (1 | a/b/c)", ["(1 | a)", "(1 | a:b)", "(1 | a:b:c)"]),
        ("y ~ (1 | a:b/c)", ["(1 | a:b)", "(1 | a:b:c)"]),
        ("y ~ (1 | a/(b/c))", ["(1 | a)", "(1 | a:b)", "(1 | a:b:c)"]),
        # Sums, and their products, as R's terms expand them.
        ("y ~ (x | a + b)", ["(x | a)", "(x | b)"]),
        ("y ~ (x || a + b)", ["(1 | a)", "(0 + x | a)", "(1 | b)", "(0 + x | b)"]),
        ("y ~ cs(0 + f | a + b)", ["cs(0 + f | a)", "cs(0 + f | b)"]),
        ("y ~ (1 | a + a)", ["(1 | a)"]),
        ("y ~ (1 | a/(b + c))", ["(1 | a)", "(1 | a:b)", "(1 | a:c)"]),
        ("y ~ (1 | (a + b)/c)", ["(1 | a)", "(1 | b)", "(1 | a:b:c)"]),
        ("y ~ (1 | (a + b):c)", ["(1 | a:c)", "(1 | b:c)"]),
        ("y ~ (x || a/b)", ["(1 | a)", "(0 + x | a)", "(1 | a:b)", "(0 + x | a:b)"]),
        ("y ~ (1 | a:b:c)", ["(1 | a:b:c)"]),
        ("y ~ (1 | factor(g)) + (1 | interaction(a, b))", ["(1 | g)", "(1 | a:b)"]),
        ("y ~ diag(x | g) + ar1h(0 + t | a:b)", ["diag(x | g)", "ar1h(0 + t | a:b)"]),
        ("y ~ (poly(x, 2) | `my group`)", ["(poly(x, 2) | `my group`)"]),
        ("größe ~ (1 | städte)", ["(1 | städte)"]),
        ("y ~ (log | exp)", ["(log | exp)"]),
    ],
)
def test_the_random_part(formula, terms):
    assert random_texts(formula) == terms


def test_a_backticked_name_with_an_operator_is_one_group():
    (term,) = parse_formula("y ~ (1 | `a/b`:c)").random
    assert term.group == ("a/b", "c")


@pytest.mark.parametrize(
    ("formula", "message"),
    [
        ("", "empty"),
        ("  ", "empty"),
        ("y", "has no '~'"),
        ("y + x", "has no '~'"),
        ("~ x", "no response"),
        ("y ~", "nothing stands after '~'"),
        ("y ~ x +", "nothing stands after '\\+'"),
        ("y ~ x + (1 | )", "character 14: nothing stands after '\\|'; name a grouping factor"),
        ("y ~ ( | g)", "a variable is missing before '\\|'"),
        ("y ~ (x", "character 5: this '\\(' is not closed"),
        ("y ~ log(x", "character 8: this '\\(' is not closed"),
        ("y ~ x)", "character 6: this '\\)' has no '\\('"),
        ("y ~ x | g", "needs parentheses: write \\+ \\(x \\| g\\)"),
        ("y ~ x + 1 | g", "needs parentheses"),
        ("y ~ x z", "an operator is missing before 'z'"),
        ("y ~ x $ z", "character 7: the character '\\$' has no meaning"),
        ("y ~ x[0]", "the character '\\['"),
        ("y ~ `x", "quote ` is not closed"),
        ("y ~ 'x", "quote ' is not closed"),
        ("y ~ foo(x)", "unknown function 'foo'"),
        ("y ~ lgo(x)", "did you mean log"),
        ("foo(y) ~ x", "unknown function 'foo'"),
        ("y ~ x + offset(foo(z))", "unknown function 'foo'"),
        ("y ~ (foo(x) | g)", "unknown function 'foo'"),
        ("y ~ offset(a, b)", "offset takes one argument"),
        ("y ~ x:offset(z)", "may only be added"),
        ("y ~ .", "name the columns"),
        ("y ~ x ~ z", "'~'"),
        ("y | g ~ x", "left of the '~'"),
        ("y ~ x * (1 | g)", "cannot stand here"),
        ("y ~ x - (1 | g)", "cannot stand here"),
        ("y ~ (1 | a * b)", r"write \(1 \| a \+ b\) for a term of each"),
        ("y ~ (1 | a - b)", r"write \(1 \| a \+ b\) for a term of each"),
        ("y ~ (1 | 1)", "name a column"),
        ("y ~ (1 | log(a))", "compute anything else as a column"),
        ("y ~ (1 | a | b)", "has one bar"),
        ("y ~ (0 | g)", "has no random effect"),
        ("y ~ (0 || g)", "has no random effect"),
        ("y ~ cs(x || g)", "write one bar"),
        ("y ~ 2 * x", "number 2 is not a term"),
        ("y ~ 'x'", "backticks"),
        ("y ~ x^z", "power"),
        ("y ~ x^0.5", "power"),
        ("y ~ (" + " + ".join(f"x{k}" for k in range(30)) + ")^10", "expands to more than"),
        ("y ~ " + "(" * 200 + "x" + ")" * 200, "deep"),
        ("y ~ " + "-" * 300 + "x", "deep"),
    ],
)
def test_a_formula_that_cannot_be_read_says_why(formula, message):
    with pytest.raises(FormulaError, match=message):
        parse_formula(formula)


@pytest.mark.parametrize("formula", [None, 3, ["y ~ x"]])
def test_a_formula_that_is_not_text_is_refused(formula):
    with pytest.raises((FormulaError, TypeError)):
        parse_formula(formula)


def test_formulas_of_thousands_of_terms():
    from mlmfast.formula.terms import term_list

    names = [f"x{i}" for i in range(2000)]
    formula = parse_formula(f"y ~ {' + '.join(names)} - x3 + (1 | g)")
    assert len(formula.random) == 1
    labels = term_list(formula.fixed).labels
    assert labels == tuple(name for name in names if name != "x3")


def test_a_complaint_repeats_a_part_of_a_long_formula():
    with pytest.raises(FormulaError, match="nested more than 100 deep") as found:
        parse_formula(f"y ~ {'(' * 3000}x{')' * 3000}")
    assert len(str(found.value)) < 300
