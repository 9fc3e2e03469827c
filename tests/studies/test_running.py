"""Executors, resumption and refusals: the same files whatever happened on the way."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import mlmfast as mlm
from mlmfast.sources.executors.processes import worker_processes
from mlmfast.studies.replicates import chunk
from mlmfast.studies.running.folder import Folder

from .studies import METHODS, files, least_squares, small, trial

#: Where other processes import the tests from.
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The files of an uninterrupted run."""
    folder = tmp_path_factory.mktemp("study") / "s"
    small().run(folder, progress=False)
    return files(folder)


def test_processes_give_the_same_files(tmp_path, whole):
    with worker_processes(2) as pool:
        small().run(tmp_path / "s", executor=pool, progress=False)
    assert files(tmp_path / "s") == whole


def test_threads_give_the_same_files(tmp_path, whole):
    with ThreadPoolExecutor(2) as pool:
        small().run(tmp_path / "s", executor=pool, progress=False)
    assert files(tmp_path / "s") == whole


@pytest.mark.parametrize("covariates", [None, {"x": "normal"}])
def test_data_of_a_design_are_the_same_drawn_ahead_or_in_turn(tmp_path, covariates, monkeypatch):
    design = mlm.design(
        "y ~ t + x + (1 | g)",
        levels={"g": 6, "t": [0, 1], "r" if covariates else "x": [0, 1]},
        covariates=covariates, params={"t": 0.5}, varcorr={"g": 1.0}, sigma=1.0,
    )  # fmt: skip
    plan = small(conditions={"sigma": [1.0, 2.0]}, generate=design)
    plan.run(tmp_path / "ahead", progress=False)
    with ThreadPoolExecutor(1) as pool:
        plan.run(tmp_path / "whole", executor=pool, progress=False)
    # And where memory holds a few data sets at a time.
    monkeypatch.setattr(chunk, "_HELD", 3 * 24)
    plan.run(tmp_path / "in parts", progress=False)
    assert files(tmp_path / "ahead") == files(tmp_path / "whole") == files(tmp_path / "in parts")


@pytest.mark.parametrize("how", ["list", "generator_unordered"])
def test_joblib_gives_the_same_files(tmp_path, whole, how):
    joblib = pytest.importorskip("joblib")
    parallel = joblib.Parallel(n_jobs=2, backend="threading", return_as=how)
    small().run(tmp_path / "s", executor=parallel, progress=False)
    assert files(tmp_path / "s") == whole


def test_loky_gives_the_same_files(tmp_path, whole):
    joblib = pytest.importorskip("joblib")
    # A lambda is sent by value.
    methods = {**METHODS, "OLS": lambda data, condition: least_squares(data, condition)}
    with joblib.parallel_config("loky"):
        result = small(methods=methods).run(
            tmp_path / "s", executor=joblib.Parallel(n_jobs=2), progress=False
        )
    chunks = {name: text for name, text in files(tmp_path / "s").items() if "chunks" in name}
    assert chunks == {name: text for name, text in whole.items() if "chunks" in name}
    assert result.n_finished == [25] * 4


@pytest.mark.filterwarnings("ignore")
def test_a_dask_cluster_of_which_a_worker_is_killed(tmp_path, whole):
    distributed = pytest.importorskip("distributed")
    study = small(generate=slow_trial)
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as own,
        distributed.Client(own) as client,
        ThreadPoolExecutor(1) as killer,
    ):
        pids = list(client.run(os.getpid).values())
        killed = killer.submit(_kill_when, tmp_path / "s", 2, pids[0])
        study.run(tmp_path / "s", executor=client, progress=False)
        assert killed.result()
    chunks = {name: text for name, text in files(tmp_path / "s").items() if "chunks" in name}
    assert chunks == {name: text for name, text in whole.items() if "chunks" in name}


def slow_trial(condition, rng):
    """As `trial`, on a slow machine."""
    time.sleep(0.01)
    return trial(condition, rng)


def _kill_when(folder, n_chunks, pid, later=0.0):
    """Kill a process some seconds after some chunks are finished."""
    for _ in range(3000):
        if len(list(folder.glob("chunks/*.parquet"))) >= n_chunks:
            time.sleep(later)
            os.kill(pid, signal.SIGKILL)
            return True
        time.sleep(0.01)
    return False


def die(data, condition):
    """Kill the worker: the machine took its memory back."""
    os.kill(os.getpid(), signal.SIGKILL)


def die_once(data, condition, flag):
    """As `least_squares`, but the first worker to come here dies."""
    if not os.path.exists(flag):
        open(flag, "x").close()
        die(data, condition)
    return least_squares(data, condition)


def test_a_dead_worker_is_said_and_the_study_goes_on(tmp_path, whole):
    method = partial(die_once, flag=str(tmp_path / "flag"))
    study = small(methods={**METHODS, "OLS": method})
    with (
        worker_processes(2) as pool,
        pytest.raises(mlm.MlmError, match=r"a worker died .*the same call goes on") as caught,
    ):
        study.run(tmp_path / "s", executor=pool, progress=False)
    assert isinstance(caught.value.__cause__, BrokenProcessPool)
    with worker_processes(2) as pool:
        study.run(tmp_path / "s", executor=pool, progress=False)
    chunks = {name: text for name, text in files(tmp_path / "s").items() if "chunks" in name}
    assert chunks == {name: text for name, text in whole.items() if "chunks" in name}


SCRIPT = """
import sys
from tests.studies.test_running import slow_trial
from tests.studies.studies import small
small(generate=slow_trial).run(sys.argv[1], progress=False)
"""


def test_killed_at_random_moments_it_ends_with_the_same_files(tmp_path):
    """SIGKILL leaves nothing half done; every kill comes at another moment."""
    straight = tmp_path / "straight"
    small(generate=slow_trial).run(straight, progress=False)
    folder = tmp_path / "s"
    moments = random.Random(7)
    kills = 0
    for _ in range(12):
        before = len(list(folder.glob("chunks/*.parquet")))
        run = subprocess.Popen([sys.executable, "-c", SCRIPT, folder], cwd=ROOT)
        try:
            if kills < 3 and _kill_when(
                folder, before + 1 + kills, run.pid, moments.uniform(0, 0.2)
            ):
                kills += run.wait() == -signal.SIGKILL
                continue
            assert run.wait(60) == 0
            break
        finally:
            run.kill()
            run.wait()
    assert kills == 3
    assert files(folder) == files(straight)


def test_chunks_that_are_not_whole_are_run_again(tmp_path, whole):
    folder = tmp_path / "s"
    small().run(folder, progress=False)
    chunks = sorted(folder.glob("chunks/*.parquet"))
    chunks[0].unlink()
    chunks[1].write_bytes(chunks[1].read_bytes()[:100])
    chunks[2].write_bytes(b"")
    (folder / "unfinished").mkdir()
    (folder / "unfinished" / "left").write_bytes(b"PAR1")
    small().run(folder, progress=False)
    assert files(folder) == whole


def test_shards_share_the_work(tmp_path, whole):
    folder = tmp_path / "s"
    for shard in ("2/3", (1, 3), "3 / 3"):
        small().run(folder, progress=False, shard=shard)
        result = mlm.load_study(folder)
    assert result.n_finished == [25] * 4
    assert files(folder) == whole
    for wrong in ("0/3", "4/3", "1", (1, 2, 3), "a/b"):
        with pytest.raises(mlm.DataError, match="shard is"):
            small().run(tmp_path / "t", shard=wrong)


@pytest.mark.parametrize(
    ("changes", "difference"),
    [
        ({"seed": 4}, "seed is 3 there and 4 here"),
        ({"n_replicates": 30}, "n_replicates is 25 there and 30 here"),
        ({"generate": slow_trial}, "generate: it is 'trial' there and 'slow_trial' here"),
        ({"estimands": {"t": 0.6}}, "the true value of 't' is 0.5 there and 0.6 here"),
        ({"conditions": {"n_groups": [6, 10], "sd": [0.0, 2.0]}}, "sd=2. is here only"),
        ({"methods": {"REML": METHODS["REML"]}}, "method 'OLS' is there only"),
        (
            {"methods": {**METHODS, "REML": mlm.Method("y ~ t + x + (1 | g)", ddf="residual")}},
            "method 'REML': ddf is 'satterthwaite' there and 'residual' here",
        ),
        ({"methods": {**METHODS, "OLS": die}}, "method 'OLS': it is 'least_squares' there"),
    ],
)
def test_the_folder_of_another_plan_is_refused(tmp_path, whole, changes, difference):
    folder = tmp_path / "s"
    (folder / "chunks").mkdir(parents=True)
    for name, content in whole.items():
        (folder / name).write_bytes(content)
    with pytest.raises(mlm.DataError, match=r"another plan: .*" + difference):
        small(**changes).run(folder, progress=False)
    assert files(folder) == whole


def test_changed_code_is_another_plan(tmp_path):
    def made(shift, text):
        # Functions of one name whose text differs.
        space = {"trial": trial}
        exec(text, space)
        return space["draw"] if shift is None else closing(shift)

    def closing(shift):
        def draw(condition, rng):
            return {name: value + shift for name, value in trial(condition, rng).items()}

        return draw

    plain = small(generate=closing(0.0))
    assert plain.fingerprint == small(generate=closing(0.0)).fingerprint
    assert plain.fingerprint != small(generate=closing(1.0)).fingerprint
    texts = [f"def draw(condition, rng):\n    return trial(condition, rng) or {k}" for k in (1, 2)]
    one, other = (small(generate=made(None, text)) for text in texts)
    assert one.fingerprint != other.fingerprint
    plain.run(tmp_path / "s", progress=False)
    with pytest.raises(mlm.DataError, match="values that 'draw' holds have changed"):
        small(generate=closing(1.0)).run(tmp_path / "s", progress=False)


def test_a_study_is_extended_where_that_is_asked_for(tmp_path):
    folder = tmp_path / "s"
    small(conditions={"n_groups": [6], "sd": [0.0]}).run(folder, progress=False)
    larger = small(n_replicates=37)
    with pytest.raises(mlm.DataError, match="extend=True goes on with it"):
        larger.run(folder, progress=False)
    result = larger.run(folder, progress=False, extend=True)
    assert result.n_finished == [37] * 4
    larger.run(tmp_path / "w", progress=False)
    assert files(folder) == files(tmp_path / "w")
    # Killed between the plan and the removal of the shorter last chunk.
    outgrown = next(folder.glob("chunks/*-000000020-000000030.parquet"))
    left = outgrown.with_name(outgrown.name.replace("000000030", "000000025"))
    left.write_bytes(outgrown.read_bytes())
    assert mlm.load_study(folder).n_finished == [37] * 4
    larger.run(folder, progress=False)
    assert files(folder) == files(tmp_path / "w")
    with pytest.raises(mlm.DataError, match=r"n_replicates is 37 there and only 25 here"):
        small().run(folder, progress=False, extend=True)


def test_other_versions_are_told(tmp_path):
    folder = tmp_path / "s"
    small().run(folder, progress=False)
    text = json.loads((folder / "plan.json").read_text())
    text["versions"]["numpy"] = "1.0"
    (folder / "plan.json").write_text(json.dumps(text))
    with pytest.warns(mlm.MixedVersionsWarning, match=r"begun with numpy 1\.0.*MLM701"):
        small().run(folder, progress=False)


def test_folders_that_hold_something_else(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(mlm.DataError, match="is a file"):
        small().run(tmp_path / "file")
    with pytest.raises(mlm.DataError, match="holds other files and no study"):
        small().run(tmp_path)
    assert (tmp_path / "file").read_text() == "x"


FULL = """
import resource, sys
from tests.studies.studies import small
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
try:
    small().run(sys.argv[1], progress=False)
except OSError as error:
    print(error)
    sys.exit(3)
"""


def test_a_full_disk(tmp_path, whole):
    """No file may grow as long as a chunk's is: the second cannot be written."""
    folder = tmp_path / "s"
    chunks = [len(content) for name, content in whole.items() if "chunks" in name]
    small().run(folder, progress=False, shard="1/12")
    finished = files(folder)
    call = [sys.executable, "-c", FULL, folder, str(min(chunks) - 1)]
    run = subprocess.run(call, capture_output=True, text=True, check=False, cwd=ROOT)
    assert run.returncode == 3, run.stderr
    assert "the same call goes on from there" in run.stdout
    assert {name: text for name, text in files(folder).items() if "unf" not in name} == finished
    assert mlm.load_study(folder).n_finished == [10, 0, 0, 0]
    small().run(folder, progress=False)
    assert files(folder) == whole


def sometimes(condition, rng):
    """Fails in a third of the replicates, in three ways."""
    u = rng.uniform()
    if u < 0.1:
        raise RuntimeError("no\n data today")
    data = trial(condition, rng)
    if u < 0.2:
        data["t"] = data["t"][:-1]
    return [data["y"]] if u > 0.9 else data


def test_generators_that_fail_sometimes(tmp_path):
    study = small(generate=sometimes, n_replicates=60)
    result = study.run(tmp_path / "s", progress=False)
    rows = result.replicates
    errors = rows.loc[rows["error"].notna()]
    texts = set(errors["error"])
    lengths = "; all columns must have the same"
    assert texts == {
        "generate: RuntimeError: no data today",
        f"generate: DataError: generate returned 't' with 23 rows, and 'y' with 24{lengths}",
        f"generate: DataError: generate returned 't' with 39 rows, and 'y' with 40{lengths}",
        "generate: DataError: generate returned list; a data frame or a dict of arrays is needed",
    }
    assert errors["estimate"].isna().all()
    failures = result.failures()
    assert failures.groupby("method")["n"].sum().to_dict() == dict.fromkeys(
        METHODS, errors["key"].nunique()
    )
    with pytest.raises(RuntimeError, match="no"):
        study.data(errors.loc[errors["error"].str.contains("Runtime"), "key"].iloc[0])
    table = result.performance(["n", "convergence"])
    counts = table[table["measure"] == "n"]
    good = rows[(rows["method"] == "OLS") & rows["error"].isna()]
    sizes = good.groupby(["n_groups", "sd"]).size().to_list()
    assert counts[counts["method"] == "OLS"]["value"].to_list() == sizes
    assert (table.loc[table["measure"] == "convergence", "value"] == 1).all()


def never(data, condition):
    """A method without an end."""
    return {"t": np.nan, "converged": False, "error": "no convergence after 100 steps"}


def test_a_method_that_never_converges(tmp_path):
    study = small(methods={**METHODS, "never": never}, stop_at={"bias": 0.5}, chunk=5)
    result = study.run(tmp_path / "s", progress=False)
    table = result.performance()
    own = table[table["method"] == "never"].set_index("measure")["value"]
    assert (own["convergence"] == 0).all()
    assert (own["n"] == 0).all()
    assert own["bias"].isna().all()
    assert result.n_finished[0] < 25
    assert set(result.failures()["error"]) == {"no convergence after 100 steps"}


def broken(condition, rng):
    """Never any data."""
    raise KeyError("n_group")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"conditions": {}}, "the study has no conditions"),
        ({"conditions": []}, "the study has no conditions"),
        ({"conditions": [{}]}, "the study has no conditions"),
        ({"conditions": {"n_groups": []}}, "'n_groups' has no values"),
        ({"conditions": "n"}, "give a dict of lists"),
        ({"conditions": [{"n_groups": 6}, {"n_group": 6}]}, "did you mean 'n_groups'"),
        ({"conditions": [{"n": 1, "m": 1}, {"n": 1}]}, "condition 1 has no value of 'm'"),
        ({"conditions": {"n_groups": [6, 6.0]}}, "conditions 0 and 1 are the same"),
        ({"conditions": {"estimate": [6]}}, "is a column of the results"),
        ({"conditions": {"n": [float("nan")]}}, "finite numbers"),
        ({"conditions": {"n": [object()]}}, "look it up in the generator"),
        ({"generate": 3}, "generate is 3"),
        ({"generate": lambda a, b, c: a}, "generate takes 3 arguments"),
        ({"methods": {}}, "methods is empty"),
        ({"methods": {"a": "y ~ x"}}, "method 'a' is str"),
        ({"estimands": {}}, "estimands is empty"),
        ({"estimands": {"t": "n_group"}}, "did you mean 'n_groups'"),
        ({"estimands": {"t": float("inf")}}, "must be a number"),
        ({"estimands": {"t": lambda c: c["n"]}}, "its function failed in the condition"),
        ({"n_replicates": 0}, "n_replicates is 0"),
        ({"n_replicates": 10.0}, "n_replicates is 10.0"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": None}, "seed is None"),
        ({"chunk": 0}, "chunk is 0"),
        ({"stop_at": {"coverag": 0.1}}, "did you mean 'coverage'"),
        ({"stop_at": {"coverage": 0}}, "a positive number"),
    ],
)
def test_plans_that_are_refused(changes, message):
    with pytest.raises(mlm.DataError, match=message):
        small(**changes)


@pytest.mark.parametrize(
    ("changes", "kind", "message"),
    [
        ({"generate": broken}, mlm.DataError, "generate failed in every replicate .*KeyError"),
        ({"methods": {"a": mlm.Method("y ~ tt + (1 | g)")}}, mlm.DataError, "method 'a'.*tt"),
        ({"estimands": {"tt": 0.5}, "methods": {"a": METHODS["REML"]}}, mlm.ModelError,
         "did you mean 't'"),
        ({"estimands": {"t +": 0.5}, "methods": {"a": METHODS["REML"]}}, mlm.ModelError,
         "method 'a': the contrast 't .' cannot be read"),
    ],
)  # fmt: skip
def test_what_concerns_all_replicates_is_said_before_they_are_run(tmp_path, changes, kind, message):
    with pytest.raises(kind, match=message):
        small(**changes).run(tmp_path / "s", progress=False)
    assert not list(tmp_path.glob("s/chunks/*"))


def test_methods_are_checked_when_they_are_written():
    with pytest.raises(mlm.FormulaError):
        mlm.Method("y ~ t + (1 | ")
    with pytest.raises(mlm.ModelError, match="robust is 'CR9'"):
        mlm.Method("y ~ t + (1 | g)", robust="CR9")
    with pytest.raises(mlm.ModelError):
        mlm.Method("y ~ t + (1 | g)", ddf="kenward-rogers")
    with pytest.raises(mlm.ModelError, match="level"):
        mlm.Method("y ~ t + (1 | g)", level=95)


def test_executors_that_are_none(tmp_path):
    with pytest.raises(mlm.DataError, match="executor is 4"):
        small().run(tmp_path / "s", executor=4)
    assert not (tmp_path / "s").exists()


def test_progress_is_said_by_condition(tmp_path, capsys):
    small().run(tmp_path / "s")
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 4
    assert "(n_groups=6, sd=0) 25 of 25 replicates; in all 25 of 100" in lines[0]
    assert "left" not in lines[-1]


def test_a_folder_keeps_what_it_is_not_asked_to_write(tmp_path):
    folder = Folder(tmp_path / "none")
    with pytest.raises(mlm.DataError, match=r"there is no plan\.json"):
        folder.record()
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "plan.json").write_text("{")
    with pytest.raises(mlm.DataError, match="cannot be read"):
        mlm.load_study(tmp_path / "bad")
