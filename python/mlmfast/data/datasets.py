"""Data sets that come with the package."""

from importlib import resources

import pandas as pd


def load_sleepstudy() -> pd.DataFrame:
    """Reaction times of 18 subjects over ten days of sleep deprivation.

    Columns: ``Reaction`` (ms), ``Days``, ``Subject``. Source: Belenky et al. (2003), Journal of
    Sleep Research 12, 1-12, as distributed with R's lme4 (``sleepstudy``).

    Returns
    -------
    DataFrame of 180 rows

    Examples
    --------
    >>> load_sleepstudy().head(2)
       Reaction  Days Subject
    0  249.5600     0     308
    1  258.7047     1     308
    """
    source = resources.files("mlmfast") / "data" / "sleepstudy.csv"
    with resources.as_file(source) as path:
        return pd.read_csv(path, dtype={"Subject": str})
