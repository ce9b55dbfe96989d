"""What a run's figures come to, in words: never better than the figures are, and never without them."""

import pytest
from hydra.utils import get_object
from omegaconf import OmegaConf

from datakiln.metrics.base import traits
from datakiln.metrics.pictures.images import FIGURES, KINDS
from datakiln.reports.bars import bar_of
from datakiln.reports.groups import COSTS
from datakiln.reports.meanings import MEANINGS, meaning, short_name, short_names, stem
from datakiln.reports.verdict import DIFFERS, KEY, data_name, difference, judged, standing_word
from datakiln.results import RunResult, Score, Source, Step
from datakiln.storage import CONF

FILE = Source("files", "/data/customers.csv", "ab" * 32)


def figure(name, value, ceiling, floor, spread=0.02, better="higher", **more):
    """A figure whose real data lies within `spread` of the ceiling by chance."""
    ranges = {"ceiling_range": [ceiling - spread, ceiling + spread], "floor_range": [floor - spread, floor + spread]}
    return Score(name, value, better, 0, 1, ceiling, floor, n=500, draws=10, **{**ranges, **more})


def good_table():
    """Figures of a table that is as real data in everything."""
    return [
        figure("fidelity/shape", 0.95, 0.96, 0.90),
        figure("fidelity/trend", 0.94, 0.95, 0.70),
        figure("fidelity/coverage", 0.98, 0.97, 0.90),
        figure("fidelity/beta_recall", 0.48, 0.47, 0.05),
        figure("twosample/boosting_auc", 0.51, 0.50, 0.99, better="lower", ideal=0.5),
        figure("utility/tstr_auc", 0.90, 0.91, 0.50),
        figure("privacy/copies", 0.0, 0.0, 0.0, 0.0, better="lower"),
        figure("privacy/closer_to_train", 0.50, 0.50, 0.50, better="lower", ideal=0.5),
    ]


def verdict(figures, **changes):
    values = {"model": "vae", "data": "csv", "seed": 0, "provenance": FILE, "n_holdout": 500, "figures": figures}
    return judged(RunResult(**{**values, **changes}))


def changed(name, value=None, **more):
    """The good table with one figure changed."""
    return [Score(**{**vars(score), "value": value, **more}) if score.name == name else score for score in good_table()]


def tones(found):
    return {claim.topic: claim.tone for claim in found.claims}


def test_pictures_are_called_so_where_none_of_their_figures_was_asked_for():
    split = Step("split", "54,000 train, 6,000 val, 10,000 test pictures (official test); 10 classes")
    assert verdict([], steps=[split]).subject == "Synthetic pictures of customers.csv"
    assert (
        verdict([], steps=[Step("split", "54 train, 6 val, 10 test rows")]).subject == "Synthetic rows of customers.csv"
    )


def test_data_as_good_as_real_is_praised_in_words_of_the_persons_file():
    found = verdict(good_table())
    assert found.subject == "Synthetic rows of customers.csv" and found.tone == "good"
    assert found.headline == "faithful, useful, safe by what was measured"
    sentences = [claim.sentence for claim in found.claims]
    assert sentences[0] == "Synthetic rows of customers.csv cannot be told from real ones by more than chance."
    assert all(
        claim.evidence and sentence.endswith(".") for claim, sentence in zip(found.claims, sentences, strict=True)
    )
    assert found.claims[0].evidence[0].said == (
        "twosample/boosting_auc 0.5100 (real data 0.4800 to 0.5200 by chance, naive floor 0.9900)"
    )


@pytest.mark.parametrize("name", [score.name for score in good_table()])
def test_one_key_figure_that_is_worse_than_chance_takes_the_green_away(name):
    worst = {"twosample/boosting_auc": 0.6, "privacy/copies": 0.004, "privacy/closer_to_train": 0.53}.get(name)
    value = next(score.value for score in good_table() if score.name == name) - 0.04 if worst is None else worst
    figures = changed(name, value)
    assert next(score for score in figures if score.name == name).differs == "worse"
    found = verdict(figures)
    assert found.tone != "good" and "good" != next(
        claim.tone for claim in found.claims if name in {item.name for item in claim.evidence}
    )
    assert name in {item.name for claim in found.claims for item in claim.evidence if item.mood == "worse"}


@pytest.mark.parametrize("name", ["privacy/copies", "privacy/closer_to_train"])
def test_without_figures_of_privacy_nothing_is_said_of_safety(name):
    for figures in (
        changed(name, None, why="not computed: there is no holdout; give holdout=FILE"),
        [score for score in good_table() if score.name != name],
    ):
        found = verdict(figures)
        assert tones(found)["safe"] == "unknown" and found.tone == "unknown"
        assert "too little to tell" in found.headline and "Too little to tell" in found.claims[2].sentence
    assert (
        "there is no holdout; give holdout=FILE"
        in verdict(changed(name, None, why="there is no holdout; give holdout=FILE")).claims[2].sentence
    )
    assert tones(verdict(good_table(), n_holdout=5))["safe"] == "unknown"


def test_copies_are_called_copies_even_where_nothing_else_is_known():
    figures = [score for score in changed("privacy/copies", 1.0) if score.name != "privacy/closer_to_train"]
    found = verdict(figures)
    assert tones(found)["safe"] == "bad" and found.tone == "bad"
    assert found.claims[2].sentence.startswith("100% of them are copies of learnt rows")


@pytest.mark.parametrize(("name", "value"), [("fidelity/beta_recall", 0.02), ("fidelity/coverage", 0.2)])
def test_a_collapsed_model_is_called_so(name, value):
    found = verdict(changed(name, value))
    assert tones(found)["faithful"] == "bad" and "show only a part" in found.claims[0].sentence
    assert found.claims[0].evidence[0].name == name


def test_collapsed_pictures_are_called_so():
    tag = "classifier@10aa-clean-exact/n270"
    figures = [
        Score(f"fid/{tag}", 5.0, "lower", 0, None, 4.0, 900.0, ceiling_range=[3.0, 6.0], floor_range=[880.0, 950.0]),
        Score(f"recall/{tag}", 0.04, "higher", 0, 1, 0.96, 0.3),
        Score(f"judge/classes_covered/{tag}", 0.1, "higher", 0, 1, 1.0, 0.2),
        Score("memorisation/copies/n270", 0.0, "lower", 0, 1, 0.0, 0.0, n=270, ceiling_range=[0.0, 0.0]),
    ]
    found = verdict(figures, data="digits", provenance=Source("embedded", "digits", ""))
    assert found.subject == "Synthetic pictures of digits"
    assert found.tone == "bad" and "collapsed" in found.claims[0].sentence and tones(found)["safe"] == "good"
    assert "recall 0.0400" in found.claims[0].evidence[0].said  # and not the whole path


def test_pictures_that_show_nothing_real_have_not_collapsed():
    """Noise has no real neighbours either: that is no part of what real pictures show."""
    figures = [
        Score("fid/n270", 900.0, "lower", 0, None, 4.0, 90.0, ceiling_range=[3.0, 6.0], floor_range=[88.0, 95.0]),
        Score("precision/n270", 0.0, "higher", 0, 1, 0.96, 0.3),
        Score("recall/n270", 0.0, "higher", 0, 1, 0.96, 0.3),
        Score("memorisation/copies/n270", 0.0, "lower", 0, 1, 0.0, 0.0, n=270, ceiling_range=[0.0, 0.0]),
    ]
    claim = verdict(figures, data="digits", provenance=Source("embedded", "digits", "")).claims[0]
    assert claim.sentence.endswith("differ clearly from real ones: hardly any of them is like one.")
    assert claim.evidence[0].name == "precision/n270"


@pytest.mark.parametrize(("error", "tone"), [(0.03, "good"), (0.4, "bad")])
def test_a_classifier_from_few_labels_is_what_they_are_good_for(error, tone):
    figures = [
        Score("fid/n270", 4.0, "lower", 0, None, 4.0, 90.0, ceiling_range=[3.0, 6.0], floor_range=[88.0, 95.0]),
        Score("test/error", error, "lower"),
        Score("test/error_alone", 0.24, "lower"),
    ]
    claim = verdict(figures, data="digits", provenance=Source("embedded", "digits", "")).claims[1]
    assert (
        claim.tone == tone and f"errs in {error:.1%} of unseen pictures" in claim.sentence and "24.0%" in claim.sentence
    )
    assert [evidence.name for evidence in claim.evidence] == ["test/error", "test/error_alone"]


@pytest.mark.parametrize(("value", "word"), [(0.18, "same"), (0.5, "same"), (0.82, "worse")])
def test_windows_known_for_training_ones_are_no_less_like_real_ones(value, word):
    """A judge that finds synthetic windows more real than unseen ones has met copies: that is for other figures."""
    assert difference(Score("twosample/gru32_auc", value, "lower", 0, 1, 0.49, ideal=0.5, noise=0.05)) == word


def test_results_of_before_the_ranges_are_judged_but_never_praised():
    old = [Score(**{**vars(score), "ceiling_range": None, "floor_range": None}) for score in good_table()]
    found = verdict(old)
    assert tones(found)["faithful"] == "fair" and "was not measured" in found.claims[0].sentence
    assert tones(verdict([]))["faithful"] == "unknown" and verdict([]).tone == "unknown"


def test_a_table_without_target_can_still_be_praised_but_a_stand_in_cannot():
    reason = "no label; name one with data.target"
    found = verdict(changed("utility/tstr_auc", None, why=reason))
    assert tones(found)["useful"] == "unknown" and found.tone == "good" and reason in found.claims[1].sentence
    assert verdict(good_table(), stand_in=True).tone == "fair"


def test_figures_that_decide_nothing_are_no_praise():
    figures = [figure(score.name, 0.9, 0.9, 0.9, ideal=None) for score in good_table()[:4]]
    assert standing_word(figures[0]) == "this figure decides nothing here"
    assert tones(verdict(figures))["faithful"] == "unknown"
    assert bar_of(figures[0]) is None and standing_word(Score("a", 1.0)) == ""
    assert standing_word(figure("a", 0.5, 0.9, 0.9)) == DIFFERS["worse"]


def test_a_run_that_diverged_from_real_data_the_safe_way_is_not_green():
    found = verdict(changed("privacy/closer_to_train", 0.30))
    assert found.tone == "fair" and found.claims[2].tone == "good"
    assert {item.mood for item in found.claims[2].evidence if item.name.endswith("closer_to_train")} == {"nothing"}


def test_the_name_is_that_of_the_persons_file_or_of_the_data_set():
    def named(kind, detail):
        return data_name(RunResult("m", "iris", 0, Source(kind, detail, "")))

    assert named("files", "/a/b/customers.csv") == "customers.csv"
    assert named("files", "C:\\data\\customers.csv") == "customers.csv"
    assert named("files", "Adult, adult.data and adult.test in /x") == "iris"
    assert named("embedded", "/x/y.csv") == "iris"


def test_bars_show_where_chance_puts_real_data():
    bar = bar_of(figure("a", 0.75, 1.0, 0.5, 0.1))
    assert bar.standing == pytest.approx(0.5) and bar.at == pytest.approx(100 * 0.5 / 1.2)
    assert bar.band == (pytest.approx(100 * 0.8 / 1.2), pytest.approx(100.0)) and bar.beyond == ""
    lower = bar_of(figure("a", 0.6, 0.5, 0.9, 0.02, better="lower", ideal=0.5))
    assert lower.at == pytest.approx(75.0) and lower.band == (pytest.approx(95.0), pytest.approx(95.0))
    assert bar_of(figure("a", 0.2, 1.0, 0.5)).beyond == "below"


def names_of_the_metrics():
    found = {"judge/accuracy", *(name for kind in KINDS for name in FIGURES.get(kind, (kind,))), *COSTS}
    for kind in ("table", "image"):
        for node in OmegaConf.load(CONF / "metrics" / f"{kind}.yaml").values():
            found |= set(traits(get_object(str(node._target_))).figures)
    for learner in ("", "_linear"):
        for metric in ("tstr", "augmented"):
            found |= {f"utility/{metric}{learner}_{figure}" for figure in ("auc", "accuracy", "f1", "r2", "rmse")}
    return sorted(found | {"privacy/dcr_ratio_p5", "best/val/loss", "test/iwae", "test/some_part", "best/val/fid"})


@pytest.mark.parametrize("name", names_of_the_metrics())
def test_every_figure_that_a_metric_names_is_explained(name):
    told = meaning(name)
    assert told.endswith(".") and told[0].isupper() and len(told) < 200
    assert "TODO" not in told


def test_every_key_figure_is_explained_and_names_are_short():
    assert {name for names in KEY.values() for name in names} <= set(MEANINGS)
    assert short_name("fid/classifier@10aa-clean-exact/n270") == "fid" and stem("best/val/fid/c@1-a/n2") == "fid"
    assert short_name("memorisation/copies/n1000") == "memorisation/copies" and short_name("n5") == "n5"
    both = ["fid/a@1/n5", "fid/b@1/n5", "kid/a@1/n5"]
    assert short_names(both) == {both[0]: both[0], both[1]: both[1], both[2]: "kid"}
    assert meaning("mine/figure") == ""
