"""Arguments that make a fit, and the fit they make."""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Iterator
from typing import Any

import pandas as pd

from mlmfast.cli.progress import Progress
from mlmfast.data.files import read_table
from mlmfast.errors import DataError
from mlmfast.model import LMM
from mlmfast.relationships.pedigree import Pedigree, pedigree
from mlmfast.result import LMMResult
from mlmfast.words import name_or_number


def add_model_arguments(
    parser: argparse.ArgumentParser, takes_formula: bool = True, optional: bool = False
) -> None:
    """The data, the formula and the options of a fit; ``optional`` where they may be left out."""
    how = {"nargs": "?"} if optional else {}
    parser.add_argument("data", **how,  # type: ignore[arg-type]
                        help="CSV or other text (also .gz), Parquet or Feather file, a pattern in "
                             "quotes such as 'data/*.parquet', a folder; - for text on "
                             "stdin")  # fmt: skip
    if takes_formula:
        parser.add_argument("formula", **how,  # type: ignore[arg-type]
                            help='model, such as "y ~ x + (x | g)"')  # fmt: skip
    parser.add_argument("--sep", metavar="SIGN",
                        help="what separates fields: one character, tab or space (by default what "
                             "the first lines show)")  # fmt: skip
    parser.add_argument("--decimal", metavar="SIGN",
                        help="decimal sign, . or , (by default what the lines show)")  # fmt: skip
    parser.add_argument("--method", default="REML",
                        help="REML (default) or ML; type1, type2, type3 or mivque0 by "
                             "moments")  # fmt: skip
    parser.add_argument("--weights", metavar="COL", help="column w: Var(e) = sigma^2 / w")
    parser.add_argument("--offset", metavar="COL", help="column added to X beta")
    parser.add_argument("--factor", metavar="COL", nargs="+", action="extend", default=[],
                        help="read these columns as factors, whatever they look like")  # fmt: skip
    parser.add_argument("--na", choices=("drop", "raise"), default="drop", dest="na_action",
                        help="rows with missing values: drop them (default) or stop")  # fmt: skip
    add_missing_values(parser)
    parser.add_argument("--residual", metavar="STRUCTURE",
                        help='residual covariance, such as "us(visit | subject)"')  # fmt: skip
    parser.add_argument("--residual-scale", metavar="SCALE",
                        help='residual SD by level ("sex") or number ("power(x)")')  # fmt: skip
    parser.add_argument("--cov", metavar="FACTOR=FILE", nargs="+", action="extend", default=[],
                        help="relationship matrix of a factor's levels: a table, labels in its "
                             "first column and in its header")  # fmt: skip
    parser.add_argument("--pedigree", metavar="FACTOR=FILE", nargs="+", action="extend", default=[],
                        help="parents of a factor's levels: a table with columns id, sire and dam; "
                             "unknown ones are missing, 0 or .")  # fmt: skip
    parser.add_argument("--nobound", action="store_true",
                        help="variances of random effects may be negative, as by PROC MIXED's "
                             "NOBOUND (bounded=False)")  # fmt: skip
    parser.add_argument("--ddf", help="degrees of freedom of tests: a method's name or a number")


def add_missing_values(parser: argparse.ArgumentParser) -> None:
    """Fields of texts that are missing."""
    parser.add_argument("--na-values", metavar="TEXT", nargs="+", action="extend",
                        help="fields of a text file that are missing values, beside empty ones and "
                             "NA, such as .")  # fmt: skip


def fitted(arguments: argparse.Namespace, formula: str) -> LMMResult:
    """The fit; what it warns of goes to standard error, a line each."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        fit = _fitted(arguments, formula)
    for warning in caught:
        print(f"mlmfast: warning: {warning.message}", file=sys.stderr)
    return fit


def _fitted(arguments: argparse.Namespace, formula: str) -> LMMResult:
    with Progress() as progress:
        progress.phase("reading the table")
        data = read_table(
            arguments.data,
            arguments.factor,
            separator=arguments.sep,
            decimal=arguments.decimal,
            na_values=arguments.na_values or (),
        )
        progress.phase("coding the factors and columns")
        model = LMM(
            formula,
            data,
            residual=arguments.residual,
            residual_scale=arguments.residual_scale,
            cov=_relationships(arguments),
            weights=arguments.weights,
            offset=arguments.offset,
            na_action=arguments.na_action,
        )
        progress.phase("fitting")
        return model.fit(arguments.method, **fit_options(arguments))


def fit_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """What a fit is asked besides its method."""
    options: dict[str, Any] = {}
    if arguments.ddf is not None:
        options["ddf"] = name_or_number(arguments.ddf)
    if arguments.nobound:
        options["bounded"] = False
    return options


def _relationships(arguments: argparse.Namespace) -> dict[str, pd.DataFrame | Pedigree] | None:
    """Relationship matrices and pedigrees from ``FACTOR=FILE``."""
    out: dict[str, pd.DataFrame | Pedigree] = {}
    for factor, table in _tables(arguments, "cov", "kinship.csv"):
        out[factor] = table.set_index(table.columns[0])
    for factor, table in _tables(arguments, "pedigree", "parents.csv"):
        if factor in out:
            raise DataError(f"--cov and --pedigree both name {factor!r}; one of them is needed")
        out[factor] = pedigree(table)
    return out or None


def _tables(
    arguments: argparse.Namespace, option: str, example: str
) -> Iterator[tuple[str, pd.DataFrame]]:
    for item in getattr(arguments, option):
        factor, separator, path = item.partition("=")
        if not (factor and separator and path):
            raise DataError(
                f"--{option} takes FACTOR=FILE, such as animal={example}; found {item!r}"
            )
        yield factor, read_table(path, separator=arguments.sep, decimal=arguments.decimal)
