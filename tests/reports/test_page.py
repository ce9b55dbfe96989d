"""report.html: everything a person put in is escaped, everything it needs is inside, and it says what was measured."""

import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from jinja2 import UndefinedError
from PIL import Image

from datakiln.plots.latent import kl_plot
from datakiln.reports.breakdown import column_table, other_tables, relation_table
from datakiln.reports.page import picture, render, write_page
from datakiln.results import Candidate, Objective, RunResult, Score, Source, Step
from datakiln.wording import duration, moment, number

EVIL = "<script>alert('1')</script>"
VOID = {"meta", "img", "br", "wbr", "polyline", "line", "circle", "path"}


class Page(HTMLParser):
    """Tags with their attributes, the text, and whether every tag is closed in order."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.words = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style", "title"):
            self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


def result(**changes):
    figures = [
        Score("fidelity/shape", 0.9, "higher", 0, 1, 1.0, 0.8, detail={"x": 0.95, "y": 0.7, "z": 0.99}),
        Score("fidelity/trend", 0.8, "higher", 0, 1, 0.9, 0.95, detail={"x / y": 0.6, "y / z": 0.9, "x / z": 0.3}),
        Score("fidelity/wasserstein", 0.3, "lower", 0, None, 0.1, 0.5, detail={"x": 9.0, "y": 0.1, "z": 0.2}),
        Score("utility/auc", None, "higher", 0, 1, 0.9, 0.5, why="one class only; sample more rows"),
        Score("privacy/share", 0.5, "none", 0, 1, 0.5, 0.5, ideal=0.5, note="judged on 30 rows"),
    ]
    values = {
        "model": "vae", "data": "iris", "seed": 3, "provenance": Source("embedded", "150 rows of iris", "ab" * 32),
        "overrides": ["latent_dim=5"], "objective": Objective("val/loss", -2.5), "figures": figures, "n_train": 1234,
        "steps": [Step("outliers", "z-score above 3", rows=7, cells=9)], "wall_seconds": {"fit": 61.0, "data": 0.5},
        "versions": {"torch": "2.4.0"}, "machine": {"cpu": "a fast one"}, "peak_memory_mb": 512.3, "best_epoch": 42,
        "epochs": 300, "n_parameters": 17,
    }  # fmt: skip
    return RunResult(**{**values, **changes})


@pytest.fixture
def written(tmp_path):
    """Writes a page and parses it."""

    def write(run=None, plots=(), sample=None, history=None, config=None):
        write_page(run or result(), list(plots), sample, history, tmp_path / "report.html", config)
        text = (tmp_path / "report.html").read_text(encoding="utf-8")
        page = Page(text)
        assert page.open == []
        return page

    return write


def test_a_whole_page_holds_everything_and_loads_nothing(written, tmp_path):
    sample = pd.DataFrame({"x": [1.25, np.nan], "y": ["a", None], "z": [1, 2]})
    history = pd.DataFrame({"epoch": [0, 1], "step": [4, 8], "train/loss": [3.0, 1.5], "train/kl_dim/0": [0.1, 0.2]})
    page = written(plots=[kl_plot(np.ones(2), tmp_path / "kl.png")], sample=sample, history=history, config="seed: 3")
    for said in (
        "vae on iris",
        "Seed 3",
        "latent_dim=5",
        "150 rows of iris",
        "ab" * 32,
        "1,234",
        "−2.500",
        "300 epochs, the best was 43",
        "512",
    ):
        assert said in page.text
    for said in (
        "one class only; sample more rows",
        "judged on 30 rows",
        "z-score above 3",
        "7",
        "9",
        "1 min 2 s",
        "2.4.0",
    ):
        assert said in page.text
    assert "2 of 2 units active" in page.text and "missing" in page.text and "seed: 3" in page.text
    assert "train/loss 3.000 1.500 3.000 1.500" in page.text and "kl_dim" not in page.text
    names = [tag for tag, _ in page.tags]
    assert not {"script", "link", "iframe", "a"} & set(names)
    sources = [attrs[key] for _, attrs in page.tags for key in ("src", "href", "srcset") if key in attrs]
    assert sources and all(source.startswith("data:image/png;base64,") for source in sources)
    policy = next(attrs["content"] for tag, attrs in page.tags if attrs.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in policy and "script" not in policy
    assert (
        "url(" not in (tmp_path / "report.html").read_text() and "@import" not in (tmp_path / "report.html").read_text()
    )


def test_on_a_phone_no_cell_is_cut_off_from_what_it_is(written):
    """There a row is a card without a head: each cell of a table but that of the data itself carries its own."""
    history = pd.DataFrame({"epoch": [0, 1], "step": [4, 8], "train/loss": [3.0, 1.5]})
    tried = Candidate("vae", "the nearest", True, twosample=0.6, epochs=3)
    page = written(result(candidates=[tried]), sample=pd.DataFrame({"x": [1]}), history=history)
    kind, bare, seen = "", [], 0
    for tag, attrs in page.tags:
        kind = attrs.get("class", "plain") if tag == "table" else kind
        if tag == "td" and "cards" in kind.split():
            seen += 1
            if "data-head" not in attrs and "wrap" not in attrs.get("class", ""):
                bare.append(attrs)
    assert seen > 15 and not bare


def test_a_run_of_pictures_is_told_in_words_of_pictures(written):
    page = written(result(epochs=50, best_epoch=9, steps=[Step("resize", "from 16 to 8 px", rows=5)]))
    assert "50 epochs, the best was 10" in page.text  # metrics.csv and result.json count from 0
    assert "Pictures touched" in page.text and "of pictures made by a naive method" in page.text
    assert "Cells touched" not in page.text and "columns resampled" not in page.text
    table = written(sample=pd.DataFrame({"x": [1.0]}))
    assert "Rows touched Cells touched" in table.text and "of columns resampled independently" in table.text


def test_a_comparison_without_training_shows_no_tiles_of_one(written):
    page = written(result(epochs=0, n_parameters=0, wall_seconds={}, best_epoch=None, objective=None))
    tiles = page.text[page.text.index("The run and its data") :]
    assert "1,234" in tiles and "1,234" not in page.text[: page.text.index("Main figures")]
    assert not any(word in page.text for word in ("epoch", "parameters", "wall time", "optimizer steps", "Checkpoint"))
    run = written(result(epochs=1, n_parameters=7))
    assert "1 epoch, the best was" in run.text and "7 parameters" in run.text and "wall time" in run.text


def test_a_long_objective_can_be_wrapped(written, tmp_path):
    written(result(objective=Objective("val/fid/classifier@10aa0123456789/exact/clean/n2000", 3.0)))
    text = (tmp_path / "report.html").read_text()
    assert "val/<wbr>fid/<wbr>classifier@10aa" in text
    (rule,) = re.findall(r"^\.tile span \{.*\}$", text, flags=re.MULTILINE)
    assert "overflow-wrap: anywhere" in rule


def test_a_bare_page_needs_no_more_than_a_result(written):
    page = written(RunResult("m", "d", 0, Source("files", "x.csv", "00")))
    assert "m on d" in page.text and "Pictures" not in page.text and "Main figures" not in page.text


def test_all_that_a_person_named_is_escaped(written, tmp_path):
    score = Score("fidelity/shape", 0.5, "higher", 0, 1, note=EVIL, detail={EVIL: 0.5})
    run = result(
        model=EVIL, data=EVIL, overrides=[f"x={EVIL}"], provenance=Source(EVIL, EVIL, EVIL), stand_in=True,
        steps=[Step(EVIL, EVIL)], figures=[score, Score(EVIL, None, why=EVIL)], versions={EVIL: EVIL},
        machine={EVIL: EVIL}, wall_seconds={EVIL: 1.0}, objective=Objective(EVIL, 1.0), best_checkpoint=EVIL,
    )  # fmt: skip
    image = tmp_path / "<img src=x onerror=alert(1)>.png"
    Image.new("RGB", (2, 2)).save(image)
    sample = pd.DataFrame({EVIL: [EVIL], '" onclick="': ["'"]})
    history = pd.DataFrame({"epoch": [0, 1], EVIL: [1.0, 2.0]})
    page = written(run, [image], sample, history, config=EVIL)
    assert page.text.count(EVIL) > 20
    assert "script" not in [tag for tag, _ in page.tags]
    assert not [attrs for _, attrs in page.tags if {"onclick", "onerror"} & set(attrs)]


def test_text_that_no_file_can_hold_is_replaced(written):
    assert r"a\ud800b" in written(result(data="a\ud800b")).text


def test_stand_in_data_is_said_loudly_and_only_then(written):
    alert = [attrs for _, attrs in written(result(stand_in=True)).tags if attrs.get("role") == "alert"]
    assert len(alert) == 1 and "stand-in data" in written(result(stand_in=True)).text.lower()
    assert "stand-in" not in written().text.lower()


def test_bars_stand_between_floor_and_ceiling(written):
    bars = [attrs for _, attrs in written().tags if attrs.get("class", "").startswith("bar")]
    # shape is half way, wasserstein too (0.3 from 0.5 down to 0.1); trend's floor beats its ceiling: no bar;
    # each stands among the main figures, in its chapter, and among all
    assert [bar["style"] for bar in bars] == ["--at: 50.0"] * 6
    beyond = written(
        result(figures=[Score("a/b", 2.0, "higher", 0, None, 1.0, 0.5), Score("a/c", 0.1, "higher", 0, 1, 1, 0.5)])
    )
    classes = [attrs["class"] for _, attrs in beyond.tags if attrs.get("class", "").startswith("bar")]
    assert classes == ["bar beyond", "bar below"] * 2


def test_columns_stand_worst_first():
    columns = column_table(result().figures, ["x", "y", "z", "unused"])
    (pairs,) = other_tables(result().figures, ["x", "y", "z", "unused"])
    assert [row.name for row in columns.rows] == ["y", "x", "z"]  # by shape: wasserstein has no worst value
    assert [score.name for score in columns.scores] == ["fidelity/shape", "fidelity/wasserstein"]
    assert columns.rows[0].cells[0].heat == pytest.approx(0.3) and columns.rows[1].cells[1].heat == 1.0
    assert [row.name for row in pairs.rows] == ["x / z", "x / y", "y / z"]


def test_parts_of_lower_is_better_and_missing_parts():
    score = Score("a/b", 1.0, "lower", 0, 1, detail={"p": 0.1, "q": None, "r": 0.9})
    table = column_table([score], None)
    assert [row.name for row in table.rows] == ["r", "p", "q"] and table.rows[2].cells[0].value is None
    many = Score("a/b", 1.0, "higher", 0, 1, detail={f"{i} / {i}": i / 40 for i in range(40)})
    assert column_table([many], ["x"]) is None
    (table,) = other_tables([many], ["x"])
    half = Score("a/c", 1.0, "higher", 0, 1, detail={f"{i} / {i}": 0.5 for i in range(20)})
    classes = Score("a/d", 1.0, "higher", 0, 1, detail={"setosa": 0.5})
    assert [[score.name for score in t.scores] for t in other_tables([many, classes, half], ["x"])] == [
        ["a/b", "a/c"],
        ["a/d"],
    ]
    assert len(table.rows) == 15 and table.left_out == 25 and table.rows[0].name == "0 / 0"


def test_a_picture_without_a_caption_is_named_after_its_file(tmp_path):
    Image.new("RGB", (10, 4)).save(tmp_path / "sample_grid-01.png")
    shown = picture(tmp_path / "sample_grid-01.png")
    assert shown.caption == "Sample grid 01" and shown.width == 10 and shown.source.startswith("data:image/png")
    frames = [Image.new("L", (4, 4), shade) for shade in (0, 255)]
    frames[0].save(tmp_path / "walk.gif", save_all=True, append_images=frames[1:])
    assert picture(tmp_path / "walk.gif").source.startswith("data:image/gif")
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(ValueError, match=r"notes\.txt is no picture"):
        picture(tmp_path / "notes.txt")


def test_a_template_with_a_missing_value_fails():
    with pytest.raises(UndefinedError):
        render("run.html", run=result())


def test_a_failed_page_leaves_the_old_one(written, tmp_path):
    written()
    old = (tmp_path / "report.html").read_bytes()
    with pytest.raises(FileNotFoundError):
        written(plots=[tmp_path / "gone.png"])
    assert (tmp_path / "report.html").read_bytes() == old and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    ("value", "said"),
    [(None, "–"), (0.0, "0"), (0.12345, "0.1235"), (-1.5, "−1.500"), (123.456, "123.5"), (12345.6, "12,346"),
     (1e-5, "1.00e−05"), (3e8, "3.00e+08")],
)  # fmt: skip
def test_numbers_are_said_in_four_digits(value, said):
    assert number(value) == said


def test_times_are_said_as_a_person_would():
    assert [duration(s) for s in (0.25, 9.96, 61, 7325)] == ["0.25 s", "10.0 s", "1 min 1 s", "2 h 2 min"]
    assert re.fullmatch(r"2025-01-31 12:00 UTC", moment("2025-01-31T12:00:00+00:00")) and moment("?") == "?"


def test_relations_have_a_table_of_their_own(tmp_path):
    parts = {"gross = net + tax": (1.0, 0.9996, 0.9996), "paid = <b>due</b>": (0.3, 0.015, 0.05)}
    scores = [
        Score(f"fidelity/relations{end}", 0.5, better, 0, 1, detail={name: v[i] for name, v in parts.items()})
        for i, (end, better) in enumerate([("_real", "none"), ("_synthetic", "none"), ("", "higher")])
    ]
    found = result(figures=scores)
    sample = pd.DataFrame({"gross": [1.0]})
    write_page(found, [], sample, None, tmp_path / "report.html")
    page = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert "paid = <b>due</b> 30 % 1.5 % 5 % gross = net + tax 100 % > 99.9 % > 99.9 %" in page.text
    assert other_tables(scores, ["gross"]) == [] and relation_table(scores[:2]) is None
