"""`python -m src.serve ...`: the command of this clone; what it does is told in `datakiln.cli.serve`."""

from __future__ import annotations

from datakiln.cli.serve import run

if __name__ == "__main__":
    run()
