"""`python -m src.evaluate ...`: the command of this clone; what it does is told in `datakiln.cli.evaluate`."""

from __future__ import annotations

from datakiln.cli.evaluate import run

if __name__ == "__main__":
    run()
