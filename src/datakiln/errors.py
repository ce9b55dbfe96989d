"""Mistakes a person can mend: shown as one line, without a traceback unless `debug=true`."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from datakiln.saying import visible


class UserError(Exception):
    """A wrong file, key or value; the message names it and the way out, in one line."""

    def __str__(self) -> str:
        """The message, with nothing in it that would steer a terminal."""
        return visible(super().__str__(), lines=True)


def near(name: str, known: Iterable[str]) -> str:
    """A hint such as "; did you mean 'latent_dim'?", or "" when nothing known resembles the name."""
    matches = difflib.get_close_matches(str(name), [str(k) for k in known], n=1, cutoff=0.6)
    return f"; did you mean {matches[0]!r}?" if matches else ""
