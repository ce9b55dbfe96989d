"""Many runs in one table: found in folders, grouped by what differs between them except the seed, best group first."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from src.errors import UserError, near
from src.results import Better, RunResult, headlines

# options that decide where a run writes and what it says, not what it learns
SILENT = ("seed", "model", "data", "output_dir", "data_dir", "logger", "ckpt_path", "debug", "objective")
NOT_SET = "(default)"
COSTS: dict[str, Better] = {
    "cost/wall_seconds": "lower",
    "cost/cpu_seconds": "lower",
    "cost/fit_cpu_seconds": "lower",
    "cost/peak_memory_mb": "lower",
    "cost/parameters": "none",
}
Key = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Run:
    """A result and the folder it was found in."""

    folder: Path
    result: RunResult


@dataclass(frozen=True)
class Failure:
    """A job that left an error and no result: its folder, its overrides and its message."""

    folder: Path
    overrides: str
    message: str


@dataclass(frozen=True)
class Spread:
    """One figure over the runs of a group.

    Attributes:
        values: One for each run that has the figure; at least one.
    """

    values: tuple[float, ...]

    @property
    def n(self) -> int:
        """Number of runs."""
        return len(self.values)

    @property
    def mean(self) -> float:
        """Mean over runs."""
        return statistics.fmean(self.values)

    @property
    def median(self) -> float:
        """Median over runs."""
        return statistics.median(self.values)

    @property
    def deviation(self) -> float | None:
        """Sample standard deviation; None for a single run."""
        return statistics.stdev(self.values) if self.n > 1 else None


@dataclass
class Group:
    """Runs that differ in nothing but their seed.

    Attributes:
        key: What tells the group from the others, by name: model, data, and the options that vary.
        runs: One run a seed, in the order of the seeds.
    """

    key: dict[str, str]
    runs: list[Run]

    @property
    def label(self) -> str:
        """The key in one line."""
        return ", ".join(value if name in ("model", "data") else f"{name}={value}" for name, value in self.key.items())

    @property
    def is_stand_in(self) -> bool:
        """Whether the group's data was simulated in place of real data."""
        return any(run.result.stand_in for run in self.runs)

    @cached_property
    def figures(self) -> dict[str, Spread]:
        """Every figure that has a value in at least one run, the objective under its own name."""
        values: dict[str, list[float]] = {}
        for run in self.runs:
            measured = {score.name: score.value for score in run.result.figures}
            measured |= _costs(run.result)
            if run.result.objective is not None:
                measured.setdefault(run.result.objective.name, run.result.objective.value)
            for name, value in measured.items():
                if value is not None:
                    values.setdefault(name, []).append(value)
        return {name: Spread(tuple(found)) for name, found in values.items()}


@dataclass(frozen=True)
class Comparison:
    """Groups, best first within each data set, and what could not be compared.

    Attributes:
        groups: By data set, then best first by the objective, those without it last.
        keys: Names that tell groups apart: "model", "data", then options.
        columns: Figures to show, by full name.
        better: The better direction of every figure.
        objective: The figure the groups are ranked by, "" where no run names one.
        failures: Jobs without a result.
        repeated: Runs left out because a newer run has the same options and seed.
    """

    groups: list[Group]
    keys: list[str]
    columns: list[str]
    better: dict[str, Better]
    objective: str
    failures: list[Failure]
    repeated: int

    @property
    def by_data(self) -> dict[str, list[Group]]:
        """Groups of each data set; figures of different data sets say nothing about each other."""
        found: dict[str, list[Group]] = {}
        for group in self.groups:
            found.setdefault(group.key["data"], []).append(group)
        return found

    @property
    def all_figures(self) -> list[str]:
        """The figures to show, then all others."""
        return list(dict.fromkeys([*self.columns, *(name for group in self.groups for name in group.figures)]))

    def is_best(self, group: Group, name: str) -> bool:
        """Whether no other group on the same data has a better median, where there is a direction and a contest."""
        rivals = [g.figures[name].median for g in self.by_data[group.key["data"]] if name in g.figures]
        direction = self.better.get(name, "none")
        if name not in group.figures or direction == "none" or len(set(rivals)) < 2:
            return False
        return group.figures[name].median == (max(rivals) if direction == "higher" else min(rivals))


def _costs(result: RunResult) -> dict[str, float | None]:
    """What the run took: time of all its phases and of the fit's processors, most memory, size."""
    wall, cpu = sum(result.wall_seconds.values()), sum(result.cpu_seconds.values())
    values = (wall, cpu or None, result.fit_cpu_seconds, result.peak_memory_mb, result.n_parameters)
    return dict(zip(COSTS, values, strict=True))


def collect(paths: Sequence[Path]) -> tuple[list[Run], list[Failure]]:
    """Reads every result below the paths, and every error of a job that left no result.

    Raises:
        UserError: A path does not exist, nothing is found, or a result is damaged.
    """
    runs: dict[Path, Run] = {}
    failures: dict[Path, Failure] = {}
    for path in paths:
        if not path.exists():
            siblings = [p.name for p in path.parent.iterdir() if p.is_dir()] if path.parent.is_dir() else []
            raise UserError(f"{path} does not exist{near(path.name, siblings)}; give a run's folder or one above it")
        if path.is_file() and path.name != "result.json":
            raise UserError(f"{path} is no result.json; give that of a run, a run's folder or one above it")
        root = path.parent if path.is_file() else path
        for file in sorted(root.rglob("result.json")):
            runs.setdefault(file.parent.resolve(), Run(file.parent, RunResult.load(file)))
        for file in sorted(root.rglob("error.txt")):
            if not (file.parent / "result.json").exists():
                failures.setdefault(file.parent.resolve(), _failure(file))
    if not runs and not failures:
        raise UserError(f"no result.json below {', '.join(map(str, paths))}; give the folder of a finished run")
    return list(runs.values()), list(failures.values())


def compare(runs: Sequence[Run], failures: Sequence[Failure] = (), figures: Sequence[str] = ()) -> Comparison:
    """Groups and ranks runs.

    Arguments:
        runs: What to compare.
        failures: Jobs without a result, passed through.
        figures: Figures to show, by full name or its beginning ("fid"); empty: the objective, the first of each kind.

    Raises:
        UserError: A figure that no run has.
    """
    keys = _keys([run.result for run in runs])
    newest: dict[tuple[Key, int], Run] = {}
    for run in sorted(runs, key=lambda run: run.result.created):
        newest[_key(run.result, keys), run.result.seed] = run
    groups: dict[Key, Group] = {}
    for (key, _), run in sorted(newest.items(), key=lambda item: item[0][1]):
        groups.setdefault(key, Group(dict(key), [])).runs.append(run)
    results = [run.result for run in newest.values()]
    named = Counter(result.objective.name for result in results if result.objective is not None)
    objective = named.most_common(1)[0][0] if named else ""
    better = COSTS | {score.name: score.better for result in results for score in result.figures}
    better |= {result.objective.name: result.objective.direction for result in results if result.objective is not None}
    ranked = sorted(groups.values(), key=lambda group: _rank(group, objective, better))
    columns = _columns(results, better, objective, figures)
    return Comparison(ranked, keys, columns, better, objective, list(failures), len(runs) - len(newest))


def _keys(results: Sequence[RunResult]) -> list[str]:
    """Model and data, the options that vary, and the data's hash where nothing else tells two data sets apart."""
    options = dict.fromkeys(name for result in results for name in _options(result))
    varying = [name for name in options if len({_options(result).get(name, NOT_SET) for result in results}) > 1]
    keys = ["model", "data", *varying]
    contents: dict[Key, set[str]] = {}
    for result in results:
        if result.provenance.kind != "generated":  # made anew for each seed: another hash is no other data set
            contents.setdefault(_key(result, keys), set()).add(result.provenance.sha256)
    return keys + (["content"] if any(len(hashes) > 1 for hashes in contents.values()) else [])


def _key(result: RunResult, keys: Iterable[str]) -> Key:
    data = f"{result.data} (stand-in)" if result.stand_in else result.data
    content = "" if result.provenance.kind == "generated" else result.provenance.sha256[:8]
    values = {**_options(result), "model": result.model, "data": data, "content": content}
    return tuple((name, values.get(name, NOT_SET)) for name in keys)


def _options(result: RunResult) -> dict[str, str]:
    """Overrides that may change what is learnt, by name."""
    split = (override.lstrip("+").partition("=") for override in result.overrides)
    return {name: value for name, _, value in split if name not in SILENT and not name.startswith(("hydra", "sweep"))}


def _columns(
    results: Sequence[RunResult], better: dict[str, Better], objective: str, asked: Sequence[str]
) -> list[str]:
    asked = [full for name in asked for full in _named(name, better)]
    measured = {
        score.name: score
        for result in results
        for score in result.figures
        if score.value is not None and (result.objective is None or score.value != result.objective.value)
    }
    first = [score.name for score in headlines(list(measured.values()), a_group=1)]
    return list(dict.fromkeys(asked or ([objective] if objective else []) + first))


def _named(name: str, known: Iterable[str]) -> list[str]:
    """The figure of that name, or all whose path begins with it: fid/... also holds what made its features, and n."""
    found = [name] if name in known else [full for full in known if full.startswith(f"{name}/")]
    if not found:
        hint = near(name, known) or f"; known: {', '.join(sorted(known))}"
        raise UserError(f"figures={name}: no run has this figure{hint}")
    return found


def _rank(group: Group, objective: str, better: dict[str, Better]) -> tuple[str, bool, float, str]:
    found = group.figures.get(objective)
    sign = -1.0 if better.get(objective) == "higher" else 1.0
    return group.key["data"], found is None, 0.0 if found is None else sign * found.median, group.label


def _failure(file: Path) -> Failure:
    lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    overrides, message = [*lines, "", ""][:2]
    return Failure(file.parent, overrides.strip(), message.strip() or "(the error file is empty)")
