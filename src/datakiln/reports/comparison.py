"""Many runs in one table: found in folders, grouped by what differs between them except the seed, best group first."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from datakiln.errors import UserError, near
from datakiln.reports.groups import COSTS, EACH_SEED, REFERENCES, Comparison, Failure, Group, Run
from datakiln.reports.page import render, write_text
from datakiln.reports.sweep_plots import COLOURS, sweep_plots
from datakiln.reports.watched import watched_plots
from datakiln.results import Better, RunResult, headlines
from datakiln.storage import small_text

# options that decide where a run writes and what it says, not what it learns
SILENT = ("seed", "model", "data", "output_dir", "data_dir", "logger", "ckpt_path", "debug", "objective")
NOT_SET = "(default)"
_TRAINED_JUDGE = re.compile(r"classifier@[0-9a-f]{8}")
Key = tuple[tuple[str, str], ...]


def collect(paths: Sequence[Path]) -> tuple[list[Run], list[Failure]]:
    """Reads every result below the paths, and every error of a job that left no result.

    Evaluations and studies inside a run's folder are no further runs: they are read where they are named themselves.

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
        found = {file.parent: file for file in sorted(root.rglob("result.json"))}
        for folder, file in found.items():
            if folder != root and any(above in found for above in folder.parents if above.is_relative_to(root)):
                continue
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
    newest, figures, caveat = _under_one_name(newest, figures)
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
    return Comparison(ranked, keys, columns, better, objective, list(failures), len(runs) - len(newest), caveat)


def _under_one_name(
    runs: dict[tuple[Key, int], Run], figures: Sequence[str]
) -> tuple[dict[tuple[Key, int], Run], list[str], str]:
    """Figures of pictures by a judge that is trained anew on the split of every seed, under one name.

    Where all runs of a seed have the same judge, and all groups a seed in common, models stay comparable; medians over
    seeds are then over judges, too. Elsewhere every judge keeps its name. Decided for each data set.

    Returns:
        The runs, the figures that were asked for, and what is to be said of it.
    """
    judges: dict[str, dict[int, set[str]]] = {}
    seeds: dict[str, dict[Key, set[int]]] = {}
    for (key, seed), run in runs.items():
        found = {mark for score in run.result.figures for mark in _TRAINED_JUDGE.findall(score.name)}
        if found:
            data = dict(key)["data"]
            judges.setdefault(data, {}).setdefault(seed, set()).update(found)
            seeds.setdefault(data, {}).setdefault(key, set()).add(seed)
    merged = {
        data
        for data, by_seed in judges.items()
        if all(len(found) == 1 for found in by_seed.values())
        and len(set.union(*by_seed.values())) > 1
        and set.intersection(*seeds[data].values())
    }
    if not merged:
        return runs, list(figures), ""

    def named(name: str) -> str:
        return _TRAINED_JUDGE.sub(EACH_SEED, name)

    def renamed(run: Run) -> Run:
        aim = run.result.objective
        aim = None if aim is None else replace(aim, name=named(aim.name))
        scores = [replace(score, name=named(score.name)) for score in run.result.figures]
        return replace(run, result=replace(run.result, objective=aim, figures=scores))

    made = {at: renamed(run) if dict(at[0])["data"] in merged else run for at, run in runs.items()}
    known = {score.name for run in made.values() for score in run.result.figures}
    caveat = "pictures of each seed are judged by a classifier of that seed's own split"
    if any(len(set(map(frozenset, seeds[data].values()))) > 1 for data in merged):
        caveat += ", and not all rows have the same seeds"
    return made, [name if name in known else named(name) for name in figures], caveat


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
    """Overrides that may change what is learnt, and how samples were drawn, by name."""
    split = (override.lstrip("+").partition("=") for override in result.overrides)
    told = {name: value for name, _, value in split if name not in SILENT and not name.startswith(("hydra", "sweep"))}
    return told | {name: str(value) for name, value in result.sampling.items()}


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


def _rank(
    group: Group, objective: str, better: dict[str, Better]
) -> tuple[str, bool, float, list[tuple[bool, float, str]]]:
    found = group.figures.get(objective)
    sign = -1.0 if better.get(objective) == "higher" else 1.0
    return group.key["data"], found is None, 0.0 if found is None else sign * found.median, _counted(group.label)


def _counted(label: str) -> list[tuple[bool, float, str]]:
    """A key to sort labels by, in which 9 comes before 10."""
    parts = re.split(r"(\d+(?:\.\d+)?)", label)
    return [(bool(i % 2), float(part) if i % 2 else 0.0, part) for i, part in enumerate(parts)]


def _failure(file: Path) -> Failure:
    try:
        overrides, message = [*small_text(file).splitlines(), "", ""][:2]
    except ValueError as error:
        overrides, message = "", f"({file.name} cannot be read: {error})"
    return Failure(file.parent, overrides.strip(), message.strip() or "(the error file is empty)")


STATISTICS = ("mean", "std", "median", "n")


@dataclass(frozen=True)
class Strip:
    """Where the runs of a group lie on the objective's axis, in percent of the axis of their data set."""

    values: list[float]
    median: float


def write_comparison(comparison: Comparison, folder: Path) -> list[Path]:
    """Writes comparison.csv, with every figure, and comparison.html; returns both paths."""
    folder.mkdir(parents=True, exist_ok=True)
    table, page = folder / "comparison.csv", folder / "comparison.html"
    write_text(csv_text(comparison), table)
    strips = {
        id(group): strip for groups in comparison.by_data.values() for group, strip in _strips(comparison, groups)
    }
    plots = {data: sweep_plots(comparison, groups) for data, groups in comparison.by_data.items()}
    watched = {data: watched_plots(_lines(comparison, groups)) for data, groups in comparison.by_data.items()}
    shown = {"comparison": comparison, "strips": strips, "plots": plots, "references": REFERENCES, "id": id}
    shown |= {"watched": watched}
    write_text(render("comparison.html", **shown), page)
    return [table, page]


def _lines(comparison: Comparison, groups: Sequence[Group]) -> dict[str, list[Run]]:
    """Runs of one data set by model, or by group where there is one model; none where these would be too many."""
    is_of_models = "model" in comparison.keys and len({group.key["model"] for group in groups}) > 1
    found: dict[str, list[Run]] = {}
    for group in groups:
        found.setdefault(group.key["model"] if is_of_models else group.label, []).extend(group.runs)
    return found if len(found) <= 2 * COLOURS else {}


def csv_text(comparison: Comparison) -> str:
    """One row a group: its key, its seeds, and mean, standard deviation, median and number of runs of every figure."""
    names = comparison.all_figures
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*comparison.keys, "runs", "seeds", *(f"{name} {what}" for name in names for what in STATISTICS)])
    for group in comparison.groups:
        row: list[object] = [*group.key.values(), len(group.runs), " ".join(str(run.result.seed) for run in group.runs)]
        for name in names:
            found = group.figures.get(name)
            row += ["", "", "", 0] if found is None else [found.mean, found.deviation, found.median, found.n]
        writer.writerow(row)
    return text.getvalue()


def _strips(comparison: Comparison, groups: list[Group]) -> list[tuple[Group, Strip]]:
    found = [(group, group.figures[comparison.objective]) for group in groups if comparison.objective in group.figures]
    values = [value for _, spread in found for value in spread.values]
    if len(values) < 2 or max(values) == min(values):
        return []
    low, span = min(values), max(values) - min(values)
    return [
        (group, Strip([2 + 96 * (v - low) / span for v in spread.values], 2 + 96 * (spread.median - low) / span))
        for group, spread in found
    ]
