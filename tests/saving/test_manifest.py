"""The manifest of a fit, and the fingerprint of its data."""

import datetime
import hashlib
import json
import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import mlmfast as mlm
from mlmfast.design.fingerprint import fingerprint

SLEEP = "Reaction ~ Days + (Days | Subject)"
EARLIER = Path(__file__).parent / "earlier"


def print_of(data, formula="y ~ x + f + (1 | g)", **arguments):
    return mlm.LMM(formula, data, **arguments).fingerprint


def table(n=24, seed=1):
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "y": rng.normal(size=n),
            "x": rng.integers(0, 50, n),
            "f": np.tile(["b", "a", "c"], n // 3),
            "g": np.repeat([f"s{k}" for k in range(n // 4)], 4),
            "b": np.tile([True, False], n // 2),
            "t": pd.date_range("2024-01-01 06:00", periods=n, freq="D"),
        }
    )


def test_a_fingerprint_is_that_of_the_values():
    """The digest of a column of numbers, by its definition."""
    frame = table()
    values = frame["y"].to_numpy()
    parts = [b"number", values.astype("<f8").tobytes()]
    expected = hashlib.sha256(b"".join(len(p).to_bytes(8, "little") + p for p in parts))
    assert print_of(frame)["columns"]["y"] == expected.hexdigest()


def test_every_library_of_frames_has_the_same_fingerprint():
    frame, formula = table(), "y ~ x + f + b + (1 | g)"
    arrow = pa.Table.from_pandas(frame, preserve_index=False)
    others = [
        arrow,
        pl.from_arrow(arrow),
        pl.from_arrow(arrow).with_columns(pl.col("f").cast(pl.Categorical)),
        {name: frame[name].to_numpy() for name in frame},
        frame.sample(frac=1.0, random_state=0).sort_values("t"),
        frame.astype({"f": "category", "g": "string", "x": "float32"}),
        frame.convert_dtypes(dtype_backend="pyarrow"),
        frame.assign(t=frame["t"].astype("datetime64[ms]"), x=frame["x"].astype("int8")),
        frame[frame.columns[::-1]].assign(other=1.0),
        frame.assign(f=pd.Categorical(frame["f"], ["c", "b", "a", "never"])),
    ]
    right = print_of(frame, formula)
    assert [k for k, own in enumerate(others) if print_of(own, formula) != right] == []


@pytest.mark.parametrize(
    "dates", ["datetime64[s]", "datetime64[us]", "datetime64[ns]", "object", "polars", "arrow"]
)
def test_dates_are_their_time_in_every_unit(dates):
    days = pd.date_range("2024-01-01", periods=24, freq="7D")
    frame = table().assign(t=days)
    formula, residual = "y ~ x", "ar1(t | g)"
    right = print_of(frame, formula, residual=residual)
    if dates == "object":
        other = frame.assign(t=[datetime.date(d.year, d.month, d.day) for d in days])
    elif dates == "polars":
        other = pl.from_pandas(frame).with_columns(pl.col("t").cast(pl.Date))
    elif dates == "arrow":
        other = pa.Table.from_pandas(frame)
    else:
        other = frame.assign(t=days.astype(dates))
    assert print_of(other, formula, residual=residual) == right
    later = frame.assign(t=days + pd.Timedelta("1D"))
    assert print_of(later, formula, residual=residual)["columns"]["t"] != right["columns"]["t"]


CHANGES = {
    "a last digit": lambda d: d.assign(y=np.where(d.index == 3, np.nextafter(d["y"], 9), d["y"])),
    "a level of another name": lambda d: d.assign(f=d["f"].replace("a", "aa")),
    "a row in another group": lambda d: d.assign(g=np.where(d.index == 0, "s1", d["g"])),
    "two rows exchanged": lambda d: d.iloc[[1, 0, *range(2, 24)]],
    "a row less": lambda d: d.iloc[:-1],
    "numbers as text": lambda d: d.assign(x=d["x"].astype(str)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_changes_the_data_changes_the_fingerprint(change):
    assert print_of(CHANGES[change](table()))["all"] != print_of(table())["all"]


def test_what_does_not_change_the_values_does_not():
    frame = table()
    zero = frame.assign(x=np.where(frame.index == 0, 0.0, frame["x"]))
    negative = frame.assign(x=np.where(frame.index == 0, -0.0, frame["x"]))
    assert print_of(zero) == print_of(negative)
    missing = pd.concat([frame, frame.iloc[:2].assign(y=np.nan)], ignore_index=True)
    assert print_of(missing) == print_of(frame)


def test_identifiers_beyond_53_bits_are_told_apart():
    frame = table()
    ids = 2**60 + np.repeat(range(6), 4)
    one, other = frame.assign(g=ids), frame.assign(g=ids + (np.arange(24) == 23))
    assert float(ids[-1]) == float(ids[-1] + 1)
    assert print_of(one) != print_of(other)


def test_arguments_that_are_arrays_count():
    frame = table()
    plain, ones = print_of(frame), np.ones(24)
    weighted = print_of(frame, weights=ones)
    assert weighted["columns"] == {**plain["columns"], "weights=": weighted["columns"]["weights="]}
    assert print_of(frame, weights=2 * ones)["all"] != weighted["all"]
    moved = print_of(frame, offset=ones)
    assert print_of(frame, offset=2 * ones)["all"] != moved["all"]
    labels = sorted(frame["g"].unique())
    known = [pd.DataFrame(np.eye(6) + c, index=labels, columns=labels) for c in (0.1, 0.2)]
    related = [print_of(frame, cov={"g": own})["columns"]["cov[g]"] for own in known]
    assert related[0] != related[1]


def test_models_of_arrays_have_one_too():
    frame = table()
    X = np.column_stack([np.ones(24), frame["x"]])
    found = mlm.LMM.from_arrays(frame["y"], X, groups=frame["g"]).fingerprint
    assert next(iter(found["columns"])) == "y"
    assert found["columns"]["y"] == print_of(frame)["columns"]["y"]
    other = mlm.LMM.from_arrays(frame["y"], X + 1e-9, groups=frame["g"])
    assert fingerprint(other.design) != found


def test_a_manifest_says_what_was_asked():
    model = mlm.LMM(SLEEP, mlm.load_sleepstudy(), weights=np.ones(180))
    start = {"Subject": np.diag([600.0, 30.0])}
    fit = model.fit("ML", start=start, options={"tolerance": 1e-8}, hold={"sigma": 25.0}, ddf=17)
    call = fit.manifest["call"]
    assert call["formula"] == SLEEP
    assert call["weights"] == "ndarray (180,)"
    assert call["start"] == {"Subject": [[600.0, 0.0], [0.0, 30.0]]}
    assert call["options"] == {"tolerance": 1e-8}
    assert (call["method"], call["hold"], call["ddf"]) == ("ML", {"sigma": 25.0}, "17")
    assert "bounds" not in call
    assert fit.manifest["versions"]["numpy"] == np.__version__
    assert fit.manifest["seed"] is None
    made = datetime.datetime.fromisoformat(fit.manifest["time"])
    now = datetime.datetime.now(datetime.timezone.utc)
    assert abs((now - made).total_seconds()) < 600


def test_the_seed_of_random_probes_is_kept():
    options = {"engine": "iterative", "probes": 20, "seed": 7}
    fit = mlm.lmm("Reaction ~ Days + (1 | Subject)", mlm.load_sleepstudy(), options=options)
    assert fit.manifest["seed"] == 7
    assert mlm.load(fit.to_json()).manifest["seed"] == 7


def test_a_saved_fit_keeps_its_manifest():
    fit = mlm.lmm(SLEEP, mlm.load_sleepstudy())
    loaded = mlm.load(fit.to_json())
    assert loaded.manifest == json.loads(json.dumps(fit.manifest))
    assert mlm.load(loaded.to_json()).manifest == loaded.manifest
    fit.remove_data()
    assert fit.manifest == loaded.manifest


def test_a_pickle_keeps_the_versions_that_made_it():
    fit = mlm.lmm(SLEEP, mlm.load_sleepstudy())
    assert pickle.loads(pickle.dumps(fit)).manifest == fit.manifest
    state = fit._source.provenance.__getstate__()
    assert state["made_by"]["versions"]["numpy"] == np.__version__


def test_files_of_before_there_were_manifests_are_read():
    """Written by version 0.1.0, before manifests and codes of warnings."""
    fit = mlm.load(EARLIER / "sleepstudy.json")
    assert fit.manifest is None
    assert not fit.warnings
    assert fit.llf == pytest.approx(-871.8141359792453, abs=1e-8)
    assert mlm.load(fit.to_json()).manifest is None


@pytest.mark.parametrize("value", ["text", 3, [1]])
def test_a_damaged_manifest_is_refused(value):
    data = json.loads((EARLIER / "sleepstudy.json").read_text(encoding="utf-8"))
    data["manifest"] = value
    with pytest.raises(mlm.DataError, match="damaged"):
        mlm.load(json.dumps(data))


def test_a_fit_made_from_another_has_versions_too():
    fit = mlm.LMM(SLEEP, mlm.load_sleepstudy()).fit_many(
        mlm.load_sleepstudy()["Reaction"].to_numpy()[:, None]
    )[0]
    assert fit.manifest["call"]["formula"] == SLEEP
    assert fit.manifest["versions"]["mlmfast"] == mlm.__version__


def test_a_fit_of_a_reduction_has_the_marks_of_its_parts():
    data = mlm.load_sleepstudy()
    fit = mlm.reduce(SLEEP, [data.iloc[:90], data.iloc[90:]]).fit()
    found = fit.manifest["data"]
    assert (found["rows"], len(set(found["parts"]))) == (180, 2)
    assert mlm.load(fit.to_json()).manifest == fit.manifest


def test_a_fit_by_moments_says_its_method():
    fit = mlm.lmm("Reaction ~ Days + (1 | Subject)", mlm.load_sleepstudy(), method="type3")
    assert fit.manifest["call"]["method"] == "type3"
