"""``python -m mlmfast.catalogue`` prints the page of the catalogue."""

import sys

from mlmfast.catalogue.codes import page

if __name__ == "__main__":
    sys.stdout.write(page())
