"""Fits in processes of their own, with one thread and with several."""

import os
import subprocess
import sys
from pathlib import Path


def output_for_any_number_of_threads(code: str) -> str:
    """What a script prints, which must be the same with one thread and with three."""
    outputs = [
        subprocess.run(
            [sys.executable, "-W", "ignore", "-c", code],
            cwd=Path(__file__).parents[1],
            env=os.environ | {"RAYON_NUM_THREADS": str(threads)},
            capture_output=True,
            text=True,
            check=True,
            timeout=300,
        ).stdout
        for threads in (1, 3)
    ]
    assert outputs[0]
    assert outputs[0] == outputs[1]
    return outputs[0]
