"""Progress bars: on terminals alone, after a while, and gone at the end."""

import io
import sys
from types import SimpleNamespace

import numpy as np
import pytest

import mlmfast as mlm
from mlmfast.inference.resampling.bootstrap import sizes
from mlmfast.running import progress_bar
from mlmfast.running.progress_bar import ProgressBar


class Terminal(io.StringIO):
    def isatty(self):
        return True


def standard(monkeypatch, stream):
    """Put a stream in place of standard error, which pytest itself replaces for each test."""
    own = SimpleNamespace(stderr=stream, modules=sys.modules)
    monkeypatch.setattr(progress_bar, "sys", own)


@pytest.fixture
def terminal(monkeypatch):
    """Standard error is a terminal, and bars do not wait."""
    stream = Terminal()
    standard(monkeypatch, stream)
    monkeypatch.setattr(progress_bar, "_INTERVAL", 0.0)
    return stream


@pytest.fixture(scope="module")
def fit():
    return mlm.lmm("Reaction ~ Days + (1 | Subject)", mlm.load_sleepstudy())


def shown(stream):
    """Lines drawn; the last one clears the bar."""
    lines = stream.getvalue().split("\r")[1:]
    assert lines[-1] == "\x1b[K"
    return lines[:-1]


def test_a_bar_grows_and_is_taken_away(terminal):
    with ProgressBar("work", 4, True) as bar:
        for _ in range(4):
            bar.advance()
    lines = shown(terminal)
    assert [line.count("#") for line in lines] == [7, 15, 22, 30]
    assert "work [" in lines[0]
    assert "4 of 4, 0 s left" in lines[-1]


def test_a_bar_of_its_own_waits_two_seconds(terminal, monkeypatch):
    clock = iter([0.0, 1.0, 1.9, 2.1, 3.0])
    monkeypatch.setattr(progress_bar.time, "monotonic", lambda: next(clock))
    with ProgressBar("work", 4) as bar:
        bar.advance()
        bar.advance()
        assert terminal.getvalue() == ""
        bar.advance()
        bar.advance()
    assert len(shown(terminal)) == 2


def test_nothing_outside_a_terminal():
    stream = io.StringIO()
    for asked in (None, True, False):
        with ProgressBar("work", 2, asked, stream) as bar:
            assert not bar.is_live
            bar.advance(2)
    assert stream.getvalue() == ""


def test_nothing_where_it_is_not_wanted(terminal):
    with ProgressBar("work", 2, False) as bar:
        bar.advance(2)
    assert terminal.getvalue() == ""


def test_a_notebook_is_told_by_its_shell(monkeypatch):
    class ZMQInteractiveShell:
        pass

    class IPython:
        get_ipython = ZMQInteractiveShell

    stream = io.StringIO()
    standard(monkeypatch, stream)
    monkeypatch.setitem(sys.modules, "IPython", IPython)
    with ProgressBar("work", 1, True) as bar:
        assert bar.is_live
        bar.advance()
    assert "1 of 1" in stream.getvalue()
    assert "\x1b" not in stream.getvalue()


def _fail(error):
    with ProgressBar("work", 4, True) as bar:
        bar.advance()
        raise error


def test_errors_and_interrupts_leave_no_bar(terminal):
    for error in (KeyboardInterrupt, ValueError):
        with pytest.raises(error):
            _fail(error)
        assert terminal.getvalue().endswith("\r\x1b[K")


def test_numbers_do_not_depend_on_who_watches(terminal, fit):
    """Watched batches are smaller; every fit is the same in any batch."""
    quiet = fit.bootstrap(60, seed=3, progress=False)
    assert terminal.getvalue() == ""
    watched = fit.bootstrap(60, seed=3, progress=True)
    assert "bootstrap [" in terminal.getvalue()
    assert watched.replicates.equals(quiet.replicates)
    assert np.array_equal(watched.conf_int(kind="bca"), quiet.conf_int(kind="bca"))


def test_profiles_influence_and_batches_have_bars(terminal, fit):
    data = mlm.load_sleepstudy()
    Y = np.column_stack([data["Reaction"], data["Reaction"]])
    Y[3, 1] = np.nan
    model = mlm.LMM("Reaction ~ Days + (1 | Subject)", data)
    calls = {
        "profile [": lambda: fit.profile("covariance", progress=True),
        "influence [": lambda: fit.influence(progress=True),
        "fits [": lambda: model.fit_many(Y, progress=True),
        "fits  [": lambda: mlm.fit_each(
            "Reaction ~ Days + (1 | Subject)", [data, data], ddf="kr", progress=True
        ),
    }
    for name, call in calls.items():
        terminal.truncate(0)
        terminal.seek(0)
        call()
        assert name.replace("  ", " ") in terminal.getvalue()
        shown(terminal)


def test_ctrl_c_in_a_bootstrap(terminal, fit):
    def interrupt(fits):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit.bootstrap(10, 1, interrupt, progress=True)


def test_sizes_of_batches():
    assert list(sizes(10, 4, is_watched=False)) == [4, 4, 2]
    for most in (1, 7, 16, 1000):
        found = list(sizes(100, most, is_watched=True))
        assert sum(found) == 100
        assert max(found) <= most
