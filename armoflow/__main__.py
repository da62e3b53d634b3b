"""``python -m armoflow``: the command line."""

from __future__ import annotations

import sys

from armoflow.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
