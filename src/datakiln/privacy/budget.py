"""What a person asks for: the options of `privacy=`, checked."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from datakiln.errors import UserError, near

MECHANISMS = ("none", "marginals", "dp_sgd")


@dataclass
class Privacy:
    """The options below `privacy:`.

    Attributes:
        mechanism: "none", "marginals" or "dp_sgd".
        epsilon: Of the run, above 0; None for no guarantee, as in a sweep that compares.
        delta: Of the run, in (0, 1); usually below one over the number of rows.
        strict: Whether options that show training rows more than once are refused.
        public: What is declared, or the path of a file with it; see `datakiln.data.tables.public`.
        label: Of marginals: whether those with the target are measured, in its classes.
        adaptive: Of marginals: whether they are chosen by how far the mixture is off.
        classes: Of marginals: of the mixture.
        clip: Of dp_sgd: largest norm of a row's gradient.
        accountant: Of dp_sgd: "prv" or "rdp".
        total: Most epsilon that all runs together may spend on the table; None for no limit.
        ledger: Where what was spent is kept.
        folder: Of the run.
    """

    mechanism: Literal["none", "marginals", "dp_sgd"] = "none"
    epsilon: float | None = 1.0
    delta: float = 1e-9
    strict: bool = False
    public: str | dict[str, Any] | None = None
    label: bool = True
    adaptive: bool = True
    classes: int = 128
    clip: float = 1.0
    accountant: Literal["prv", "rdp"] = "prv"
    total: float | None = None
    ledger: str = ""
    folder: str = ""

    def __post_init__(self) -> None:
        """Refuses what promises nothing."""
        if self.mechanism not in MECHANISMS:
            known = ", ".join(MECHANISMS)
            raise UserError(
                f"privacy.mechanism={self.mechanism} is not one of {known}{near(self.mechanism, MECHANISMS)}"
            )
        if self.epsilon is not None and (not _is_number(self.epsilon) or not 0 < self.epsilon <= 100):
            told = f"privacy.epsilon={self.epsilon} must be a number above 0 and at most 100"
            raise UserError(f"{told}, or null for no guarantee")
        if not _is_number(self.delta) or not 0 < self.delta < 0.1:
            raise UserError(f"privacy.delta={self.delta} must be a number above 0 and below 0.1, such as 1e-9")
        if self.total is not None and (not _is_number(self.total) or self.total <= 0):
            raise UserError(f"privacy.total={self.total} must be a number above 0, or null for no limit")
        if isinstance(self.classes, bool) or not isinstance(self.classes, int) or not 1 <= self.classes <= 4096:
            raise UserError(f"privacy.classes={self.classes} must be a whole number from 1 to 4096")
        if not _is_number(self.clip) or self.clip <= 0:
            raise UserError(f"privacy.clip={self.clip} must be a number above 0")
        if self.accountant not in ("prv", "rdp"):
            raise UserError(f"privacy.accountant={self.accountant} must be prv or rdp")

    @classmethod
    def of(cls, options: Mapping[str, Any] | None) -> Privacy:
        """From the plain options of a config; raises `UserError` for one that is unknown or impossible."""
        known = cls.__dataclass_fields__
        for key in options or {}:
            if key not in known:
                raise UserError(f"privacy.{key} is no option of privacy{near(str(key), known)}")
        return cls(**(options or {}))  # type: ignore[arg-type]

    @property
    def is_on(self) -> bool:
        """Whether training is under a guarantee."""
        return self.mechanism != "none" and self.epsilon is not None

    @property
    def budget(self) -> float:
        """Epsilon where there is a guarantee; raises ValueError without one."""
        if self.epsilon is None:
            raise ValueError("there is no guarantee without an epsilon")
        return self.epsilon


def _is_number(value: Any) -> bool:  # noqa: ANN401 (any yaml value)
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
