"""The console command of this clone, which need not be installed for it."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def write_console_command(folder: Path) -> Path:
    """Makes an executable `datakiln` in a folder, as pip would write one."""
    folder.mkdir(parents=True, exist_ok=True)
    command = folder / "datakiln"
    command.write_text(
        f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(ROOT)!r})\nimport src\nsys.path.pop(0)\n"
        "from datakiln.cli.main import main\nmain()\n"
    )
    command.chmod(0o755)
    return command
