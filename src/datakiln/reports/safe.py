"""The section of a report on safety: every attack that was tried, and in plain words what may be released.

Nothing here is ever called free of persons: attacks that fail are no proof. What depends on single training rows stays
out of a public report.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from datakiln.reports.meanings import short_name, stem
from datakiln.results import RunResult, Score, Trial
from datakiln.wording import counted, number

PRIVATE = "this report is computed on training rows and is itself private"
PUBLIC = "what depends on single training rows is left out of this report; result.json and plots beside it stay private"
LEFT_OUT = "left out of a public report, since it depends on single training rows"
# extremes and rare values, which a single row may decide
SINGLE = (
    "fidelity/boundary_adherence",
    "fidelity/category_adherence",
    "fidelity/coverage",
    "fidelity/rare_coverage",
    "privacy/dcr_p5",
    "privacy/nndr_p5",
)
# plots, by the first word of their files' names, on which a real example is a point, a picture or the end of an axis
SHOWING = ("beside", "neighbours", "embedding", "latent", "columns")
OPEN = ("model", "data", "epochs", "seed", "privacy", "privacy.epsilon", "privacy.delta")  # options that tell of no row
HELD = (" of the model", " reference model", " shadow models")  # attacks of somebody who holds the model
ANSWERS = {
    "leak": "Do not release: membership can be told.",
    "slight": "Release only to people who may see the real {noun}: membership can be told a little better than by "
    "guessing.",
    "nothing": "Nothing that was tried speaks against a release.",
    "weak": "Too weak to tell: do not take this for safety.",
}


@dataclass(frozen=True)
class TrialTable:
    """Attacks behind one figure: heads, and a row each of name, group, records, cells and reasons."""

    title: str
    says: str
    heads: list[str]
    rows: list[tuple[str, str, str, list[str], str]]


@dataclass(frozen=True)
class Safe:
    """What the section shows.

    Attributes:
        answer: One sentence.
        tone: "good", "fair", "bad" or "unknown".
        rules: What was tried, what it found, what it cannot show, what follows for a release.
        tables: The attacks.
    """

    answer: str
    tone: str
    rules: list[str]
    tables: list[TrialTable]


TONES = {"leak": "bad", "slight": "fair", "nothing": "good", "weak": "unknown"}
TITLES = {
    "privacy/membership_auc": ("Membership: was this record learnt from?", "AUC: 0.5 is a guess, 1 certainty."),
    "privacy/singling_out": ("Singling out: does a description of synthetic rows fit exactly one person?", ""),
    "privacy/linkability": ("Linkability: do synthetic rows join two halves of what is known of a person?", ""),
    "privacy/inference": ("Inference: do synthetic rows tell a secret of a person who is known otherwise?", ""),
    "privacy/canaries": ("Canaries: do made-up rows come back that were planted in the training rows?", ""),
}


def safe_section(result: RunResult, noun: str, is_public: bool = False) -> Safe | None:
    """The section; None where no attack was tried.

    Arguments:
        result: The run.
        noun: "rows" or "pictures".
        is_public: Whether the report leaves out what depends on single training rows.
    """
    audits = [score for score in result.figures if score.trials]
    if not audits:
        return None
    game = next((score for score in audits if stem(score.name) == "privacy/membership_auc"), None)
    finding = None if game is None else game.finding
    rules = [] if game is None else _of_games(game, result, noun)
    rules += [_of_risk(score) for score in audits if score is not game]
    rules.append(
        "What it cannot show: an attack that was not tried, a larger release than this one, or what somebody knows "
        f"besides. Attacks that fail prove nothing about {noun} that were not attacked. A guarantee is trained, with "
        "differential privacy, not measured."
    )
    rules.append(f"{(PUBLIC if is_public else PRIVATE).capitalize()}.")
    if finding is None:
        return Safe("No membership game could be played.", "unknown", rules, [_table(score) for score in audits])
    answer = ANSWERS[finding].format(noun=noun)
    return Safe(answer, TONES[finding], rules, [_table(score) for score in audits])


def _of_games(game: Score, result: RunResult, noun: str) -> list[str]:
    trials = [trial for trial in game.trials or [] if trial.figures]
    attacks = list(dict.fromkeys(trial.name for trial in trials))
    most = max(trials, key=lambda trial: sum(trial.tried.values()))
    members, others = (most.tried.get(kind, 0) for kind in ("members", "non-members"))
    tried = (
        f"What was tried: {counted(len(attacks), 'attack')} in {counted(len(trials), 'game')} on {members:,} learnt "
        f"and {others:,} held-out {noun}, with all {result.n_synthetic:,} synthetic {noun}. Intervals hold for all "
        "games together, at 95 %."
    )
    best = trials[0]
    rate = next((f"; {name} {number(v[0])}" for name, v in best.figures.items() if name != "AUC"), "")
    found = f"What it found: {best.name} on {best.group}, AUC {_with_ends(best.figures['AUC'])}{rate}; "
    found += game.note.rpartition("; ")[2] + "."
    telling = [trial for trial in trials if trial.figures["AUC"][1] > 0.5]
    by_model = [trial for trial in telling if any(mark in trial.name for mark in HELD)]
    rules = [tried, found]
    if game.finding in ("leak", "slight") and by_model and len(by_model) == len(telling):
        rules.append(
            f"Only attacks that hold the model told members: the checkpoint must stay where the real {noun} are, and "
            f"the synthetic {noun} alone gave no member away."
        )
    if game.finding == "nothing":
        rules.append(
            f"Release no more than the {result.n_synthetic:,} {noun} that were audited: more of them tell more."
        )
    if game.finding in ("leak", "slight"):
        rules.append(
            "What helps: fewer epochs, a smaller model, more training records, validation rows apart "
            "(data.validation=apart), or training with differential privacy; then audit again."
        )
    return rules


def _of_risk(score: Score) -> str:
    title = TITLES.get(stem(score.name), (short_name(score.name), ""))[0].partition(":")[0]
    return f"{title}: {score.note}."


def _table(score: Score) -> TrialTable:
    title, says = TITLES.get(stem(score.name), (short_name(score.name), ""))
    trials = score.trials or []
    heads = list(dict.fromkeys(head for trial in trials for head in trial.figures))
    rows = [_row(trial, heads) for trial in trials]
    return TrialTable(title, says, heads, rows)


def _row(trial: Trial, heads: Sequence[str]) -> tuple[str, str, str, list[str], str]:
    cells = [_with_ends(trial.figures[head]) if head in trial.figures else "–" for head in heads]
    tried = " / ".join(f"{count:,} {kind}" for kind, count in trial.tried.items())
    return trial.name, trial.group, tried, cells, trial.why


def _with_ends(values: Sequence[float]) -> str:
    """A value with its interval, such as "0.84 (0.81 to 0.87)"."""
    if len(values) < 3:
        return number(values[0])
    return f"{number(values[0])} ({number(values[1])} to {number(values[2])})"


def public(result: RunResult) -> RunResult:
    """The run without what depends on single training rows, the hash of its data, and options that may name any."""
    figures = []
    for score in result.figures:
        if stem(score.name) in SINGLE:
            score = Score(score.name, None, score.better, why=LEFT_OUT)
        figures.append(replace(score, detail=None))
    source = replace(result.provenance, detail=Path(result.provenance.detail).name, sha256="left out")
    told = [word for word in result.overrides if word.partition("=")[0].lstrip("+") in OPEN]
    return replace(result, figures=figures, provenance=source, overrides=told)


def showable(plots: Sequence[Path]) -> list[Path]:
    """The plots on which no real example is a point or a picture."""
    return [plot for plot in plots if plot.stem.split("-")[0].split("_")[0] not in SHOWING]
