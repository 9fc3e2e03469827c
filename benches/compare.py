"""mlmfast against other packages on the same data in the same run.

    python benches/compare.py                                  # everything: an hour or more
    python benches/compare.py --workloads W1,W2,W12_1e4        # the small ones: a minute or two
    python benches/compare.py --workloads W3 --peers mlmfast,glmm,mixedlm-rs
    python benches/compare.py --peers-python .bench-venv/bin/python --json out.json --markdown

Every (package, workload) is a process of its own (`measure.py`). A time is what a user waits for,
from a pandas frame in memory with string groups and a formula to the text of the summary; in
parentheses the fit alone, where a package lets one separate it. Medians. A package that is missing,
fails or takes too long is a cell with the reason.

BLAS runs on one thread in every process (`--blas-threads`); the packages' own thread pools keep
their defaults.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import pandas as pd
from peers import PEERS
from tables import Result, Results, all_tables, show, time_cell
from workloads import WORKLOADS, Workload

HERE = Path(__file__).parent
R_PEERS = {"lme4": "default", "lme4-fast": "fast"}
R_MAX_ROWS = 1_000_000
ALL_PEERS = (*PEERS, *R_PEERS)


def environment(arguments: argparse.Namespace, blas_threads: int) -> dict[str, str]:
    threads = str(blas_threads)
    return {**os.environ, "OPENBLAS_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}


def run_process(
    command: Sequence[object], out: Path, timeout: float, environ: dict[str, str]
) -> Result:
    """What the process wrote to `out`, with "error" set if it did not come to its end."""
    out.unlink(missing_ok=True)
    try:
        done = subprocess.run(
            [str(part) for part in command],
            timeout=timeout,
            env=environ,
            capture_output=True,
            text=True,
            check=False,
        )
        failed, error = done.returncode != 0, exit_reason(done.returncode, done.stderr)
    except subprocess.TimeoutExpired:
        failed, error = True, f"stopped after {timeout:g} s"
    except FileNotFoundError:
        failed, error = True, "not installed"
    result = read_result(out)
    if failed:
        result["error"] = error
    if str(result.get("error", "")).startswith("ModuleNotFoundError"):
        result["error"] = "not installed"
    return result


def exit_reason(code: int, stderr: str) -> str:
    """An interpreter says what happened last, native code that aborts says it first."""
    lines = stderr.strip().splitlines() or [f"exit {code}"]
    return (f"crashed: {lines[0]}" if code < 0 else lines[-1])[:80]


def read_result(out: Path) -> Result:
    """Empty where the process left nothing, or was stopped in the middle of a line."""
    try:
        return json.loads(out.read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return {}


def run_python_peer(
    name: str, workload: Workload, data: Path, arguments: argparse.Namespace, blas_threads: int
) -> Result:
    own = name in ("mlmfast", "floor")
    python = sys.executable if own else arguments.peers_python
    out = data.parent / "result.json"
    command = [python, HERE / "measure.py", name, workload.name, data, "--out", out]
    command += ["--repeat", arguments.repeat, "--budget", arguments.budget]
    command += ["--strings", arguments.strings]
    return run_process(command, out, arguments.timeout, environment(arguments, blas_threads))


def run_r_peer(
    name: str, workload: Workload, data: Path, arguments: argparse.Namespace, rows: int
) -> Result:
    if rows > R_MAX_ROWS:
        return {"error": f"not run above {R_MAX_ROWS:,} rows"}
    table, out = data.with_suffix(".csv"), data.parent / "result.json"
    if not table.exists():
        pd.read_parquet(data).to_csv(table, index=False)
    strings = ",".join((*workload.groups, *workload.factors))
    command = ["Rscript", HERE / "lme4.R", table, workload.formula, strings, out]
    command += [arguments.repeat, arguments.budget, R_PEERS[name]]
    environ = environment(arguments, arguments.blas_threads)
    return run_process(command, out, arguments.timeout, environ)


def run_workload(workload: Workload, arguments: argparse.Namespace, folder: Path) -> dict:
    data = folder / f"{workload.name}.parquet"
    if not data.exists():
        workload.frame(shuffle=arguments.shuffle).to_parquet(data, index=False)
    rows = len(pd.read_parquet(data, columns=[workload.response]))
    results: dict[str, Result] = {}
    for threads in sorted({1, os.cpu_count() or 1}):
        floor = run_python_peer("floor", workload, data, arguments, threads)
        results[f"floor {threads}"] = floor
    for name in arguments.peers:
        if name in R_PEERS:
            result = run_r_peer(name, workload, data, arguments, rows)
        else:
            result = run_python_peer(name, workload, data, arguments, arguments.blas_threads)
        results[name] = result
        show_progress(workload, name, result)
    return results


def show_progress(workload: Workload, name: str, result: Result) -> None:
    text = time_cell(result)
    if "times" in result and "error" in result:
        text += f"; then {result['error']}"
    print(f"{workload.name:8} {name:12} {text}", file=sys.stderr, flush=True)


def machine(results: Results, arguments: argparse.Namespace) -> dict[str, object]:
    """What the times depend on beside the packages, and the packages' versions."""
    versions = {
        name: result[name]["version"]
        for result in results.values()
        for name in arguments.peers
        if "version" in result.get(name, {})
    }
    label_dtype = "object" if arguments.strings == "object" else pd.Series(["a"]).dtype
    load = os.getloadavg() if hasattr(os, "getloadavg") else ()
    return {
        "date": time.strftime("%Y-%m-%d"),
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "pandas": pd.__version__,
        "rows": "shuffled" if arguments.shuffle else "sorted by group",
        "labels": str(label_dtype),
        "blas_threads": arguments.blas_threads,
        "load_at_the_end": [round(value, 1) for value in load],
        "versions": versions,
    }


def print_machine(facts: dict) -> None:
    print(f"{facts['cores']} cores ({facts['machine']}), Python {facts['python']}")
    print(f"pandas {facts['pandas']}, rows {facts['rows']}, labels of dtype {facts['labels']}")
    print("load at the end: " + ", ".join(f"{value:.1f}" for value in facts["load_at_the_end"]))
    print("versions: " + ", ".join(f"{name} {v}" for name, v in facts["versions"].items()))


def comma_list(choices: Iterable[str]) -> Callable[[str], list[str]]:
    allowed = tuple(choices)

    def parse(text: str) -> list[str]:
        chosen = [part.strip() for part in text.split(",")]
        unknown = [part for part in chosen if part not in allowed]
        if unknown:
            raise argparse.ArgumentTypeError(
                f"unknown: {', '.join(unknown)} (choose from {', '.join(allowed)})"
            )
        return chosen

    return parse


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--workloads", type=comma_list(WORKLOADS), default=list(WORKLOADS))
    parser.add_argument("--peers", type=comma_list(ALL_PEERS), default=list(ALL_PEERS))
    parser.add_argument("--peers-python", default=sys.executable, help="interpreter of the others")
    parser.add_argument("--repeat", type=int, default=5, help="runs; short ones get up to 40")
    parser.add_argument("--budget", type=float, default=20.0, help="seconds of runs per package")
    parser.add_argument("--timeout", type=float, default=300.0, help="seconds per process")
    parser.add_argument("--blas-threads", type=int, default=1)
    parser.add_argument("--shuffle", action="store_true", help="rows in random order")
    parser.add_argument(
        "--strings", choices=["frame", "object"], default="frame", help="pandas type of the labels"
    )
    parser.add_argument("--data", type=Path, help="keep the data sets in this folder")
    parser.add_argument("--json", type=Path, help="write every single time here")
    parser.add_argument("--markdown", action="store_true", help="tables with bars, for a README")
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    results: Results = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.data or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        for name in arguments.workloads:
            results[name] = run_workload(WORKLOADS[name], arguments, folder)
            if arguments.json:
                kept = {"machine": machine(results, arguments), "workloads": results}
                arguments.json.write_text(json.dumps(kept, indent=1) + "\n")
    print_machine(machine(results, arguments))
    for table in all_tables(results, arguments.peers):
        print("\n" + show(table, markdown=arguments.markdown))


if __name__ == "__main__":
    main()
