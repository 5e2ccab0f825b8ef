"""Runs the load test: `python -m bench.load`."""

import sys

from bench.load import main

if __name__ == "__main__":
    sys.exit(main())
