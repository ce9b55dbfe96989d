"""`python -m src.sample ...`: the command of this clone; what it does is told in `datakiln.cli.sample`."""

from __future__ import annotations

from datakiln.cli.sample import run

if __name__ == "__main__":
    run()
