"""`python -m src.report ...`: the command of this clone; what it does is told in `datakiln.cli.report`."""

from __future__ import annotations

from datakiln.cli.report import run

if __name__ == "__main__":
    run()
