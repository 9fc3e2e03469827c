"""How time, iterations and memory of a fit grow with the rows.

    python benches/scaling.py                           # 125,000 to 2,000,000 rows
    python benches/scaling.py --rows 1000000 --steps 4  # up to 8,000,000
    python benches/scaling.py --peer glmm               # the same for another package

Rows double from line to line, once with the groups fixed (so that groups grow longer) and once with
100 rows a group. The model is a random slope with three covariates and string labels. Every line is
a process of its own. To read: `one pass` (the phase that reduces the rows) doubles with the rows,
`evaluations` stay, `iterate` follows the groups and not the rows, and memory is a fixed multiple
of the numeric columns the model reads.
"""

import argparse
import json
import math
import statistics
import subprocess
import sys
import warnings

from measure import memory_field, seconds, settle_memory
from peers import PEERS, mlmfast_phases
from tables import Table, show, show_seconds
from workloads import Workload, covariates, one_factor

FIXED_GROUPS = 1_000


def growing_workload(rows: int, n_groups: int) -> Workload:
    """As W12, with its two sizes free."""
    return Workload(
        f"{rows} rows",
        f"random slope, {rows} rows, {n_groups} groups",
        "y",
        covariates(3),
        ("g",),
        one_factor(rows, n_groups, 3, 1, balanced=True),
        200,
        slopes=("x1",),
    )


def measure(name: str, rows: int, n_groups: int, repeat: int) -> dict[str, object]:
    workload, peer = growing_workload(rows, n_groups), PEERS[name]
    small = growing_workload(1_000, 10)
    peer.report(peer.fit(small, small.frame()))
    frame = workload.frame()
    before = settle_memory()
    fit = peer.fit(workload, frame)
    peer.report(fit)
    memory = memory_field("VmHWM") - before
    times = [seconds(lambda: peer.report(peer.fit(workload, frame))) for _ in range(repeat)]
    result: dict[str, object] = {
        "total": statistics.median(times),
        "memory": memory,
        "numeric": workload.n_numeric * rows * 8 / 2**20,
    }
    if name == "mlmfast":
        runs = [mlmfast_phases(workload, frame) for _ in range(repeat)]
        result["phases"] = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
        result["evaluations"] = int(fit.certificate.n_evaluations)
        result["iterations"] = int(fit.certificate.n_iterations)
    return result


def measure_in_process(name: str, rows: int, n_groups: int, repeat: int) -> dict[str, object]:
    command = [sys.executable, __file__, "--peer", name, "--repeat", repeat]
    command += ["--one", rows, n_groups]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def growth_table(title: str, sizes: list[tuple[int, int]], name: str, repeat: int) -> Table:
    header = ["rows", "groups", "total", "x", "one pass", "x", "iterate", "evaluations"]
    header += ["iterations", "memory MB", "over numeric columns"]
    lines, previous = [], {}
    for rows, n_groups in sizes:
        result = measure_in_process(name, rows, n_groups, repeat)
        phases = result.get("phases", {})
        now = {
            "total": result["total"],
            "pass": phases.get("reduce", math.nan),
        }
        ratios = {key: now[key] / previous.get(key, math.nan) for key in now}
        lines.append(
            [
                f"{rows:,}",
                f"{n_groups:,}",
                show_seconds(now["total"]),
                show_ratio(ratios["total"]),
                show_seconds(now["pass"]),
                show_ratio(ratios["pass"]),
                show_seconds(phases.get("iterate", math.nan)),
                str(result.get("evaluations", "")),
                str(result.get("iterations", "")),
                f"{result['memory']:.0f}",
                f"{result['memory'] / result['numeric']:.2f}",
            ]
        )
        previous = now
    return Table(title, header, lines)


def show_ratio(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=125_000, help="of the first line")
    parser.add_argument("--steps", type=int, default=5, help="lines, each twice the one before")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--peer", choices=PEERS, default="mlmfast")
    parser.add_argument("--markdown", action="store_true", help="tables with bars, for a README")
    parser.add_argument("--one", type=int, nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    if arguments.one:
        print(json.dumps(measure(arguments.peer, *arguments.one, arguments.repeat)))
        return
    rows = [arguments.rows * 2**step for step in range(arguments.steps)]
    series = {
        f"{FIXED_GROUPS:,} groups that grow longer": [(n, FIXED_GROUPS) for n in rows],
        "100 rows a group, more and more groups": [(n, n // 100) for n in rows],
    }
    for title, sizes in series.items():
        table = growth_table(title, sizes, arguments.peer, arguments.repeat)
        print(show(table, markdown=arguments.markdown) + "\n", flush=True)


if __name__ == "__main__":
    main()
