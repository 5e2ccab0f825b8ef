"""Runs the command line: `python -m cfviz`."""

import sys

from cfviz.cli import main

if __name__ == "__main__":
    sys.exit(main())
