"""``python -m mlmfast``: the command line."""

import sys

from mlmfast.cli.commands import main

if __name__ == "__main__":
    sys.exit(main())
