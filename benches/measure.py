"""One package measured on one workload in a process of its own; `compare.py` starts these.

    python benches/measure.py glmm W1 w1.parquet --out result.json

The data are loaded, one small fit warms the imports up, and then the clock runs from the data frame
in memory to the text of the summary. The result file is rewritten after each measurement, so that
what was measured before a time limit is kept.
"""

import argparse
import ctypes
import gc
import importlib
import importlib.metadata
import json
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from peers import PEERS, Peer, Unsupported, mlmfast_phases, mlmfast_prepared
from workloads import WORKLOADS, Workload, matrices, new_responses


def seconds(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def repeated(action: Callable[[], object], repeat: int, budget: float) -> list[float]:
    """Wall times: `repeat` of them, up to 40 if they are short, fewer if they exceed the budget."""
    times: list[float] = []
    while not times or (
        sum(times) < budget and (len(times) < repeat or (sum(times) < 1 and len(times) < 40))
    ):
        times.append(seconds(action))
    return times


def memory_field(field: str) -> float:
    """A line of the kernel's process status in MB; NaN where there is none."""
    status = Path("/proc/self/status")
    if not status.exists():
        return float("nan")
    for line in status.read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) / 1024
    return float("nan")


def settle_memory() -> float:
    """Give freed memory back, restart the peak counter, return the resident MB."""
    import pyarrow as pa

    gc.collect()
    pa.default_memory_pool().release_unused()
    try:
        ctypes.CDLL("libc.so.6").malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        pass  # not Linux: the memory column is then an upper bound or NaN
    return memory_field("VmRSS")


def thread_count() -> int:
    tasks = Path("/proc/self/task")
    return len(list(tasks.iterdir())) if tasks.exists() else -1


def refits_per_second(peer: Peer, workload: Workload, frame: pd.DataFrame) -> tuple[float, int]:
    """Measured on as many of the workload's new responses as take about three seconds."""
    Y = new_responses(workload, frame, workload.n_refits)
    trial = seconds(lambda: peer.refit(workload, frame, Y[:, :5])) / 5
    n = int(min(max(5, 3 / trial), workload.n_refits))
    return n / seconds(lambda: peer.refit(workload, frame, Y[:, :n])), n


def measure_peer(
    name: str, workload: Workload, path: Path, repeat: int, budget: float, out: Path, strings: str
) -> None:
    peer = PEERS[name]
    importlib.import_module(peer.module)
    result: dict[str, object] = {"version": importlib.metadata.version(peer.distribution)}

    def save() -> None:
        out.write_text(json.dumps(result))

    save()
    one_thread = thread_count()
    small = WORKLOADS["W1"]
    small_frame = small.frame()
    peer.report(peer.fit(small, small_frame))
    result["threads_after_small_fit"] = thread_count() - one_thread

    frame = pd.read_parquet(path)
    if strings == "object":
        frame = frame.astype(dict.fromkeys((*workload.groups, *workload.factors), object))
    result["rows"] = len(frame)
    if peer.max_rows is not None and len(frame) > peer.max_rows:
        raise Unsupported(f"not run above {peer.max_rows:,} rows")

    def whole() -> str:
        return peer.report(peer.fit(workload, frame))

    before = settle_memory()
    first = seconds(whole)
    result["memory_mb"] = memory_field("VmHWM") - before
    result["data_mb"] = float(frame.memory_usage(deep=True).sum()) / 2**20
    result["numeric_mb"] = workload.n_numeric * len(frame) * 8 / 2**20
    result["times"] = [first]
    save()

    fit = peer.fit(workload, frame)
    result["llf"] = float(peer.llf(fit))
    result["converged"] = bool(getattr(fit, "converged", True))
    if name == "mlmfast":
        result["n_evaluations"] = int(fit.certificate.n_evaluations)
    del fit
    save()
    if first < budget:
        result["times"] = repeated(whole, repeat, budget)
        save()
    if peer.prepare is not None:
        try:
            alone = peer.prepare(workload, frame)
            result["fit_times"] = repeated(alone, repeat, budget)
        except Exception as error:
            result["fit_error"] = reason(error)
        save()
    if name == "mlmfast":
        result["prepared_times"] = repeated(mlmfast_prepared(workload, frame), repeat, budget)
        runs = [mlmfast_phases(workload, frame) for _ in range(repeat)]
        result["phases"] = {key: float(np.median([run[key] for run in runs])) for key in runs[0]}
        save()
    if workload.n_refits and peer.refit is not None:
        result["refits_per_second"], result["n_refits"] = refits_per_second(peer, workload, frame)
        save()


def measure_floor(workload: Workload, path: Path, repeat: int, budget: float, out: Path) -> None:
    """One A'A over A = [X Z y], the least that any fit has to do with the rows."""
    m = matrices(workload, pd.read_parquet(path))
    A = np.column_stack([m.X, m.Z, m.y])
    times = repeated(lambda: A.T @ A, max(repeat, 7), budget)
    out.write_text(json.dumps({"times": times, "shape": A.shape, "version": np.__version__}))


def reason(error: Exception) -> str:
    """One line that fits into a cell."""
    lines = str(error).strip().splitlines() or [""]
    text = lines[0] if isinstance(error, Unsupported) else f"{type(error).__name__}: {lines[0]}"
    return text[:80]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("peer", choices=[*PEERS, "floor"])
    parser.add_argument("workload", choices=WORKLOADS)
    parser.add_argument("data", type=Path, help="the workload's Parquet file")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--budget", type=float, default=20.0, help="seconds of repetitions")
    parser.add_argument("--strings", choices=["frame", "object"], default="frame")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    workload, out = WORKLOADS[arguments.workload], arguments.out
    try:
        if arguments.peer == "floor":
            measure_floor(workload, arguments.data, arguments.repeat, arguments.budget, out)
        else:
            measure_peer(
                arguments.peer,
                workload,
                arguments.data,
                arguments.repeat,
                arguments.budget,
                out,
                arguments.strings,
            )
    except Exception as error:  # a package may raise anything; the table shows what it said
        partial = json.loads(out.read_text()) if out.exists() else {}
        out.write_text(json.dumps({**partial, "error": reason(error)}))


if __name__ == "__main__":
    main()
