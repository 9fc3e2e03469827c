"""The tables of `compare.py`: from what the processes measured to text."""

import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

Result = dict[str, Any]  # one package on one workload, as its process wrote it
Results = dict[str, dict[str, Result]]  # workload -> package -> Result

# The order in which a fit goes through them; other names come first.
PHASES = ("read", "design", "reduce", "iterate", "report")


@dataclass(frozen=True)
class Table:
    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""


def show(table: Table, *, markdown: bool) -> str:
    rows = [list(table.header), *(list(row) for row in table.rows)]
    widths = [max(len(row[j]) for row in rows) for j in range(len(table.header))]
    padded = [list(map(str.ljust, row, widths)) for row in rows]
    padded.insert(1, ["-" * width for width in widths])
    if markdown:
        lines = [f"### {table.title}", "", *(f"| {' | '.join(row)} |" for row in padded)]
    else:
        lines = [table.title, "", *("  ".join(row).rstrip() for row in padded)]
    return "\n".join(lines + (["", table.note] if table.note else []))


def median(result: Result, key: str = "times") -> float:
    values = result.get(key)
    return statistics.median(values) if values else math.nan


def show_seconds(value: float) -> str:
    if math.isnan(value):
        return ""
    for unit, scale in (("s", 1.0), ("ms", 1e3)):
        if value * scale >= 0.9995:
            return f"{value * scale:.3g} {unit}"
    return f"{value * 1e6:.3g} us"


def time_cell(result: Result) -> str:
    if "times" not in result:
        return str(result.get("error", ""))
    cell = show_seconds(median(result))
    if "fit_times" in result:
        cell += f" ({show_seconds(median(result, 'fit_times'))})"
    return f"{cell} [{len(result['times'])}]"


def ratio_cell(result: Result, fastest: float) -> str:
    return f"{median(result) / fastest:.2f}" if "times" in result else ""


def llf_cell(result: Result, best: float) -> str:
    if "llf" not in result:
        return ""
    below = result["llf"] - best
    cell = "best" if below > -1e-6 else f"{below:.1e}"
    return cell if result.get("converged", True) else f"{cell} (not conv.)"


def memory_cell(result: Result) -> str:
    return f"{result['memory_mb']:.0f}" if "memory_mb" in result else ""


def by_package(
    title: str,
    results: Results,
    names: Sequence[str],
    cell: Callable[[Result, dict[str, Result]], str],
) -> Table:
    """One row a workload, one column a package; `cell` also sees the other packages' results."""
    rows = [
        [workload, *(cell(result[name], result) for name in names)]
        for workload, result in results.items()
    ]
    return Table(title, ["workload", *names], rows)


def fastest_other(result: dict[str, Result]) -> float:
    """Of the packages that mlmfast is compared with."""
    others = (
        median(measured)
        for name, measured in result.items()
        if name != "mlmfast" and not is_floor(name)
    )
    return smallest(others)


def best_llf(result: dict[str, Result]) -> float:
    return max((measured["llf"] for measured in result.values() if "llf" in measured), default=0.0)


def is_floor(name: str) -> bool:
    return name.startswith("floor ")


def smallest(values: Iterable[float]) -> float:
    return min((value for value in values if not math.isnan(value)), default=math.nan)


def floor_table(results: Results) -> Table:
    """The least that any fit has to do with the rows, and what mlmfast needs beside it."""
    rows = []
    for workload, result in results.items():
        own = result.get("mlmfast", {})
        floor = smallest(median(floor) for name, floor in result.items() if is_floor(name))
        fit = median(own, "fit_times")
        numeric = smallest(r.get("numeric_mb", math.nan) for r in result.values())
        memory = own.get("memory_mb", math.nan)
        rows.append(
            [
                workload,
                show_seconds(floor),
                show_seconds(fit) or str(own.get("fit_error", "")),
                "" if math.isnan(fit) else f"{fit / floor:.1f}",
                show_seconds(median(own, "prepared_times")),
                str(own.get("n_evaluations", "")),
                f"{numeric:.3g}",
                "" if math.isnan(memory) else f"{memory / numeric:.2g}",
            ]
        )
    header = ["workload", "A.T @ A", "mlmfast fit", "ratio", "prepared LMM.fit", "evaluations"]
    header += ["numeric columns, MB", "memory / numeric"]
    own = [result.get("mlmfast", {}) for result in results.values()]
    evaluations = [measured["n_evaluations"] for measured in own if "n_evaluations" in measured]
    note = f"Median evaluations: {statistics.median(evaluations):g}" if evaluations else ""
    title = "mlmfast with matrices in hand against the floor, one A.T @ A over A = [X Z y]"
    return Table(title, header, rows, note)


def phase_table(results: Results) -> Table | None:
    own = {workload: result.get("mlmfast", {}) for workload, result in results.items()}
    profiles = {workload: r["phases"] for workload, r in own.items() if "phases" in r}
    if not profiles:
        return None
    named = dict.fromkeys(phase for profile in profiles.values() for phase in profile)
    phases = sorted(named, key=lambda phase: PHASES.index(phase) if phase in PHASES else -1)
    rows = [
        [workload, *(show_seconds(profile.get(phase, math.nan)) for phase in phases)]
        for workload, profile in profiles.items()
    ]
    threads = max(r.get("threads_after_small_fit", 0) for r in own.values())
    note = f"Threads that mlmfast started for a fit of sleepstudy: {threads}"
    return Table("mlmfast by phase", ["workload", *phases], rows, note)


def refit_table(results: Results, names: Sequence[str]) -> Table | None:
    rows = [
        [workload, name, f"{result[name]['refits_per_second']:.4g}", str(result[name]["n_refits"])]
        for workload, result in results.items()
        for name in names
        if "refits_per_second" in result[name]
    ]
    header = ["workload", "package", "refits per second", "refits run"]
    return Table("Refits to new responses on one design", header, rows) if rows else None


def all_tables(results: Results, names: Sequence[str]) -> list[Table]:
    tables = [
        by_package(
            "Frame to printed summary (fit alone) [runs]",
            results,
            names,
            lambda measured, _: time_cell(measured),
        ),
        by_package(
            "Time over that of the best other package",
            results,
            names,
            lambda measured, result: ratio_cell(measured, fastest_other(result)),
        ),
        by_package(
            "Log-likelihood minus the best",
            results,
            names,
            lambda measured, result: llf_cell(measured, best_llf(result)),
        ),
        by_package(
            "Peak memory over the loaded data, MB",
            results,
            names,
            lambda measured, _: memory_cell(measured),
        ),
        floor_table(results),
        phase_table(results),
        refit_table(results, names),
    ]
    return [table for table in tables if table is not None]
