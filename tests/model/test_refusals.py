"""Bad input: an error of the right kind that names what is wrong, before any number is lost."""

import numpy as np
import pandas as pd
import pytest

import mlmfast as mlm
from mlmfast.errors import DataError, FormulaError, MlmError, ModelError

from ..problems import effect_columns, nested_frame
from ..residual_models import trial

UNFIT = (DataError, ModelError)


@pytest.fixture
def frame():
    return nested_frame().assign(constant=2.5, text="abc", row=[f"r{k}" for k in range(240)])


UNREADABLE = {
    "empty": ("", r"(?i)formula|empty"),
    "no response": ("~ x", r"(?i)response|left"),
    "no tilde": ("y + x", r"~"),
    "no right-hand side": ("y ~ ", r"(?i)right|empty|term|end|nothing|after"),
    "two tildes": ("y ~ x ~ z", r"~"),
    "open parenthesis": ("y ~ x + (1 | a", r"(?i)\(|parenthes|bracket|clos"),
    "closing parenthesis": ("y ~ x + 1 | a)", r"(?i)\)|parenthes|bracket|open"),
    "open quote": ("y ~ `x + (1 | a)", r"(?i)`|quote|backtick"),
    "operators in a row": ("y ~ x + * z", r"[*+]"),
    "bar without parentheses": ("y ~ x | a", r"\||(?i:parenthes)"),
    "no grouping factor": ("y ~ x + (1 | )", r"(?i)group|\|"),
    "no effects": ("y ~ x + ( | a)", r"(?i)effect|\||left|empty"),
    "three bars": ("y ~ x + (1 ||| a)", r"\|"),
    "two groups": ("y ~ x + (1 | a | b)", r"\|"),
    "random term in the response": ("(1 | a) ~ x", r"(?i)response|left|\|"),
    "function of a random term": ("y ~ log((1 | a))", r"\||(?i:log|random)"),
    "unknown function": ("y ~ frobnicate(x)", r"frobnicate"),
    "unknown structure": ("y ~ x + frob(1 | a)", r"frob"),
    "number as grouping factor": ("y ~ x + (1 | 3)", r"3"),
    "stray character": ("y ~ x $ z", r"\$"),
}


@pytest.mark.parametrize(("formula", "message"), UNREADABLE.values(), ids=UNREADABLE)
def test_unreadable_formula(frame, formula, message):
    with pytest.raises(FormulaError, match=message):
        mlm.lmm(formula, frame)


@pytest.mark.parametrize("formula", [None, 3, ["y ~ x"], b"y ~ x"])
def test_formula_that_is_no_text(frame, formula):
    with pytest.raises(FormulaError, match=type(formula).__name__):
        mlm.lmm(formula, frame)


UNKNOWN_COLUMNS = [
    "nowhere ~ x + (1 | a)",
    "y ~ nowhere + (1 | a)",
    "y ~ log(nowhere) + (1 | a)",
    "y ~ x:nowhere + (1 | a)",
    "y ~ x + (nowhere | a)",
    "y ~ x + (1 | nowhere)",
    "y ~ x + (1 | a/nowhere)",
    "y ~ x + offset(nowhere)",
]


@pytest.mark.parametrize("formula", UNKNOWN_COLUMNS)
def test_unknown_column(frame, formula):
    with pytest.raises((DataError, FormulaError), match="nowhere"):
        mlm.lmm(formula, frame)


@pytest.mark.parametrize("argument", ["weights", "offset"])
def test_unknown_column_in_an_argument(frame, argument):
    with pytest.raises(DataError, match="nowhere"):
        mlm.lmm("y ~ x + (1 | a)", frame, **{argument: "nowhere"})


def with_value(value):
    """A response with one bad value."""

    def change(y):
        changed = y.copy()
        changed.iloc[7] = value
        return changed

    return change


BAD_RESPONSES = {
    "constant": (lambda y: 0 * y + 3.7, UNFIT),
    "zero": (lambda y: 0 * y, UNFIT),
    "all missing": (lambda y: y * np.nan, DataError),
    "infinite": (with_value(np.inf), DataError),
    "minus infinity": (with_value(-np.inf), DataError),
    "complex": (lambda y: y + 1j, DataError),
    "objects": (lambda y: y.map(lambda value: {"value": value}), DataError),
    "text": (lambda y: y.astype(str), DataError),
    "dates": (lambda y: pd.to_datetime(y.index, unit="D").to_series(index=y.index), DataError),
}


@pytest.mark.parametrize(("change", "error"), BAD_RESPONSES.values(), ids=BAD_RESPONSES)
def test_bad_response(frame, change, error):
    with pytest.raises(error, match=r"\by\b"):
        mlm.lmm("y ~ x + (1 | a)", frame.assign(y=change(frame["y"])))


@pytest.mark.parametrize("column", ["x", "w", "off"])
def test_infinite_values(frame, column):
    frame.loc[3, column] = np.inf
    with pytest.raises(DataError, match=rf"\b{column}\b"):
        mlm.lmm("y ~ x + (1 | a)", frame, weights="w", offset="off")


def test_no_rows_left(frame):
    frame.loc[::2, "x"] = np.nan
    frame.loc[1::2, "z"] = np.nan
    with pytest.raises(DataError, match=r"(?i)\b(no|0|zero)\b.*(rows|observations)"):
        mlm.lmm("y ~ x + z + (1 | a)", frame)


def test_no_rows_at_all(frame):
    with pytest.raises(DataError, match=r"(?i)\b(no|0|zero)\b.*(rows|observations)|empty"):
        mlm.lmm("y ~ x + z + (1 | a)", frame.head(0))


@pytest.mark.parametrize("value", [0.0, -1.0])
@pytest.mark.parametrize("as_array", [False, True])
def test_weights_that_are_not_positive(frame, value, as_array):
    frame.loc[11, "w"] = value
    weights = frame["w"].to_numpy() if as_array else "w"
    with pytest.raises(DataError, match=r"(?i)weights?.*(positive|> ?0)|positive.*weight"):
        mlm.lmm("y ~ x + (1 | a)", frame, weights=weights)


def test_missing_weights(frame):
    frame["w"] = np.nan
    with pytest.raises(DataError, match=r"(?i)weight|\bw\b|\bno\b|\b0\b"):
        mlm.lmm("y ~ x + (1 | a)", frame, weights="w")


def test_missing_weights_when_missing_values_are_refused(frame):
    frame.loc[2, "w"] = np.nan
    with pytest.raises(DataError, match=r"(?i)weight|\bw\b"):
        mlm.lmm("y ~ x + (1 | a)", frame, weights="w", na_action="raise")


@pytest.mark.parametrize("argument", ["weights", "offset"])
@pytest.mark.parametrize("length", [0, 239, 241])
def test_argument_of_another_length(frame, argument, length):
    with pytest.raises(DataError, match=rf"(?i){argument}.*\b240\b|\b240\b.*{argument}"):
        mlm.lmm("y ~ x + (1 | a)", frame, **{argument: np.ones(length)})


@pytest.mark.parametrize("argument", ["weights", "offset"])
def test_argument_that_is_text(frame, argument):
    with pytest.raises(DataError, match="text"):
        mlm.lmm("y ~ x + (1 | a)", frame, **{argument: "text"})


UNFITTABLE = {
    "a level for every row": ("y ~ x + (1 | row)", r"\brow\b"),
    "an inner level for every row": ("y ~ x + (1 | a/row)", r"\brow\b"),
    "one level": ("y ~ x + (1 | text)", r"text.*\b(1|one)\b|\b(1|one)\b.*text"),
    "a slope on a constant": ("y ~ x + (constant | a)", r"constant"),
    "a slope on a constant, apart": ("y ~ x + (constant || a)", r"constant"),
}


@pytest.mark.parametrize(("formula", "message"), UNFITTABLE.values(), ids=UNFITTABLE)
def test_model_that_cannot_be_fitted(frame, formula, message):
    with pytest.raises((*UNFIT, FormulaError), match=message):
        mlm.lmm(formula, frame)


@pytest.mark.parametrize("n", [2, 3])
@pytest.mark.parametrize("random_part", ["", " + (1 | a)"])
def test_as_many_columns_as_rows(frame, n, random_part):
    with pytest.raises(UNFIT, match=rf"\b{n}\b"):
        mlm.lmm("y ~ x + z" + random_part, frame.head(n))


def test_duplicate_column_names(frame):
    doubled = pd.concat([frame, frame[["x"]] + 1], axis=1)
    with pytest.raises(DataError, match=r"\bx\b"):
        mlm.lmm("y ~ x + (1 | a)", doubled)


@pytest.mark.parametrize("data", [None, 5, "data.csv", np.ones((4, 2)), [1, 2, 3]])
def test_data_that_is_no_table(data):
    with pytest.raises(DataError, match=rf"(?i)data|{type(data).__name__}"):
        mlm.lmm("y ~ x + (1 | a)", data)


def test_dict_of_arrays_of_different_lengths(frame):
    table = {name: frame[name].to_numpy() for name in ("y", "x", "a")}
    with pytest.raises(DataError, match=r"\b100\b"):
        mlm.lmm("y ~ x + (1 | a)", table | {"x": table["x"][:100]})


BAD_ARGUMENTS = {
    "method": ({"method": "MCMC"}, "MCMC"),
    "na_action": ({"na_action": "impute"}, "impute"),
    "unknown contrast": ({"contrasts": {"f": "contr.frob"}}, "contr.frob"),
    "contrast of an unknown factor": ({"contrasts": {"nowhere": "contr.sum"}}, "nowhere"),
    "contrast of a number": ({"contrasts": {"x": "contr.sum"}}, r"\bx\b"),
    "degrees of freedom": ({"ddf": "guesswork"}, "guesswork"),
}


@pytest.mark.parametrize(("arguments", "message"), BAD_ARGUMENTS.values(), ids=BAD_ARGUMENTS)
def test_bad_argument(frame, arguments, message):
    with pytest.raises(MlmError, match=message):
        mlm.lmm("y ~ x + f + (1 | a)", frame, **arguments)


def array_arguments():
    frame = nested_frame()
    X, Z = effect_columns(frame, ["(Intercept)", "x"]), effect_columns(frame, ["(Intercept)"])
    groups, names = frame["a"].to_numpy(), ["(Intercept)", "x"]
    return {"y": frame["y"].to_numpy(), "X": X, "groups": groups, "Z": Z, "names": names}


BAD_ARRAYS = {
    "y too short": ("y", lambda y: y[:-1], "y"),
    "y in two columns": ("y", lambda y: np.column_stack([y, y]), "y"),
    "y missing": ("y", lambda y: y * np.nan, "y"),
    "y complex": ("y", lambda y: y + 1j, "y"),
    "X too short": ("X", lambda X: X[:-1], "X"),
    "X flat": ("X", lambda X: X[:, 0], "X"),
    "X infinite": ("X", lambda X: X / 0.0, "X"),
    "Z too long": ("Z", lambda Z: np.vstack([Z, Z]), "Z"),
    "groups too short": ("groups", lambda groups: groups[:-1], "groups"),
    "groups of one level": ("groups", lambda groups: np.full(len(groups), 3), "(?i)group"),
    "names too few": ("names", lambda names: names[:1], "names"),
    "names twice": ("names", lambda names: ["x", "x"], "(?i)names|x"),
}


@pytest.mark.parametrize(("name", "change", "message"), BAD_ARRAYS.values(), ids=BAD_ARRAYS)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_bad_arrays(name, change, message):
    arguments = array_arguments()
    arguments[name] = change(arguments[name])
    with pytest.raises(UNFIT, match=message):
        mlm.LMM.from_arrays(arguments.pop("y"), arguments.pop("X"), **arguments).fit()


BAD_BATCHES = {
    "too few rows": lambda Y: Y[:-1],
    "too many dimensions": lambda Y: Y[:, :, None],
    "text": lambda Y: Y.astype(str).astype(object) + "x",
}


@pytest.mark.parametrize("change", BAD_BATCHES.values(), ids=BAD_BATCHES)
def test_bad_batch(frame, change):
    model = mlm.LMM("y ~ x + (1 | a)", frame)
    with pytest.raises(DataError, match=r"(?i)\bY\b|response"):
        model.fit_many(change(np.column_stack([frame["y"], frame["y"] + frame["z"]])))


@pytest.fixture
def fit(frame):
    return mlm.lmm("y ~ x + f + (1 | a)", frame)


def test_prediction_without_a_needed_column(fit, frame):
    with pytest.raises(DataError, match=r"\bx\b"):
        fit.predict(frame.drop(columns="x"))


def test_prediction_for_an_unknown_level_of_a_fixed_factor(fit, frame):
    with pytest.raises(DataError, match=r"\bf\b.*\br\b|\br\b.*\bf\b"):
        fit.predict(frame.head(3).assign(f="r"))


def test_matrices_of_an_unknown_cluster(fit):
    with pytest.raises((DataError, KeyError), match="a99"):
        fit.V("a99")


@pytest.mark.parametrize("text", ["", "no json", "[1, 2]", "{}", '{"mlmfast": 1'])
def test_loading_what_is_no_fit(tmp_path, text):
    path = tmp_path / "other.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=r"other\.json|(?i:saved|json)"):
        mlm.load(path)


# -- residual structures -------------------------------------------------------------------------


def without_repeats():
    return trial(n_subjects=20, missing=0.1).assign(
        one="v1", late=lambda d: np.arange(len(d)) % 70, word="early"
    )


BAD_RESIDUALS = {
    "unknown structure": ("ar2(visit | subject)", FormulaError, r"'ar2'.*did you mean 'ar1"),
    "unknown structure, near none": ("frob(visit | subject)", FormulaError, r"'frob'.*\bus\b"),
    "no bar": ("us(visit)", FormulaError, r"\| subject"),
    "no call": ("visit | subject", FormulaError, r"structure\(visit \| subject\)"),
    "no visit": ("us(subject)", FormulaError, r"\|"),
    "empty": ("", FormulaError, r"nothing"),
    "number": (3, FormulaError, r"int"),
    "list": (["us(visit | subject)"], FormulaError, r"list"),
    "expression as visit": ("us(log(time) | subject)", FormulaError, r"log\(time\)"),
    "several columns of visits": ("us(visit, time | subject)", FormulaError, r"one column"),
    "name of nlme": ("corAR1(time | subject)", FormulaError, r"nlme's corAR1 is 'ar1' here"),
    "word of speech": ("unstructured(visit | subject)", FormulaError, r"did you mean 'us'"),
    "SAS type that is not here": ("sp(expa)(time | subject)", FormulaError, r"'sp\(expa\)' is not"),
    "number it does not take": ("AR1(2)(visit | subject)", FormulaError, r"'ar1' takes no number"),
    "word for a number": ("toep(x)(visit | subject)", FormulaError, r"takes a number, toep\(visit"),
    "arm and subject exchanged": ("us(visit | subject / arm)", DataError, r"after the slash stand"),
    "visit and subject exchanged": (
        "us(subject | visit)",
        ModelError,
        r"has 210 parameters; found 4 subject.*after the bar stands .* apart, here 'visit'\)",
    ),
    "unknown visit": ("us(nowhere | subject)", DataError, r"nowhere"),
    "unknown subject": ("us(visit | nowhere)", DataError, r"nowhere"),
    "unknown arm": ("us(visit | nowhere / subject)", DataError, r"nowhere"),
    "words as coordinates": ("sp_exp(word | subject)", DataError, r"sp_exp.*numbers.*'word'"),
    "one visit": ("us(one | subject)", (DataError, ModelError), r"\bone\b"),
    "subject in two arms": ("us(visit | visit / subject)", DataError, r"'s\d\d'.*'visit'"),
    "more visits than subjects": (
        "us(late | subject)",
        ModelError,
        r"has 2485 parameters; found 20 subject",
    ),
}


@pytest.mark.parametrize(
    ("residual", "error", "message"), BAD_RESIDUALS.values(), ids=BAD_RESIDUALS
)
def test_bad_residual(residual, error, message):
    with pytest.raises(error, match=message):
        mlm.lmm("y ~ x", without_repeats(), residual=residual)


def test_one_row_a_subject_has_no_covariance_of_visits():
    frame = without_repeats().drop_duplicates("subject")
    with pytest.raises(UNFIT, match=r"\bone\b.*\b1\b.*visit|\b1\b.*visit.*\bone\b"):
        mlm.lmm("y ~ x", frame, residual="cs(one | subject)")


def test_a_visit_twice_in_a_subject_names_both():
    frame = without_repeats().sort_values(["subject", "visit"])
    twice = pd.concat([frame, frame.iloc[[7]]])
    subject, visit = frame.iloc[7][["subject", "visit"]]
    with pytest.raises(DataError, match=rf"'{subject}'.*'{visit}'"):
        mlm.lmm("y ~ x", twice, residual="us(visit | subject)")


def test_a_missing_visit_or_subject_drops_its_row():
    frame = without_repeats()
    frame.loc[3, "visit"] = None
    frame.loc[5, "subject"] = None
    fit = mlm.lmm("y ~ x", frame, residual="us(visit | subject)")
    assert (fit.n_dropped, fit.nobs) == (2, len(frame) - 2)


def test_infinite_coordinates():
    frame = without_repeats()
    frame.loc[3, "time"] = np.inf
    with pytest.raises(DataError, match=r"\btime\b"):
        mlm.lmm("y ~ x", frame, residual="sp_exp(time | subject)")


BAD_SCALES = {
    "unknown column": ("nowhere", DataError, r"nowhere"),
    "unknown function": ("log(time)", FormulaError, r"log\(time\).*power\(x\)"),
    "power of a word": ("power(arm)", DataError, r"power\(arm\).*numbers"),
    "power at 0": ("power(time)", DataError, r"time = 0.*exp\(time\)"),
    "two columns": ("exp(time, x)", FormulaError, r"one column"),
    "an expression": ("exp(time + x)", FormulaError, r"time \+ x.*not the name"),
    "one level": ("one", ModelError, r"'one' has 1 level"),
    "a level a row": ("x", ModelError, r"'x' has \d+ levels.*power\(x\)"),
    "a constant": ("exp(w)", ModelError, r"cannot be told apart"),
    "one factor twice": ("arm * arm", ModelError, r"cannot be told apart"),
    "a number": (2, FormulaError, r"not int"),
}


@pytest.mark.parametrize(("scale", "error", "message"), BAD_SCALES.values(), ids=BAD_SCALES)
def test_bad_residual_scale(scale, error, message):
    with pytest.raises(error, match=message):
        mlm.lmm("y ~ x", without_repeats().assign(w=2.0), residual_scale=scale)


BAD_NUMBERS = {
    "a fraction": ("toep(visit | subject, 1.5)", FormulaError, r"whole number, found 1\.5"),
    "too many bands": ("toep(visit | subject, 9)", ModelError, r"toep\(9\) over 4 levels"),
    "no number wanted": ("cs(visit | subject, 2)", FormulaError, r"'cs' takes no number"),
    "another name": ("fa(visit | subject, nu=2)", FormulaError, r"'fa' takes order= or k= or q="),
    "not a number": ("toep(visit | subject, q=arm)", FormulaError, r"arm.*not a number"),
    "order of ad": ("ad(2)(visit | subject)", ModelError, r"order 1"),
    "smoothness": ("sp_matern(time | subject, nu=99)", ModelError, r"nu must lie"),
}


@pytest.mark.parametrize(("residual", "error", "message"), BAD_NUMBERS.values(), ids=BAD_NUMBERS)
def test_bad_number_of_a_structure(residual, error, message):
    with pytest.raises(error, match=message):
        mlm.lmm("y ~ x", without_repeats(), residual=residual)


BAD_PRODUCTS = {
    "two subjects": ("us(arm | subject) @ ar1(visit | subject)", FormulaError, r"stands once"),
    "nothing beside": ("@ ar1(visit | subject)", FormulaError, r"lacks a structure"),
    "one column twice": ("us(visit) @ ar1(visit) | subject", FormulaError, r"'visit' twice"),
    "types alone": ("UN@AR(1)(visit | subject)", FormulaError, r"each factor.*names its column"),
    "no subject": ("us(arm) @ ar1(visit)", FormulaError, r"no '\| subject'"),
    "second without scale": ("us(word) @ fa(visit | subject)", ModelError, r"write it first"),
    "unknown": ("us(word) @ ar(visit | subject)", FormulaError, r"'ar'.*did you mean"),
}


@pytest.mark.parametrize(("residual", "error", "message"), BAD_PRODUCTS.values(), ids=BAD_PRODUCTS)
def test_bad_direct_product(residual, error, message):
    frame = without_repeats().assign(word=lambda d: d["visit"].isin(["v1", "v2"]).astype(str))
    with pytest.raises(error, match=message):
        mlm.lmm("y ~ x", frame, residual=residual)


BAD_MATRICES = {
    "none": (None, ModelError, r"needs its known matrices"),
    "empty": ([], ModelError, r"no matrix"),
    "wrong order": ([np.eye(3)], ModelError, r"matrix 1 has shape \(3, 3\).*4 visits"),
    "words": ([[["a"]]], ModelError, r"not a number"),
    "not symmetric": ([np.eye(4), np.triu(np.ones((4, 4)))], ModelError, r"not symmetric"),
    "dependent": ([np.eye(4), 2 * np.eye(4)], ModelError, r"depend linearly"),
    "never positive definite": ([np.ones((4, 4))], ModelError, r"no positive definite"),
    "missing visit": ([pd.DataFrame(np.eye(2))], DataError, r"no row or column for visit 'v1'"),
    "visit twice": ([pd.DataFrame(np.eye(2), [1, 1], [1, 2])], DataError, r"twice"),
}


@pytest.mark.parametrize(("lin", "error", "message"), BAD_MATRICES.values(), ids=BAD_MATRICES)
def test_bad_known_matrices(lin, error, message):
    with pytest.raises(error, match=message):
        mlm.lmm("y ~ x", without_repeats(), residual="lin(visit | subject)", lin=lin)


def test_known_matrices_without_their_structure():
    with pytest.raises(ModelError, match=r"lin= gives the known matrices"):
        mlm.lmm("y ~ x", without_repeats(), residual="us(visit | subject)", lin=[np.eye(4)])


def test_one_point_twice_in_a_subject_names_it():
    frame = without_repeats()
    twice = pd.concat([frame, frame.iloc[[7]]])
    with pytest.raises(DataError, match=rf"'{frame.iloc[7]['subject']}' has several rows at time"):
        mlm.lmm("y ~ x", twice, residual="sp_exp(time | subject)")


def test_fewer_subjects_than_an_unstructured_covariance_has_visits():
    frame = without_repeats()
    few = frame[frame["subject"].isin(sorted(frame["subject"].unique())[:3])]
    with pytest.raises(ModelError, match=r"4 visits needs.*subjects; found 3 subject"):
        mlm.lmm("y ~ 1", few, residual="us(visit | subject)")


def test_an_arm_of_one_subject():
    frame = without_repeats()
    frame["arm"] = np.where(frame["subject"] == frame["subject"].iloc[0], "alone", "rest")
    with pytest.raises(ModelError, match=r"several subjects.*1 subject.*'alone'"):
        mlm.lmm("y ~ x", frame, residual="cs(visit | arm / subject)")


@pytest.mark.parametrize("structure", ["us", "cs", "toeph", "hf", "fa", "sp_gau"])
def test_correlations_of_subjects_with_one_row_each(structure):
    frame = without_repeats().reset_index(drop=True)
    frame["row"] = frame.index.astype(str)
    of = "time" if structure == "sp_gau" else "visit"
    with pytest.raises(ModelError, match=rf"no subject with several levels of {of},.*diag"):
        mlm.lmm("y ~ x", frame, residual=f"{structure}({of} | row)")


def test_correlations_of_one_arm_with_one_row_a_subject():
    frame = without_repeats()
    frame["arm"] = np.where(frame["subject"].isin(frame["subject"].unique()[:6]), "a", "b")
    frame = frame[(frame["arm"] == "a") | ~frame["subject"].duplicated()]
    with pytest.raises(ModelError, match=r"no subject with arm = 'b' with several levels of visit"):
        mlm.lmm("y ~ x", frame, residual="cs(visit | arm / subject)")


def test_a_factor_of_a_product_that_does_not_change_within_subjects():
    frame = without_repeats()
    frame["arm"] = np.where(frame["subject"].isin(frame["subject"].unique()[:6]), "a", "b")
    with pytest.raises(ModelError, match=r"several levels of arm,.*write arm / before the subject"):
        mlm.lmm("y ~ x", frame, residual="us(arm) @ ar1(visit | subject)")
    apart = mlm.lmm("y ~ x", frame, residual="diag(arm) @ ar1(visit | subject)")
    assert apart.converged


@pytest.mark.parametrize("structure", ["toeph(visit | row, 1)", "un(visit | row, 1)"])
def test_one_band_needs_no_second_row(structure):
    frame = without_repeats().reset_index(drop=True)
    frame["row"] = frame.index.astype(str)
    banded = mlm.lmm("y ~ x", frame, residual=structure)
    assert banded.llf == pytest.approx(mlm.lmm("y ~ x", frame, residual="diag(visit | row)").llf)


def test_more_parameters_than_rows():
    frame = without_repeats()
    few = frame[frame["subject"].isin(sorted(frame["subject"].unique())[:3])]
    with pytest.raises(ModelError, match=r"has 13 parameters; found 3 subject"):
        mlm.lmm("y ~ 1", few.head(11), residual="fa(visit | subject, 3)")


def test_a_subject_in_two_groups_is_named_with_both():
    frame = trial(seed=5)
    rows = frame.index[frame["subject"] == "s01"][:2]
    frame.loc[rows, "site"] = ["c0", "c2"]
    model = mlm.LMM("y ~ x + (1 | site)", frame, residual="us(visit | subject)")
    with pytest.raises(ModelError, match=r"'s01' with 'c\d' and 'c\d', which the engine asked"):
        model.fit(options={"engine": "nested"})
    # The engine for subjects across groups serves it.
    assert model.fit().certificate.engine.startswith("dense V")


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_a_singular_residual_covariance_to_start_from(value):
    start = {f"UN({a},{b})": value for a in range(1, 5) for b in range(1, a + 1)}
    with pytest.raises(ModelError, match=r"to start from is singular.*variances above 0"):
        mlm.lmm("y ~ x", without_repeats(), residual="us(visit | subject)", start=start)


@pytest.mark.parametrize("wish", ["start", "hold"])
def test_a_series_does_not_start_from_a_correlation_of_one(wish):
    model = mlm.LMM("y ~ x", without_repeats(), residual="ar1(visit | subject)")
    with pytest.raises(ModelError, match=r"to start from is singular.*correlations inside -1 and"):
        model.fit(**{wish: {"AR(1)": 1.0}})
    assert model.fit(**{wish: {"AR(1)": 0.99}}).converged


def test_dates_are_no_coordinates():
    frame = without_repeats()
    frame["date"] = pd.Timestamp("2020-01-01") + pd.to_timedelta(frame["time"], unit="D")
    with pytest.raises(DataError, match=r"'date' holds none; give a numeric coordinate"):
        mlm.lmm("y ~ x", frame, residual="sp_exp(date | subject)")


def test_several_factors_as_a_list_of_arrays():
    groups = [np.repeat([0, 1], 5), np.tile([0, 1], 5)]
    with pytest.raises(DataError, match=r"list of 2 arrays.*by a dict"):
        mlm.LMM.from_arrays(np.arange(10.0), np.ones((10, 1)), groups=groups)


def test_an_option_that_is_not_known_is_named(sleepstudy):
    with pytest.raises(ModelError, match=r"unknown options: 'tol'; there are engine.*tolerance"):
        mlm.lmm("Reaction ~ Days + (1 | Subject)", sleepstudy, options={"tol": 1e-9, "max_iter": 9})


def test_a_start_of_the_wrong_shape_says_what_is_needed(sleepstudy):
    with pytest.raises(ModelError, match=r"has shape \(1, 1\); its random effects take \(2, 2\)"):
        mlm.lmm("Reaction ~ Days + (Days | Subject)", sleepstudy, start={"Subject": [[1.0]]})


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("kenward-rogers", "kenward-roger"),
        ("saterthwaite", "satterthwaite"),
        ("KR20", "kenward-roger-2009"),
    ],
)
def test_degrees_of_freedom_by_a_name_nearly_right(sleepstudy, written, meant):
    with pytest.raises(ModelError, match=rf"did you mean '{meant}'\?"):
        mlm.lmm("Reaction ~ Days + (1 | Subject)", sleepstudy, ddf=written)
