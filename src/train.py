"""`python -m src.train ...`: the command of this clone; what it does is told in `datakiln.cli.train`."""

from __future__ import annotations

from datakiln.cli.train import run

if __name__ == "__main__":
    run()
