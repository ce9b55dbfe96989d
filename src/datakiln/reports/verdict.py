"""What a run's figures come to: how faithful, how useful and how safe the synthetic data is, each with its evidence.

A claim is "good" only where every key figure that it rests on is known to lie within what chance gives real data, or
beyond it on the better side. One figure that is worse takes that away, and so does one that tells of lost variety.
Where figures of privacy are missing, nothing is claimed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath, PureWindowsPath
from typing import Literal

from datakiln.reports.meanings import short_name, stem
from datakiln.results import RunResult, Score
from datakiln.wording import number

Tone = Literal["good", "fair", "bad", "unknown"]
Topic = Literal["faithful", "useful", "safe"]
Difference = Literal["worse", "same", "better"]

# by stem of their names, the most telling first
KEY: dict[Topic, tuple[str, ...]] = {
    "faithful": (
        "twosample/boosting_auc",
        "twosample/boosting_relations",
        "fidelity/relations",
        "fidelity/trend",
        "fidelity/strong_trend",
        "fidelity/shape",
        "fidelity/beta_recall",
        "fidelity/coverage",
        "fidelity/distinct",
        "fidelity/alpha_precision",
        "twosample/logistic_auc",
        "twosample/gru32_auc",
        "series/autocorrelation",
        "series/changes",
        "series/correlation",
        "series/marginals",
        "series/transitions",
        "series/rule_violations",
        "series/discriminative",
        "fid",
        "kid",
        "recall",
        "precision",
        "coverage",
        "density",
        "judge/class_share_distance",
        "judge/classes_covered",
    ),
    "useful": (
        "utility/tstr_auc",
        "utility/tstr_r2",
        "utility/tstr_accuracy",
        "utility/tstr_f1",
        "utility/tstr_rmse",
        "judge/accuracy",
        "error",  # of a classifier from few labels, beside the same one without the other pictures
        "error_alone",
    ),
    "safe": (
        "privacy/membership_auc",
        "privacy/singling_out",
        "privacy/linkability",
        "privacy/inference",
        "privacy/copies",
        "privacy/closer_to_train",
        "privacy/dcr_ratio",
        "privacy/dcr_p5",
        "privacy/dcr_median",
        "memorisation/copies",
        "memorisation/near_copies",
    ),
}
COLLAPSE = (
    "fidelity/coverage",
    "fidelity/distinct",
    "recall",
    "coverage",
    "prd_f8",
    "judge/classes_covered",
    "judge/class_share_distance",
)
PRECISION = ("fidelity/alpha_precision", "precision")
VARIETY = ("fidelity/beta_recall", *COLLAPSE)
PICTURES = ("fid", "fid_infinity", "kid", "precision", "recall", "density", "coverage", "inception_score", "prd_f8")
COPIES = ("privacy/copies", "memorisation/copies", "memorisation/near_copies")
RISKS = ("privacy/singling_out", "privacy/linkability", "privacy/inference")
NEEDED = {"rows": ("privacy/copies", "privacy/closer_to_train"), "pictures": ("memorisation/copies",)}
FEW = 20  # examples, held out or judged: shares of fewer say nothing about privacy
NEAR = 0.5  # of the way from the naive floor to real data, below which a figure that is worse is clearly so
SHOWN = 3

ADJECTIVES: dict[Topic, dict[Tone, str]] = {
    "faithful": {
        "good": "faithful",
        "fair": "nearly faithful",
        "bad": "not faithful",
        "unknown": "too little to tell whether faithful",
    },
    "useful": {
        "good": "useful",
        "fair": "less useful than real data",
        "bad": "of little use",
        "unknown": "use not measured",
    },
    "safe": {
        "good": "safe by what was measured",
        "fair": "safety in doubt",
        "bad": "not safe to share",
        "unknown": "too little to tell whether safe",
    },
}
DIFFERS: dict[Difference, str] = {
    "worse": "worse than real data by more than chance",
    "same": "as real data",
    "better": "better than chance gives real data",
}
DECIDES_NOTHING = "this figure decides nothing here"
FARTHER = "farther from what was learnt than real data"
Mood = Literal["worse", "same", "better", "nothing", ""]


@dataclass(frozen=True)
class Evidence:
    """One figure behind a claim: its full name, what it says, how it differs from real data, and what kind of news."""

    name: str
    said: str
    differs: str
    mood: Mood


@dataclass(frozen=True)
class Claim:
    """One sentence about the data, how good the news is, and the figures it rests on."""

    topic: Topic
    tone: Tone
    sentence: str
    evidence: list[Evidence] = field(default_factory=list)


@dataclass(frozen=True)
class Verdict:
    """What a run's figures come to.

    Attributes:
        subject: Such as "Synthetic rows of customers.csv".
        tone: The worst of the claims' that were measured; never "good" where safety is unknown or the data a stand-in.
        headline: A few words for each claim.
        claims: How faithful, how useful, how safe.
    """

    subject: str
    tone: Tone
    headline: str
    claims: list[Claim]


def judged(result: RunResult, noun: str | None = None) -> Verdict:
    """The verdict on a run.

    Arguments:
        result: Its figures.
        noun: What one example is, in the plural: "rows" or "pictures"; None to tell it by the figures.
    """
    noun = noun or nouns(result)
    subject = f"Synthetic {noun} of {data_name(result)}"
    claims = [_faithful(result, noun, subject), _useful(result, noun), _safe(result, noun)]
    headline = ", ".join(ADJECTIVES[claim.topic][claim.tone] for claim in claims)
    tones = [claim.tone for claim in claims if claim.topic != "useful" or claim.tone != "unknown"]
    tone: Tone = next(kind for kind in ("bad", "unknown", "fair", "good") if kind in tones)  # type: ignore[assignment]
    keys = [score for topic in KEY for score in key_figures(result, topic)]
    if tone == "good" and (result.stand_in or any(difference(score) == "worse" for score in keys)):
        tone = "fair"  # also where rows lie oddly far from learnt ones, which is no risk but nothing like real data
    if result.stand_in:
        headline = f"on stand-in data, {headline}"
    return Verdict(subject, tone, headline, claims)


def nouns(result: RunResult) -> str:
    """What the examples of a run are: "pictures" or "rows"."""
    stems = {stem(score.name) for score in result.figures if not score.name.startswith("best/")}
    drawn = stems & set(PICTURES) or any(name.startswith(("judge/", "memorisation/")) for name in stems)
    # where no figure of pictures was asked for, the split tells what was learnt from
    split = any(step.name == "split" and " pictures" in step.detail for step in result.steps)
    return "pictures" if drawn or split else "rows"


def data_name(result: RunResult) -> str:
    """The name a person knows the data by: of their file or folder, or of the data set."""
    detail = result.provenance.detail
    for kind in (PurePosixPath, PureWindowsPath):
        path = kind(detail)
        if result.provenance.kind == "files" and path.is_absolute() and path.name:
            return path.name
    return result.data


def difference(score: Score) -> Difference | None:
    """How a figure differs from real data, by the range that chance gives or by its noise; None if neither is known."""
    if score.finding is not None:
        return {"leak": "worse", "slight": "worse", "nothing": "same"}.get(score.finding)  # type: ignore[return-value]
    if score.differs is not None or score.value is None or score.ceiling_range is not None:
        return score.differs
    if score.noise is None or score.ideal is None:
        return None
    if _own_stem(score).startswith("twosample/") and score.value < score.ideal:
        return "same"  # known for training examples: that is memory, of which other figures tell
    return "same" if abs(score.value - score.ideal) <= 2 * score.noise else "worse"


def standing_word(score: Score) -> str:
    """What the difference from real data is called; "" where it is not known."""
    differs = difference(score)
    if differs == "worse" and _is_on_the_safe_side(score):
        return FARTHER
    if differs != "worse" and decides_nothing(score):
        return DECIDES_NOTHING
    return DIFFERS[differs] if differs is not None else ""


def mood(score: Score) -> Mood:
    """What kind of news the difference is: for a colour."""
    return "nothing" if standing_word(score) in (FARTHER, DECIDES_NOTHING) else difference(score) or ""


def _is_on_the_safe_side(score: Score) -> bool:
    """Whether a figure of privacy that has an ideal lies on the side of it that tells of no memory."""
    value = score.value or 0.0
    return {"privacy/closer_to_train": value <= 0.5, "privacy/dcr_ratio": value >= 1.0}.get(_own_stem(score), False)


def decides_nothing(score: Score) -> bool:
    """Whether the naive floor does as well as real data; of privacy that is expected, since naive rows are private."""
    return score.decides is False and not _own_stem(score).startswith(("privacy/", "memorisation/"))


def key_figures(result: RunResult, topic: Topic) -> list[Score]:
    """The figures with a value that a claim rests on, in the order of `KEY`."""
    order = {name: i for i, name in enumerate(KEY[topic])}
    found = [score for score in result.figures if score.value is not None and _own_stem(score) in order]
    return sorted(found, key=lambda score: order[_own_stem(score)])


def _own_stem(score: Score) -> str:
    """The stem of a figure of the synthetic data; a run's monitor is another thing, whatever it is called."""
    if score.name in ("test/error", "test/error_alone"):  # what the run learnt for, on test pictures
        return stem(score.name)
    return "" if score.name.startswith(("best/", "val/", "train/", "refit/", "test/")) else stem(score.name)


def _evidence(scores: Sequence[Score], first: Callable[[Score], bool]) -> list[Evidence]:
    """The most telling figures: those that the sentence speaks of first, and those that decide nothing last."""

    def place(score: Score) -> tuple[bool, bool, bool]:
        return not first(score), standing_word(score) == DECIDES_NOTHING, "_linear" in score.name

    chosen = sorted(scores, key=place)[:SHOWN]
    return [Evidence(score.name, evidence_text(score), standing_word(score), mood(score)) for score in chosen]


def evidence_text(score: Score) -> str:
    """A figure beside what chance gives real data and beside the naive floor."""
    beside = []
    if score.ceiling_range is not None:
        low, high = (number(end) for end in (min(score.ceiling_range), max(score.ceiling_range)))
        beside.append(f"real data {low}" if low == high else f"real data {low} to {high} by chance")
    elif score.ceiling is not None:
        beside.append(f"real data {number(score.ceiling)}")
    if score.floor is not None:
        what = "copies of learnt rows" if _own_stem(score).startswith("privacy/membership") else "naive floor"
        beside.append(f"{what} {number(score.floor)}")
    return f"{short_name(score.name)} {number(score.value)}" + (f" ({', '.join(beside)})" if beside else "")


def _faithful(result: RunResult, noun: str, subject: str) -> Claim:
    scores = key_figures(result, "faithful")
    if not scores:
        why = _reason(result, KEY["faithful"]) or "no key figure was measured"
        return Claim("faithful", "unknown", f"{subject}: too little to tell how faithful they are ({why}).")
    lost = [score for score in scores if _has_lost_variety(score)]
    strange = [score for score in scores if _own_stem(score) in PRECISION and _is_nearly_none(score)]
    if strange:  # what shows nothing real is no part of it either
        told = f"{subject} differ clearly from real ones: hardly any of them is like one."
        return Claim("faithful", "bad", told, _evidence(scores, lambda score: score in strange))
    if lost:
        collapsed = any(_own_stem(score) in COLLAPSE for score in lost)
        why = "the model has collapsed to few kinds" if collapsed else f"most real {noun} have none like them"
        told = f"{subject} show only a part of what real ones do: {why}."
        return Claim("faithful", "bad", told, _evidence(scores, lambda score: score in lost))
    tone, worse, known = _weighed(scores)
    evidence = _evidence(scores, lambda score: difference(score) == "worse" or _is_low(score))
    if tone == "bad":
        return Claim("faithful", tone, f"{subject} differ clearly from real ones.", evidence)
    if worse:
        verb = "is" if worse == 1 else "are"
        told = f"{subject} are close to real ones; {worse} of {known} key figures {verb} worse by more than chance."
        return Claim("faithful", tone, told, evidence)
    if tone == "fair":
        told = f"{subject} are close to real ones, as far as figures tell whose range of chance was not measured."
        return Claim("faithful", tone, told, evidence)
    if tone == "unknown":
        return Claim("faithful", tone, f"{subject}: too little to tell, no key figure decides anything here.", evidence)
    told = f"{subject} cannot be told from real ones by more than chance"
    silent = [score for score in scores if decides_nothing(score)]
    if silent:  # nothing was found, by fewer figures than the page lists
        told += f", by the {len(scores) - len(silent)} of {len(scores)} key figures that decide anything here"
    return Claim("faithful", tone, f"{told}.", evidence)


def _useful(result: RunResult, noun: str) -> Claim:
    scores = key_figures(result, "useful")
    if not scores:
        drawn = "nothing learns from the pictures here"
        why = _reason(result, KEY["useful"]) or (drawn if noun == "pictures" else "no figure of use was measured")
        return Claim("useful", "unknown", f"How useful they are was not measured: {why}.")
    tone, _, _ = _weighed(scores)
    evidence = _evidence(scores, lambda score: difference(score) == "worse" or _is_low(score))
    errors = {_own_stem(score): float(score.value or 0.0) for score in scores}
    if noun == "pictures" and {"error", "error_alone"} <= errors.keys():
        error, alone = errors["error"], errors["error_alone"]
        told_alone = f"one that learns from its labels alone in {alone:.1%}"
        sentence = f"With them a classifier from few labels errs in {error:.1%} of unseen pictures, {told_alone}."
        return Claim("useful", "good" if error < alone else "bad", sentence, evidence)
    if noun == "pictures":
        told = {"good": "as often as real ones", "fair": "less often than real ones", "bad": "far too seldom"}
        return Claim(
            "useful", tone, f"They show the class they were asked for {told.get(tone, 'too few to tell')}.", evidence
        )
    told = {
        "good": "predicts the target as well as one that learns from real rows",
        "fair": "predicts the target not quite as well as one that learns from real rows",
        "bad": "predicts the target much worse than one that learns from real rows",
        "unknown": "predicts no better from real rows either: too little to tell",
    }
    return Claim("useful", tone, f"A model that learns from them {told[tone]}.", evidence)


def _safe(result: RunResult, noun: str) -> Claim:
    scores = key_figures(result, "safe")
    copied = [score for score in scores if _own_stem(score) in COPIES and _is_unsafe(score)]
    near = [score for score in scores if _own_stem(score) not in COPIES and _is_unsafe(score)]
    told_apart = [s for s in scores if s.finding in ("leak", "slight") and _own_stem(s) not in RISKS]
    risky = [score for score in scores if score.finding in ("leak", "slight") and _own_stem(score) in RISKS]
    evidence = _evidence(scores, lambda score: score in (*told_apart, *risky, *copied, *near))
    if told_apart:
        return _membership(told_apart[0], noun, evidence)
    if copied:
        worst = max(copied, key=lambda score: score.value or 0.0)
        many = (worst.value or 0.0) - max([worst.ceiling or 0.0, *(worst.ceiling_range or [])]) > 0.005
        told = f"{_share(worst.value or 0.0)} of them are copies of learnt {noun}, more than among real {noun}."
        return Claim("safe", "bad" if many else "fair", told, evidence)
    if risky:
        told = f"An attack tells more of learnt persons than of others: {risky[0].note.rpartition('; ')[2]}."
        return Claim("safe", "bad" if risky[0].finding == "leak" else "fair", told, evidence)
    if near:
        is_clear = any(_is_clearly_near(score) for score in near)
        how = "clearly" if is_clear else "a little"
        told = f"They lie {how} nearer to learnt {noun} than unseen real {noun} do: look before they are shared."
        return Claim("safe", "bad" if is_clear else "fair", told, evidence)
    weak = next((s for s in scores if s.finding == "weak" and _own_stem(s) not in RISKS), None)
    if weak is not None:
        told = f"Too little to tell how safe they are: membership games are {weak.note.rpartition('; ')[2]}."
        return Claim("safe", "unknown", told, evidence)
    have = {_own_stem(score) for score in scores}
    lacking = [name for name in NEEDED[noun] if name not in have]
    few = min([n for n in (result.n_holdout, *(score.n for score in scores)) if n], default=FEW)
    if lacking or few < FEW:
        why = f"{few} {noun} are too few"
        if lacking:
            why = _reason(result, lacking) or f"no {lacking[0]} was measured"
        return Claim("safe", "unknown", f"Too little to tell how safe they are: {why}.", evidence)
    if noun == "rows":
        told = "No more of them are copies than of real rows, and they lie no nearer to learnt rows than unseen ones."
    else:
        told = f"No more of them than of real {noun} are copies of what the model has learnt from."
    return Claim("safe", "good", told, evidence)


def _membership(score: Score, noun: str, evidence: list[Evidence]) -> Claim:
    """What it means that games told members from others."""
    best = next(trial for trial in score.trials or [] if trial.figures)
    value, low, _ = best.figures["AUC"]
    surely = f"at least {low:.3f}" if low > 0.5 else "beyond chance, all games together"
    how = f"by {best.name} on {best.group}, AUC {value:.3f} ({surely}; 0.5 is a guess)"
    if score.finding == "leak":
        told = f"Membership can be told: warning, it leaks which {noun} were learnt from, {how}."
        return Claim("safe", "bad", told, evidence)
    return Claim("safe", "fair", f"Membership can be told a little better than by guessing: {how}.", evidence)


def _weighed(scores: Sequence[Score]) -> tuple[Tone, int, int]:
    """The tone of some figures, how many of them are worse than chance allows, and how many are known at all."""
    differences = [difference(score) for score in scores]
    worse = [score for score, differs in zip(scores, differences, strict=True) if differs == "worse"]
    known = sum(differs is not None for differs in differences)
    unclear = [score for score, differs in zip(scores, differences, strict=True) if differs is None]
    if any(_is_low(score) for score in (*worse, *unclear)):
        return "bad", len(worse), known
    if worse or unclear:
        return "fair", len(worse), known
    decisive = [score for score in scores if not decides_nothing(score)]
    return ("good" if decisive else "unknown"), 0, known


def _is_low(score: Score) -> bool:
    at = score.standing
    return at is not None and at < NEAR and difference(score) in ("worse", None)


def _has_lost_variety(score: Score) -> bool:
    """Whether a figure shows that most of what real data shows is missing; that it is worse by chance is not enough."""
    name, value, real = _own_stem(score), score.value or 0.0, score.ceiling
    if difference(score) in ("same", "better"):
        return False
    if name == "judge/classes_covered":
        return value < 0.7 * (1.0 if real is None else real)
    if name == "judge/class_share_distance":
        return value > 0.5
    if name not in VARIETY or real is None or real <= 0:
        return False
    return _is_nearly_none(score) or (value < 0.5 * real and value <= (score.floor or 0.0))


def _is_nearly_none(score: Score) -> bool:
    """Whether a share is worse than real data's by chance, and less than a quarter of it."""
    return difference(score) not in ("same", "better") and (score.value or 0.0) < 0.25 * (score.ceiling or 0.0)


def _is_unsafe(score: Score) -> bool:
    """Whether a figure of privacy is worse than chance allows on the side that tells of memory."""
    name, value = _own_stem(score), score.value or 0.0
    differs = difference(score)
    if _is_on_the_safe_side(score):
        return False
    if differs is not None:
        return differs == "worse"
    margin = math.sqrt(0.25 / score.n) if score.n else 0.0
    if name == "privacy/closer_to_train":
        return value > max(0.5, score.ceiling or 0.0) + 2 * margin + 0.02
    if name in COPIES:
        return value > (score.ceiling or 0.0) + (2 / score.n if score.n else 0.0)
    return False  # distances without a range of chance decide nothing


def _is_clearly_near(score: Score) -> bool:
    name, value = _own_stem(score), score.value or 0.0
    if name == "privacy/closer_to_train":
        return value > 0.55
    beside = score.ideal if score.ideal is not None else score.ceiling
    return beside is not None and value < 0.5 * beside


def _share(value: float) -> str:
    return f"{value:.1%}" if value < 0.1 else f"{value:.0%}"


def _reason(result: RunResult, stems: Sequence[str]) -> str:
    """Why the first of these figures that was tried has no value; "" if none was tried."""
    for score in result.figures:
        if score.value is None and score.why and (_own_stem(score) in stems or stem(score.name) in stems):
            return score.why.removeprefix("not computed: ").rstrip(".")
    return ""
