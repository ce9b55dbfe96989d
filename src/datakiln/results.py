"""What a run measured and where it ran, as `result.json` keeps it."""

from __future__ import annotations

import math
import os
import platform
import typing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from datakiln import strictjson
from datakiln.errors import UserError
from datakiln.storage import small_text

FORMAT = 1
NOT_OFFERED = "not offered"  # begins the reason of a use that a model does not have
TRIED = "candidates/trials.json"  # in the folder of a run of model=auto
PACKAGES = ("torch", "lightning", "hydra-core", "numpy", "pandas", "scikit-learn")
Better = Literal["higher", "lower", "none"]


@dataclass
class Trial:
    """One attack of an audit: what it scored, each figure as value, lower and upper end.

    Attributes:
        name: Of the attack, in words.
        group: Whose records it was tried on, in words.
        figures: By name, such as "AUC"; a figure that was refused is missing.
        tried: Records attacked, by what they are: {"members": 1400, "non-members": 300}.
        why: Why figures are missing, or why the attack was not tried; empty if nothing is missing.
    """

    name: str
    group: str
    figures: dict[str, list[float]]
    tried: dict[str, int]
    why: str = ""


Finding = Literal["leak", "slight", "nothing", "weak"]


@dataclass
class Score:
    """One figure of a run, beside what real data and a naive resampling reach on it.

    Attributes:
        name: Slash path such as "fidelity/shape"; figures that are not comparable have different names.
        value: The number, or None where it could not be computed; a number that is not finite becomes None.
        better: Whether higher or lower is better, or "none" where neither is.
        low: Lowest possible value, None if unbounded.
        high: Highest possible value, None if unbounded.
        ceiling: The same figure of another real sample, None where there is none.
        floor: The same figure of columns resampled independently, None where there is none.
        why: Why there is no value; empty otherwise.
        detail: Named parts, such as one value per column.
        ideal: The value of a perfect generator where that is neither `low` nor `high`.
        n: Number of rows or examples that the value was measured on.
        note: What a reader must know of this very value.
        ceiling_n: The number of examples behind the ceiling.
        floor_n: The number of examples behind the floor.
        seconds: Time it took, references included.
        noise: Standard error of the value by chance alone, where it is known.
        ceiling_range: Lowest and highest ceiling that chance gives, over repeated draws of as many real examples.
        floor_range: The same of the floor.
        draws: How many draws are behind the ceiling; there may be fewer of the floor.
        trials: The attacks behind a figure of an audit.
        finding: What these come to: a "leak", a "slight" one, "nothing" found, or too "weak" to tell; None elsewhere.
    """

    name: str
    value: float | None
    better: Better = "none"
    low: float | None = None
    high: float | None = None
    ceiling: float | None = None
    floor: float | None = None
    why: str = ""
    detail: dict[str, float | None] | None = None
    ideal: float | None = None
    n: int | None = None
    note: str = ""
    ceiling_n: int | None = None
    floor_n: int | None = None
    seconds: float | None = None
    noise: float | None = None
    ceiling_range: list[float] | None = None
    floor_range: list[float] | None = None
    draws: int | None = None
    trials: list[Trial] | None = None
    finding: Finding | None = None

    def __post_init__(self) -> None:
        """Keeps a number that JSON cannot hold out of the file, and says so."""
        if self.value is not None and not math.isfinite(self.value):
            self.value, self.why = None, self.why or f"came out as {self.value}"

    @property
    def other_ceiling_n(self) -> int | None:
        """The ceiling's n where it is another than that of a figure that depends on n, as its name tells; else None."""
        if self.n is None or self.ceiling_n in (None, self.n) or not self.name.endswith(f"/n{self.n}"):
            return None
        return self.ceiling_n

    def _loss(self, value: float) -> float:
        """How bad a value is: lower is better, whatever the figure's direction."""
        return abs(value - self.ideal) if self.ideal is not None else -value if self.better == "higher" else value

    @property
    def differs(self) -> Literal["worse", "same", "better"] | None:
        """Whether the value lies outside of what chance gives real data; None where that is not known."""
        if self.value is None or self.ceiling_range is None or (self.better == "none" and self.ideal is None):
            return None
        own, real = self._loss(self.value), [self._loss(end) for end in self.ceiling_range]
        if self.ideal is not None and min(self.ceiling_range) <= self.ideal <= max(self.ceiling_range):
            real.append(0.0)  # chance gives real data the ideal too
        return "worse" if own > max(real) else "better" if own < min(real) else "same"

    @property
    def decides(self) -> bool | None:
        """Whether the figure tells real data from the naive floor at all; None where that is not known."""
        if self.ceiling_range is None or self.floor_range is None or (self.better == "none" and self.ideal is None):
            return None
        return min(map(self._loss, self.floor_range)) > max(map(self._loss, self.ceiling_range))

    @property
    def standing(self) -> float | None:
        """Where the value stands between floor (0) and ceiling (1); None where that order has no meaning.

        Where there is an ideal, closeness to it counts. For some figures, such as distances to training rows, a naive
        sample beats a real one: those have no standing. Nor has one whose floor and ceiling lie within chance, or whose
        ceiling is of another n, where that changes the figure.
        """
        if self.other_ceiling_n is not None or self.decides is False:
            return None
        if self.value is None or self.ceiling is None or self.floor is None:
            return None
        if self.ideal is not None:
            value, ceiling, floor = (-abs(x - self.ideal) for x in (self.value, self.ceiling, self.floor))
        else:
            sign = {"higher": 1, "lower": -1, "none": 0}[self.better]
            value, ceiling, floor = sign * self.value, sign * self.ceiling, sign * self.floor
        return (value - floor) / (ceiling - floor) if ceiling - floor > 2 * (self.noise or 0.0) else None


@dataclass
class Objective:
    """The figure that a sweep ranks by, and its value in this run (None where it could not be computed)."""

    name: str
    value: float | None
    direction: Better = "lower"


@dataclass
class Source:
    """Where the data came from: kind ("files", "stand-in", ...), one line for people, the hash of the data as read."""

    kind: str
    detail: str
    sha256: str


@dataclass
class Step:
    """What one preprocessing step did: its name and settings, and how many rows or cells it touched."""

    name: str
    detail: str = ""
    rows: int = 0
    cells: int = 0


@dataclass(frozen=True)
class Candidate:
    """A model that `model=auto` has tried.

    Attributes:
        model: Its name.
        why: Why it was chosen, or was not.
        is_chosen: Whether it was.
        twosample: AUC by which gradient boosting tells its samples from unseen rows; None where it was not judged.
        with_relations: The same with differences and ratios of numbers and parts of dates; None where there are none.
        noise: Standard error of the first by chance alone.
        memory: AUC by which the distance to its samples tells training rows from others.
        memory_noise: Its standard error.
        copies: Share of its samples equal to a training row.
        rows: Unseen rows that judged it.
        epochs: That it was trained for.
        cpu_seconds: Of its training, or of what was tried of it.
    """

    model: str
    why: str = ""
    is_chosen: bool = False
    twosample: float | None = None
    with_relations: float | None = None
    noise: float | None = None
    memory: float | None = None
    memory_noise: float | None = None
    copies: float | None = None
    rows: int = 0
    epochs: int = 0
    cpu_seconds: float = 0.0

    @property
    def score(self) -> float | None:
        """What is chosen by, lower is better: the mean of the two AUCs, neither of which is better below 0.5."""
        found = [max(value, 0.5) for value in (self.twosample, self.with_relations) if value is not None]
        return sum(found) / len(found) if found else None

    @classmethod
    def load(cls, path: Path) -> Candidate:
        """What a run has left of it; raises `UserError` for a file that is damaged."""
        return typing.cast(Candidate, _load(cls, path))


@dataclass
class Guarantee:
    """What differential privacy promises of a run, and what it does not.

    Attributes:
        mechanism: "marginals" or "dp_sgd".
        epsilon: Of the run; what was spent, not what was asked for.
        delta: Of the run.
        unit: Whose presence is hidden.
        neighbours: Which tables are told apart no better than that.
        accountant: How the cost was counted.
        rate: Probability that an example takes part in a step; None where nothing is sampled.
        noise: In words: how much, and where it is added.
        together_epsilon: Of all runs on the table that the ledger knows, this one included.
        together_delta: The same.
        runs: How many of them there are.
        covered: What may be given away under the promise.
        not_covered: What looks at real examples and was not paid for.
        note: What else a reader must know.
    """

    mechanism: str
    epsilon: float
    delta: float
    unit: str
    neighbours: str
    accountant: str
    rate: float | None
    noise: str
    together_epsilon: float
    together_delta: float
    runs: int
    covered: str
    not_covered: str
    note: str = ""


@dataclass
class StudyTable:
    """A table of a study as people read it: its title, the heads of its columns, its cells as text, and a remark."""

    title: str
    head: list[str]
    rows: list[list[str]]
    note: str = ""


@dataclass
class Study:
    """What a study of many fits has found; every number behind it is in `cells.jsonl` of its folder.

    Attributes:
        name: "utility", "augmentation" or "fairness".
        tone: How good the news is.
        sentence: The finding, for people who read one sentence.
        evidence: What it rests on, a line each.
        tables: For people who read on.
        pictures: Files beside the report, the one that shows the finding first.
        notes: What a reader must know, such as a cap that was reached.
        fits: How many fits have ended.
        of_fits: How many the whole study has.
        seconds: Time of the last call.
    """

    name: str
    tone: Literal["good", "fair", "bad", "unknown"]
    sentence: str
    evidence: list[str] = field(default_factory=list)
    tables: list[StudyTable] = field(default_factory=list)
    pictures: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    fits: int = 0
    of_fits: int = 0
    seconds: float = 0.0


@dataclass
class RunResult:
    """Everything a run leaves behind as figures; the structure of `result.json`.

    Attributes:
        overrides: The run's command-line choices, each "key=value".
        sampling: How the samples were drawn where a person has said so, such as {"steps": 50}.
        tags: Words that a person has given the run to find it by.
        objective: What a sweep ranks by, None where the run names nothing.
        stand_in: Whether the data was simulated in place of real data that could not be had.
        wall_seconds: Of each phase: "data", "fit", "sample", "evaluate", "plots".
        cpu_seconds: CPU time of the same phases, all threads together.
        fit_cpu_seconds: CPU time of the fit, all threads together, and of the processes it went on from; that of a
            budget is without the FID of samples on the way.
        n_steps: Optimizer steps.
        best_checkpoint: Path relative to the run's folder; empty where there is none.
        best_epoch: The epoch it was taken at, from 0 as in metrics.csv; what people read counts from 1.
        candidates: The models that `model=auto` has chosen among; empty where a person has named one.
        privacy: What differential privacy promises of the run; None without it.
        studies: What studies of many fits have found, where any were asked for.
        created: When the run ended, ISO 8601, UTC.
        format: Version of this structure.
    """

    model: str
    data: str
    seed: int
    provenance: Source
    overrides: list[str] = field(default_factory=list)
    sampling: dict[str, int | float | bool] = field(default_factory=dict)
    tags: list[str] = field(default_factory=list)
    objective: Objective | None = None
    figures: list[Score] = field(default_factory=list)
    n_train: int = 0
    n_holdout: int = 0
    n_synthetic: int = 0
    stand_in: bool = False
    steps: list[Step] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)
    machine: dict[str, str | int | float] = field(default_factory=dict)
    wall_seconds: dict[str, float] = field(default_factory=dict)
    cpu_seconds: dict[str, float] = field(default_factory=dict)
    fit_cpu_seconds: float | None = None
    peak_memory_mb: float | None = None
    epochs: int = 0
    n_steps: int = 0
    n_parameters: int = 0
    best_checkpoint: str = ""
    best_epoch: int | None = None
    candidates: list[Candidate] = field(default_factory=list)
    privacy: Guarantee | None = None
    studies: list[Study] = field(default_factory=list)
    created: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    format: int = FORMAT

    def save(self, path: Path) -> None:
        """Writes strict JSON, atomically."""
        strictjson.write(self, path)

    @classmethod
    def load(cls, path: Path) -> RunResult:
        """Reads what `save` wrote.

        Raises:
            UserError: The file is missing, is no JSON, or is not the result of a run.
        """
        try:
            state = strictjson.parse(small_text(path))
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror}); give the folder of a finished run") from None
        except ValueError as error:
            raise UserError(f"{path}: damaged, no JSON ({error}); run again or take it away") from None
        written = state.get("format") if isinstance(state, dict) else None
        if isinstance(written, int) and written > FORMAT:
            raise UserError(f"{path}: its format {written} is newer than this program's {FORMAT}; update the program")
        try:
            return typing.cast(RunResult, strictjson.read(cls, state))
        except ValueError as error:
            raise UserError(f"{path}: not the result of a run ({error}); take it away or run again") from None


def candidates_of(folder: Path) -> list[Candidate]:
    """What `model=auto` has tried in a run's folder, in order; empty where a person has named the model."""
    path = folder / TRIED
    return typing.cast(list[Candidate], _load(list[Candidate], path)) if path.exists() else []


def _load(kind: Any, path: Path) -> Any:  # noqa: ANN401 (any type)
    try:
        return strictjson.read(kind, strictjson.parse(small_text(path)))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: no trials of models ({error}); take it away or run again") from None


def headlines(figures: list[Score], a_group: int = 4) -> list[Score]:
    """The figures to show first: those with a direction, at most `a_group` of each first-level group, in order."""
    seen: dict[str, int] = {}
    chosen = []
    for score in figures:
        group = score.name.partition("/")[0]
        if score.better != "none" and seen.get(group, 0) < a_group:
            seen[group] = seen.get(group, 0) + 1
            chosen.append(score)
    return chosen


def package_versions() -> dict[str, str]:
    """Versions of python and of the packages that decide a run's figures."""
    from datakiln import __version__

    versions = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "not installed"
    versions["datakiln"] = __version__  # of this code: what is installed may be another
    return versions


def machine(device: str = "cpu") -> dict[str, str | int | float]:
    """The processor, the cores this process may use, memory in GB, the system, and the device that trained.

    Arguments:
        device: As torch writes it: "cpu", "cuda:0", "mps".
    """
    name = device
    if device.startswith("cuda"):
        import torch

        name = torch.cuda.get_device_name(torch.device(device))
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    found: dict[str, str | int | float] = {"cpu": _processor(), "cores": cores, "device": name}
    found["system"] = platform.platform()
    if "SC_PHYS_PAGES" in getattr(os, "sysconf_names", ()):
        found["memory_gb"] = round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9, 1)
    return found


def forget_peak_memory() -> None:
    """From now on `peak_memory_mb` is counted anew: a job of a sweep should not answer for those before it (Linux)."""
    reset = Path("/proc/self/clear_refs")
    if reset.exists() and os.access(reset, os.W_OK):
        reset.write_text("5")


def peak_memory_mb() -> float:
    """Most resident memory this process has held, in MB (10^6 bytes)."""
    status = Path("/proc/self/status")
    if status.exists():  # getrusage would, on Linux, count the parent's peak from before this program was started
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / 1e6
    import resource

    unit = 1 if platform.system() == "Darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
