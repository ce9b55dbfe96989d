"""Mistakes a person can mend: shown as one line, without a traceback unless `debug=true`."""

from __future__ import annotations

import difflib
import signal
from collections.abc import Iterable

from datakiln.saying import visible


class UserError(Exception):
    """A wrong file, key or value; the message names it and the way out, in one line."""

    def __str__(self) -> str:
        """The message, with nothing in it that would steer a terminal."""
        return visible(super().__str__(), lines=True)


class Interrupted(BaseException):
    """Somebody asked the program to stop; no Exception, so that nothing takes it for a fault that can be lived with.

    Arguments:
        reason: Name of the signal.
        way_on: What is left, and what goes on from there.
    """

    def __init__(self, reason: str, way_on: str = "the same command begins anew") -> None:
        """See the class."""
        super().__init__(f"stopped by {reason}; {way_on}")
        self.reason = reason
        self.exit_code = 128 + signal.Signals[reason].value


def near(name: str, known: Iterable[str]) -> str:
    """A hint such as "; did you mean 'latent_dim'?", or "" when nothing known resembles the name."""
    matches = difflib.get_close_matches(str(name), [str(k) for k in known], n=1, cutoff=0.6)
    return f"; did you mean {matches[0]!r}?" if matches else ""
