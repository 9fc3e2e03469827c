"""What passes once, kept to be read again; Ctrl-C; memory budgets; the bar."""

import io
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from mlmfast.data.frame import Frame
from mlmfast.errors import DataError, ModelError
from mlmfast.running.memory_budget import memory_budget
from mlmfast.running.progress_bar import ProgressBar
from mlmfast.sources.open_source import open_source
from mlmfast.sources.spool import repeatable


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def frames():
    day = pd.Timestamp("2024-03-01")
    levels = pd.Categorical(["lo", "hi"], ["lo", "mid", "hi"], ordered=True)
    yield pd.DataFrame({"x": [1.5, np.nan], "f": levels, "t": [day, day], "unused": 0})
    yield pl.DataFrame({"x": [2, 3], "f": ["mid", None], "t": [None, day]})
    yield pa.table({"x": [2**60 + 1], "f": ["lo"], "t": pa.array([day.to_pydatetime()])})
    yield {"x": [4.0], "f": ["hi"], "t": [day]}


def test_the_rows_are_the_same_twice_and_gone_then(folder):
    names = ["x", "f", "t"]
    source = open_source(frames())
    with repeatable(source, names) as spooled:
        assert spooled.repeatable
        assert spooled.n_rows == 6
        assert spooled.n_bytes == sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())
        assert [column.name for column in spooled.columns] == names
        for wanted in (names, ["f"]):
            parts = list(spooled.parts(wanted))
            for part, own in zip(parts, frames(), strict=True):
                kept, given = Frame.from_native(part.frame), Frame.from_native(own)
                assert kept.columns == tuple(wanted)
                assert (kept.factor("f").levels, kept.factor("f").declared) == (
                    given.factor("f").levels,
                    given.factor("f").declared,
                )
                np.testing.assert_array_equal(kept.factor("f").codes, given.factor("f").codes)
                if "x" in wanted:
                    np.testing.assert_array_equal(kept.numeric("x"), given.numeric("x"))
                    assert kept.factor("x").levels == given.factor("x").levels
        assert [part.name for part in parts] == [f"frame {k + 1}" for k in range(4)]
    assert list(folder.iterdir()) == []


def test_what_can_be_read_twice_is_not_copied(folder):
    source = open_source([{"x": [1.0]}])
    with repeatable(source, ["x"]) as same:
        assert same is source
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, DataError, OSError])
def test_the_file_is_gone_whatever_happens(folder, error):
    def broken():
        yield {"x": [1.0]}
        assert list(folder.iterdir()) != []
        raise error("stop")

    with pytest.raises(error), repeatable(open_source(broken()), ["x"]):
        pass
    assert list(folder.iterdir()) == []


def test_a_full_disk_is_told(folder, monkeypatch):
    def full(*_arguments, **_named):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pa.ipc, "new_stream", full)
    with (
        pytest.raises(DataError, match="failed: No space left on device; set TMPDIR to a folder"),
        repeatable(open_source(iter([{"x": [1.0]}])), ["x"]),
    ):
        pass
    assert list(folder.iterdir()) == []


INTERRUPTED = """
import numpy as np, pyarrow as pa, mlmfast as mlm
from mlmfast.sources.open_source import open_source
from mlmfast.sources.spool import repeatable

def frames():
    rows = {"y": np.zeros(100_000), "x": np.arange(100_000.0)}
    while True:
        yield rows

print("started", flush=True)
with repeatable(open_source(frames()), ["y", "x"]):
    pass
"""


def test_ctrl_c_is_answered_soon(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    process.stdout.readline()
    while not any(tmp_path.rglob("*.arrows")):
        time.sleep(0.02)
    time.sleep(0.3)
    sent = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=30)
    # Tenths of a second on a quiet machine.
    assert time.monotonic() - sent < 3.0
    assert b"KeyboardInterrupt" in told
    assert list(tmp_path.iterdir()) == []


# -- budgets -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "n_bytes"),
    [
        ("4GB", 4_000_000_000),
        (" 500 mb ", 500_000_000),
        ("2GiB", 2**31),
        ("1.5TB", 1_500_000_000_000),
        ("80000000", 80_000_000),
        (2e9, 2_000_000_000),
        (None, None),
    ],
)
def test_sizes_as_people_write_them(written, n_bytes):
    assert memory_budget(written) == n_bytes


@pytest.mark.parametrize("written", ["4 apples", "GB", "-1GB", "", True, [4], float("nan"), "1e9"])
def test_what_is_no_size(written):
    with pytest.raises(ModelError, match="give a size such as '4GB'"):
        memory_budget(written)


@pytest.mark.parametrize("written", ["1MB", 0, -5.0])
def test_too_little_for_any_model(written):
    with pytest.raises(ModelError, match="less than 50 MB serves no model"):
        memory_budget(written)


# -- the bar -------------------------------------------------------------------------------------


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_the_bar_tells_rows_and_bytes():
    stream = Terminal()
    with ProgressBar("reading rows", 4_000, True, stream, size=8_000_000_000) as bar:
        bar.advance(1_000)
    assert "[#######" in stream.getvalue()
    assert "1,000 of 4,000, 2.00 of 8.00 GB, 0 s left" in stream.getvalue()


def test_the_bar_counts_where_nobody_knows_how_many():
    stream = Terminal()
    with ProgressBar("reading rows", None, True, stream) as bar:
        bar.advance(12_345)
    assert "reading rows 12,345 in 0 s" in stream.getvalue()


def test_nothing_is_left_running():
    assert not [thread for thread in threading.enumerate() if "mlmfast" in thread.name]
