"""What benches of models of pictures share: words that they are asked with, and a model trained within a budget."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def options(words: Sequence[str], defaults: Mapping[str, str]) -> dict[str, str]:
    """The defaults with what the words `name=value` say; leaves with a line where one is no option."""
    asked = dict(defaults)
    for word in words:
        key, sign, value = word.partition("=")
        if key not in asked or not sign:
            raise SystemExit(f"{word!r} is none of {', '.join(f'{key}=' for key in asked)}")
        asked[key] = value
    return asked


def trained(model: str, asked: Mapping[str, str], without: str | None) -> Any:  # noqa: ANN401 (a `Synthesizer`)
    """A synthesizer of a model, by our own command.

    Arguments:
        model: Its name.
        asked: Options "data", "budget", "seed" and "data_dir"; and "train", further words of our command.
        without: Classes that it does not see, with commas; None: it sees all.
    """
    from datakiln.sampling.synthesizer import Synthesizer

    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "run"
        words = [f"model={model}", f"data={asked['data']}", f"budget={asked['budget']}", f"seed={asked['seed']}"]
        words += ["epochs=1000", "plots=false", "~metrics.image", f"hydra.run.dir={folder}", f"root={place}"]
        words += [f"data_dir={asked['data_dir']}"] if asked["data_dir"] else []
        words += asked["train"].split()
        words += [] if without is None else [f"data.without=[{without}]"]
        done = subprocess.run([sys.executable, "-m", "src.train", *words], capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{model}: {done.stderr.strip() or done.stdout.strip()}")
        return Synthesizer.load(folder)
