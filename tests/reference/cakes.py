"""Breaking angles of chocolate cakes: 15 replicates of 3 recipes at 6 temperatures.

Cochran and Cox (1957), Experimental Designs, table 7.5; the data set `cake` of R's lme4 1.1-31.
"""

import numpy as np
import pandas as pd

#: By replicate and recipe (A, B, C), angles at 175, 185, ..., 225 degrees Fahrenheit.
_ANGLES = """
42 46 47 39 53 42 | 39 46 51 49 55 42 | 46 44 45 46 48 63
47 29 35 47 57 45 | 35 46 47 39 52 61 | 43 43 43 46 47 58
32 32 37 43 45 45 | 34 30 42 35 42 35 | 33 24 40 37 41 38
26 32 35 24 39 26 | 25 26 28 46 37 37 | 38 41 38 30 36 35
28 30 31 37 41 47 | 31 30 29 35 40 36 | 21 25 31 35 33 23
24 22 22 29 35 26 | 24 29 29 29 24 35 | 24 33 30 30 37 35
26 23 25 27 33 35 | 22 25 26 26 29 36 | 20 21 31 24 30 33
24 33 23 32 31 34 | 26 23 24 31 27 37 | 24 23 21 24 21 35
24 27 28 33 34 23 | 27 26 32 28 32 33 | 24 18 21 26 28 28
24 33 27 31 30 33 | 21 24 24 27 37 30 | 26 28 27 27 35 35
33 39 33 28 33 30 | 20 27 33 31 28 33 | 28 25 26 25 38 28
28 31 27 39 35 43 | 23 28 31 34 31 29 | 24 30 28 35 33 28
29 28 31 29 37 33 | 32 35 30 27 35 30 | 28 29 43 28 33 37
24 40 29 40 40 31 | 23 25 22 19 21 35 | 19 22 27 25 25 35
26 28 32 25 37 33 | 21 21 28 26 27 20 | 21 28 25 25 31 25
"""


def cakes():
    """A row a cake."""
    angles = np.array(_ANGLES.replace("|", " ").split(), dtype=float)
    replicate, recipe, temp = (
        part.ravel() for part in np.meshgrid(range(1, 16), list("ABC"), range(6), indexing="ij")
    )
    return pd.DataFrame(
        {
            "angle": angles,
            "replicate": replicate.astype(str),
            "recipe": recipe,
            "temp": (175 + 10 * temp).astype(str),
        }
    )
