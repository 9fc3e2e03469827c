"""Record every bit of the reference fits, and compare with a record after the code was moved.

    python benches/bits.py --record before.json
    python benches/bits.py --compare before.json

Each model of tests/reference is fitted alone, and in a batch beside another response, in one
process with one thread and one with two, whose bits must be the same. Recorded are estimates,
standard errors, degrees of freedom, tests, predictions and residuals as hexadecimal floats, and
every text: the summary, the saved fit, warnings and refusals, the certificate.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


def bits(value: Any) -> Any:
    """Numbers as hexadecimal, frames and mappings as lists of them, everything else as text."""
    import numpy as np
    import pandas as pd

    if isinstance(value, (float, np.floating)):
        return float(value).hex()
    if isinstance(value, (pd.DataFrame, pd.Series)):
        frame = value.to_frame() if isinstance(value, pd.Series) else value
        names = [str(label) for label in [*frame.index, *frame.columns]]
        return [names, [bits(frame.iloc[:, j].tolist()) for j in range(frame.shape[1])]]
    if isinstance(value, np.ndarray):
        return [list(value.shape), bits(value.ravel().tolist())]
    if isinstance(value, dict):
        return [[str(key), bits(part)] for key, part in value.items()]
    if isinstance(value, (list, tuple)):
        return [bits(part) for part in value]
    return str(value)


def without_times(text: str) -> str:
    """A text without the seconds a fit took, which no two fits share."""
    return re.sub(r"\d+(\.\d+)?(e-?\d+)? (s|ms)\b", "T", text)


def saved(fit: Any) -> str:
    """The saved fit without its times."""
    kept = json.loads(fit.to_json())
    kept.pop("timings", None)
    kept.get("record", {}).pop("timings", None)
    kept.get("manifest", {}).pop("time", None)
    return json.dumps(kept)


#: What is asked of every fit; what refuses is recorded by its message.
QUESTIONS = {
    "llf": lambda fit: [fit.llf, fit.deviance, fit.aic, fit.bic],
    "params": lambda fit: fit.params,
    "bse": lambda fit: fit.bse,
    "cov_params": lambda fit: fit.cov_params(),
    "covariance_parameters": lambda fit: fit.covariance_parameters,
    "cov_theta": lambda fit: fit.cov_theta(),
    "cov_theta_expected": lambda fit: fit.cov_theta("expected"),
    "varcorr": lambda fit: dict(fit.varcorr.items()),
    "residual_cov": lambda fit: fit.residual_cov,
    "ranef": lambda fit: fit.ranef,
    "ranef_cov": lambda fit: {group: list(blocks) for group, blocks in fit.ranef_cov.items()},
    "df": lambda fit: fit.df,
    "conf_int": lambda fit: fit.conf_int(),
    "kenward_roger": lambda fit: fit.anova(ddf="kenward-roger").frame,
    "anova_1": lambda fit: fit.anova(type=1).frame,
    "anova_3": lambda fit: fit.anova(type=3).frame,
    "between_within": lambda fit: fit.anova(ddf="between-within").frame,
    "robust": lambda fit: fit.robust("CR2").tidy(),
    "fitted": lambda fit: fit.fittedvalues,
    "resid": lambda fit: fit.resid(),
    "pearson": lambda fit: fit.resid("pearson"),
    "studentized": lambda fit: fit.resid("studentized"),
    "predict": lambda fit: fit.predict(),
    "simulate": lambda fit: fit.simulate(2, seed=1),
    "influence": lambda fit: fit.influence().clusters,
    "summary": lambda fit: without_times(str(fit.summary())),
    "html": lambda fit: without_times(fit.summary()._repr_html_()),
    "certificate": lambda fit: without_times(str(fit.certificate)),
    "saved": saved,
}


def answers(fit: Any) -> dict[str, Any]:
    """Every question's answer, or the refusal."""
    told = {}
    for name, question in QUESTIONS.items():
        with warnings.catch_warnings(record=True) as heard:
            warnings.simplefilter("always")
            try:
                told[name] = bits(question(fit))
            except Exception as refusal:
                told[name] = f"{type(refusal).__name__}: {refusal}"
        if heard:
            told[f"{name}: warnings"] = sorted(str(one.message) for one in heard)
    return told


def measure(cases: list[str], file: Path) -> None:
    """Fit each case alone and in a batch and write what they say."""
    sys.path.insert(0, str(ROOT))
    import numpy as np
    from tests.cases import ALL, data_of, reference
    from tests.fits import arguments_of

    import mlmfast as mlm

    record: dict[str, Any] = {}
    for case in cases or ALL:
        data, arguments = data_of(case), arguments_of(case)
        method = arguments.pop("method")
        with warnings.catch_warnings(record=True) as heard:
            warnings.simplefilter("always")
            model = mlm.LMM(reference(case)["formula"], data, **arguments)
            fit = model.fit(method)
            y = fit.fittedvalues.to_numpy() + fit.resid().to_numpy()
            batch = model.fit_many(np.column_stack([y, y[::-1]]), method)
        record[case] = answers(fit)
        record[case]["batch"] = bits([batch.glance(), batch.tidy()])
        record[case]["warnings"] = sorted(str(one.message) for one in heard)
    file.write_text(json.dumps(record))


def measured(cases: list[str], threads: int) -> dict[str, Any]:
    """The record of a process with that many threads."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "bits.json"
        command = [sys.executable, __file__, "--into", str(file), "--cases", *cases]
        subprocess.run(command, check=True, env=os.environ | {"RAYON_NUM_THREADS": str(threads)})
        return json.loads(file.read_text())


def differences(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """The cases and questions whose answers are not the same."""
    return [
        f"{case}: {name}"
        for case in after
        for name in sorted(before.get(case, {}).keys() | after[case].keys())
        if before.get(case, {}).get(name) != after[case].get(name)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--record", type=Path, help="write the bits here")
    parser.add_argument("--compare", type=Path, help="compare with this record")
    parser.add_argument("--cases", nargs="*", default=[], help="only these reference fits")
    parser.add_argument("--into", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.into:
        measure(given.cases, given.into)
        return
    one, two = (measured(given.cases, threads) for threads in (1, 2))
    between = differences(one, two)
    print(f"{len(one)} models; {len(between)} answers differ between one thread and two")
    if given.record:
        given.record.write_text(json.dumps(one))
    changed = differences(json.loads(given.compare.read_text()), one) if given.compare else []
    if given.compare:
        print(f"{len(changed)} answers differ from {given.compare}")
    print("\n".join((between + changed)[:200]))
    sys.exit(bool(between or changed))


if __name__ == "__main__":
    main()
