"""The report of a validation, written to files."""

from __future__ import annotations

import os
from pathlib import Path

from mlmfast.data.whole_files import write_whole
from mlmfast.validation.outcome import Outcome
from mlmfast.validation.page import validation_page


class ValidationReport(Outcome):
    """The outcome of `mlmfast.validate`: ``passed``, ``checks``, ``frame``, ``html()``."""

    def html(self) -> str:
        """The report as a page of its own that needs nothing from elsewhere and runs no script."""
        return validation_page(self)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the page, and its numbers beside it with the ending ``.json``.

        Raises
        ------
        OSError
            Where it cannot be written.
        """
        write_whole(path, self.html())
        self.to_json(Path(path).with_suffix(".json"))
