"""Random formulas, saved files and statements of SAS and R: ``make fuzz``, outside CI.

Whatever is given, the answer is a result or an `MlmError` that says why not, within seconds. What
was found once is a plain test beside the code that it was found in.

    python -m tests.fuzz                       # every target, ten minutes in all
    python -m tests.fuzz --target formula --seconds 60 --seed 3
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import json
import random
import tempfile
import time
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

import mlmfast as mlm
from mlmfast.eigen import eigen
from mlmfast.formula.mixed_formula import parse_formula

#: Examples in one run of hypothesis, and seconds of a processor that one may take.
_ROUND, _SLOW = 200, 20.0


def _pieces(text: str) -> list[str]:
    return text.split()


_NAMES = ["`odd name`", *_pieces("y x g f a.b Days Subject _ np é T I")]
_OPERATORS = [" ", *_pieces("+ - * : / ^ ** | || ~ %in% ( ) , =")]
_CALLS = _pieces("""
log( I( factor( C( poly( bs( ns( s( offset( scale( cs( us( ar1( toep( fa( np.log( center( exp(
contr.sum
""")
_NUMBERS = _pieces("0 1 2 3.5 1e3 -1 1e400 99999999999999999999 0x1 1_0 .")
_SAS = _pieces("""
proc mixed data=d method=ml ; class model random repeated lsmeans estimate contrast parms weight by
run / subject= type= un ar(1) cs toep(2) un@ar(1) group= ddfm=kr solution 'a "b int * | @2 ( ) , = -
1 0.5 y a b time id /* */ %let hold=1 diff adjust=tukey e chisq cl intercept
""")
_R = [
    "\n",
    *_pieces("""
    lmer( lme( gls( mmrm( ) ( , = ~ + * : | || 1 0 y x g d random correlation weights REML TRUE
    FALSE T method 'ML' "REML" corAR1( corCompSymm( form varIdent( us( ar1h( list( c( <- fit pdDiag(
    ^ I( # data na.omit lme4:: function(x) { } [ ] $ - contrasts offset(
    """),
]


def _joined(*parts: list[str], most: int = 24) -> st.SearchStrategy[str]:
    """Texts of known pieces, with something of any kind here and there."""
    piece = st.one_of([*(st.sampled_from(part) for part in parts), st.text(max_size=3)])
    return st.lists(piece, max_size=most).map(" ".join)


def _plausible() -> st.SearchStrategy[str]:
    """Formulas of sound terms in unsound combinations."""
    variable = st.sampled_from(
        ["x", "f", "g", "a.b", "`odd name`", "Days", "factor(Subject)", "1", "0"]
    )
    made = st.sampled_from(["log(x^2)", "poly(x, 2)", "poly(Days, 30)", "bs(x, df=4)", "I(x / x)",
                            "scale(x)", "C(f, Sum)", "exp(1000 * x)", "x:f", "f:g", "s(x, k=5)",
                            "log(x)", "factor(x)", "f * g * x"])  # fmt: skip
    fixed = st.lists(variable | made, min_size=1, max_size=4)
    bar = st.sampled_from(["|", "||"])
    prefix = st.sampled_from(["", "us", "cs", "diag", "ar1", "toep", "csh", "homdiag"])
    effects = st.lists(variable, min_size=1, max_size=3).map(" + ".join)
    groups = st.sampled_from(["g", "f", "Subject", "g:f", "g/f", "f/g", "x", "Subject/f"])
    random_term = st.tuples(prefix, effects, bar, groups).map(
        lambda t: f"{t[0]}({t[1]} {t[2]} {t[3]})"
    )
    joined = st.tuples(fixed.map(" + ".join), st.lists(random_term, max_size=3))
    return joined.map(lambda t: " + ".join(["y ~ " + t[0], *t[1]]))


def _plausible_residual() -> st.SearchStrategy[str]:
    """Structures over visits and points."""
    keyword = st.sampled_from([*map(str, mlm.structures().index), "vc"])
    visit = st.sampled_from(["Days", "f", "x", "factor(x)", "x, Days", "g", "1", "f, x"])
    subject = st.sampled_from(["g", "Subject", "f / g", "g / Subject", "x", "f"])
    rest = st.sampled_from(["", ", 2", ", 0", ", 99", ", nu=free"])
    return st.tuples(keyword, visit, subject, rest).map(lambda t: f"{t[0]}({t[1]} | {t[2]}{t[3]})")


@cache
def _rows() -> dict[str, Any]:
    rng = np.random.default_rng(1)
    n = 36
    rows: dict[str, Any] = {name: rng.normal(size=n) for name in ("y", "x", "a.b", "Days")}
    rows["odd name"] = rng.normal(size=n)
    rows["g"] = np.repeat([f"g{k}" for k in range(9)], 4)
    rows["f"] = np.tile(["u", "v", "w"], 12)
    rows["Subject"] = np.repeat(range(12), 3)
    return rows


def formula_read(text: str) -> None:
    """The formula's parser."""
    parse_formula(text)


def formula_fitted(text: str) -> None:
    """A model of small data."""
    fit = mlm.lmm(text, _rows(), options={"max_iter": 30})
    str(fit.summary())


def residual_fitted(text: str) -> None:
    """A residual structure."""
    mlm.lmm("y ~ x", _rows(), residual=text, options={"max_iter": 30})


def sas_read(text: str) -> None:
    """A PROC MIXED step."""
    str(mlm.from_sas(text))


def r_read(text: str) -> None:
    """A call of R."""
    str(mlm.from_r(text))


@cache
def _saved() -> tuple[Any, ...]:
    """Saved fits of several kinds, as JSON holds them."""
    data = mlm.load_sleepstudy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fits = [
            mlm.lmm("Reaction ~ Days + (Days | Subject)", data),
            mlm.lmm("Reaction ~ poly(Days, 2)", data, residual="toep(Days | Subject)"),
            mlm.lmm("y ~ x * f + (1 | g)", _rows(), ddf="kenward-roger"),
        ]
    return tuple(json.loads(fit.to_json()) for fit in fits)


_VALUES: list[Any] = [
    *(None, True, 0, -1, 3, 1e308, 2**70, "", "x"),
    *([], {}, [[]], [1.0], {"float": "NaN"}, {"a": 1}, ["x", "y"]),
]


def _edited(data: Any, rng: random.Random) -> Any:
    """A tree of JSON with one to three places changed."""
    data = copy.deepcopy(data)
    for _ in range(rng.randint(1, 3)):
        here, at, key = data, None, None
        while isinstance(here, dict | list) and here and (at is None or rng.random() < 0.8):
            key = rng.choice(list(here)) if isinstance(here, dict) else rng.randrange(len(here))
            at, here = here, here[key]
        if at is None:
            continue
        what = rng.randrange(4)
        if what == 0:
            at[key] = copy.deepcopy(rng.choice(_VALUES))
        elif what == 1 and isinstance(here, int | float) and not isinstance(here, bool):
            at[key] = rng.choice([-here, here + 1, here * 1e9, 0])
        elif what == 2 and isinstance(here, list) and here:
            at[key] = here[: rng.randrange(len(here))] + here[-1:] * rng.randrange(3)
        elif isinstance(at, dict):
            del at[key]
        else:
            at.pop(key)
    return data


def saved_fit(number: int) -> None:
    """A saved fit with changes."""
    rng = random.Random(number)
    text = json.dumps(_edited(rng.choice(_saved()), rng))
    if rng.random() < 0.1:
        place = rng.randrange(len(text))
        text = text[:place] + rng.choice(["", "}", "0", '"', "NaN", "\x00"]) + text[place + 1 :]
    fit = mlm.load(text)
    for ask in (fit.summary, fit.anova, fit.tidy, fit.conf_int, fit.covtest, lambda: fit.warnings):
        with contextlib.suppress(mlm.MlmError):
            str(ask())


def saved_reduction(number: int) -> None:
    """The description in a saved reduction with changes; its arrays are Arrow's to read."""
    import pyarrow as pa

    rng = random.Random(number)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "part"
        mlm.reduce("y ~ x + f + (1 | g)", [_rows()]).save(path)
        table = pa.ipc.open_file(path).read_all()
        ((key, value),) = table.schema.metadata.items()
        changed = json.dumps(_edited(json.loads(value), rng)).encode()
        table = table.replace_schema_metadata({key: changed})
        if rng.random() < 0.3:
            table = table.drop_columns([rng.choice(table.column_names)])
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)
        mlm.load_reduction(path).fit()


def kernels(number: int) -> None:
    """Kernels of the core against NumPy: matrices of every condition and scale, codes of texts."""
    rng = np.random.default_rng(number)
    k, n = int(rng.integers(1, 7)), int(rng.integers(1, 5))
    spread = 10.0 ** rng.uniform(-8, 8, size=(n, k))
    basis = np.linalg.qr(rng.normal(size=(n, k, k)))[0]
    scale = 10.0 ** rng.integers(-100, 100)
    matrices = scale * (basis * spread[:, None, :]) @ basis.transpose(0, 2, 1)
    matrices = (matrices + matrices.transpose(0, 2, 1)) / 2.0
    values, vectors = eigen(matrices)
    size = np.abs(values).max(axis=1)[:, None, None]
    rebuilt = (vectors * values[:, None, :]) @ vectors.transpose(0, 2, 1)
    assert np.all(np.abs(rebuilt - matrices) <= 1e-13 * k * size), "no eigenvalues"
    right = np.linalg.eigvalsh(matrices)
    assert np.all(np.abs(values - right) <= 1e-13 * k * size[:, 0]), "other eigenvalues"
    assert np.all(np.diff(values, axis=1) >= 0), "not in order"
    texts = rng.choice(["", "a", "b", "\u00e9", "\U0001f600", "a\u0301", "A" * 100, " a"], size=50)
    _same_codes(texts)
    numbers = rng.integers(-(2**62), 2**62, size=9)[rng.integers(0, 9, size=50)]
    _same_codes(numbers)


def _same_codes(values: Any) -> None:
    """Labels of the factor by row are the values."""
    found = mlm.LMM("y ~ 1 + (1 | h)", {"y": np.arange(50.0) % 7, "h": values}).design.factors[0]
    assert [found.labels[code] for code in found.codes] == [str(value) for value in values]


_NUMBER = st.integers(0, 2**62)
_FORMULA = _joined(_NAMES, _OPERATORS, _CALLS, _NUMBERS)
#: What is called, and what with.
TARGETS: dict[str, tuple[Callable[[Any], None], st.SearchStrategy[Any]]] = {
    "formula": (formula_read, _FORMULA),
    "fit": (formula_fitted, _plausible()),
    "residual": (residual_fitted, _plausible_residual() | _joined(_NAMES, _OPERATORS, most=9)),
    "sas": (sas_read, _joined(_SAS, most=40).map("proc mixed; {}".format)),
    "r": (r_read, _joined(_R, most=30).map("lmer({}".format)),
    "saved fit": (saved_fit, _NUMBER),
    "kernels": (kernels, _NUMBER),
    "saved reduction": (saved_reduction, _NUMBER),
}


def answers(call: Callable[[Any], None], item: Any) -> None:
    """A result or an `MlmError`, and no long wait."""
    started = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        warnings.simplefilter("ignore", UserWarning)
        with contextlib.suppress(mlm.MlmError):
            call(item)
    if time.process_time() - started > _SLOW:
        # Not an assertion: there is no time to make such an input shorter.
        raise SystemExit(f"{item!r} took {time.process_time() - started:.0f} s")


def fuzz(name: str, seconds: float, start: int) -> int:
    """Try a target with random input until the time is over; returns the number of examples."""
    call, items = TARGETS[name]
    rounds, ends = 0, time.monotonic() + seconds
    failed: list[bool] = []
    while time.monotonic() < ends:

        @seed(start + rounds)
        @settings(
            max_examples=_ROUND,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
            print_blob=False,
        )
        @given(items)
        def trial(item: Any) -> None:
            # What went wrong is tried again to make it shorter, however late it is.
            if failed or time.monotonic() < ends:
                failed.append(True)
                answers(call, item)
                failed.pop()

        trial()
        rounds += 1
    return rounds * _ROUND


def main() -> None:
    """Every target in turn; the first input that goes wrong is shown, made short."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--target", choices=TARGETS, action="append")
    parser.add_argument("--seconds", type=float, default=600.0, help="for all targets together")
    parser.add_argument("--seed", type=int, default=None)
    asked = parser.parse_args()
    start = random.randrange(10**6) if asked.seed is None else asked.seed
    names = asked.target or list(TARGETS)
    for name in names:
        n = fuzz(name, asked.seconds / len(names), start)
        print(f"{name}: about {n:,} examples from seed {start}, nothing wrong", flush=True)


if __name__ == "__main__":
    main()
