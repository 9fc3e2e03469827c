"""Parts reduced here, by processes, by a cluster that loses a worker: the same bits."""

import os
import pickle
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest

from mlmfast.data.frame import Frame
from mlmfast.errors import DataError, ModelError
from mlmfast.sources.executors.processes import worker_processes
from mlmfast.sources.executors.run import run
from mlmfast.sources.executors.work import InOrder, Work
from mlmfast.sources.open_source import open_source

N_FILES, N_ROWS = 19, 200


def sums(plan, part):
    """Sums whose last bits depend on the order in which they are added."""
    frame = Frame.from_native(part.frame)
    values = frame.numeric(plan)
    return pickle.dumps((frame.n_rows, float(values.sum()), [part.name]))


def slow_sums(plan, part):
    time.sleep(0.05)
    return sums(plan, part)


def added(partials):
    counts, totals, names = zip(*map(pickle.loads, partials), strict=True)
    total = 0.0
    for own in totals:
        total += own
    return pickle.dumps((sum(counts), total, [name for own in names for name in own]))


WORK = Work("x", sums, added, "sums of x")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("parts")
    rng = np.random.default_rng(1)
    for k in range(N_FILES):
        own = pd.DataFrame({"x": rng.normal(size=N_ROWS) * 10.0 ** (k % 7), "y": 0.0})
        own.to_parquet(path / f"part-{k:02d}.parquet", row_group_size=50)
    own[:0].to_parquet(path / "part-05b.parquet")
    return path


@pytest.fixture(scope="module")
def expected(folder):
    found = pickle.loads(run(WORK, open_source(folder), ["x"]))
    assert found[0] == N_FILES * N_ROWS
    assert [os.path.basename(name)[:7] for name in found[2]] == [
        f"part-{k:02d}" for k in range(N_FILES)
    ]
    return found


def bits(found):
    return found[0], np.float64(found[1]).tobytes()


@pytest.mark.parametrize("n", [0, 1, 2, 7, 8, 9, 63, 64, 65, 200])
def test_neighbours_are_merged_in_order_whatever_comes_first(n):
    rng = np.random.default_rng(n)
    texts = [f"{k}," if k % 5 else None for k in range(n)]
    shapes = set()
    for _ in range(5):
        tree = InOrder(lambda some: f"({''.join(some)})")
        for k in rng.permutation(n):
            tree.add(int(k), texts[k])
        shapes.add(tree.total())
    assert len(shapes) == 1
    whole = (shapes.pop() or "").replace("(", "").replace(")", "")
    assert whole == "".join(text or "" for text in texts)


def test_threads_and_processes_give_the_same_bits(folder, expected):
    with ThreadPoolExecutor(3) as threads:
        assert bits(pickle.loads(run(WORK, open_source(folder), ["x"], threads))) == bits(expected)
    with worker_processes(2) as processes:
        assert bits(pickle.loads(run(WORK, open_source(folder), ["x"], processes))) == bits(
            expected
        )


def test_rows_that_only_this_process_can_read_are_sent(folder):
    frames = [pd.read_parquet(path) for path in sorted(folder.iterdir())]
    here = run(WORK, open_source(iter(frames)), ["x"])
    with worker_processes(2) as processes:
        assert run(WORK, open_source(iter(frames)), ["x"], processes) == here
    assert pickle.loads(here)[0] == N_FILES * N_ROWS


def test_a_large_file_is_several_pieces_of_work(folder, monkeypatch):
    import mlmfast.sources.files as files

    monkeypatch.setattr(files, "_SPLIT_ROWS", 100)
    source = open_source(folder / "part-03.parquet")
    splits = source.splits(["x"])
    assert len(splits) == 2
    assert len({split.key for split in splits}) == 2
    parts = [part for split in splits for part in split.parts()]
    assert [part.first_row for part in parts] == [0, 50, 100, 150][:: len(parts[0].frame) // 50]
    values = np.concatenate([part.frame["x"].to_numpy() for part in parts])
    np.testing.assert_array_equal(values, pd.read_parquet(folder / "part-03.parquet")["x"])


# -- finished parts are kept ---------------------------------------------------------------------


def test_a_run_that_was_stopped_goes_on(folder, expected, tmp_path):
    kept, seen = tmp_path / "kept", []

    def stopping(plan, part):
        seen.append(part.name)
        if len(seen) == 12:
            raise KeyboardInterrupt
        return sums(plan, part)

    with pytest.raises(KeyboardInterrupt):
        run(Work("x", stopping, added, "sums of x"), open_source(folder), ["x"], folder=kept)
    # One that is cut short, and one that is missing, are done again.
    files = sorted(kept.iterdir(), key=lambda path: -path.stat().st_size)
    files[0].write_bytes(files[0].read_bytes()[:-3])
    files[1].unlink()
    again = []

    def counting(plan, part):
        again.append(part.name)
        return sums(plan, part)

    work = Work("x", counting, added, "sums of x")
    found = pickle.loads(run(work, open_source(folder), ["x"], folder=kept))
    assert bits(found) == bits(expected)
    assert found[2] == expected[2]
    assert len(again) == N_FILES - 9
    again.clear()
    assert bits(pickle.loads(run(work, open_source(folder), ["x"], folder=kept))) == bits(expected)
    assert again == []
    # Other work, or rows that have changed, find nothing.
    run(Work("x", counting, added, "other sums"), open_source(folder), ["x"], folder=kept)
    assert len(again) == N_FILES
    os.utime(folder / "part-04.parquet")
    again.clear()
    run(work, open_source(folder), ["x"], folder=kept)
    assert [os.path.basename(name) for name in again] == ["part-04.parquet"]


def test_what_cannot_be_gone_on_with_is_refused(folder, tmp_path):
    frames = iter([pd.read_parquet(folder / "part-01.parquet")])
    with pytest.raises(ModelError, match="nothing tells its parts apart"):
        run(WORK, open_source(frames), ["x"], folder=tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot make the folder"):
        run(WORK, open_source(folder), ["x"], folder=tmp_path / "file")


# -- what goes wrong -----------------------------------------------------------------------------


def test_errors_of_workers_name_the_file(folder, tmp_path):
    (tmp_path / "cut.parquet").write_bytes((folder / "part-01.parquet").read_bytes()[:500])
    files = [folder / "part-00.parquet", tmp_path / "cut.parquet"]
    with worker_processes(1) as processes:
        source = open_source(files)
        with pytest.raises(DataError, match=r"cannot read .*cut.parquet"):
            run(WORK, source, ["x"], processes)


def test_no_rows_and_no_executor(folder):
    assert run(WORK, open_source(folder / "part-05b.parquet"), ["x"]) is None
    with pytest.raises(ModelError, match=r"executor is 'dask'; give a dask.distributed.Client"):
        run(WORK, open_source(folder), ["x"], "dask")


def end_process(plan, part):
    if "part-07" in part.name:
        os.kill(os.getpid(), signal.SIGKILL)
    return sums(plan, part)


def test_a_killed_process_is_told(folder):
    with (
        worker_processes(1) as processes,
        pytest.raises(ModelError, match="a worker process ended while it reduced rows"),
    ):
        run(Work("x", end_process, added), open_source(folder), ["x"], processes)


# -- Dask ----------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore")
def test_a_dask_cluster_of_which_a_worker_is_killed(folder, expected, tmp_path):
    distributed = pytest.importorskip("distributed")
    frame = pytest.importorskip("dask.dataframe").read_parquet(folder)
    work = Work("x", slow_sums, added, "sums of x")
    dask = pytest.importorskip("dask")
    with (
        # Workers, the one that takes the place of the killed one too, begin with what was imported.
        dask.config.set({"distributed.worker.multiprocessing-method": "forkserver"}),
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as own,
        distributed.Client(own) as client,
    ):
        victim = next(iter(client.run(os.getpid).values()))
        killer = threading.Timer(0.3, os.kill, (victim, signal.SIGKILL))
        killer.start()
        found = pickle.loads(run(work, open_source(folder), ["x"], client))
        killer.join()
        assert bits(found) == bits(expected)
        assert found[2] == expected[2]
        # The client that is there; partitions are reduced where they are.
        partitions = pickle.loads(run(WORK, open_source(frame), ["x"]))
        assert partitions[0] == expected[0]
        assert partitions[1] == pytest.approx(expected[1], rel=1e-12)
        kept = pickle.loads(run(WORK, open_source(folder), ["x"], client, folder=tmp_path / "kept"))
        assert bits(kept) == bits(expected)
        with pytest.raises(DataError, match="no column 'z'"):
            run(Work("z", sums, added), open_source(folder), ["x"], client)


def test_text_in_a_file_that_a_worker_reads_is_named(folder, tmp_path):
    pd.DataFrame({"x": ["1", "two"]}).to_parquet(tmp_path / "part-37.parquet")
    source = open_source([folder / "part-00.parquet", tmp_path / "part-37.parquet"])
    with (
        ThreadPoolExecutor(1) as threads,
        pytest.raises(
            DataError, match=r"'x' holds numbers in .*part-00.parquet and 'two' in row 1"
        ),
    ):
        run(WORK, source, ["x"], threads)
