"""Options that fit no other or nothing at all are refused in one line, before any data is read; wording of messages."""

from __future__ import annotations

import pandas as pd
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.errors import InstantiationException

from datakiln.callbacks.fid import Fid
from datakiln.cli.checks import (
    check,
    check_arguments,
    check_beside,
    check_pairing,
    check_references,
    check_side,
    check_trainer,
    check_types,
    check_watch,
    name_constraints,
)
from datakiln.cli.commands import options
from datakiln.cli.evaluate import main as evaluate
from datakiln.cli.explain import explain, unknown_option
from datakiln.cli.run_folders import register_resolvers, remove_if_empty
from datakiln.codecs.tables.table import TableCodec
from datakiln.data.pictures.pictures import ImageData
from datakiln.data.pictures.sources import SklearnDigits
from datakiln.data.tables.steps import keep_missing
from datakiln.data.tables.types import infer_schema
from datakiln.errors import UserError
from datakiln.models.base import Diverged
from datakiln.nets.diffaugment import build_diffaugment
from datakiln.nets.losses import NonSaturating
from datakiln.reports.comparison import collect
from datakiln.reports.page import write_page
from datakiln.results import RunResult, Score, Source
from datakiln.storage import CONF
from datakiln.wording import counted


def config(*options: str):
    register_resolvers()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("train", overrides=["output_dir=unused", *options])


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["data=iris", "watch=image"], "watch=image is for other data than a table; write watch=table, or watch="),
        (["model=dcgan", "data=digits", "watch.image.fid=null"], "monitor=val/fid is measured by watch.image.fid"),
        (["model=dcgan", "data=digits", "~watch.image.fid"], "watch.image.fid, which is off"),
        (["model=ctgan", "watch.table.fidelity=null"], "monitor=val/fidelity is measured by watch.table.fidelity"),
    ],
)
def test_what_cannot_be_watched(options, told):
    with pytest.raises(UserError, match=told):
        check_watch(config(*options))


@pytest.mark.parametrize("options", [[], ["model=ctgan"], ["model=dcgan", "data=digits"], ["watch=[]"]])
def test_what_can_be_watched(options):
    check_watch(config(*options))


@pytest.mark.parametrize(
    ("option", "told"),
    [
        ("trainer.precision=16-mixed", "trainer.precision=16-mixed: DCGAN trains in 32-true or bf16-mixed"),
        ("trainer.precision=bf16-true", "trainer.precision=bf16-true: DCGAN"),
        ("trainer.precision=64-true", "trainer.precision=64-true: DCGAN"),
        ("trainer.gradient_clip_val=1", "trainer.gradient_clip_val=1: DCGAN .*leave it at null.*critic_optimizer.lr"),
        ("+trainer.accumulate_grad_batches=4", "accumulate_grad_batches=4: DCGAN .*model.accumulate"),
    ],
)
def test_what_two_optimizers_cannot_follow_is_refused_before_any_data_is_read(option, told):
    with pytest.raises(UserError, match=told):
        check_trainer(config("model=dcgan", "data=digits", option))
    check_trainer(config("model=vae", "data=digits", option))


def test_a_constraint_in_plain_text_is_an_expression():
    cfg = config("data=csv", "data.path=x.csv", "data.constraints=['end - start <= 60']")
    name_constraints(cfg)
    assert cfg.data.constraints == [{"_target_": "datakiln.constraints.Expression", "text": "end - start <= 60"}]
    check_arguments(cfg, only_ours=True)
    check_types(cfg)


@pytest.mark.parametrize("option", [r'data.target="\${y}"', r'data.columns=[x,"\${y}"]'])
def test_a_column_that_would_be_looked_up_is_refused(option):
    with pytest.raises(UserError, match=r"data\.\w+.*options read \$\{ as a reference"):
        check_references(config("data=csv", "data.path=x.csv", option))
    check_references(config("data=csv", "data.path=x.csv", "data.target=$y"))


@pytest.mark.parametrize("side", ["-8", "0", "12.5", "abc", "true", "130"])
@pytest.mark.parametrize("model", ["dcgan", "vae"])
def test_sides_that_pictures_cannot_have_are_refused_before_any_is_read(side, model):
    with pytest.raises(
        UserError, match=f"({side.title() if side == 'true' else side}.*whole number|of 130 px; set data.side)"
    ):
        check_side(config(f"model={model}", "data=image_folder", "data.path=nowhere", f"data.side={side}"))


@pytest.mark.parametrize("options", [["model=gan", "data.side=130"], ["model=dcgan", "data.side=56"], ["data=iris"]])
def test_sides_that_fit(options):
    check_side(config("data=digits", *options))


@pytest.mark.parametrize("precision", ["32-true", "32", "bf16-mixed"])
def test_precisions_of_two_optimizers(precision):
    check_trainer(config("model=ctgan", f"trainer.precision={precision}"))


@pytest.mark.parametrize(
    ("target", "told"),
    [
        (
            "datakiln.constraints.Rnage",
            "datakiln.constraints.Rnage is not known; did you mean 'Range'",
        ),
        ("datakiln.constraints.Zebra", "known there: .*Expression.*Range.*Unique"),
        ("datakiln.constraintz.Range", "there is no module datakiln.constraintz"),
        ("src.constraints.Range", "is of before .* it is now datakiln.constraints.Range"),
        ("src.models.vae.VAE", "it is now datakiln.models.vae.vae.VAE"),
        ("src.gone.Zebra", "is of before"),
    ],
)
def test_misspelt_classes(target, told):
    cfg = config(f"data.constraints=[{{_target_: {target}, column: x, low: 0}}]")
    for only_ours in (True, False):
        with pytest.raises(UserError, match=told):
            check_arguments(cfg, only_ours=only_ours)


def test_constraints_of_before_the_package_had_its_name_are_read_as_what_they_are_now():
    old = "data.constraints=[{_target_: src.constraints.Range, column: age, low: 0}]"
    cfg = config("data=iris", "model=vae", old)
    check(cfg)
    assert cfg.data.constraints[0]._target_ == "datakiln.constraints.Range"
    with pytest.raises(UserError, match="src.constraints.Rnge is of before this package was called datakiln"):
        check(config("data=iris", "model=vae", old.replace("Range", "Rnge")))


def test_bases_of_data_sets_are_no_choices():
    with pytest.raises(UserError, match="data.source is missing.*complete choices of data=: .*iris"):
        check_arguments(config("data=table"))
    with pytest.raises(Exception, match="tabel") as caught:
        config("data=tabel")
    known = explain(caught.value).rpartition("known: ")[2].split(", ")
    assert {"iris", "csv", "mnist"} <= set(known) and not {"table", "images"} & set(known)


def test_an_option_that_another_choice_of_the_same_class_brings():
    assert unknown_option("conditional", ["model=vae", "conditional=true"]).endswith("choose model=cvae")
    told = unknown_option("metrics.table.membership", ["sweep=survey", "~metrics.table.membership"])
    assert told == "~metrics.table.membership: it is null already; leave this option out"
    told = unknown_option("model.conditional", ["model=vae", "model.conditional=true"])
    assert "+model.conditional=VALUE" in told and told.endswith("or model=cvae")


def test_the_folder_of_a_refused_run_goes_and_others_stay(tmp_path):
    def run(name: str, *files: str):
        for file in ("config/config.yaml", "config/overrides.yaml", *files):
            (tmp_path / "day" / name / file).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "day" / name / file).touch()
        return tmp_path / "day" / name

    trained, noted, kept, refused = run("a", "metrics.csv"), run("b", "config/note.txt"), run("c"), run("d")
    for folder in (trained, noted, refused):
        remove_if_empty(folder, refused=True)
    remove_if_empty(kept)  # what failed otherwise can be looked into
    assert sorted(path.name for path in (tmp_path / "day").iterdir()) == ["a", "b", "c"]
    assert all((folder / "config" / "config.yaml").exists() for folder in (trained, noted, kept))


def test_reports_of_what_is_not_there(tmp_path):
    (tmp_path / "outputs").mkdir()
    (tmp_path / "notes.txt").touch()
    for path, told in (
        ("nope", r"nope does not exist; give"),
        ("output", r"output does not exist; did you mean 'outputs'"),
        ("notes.txt", "notes.txt is no result.json"),
    ):
        with pytest.raises(UserError, match=told):
            collect([tmp_path / path])


def test_numbers_and_their_nouns():
    assert [counted(n, "row") for n in (0, 1, 2)] == ["0 rows", "1 row", "2 rows"]
    assert counted(2, "class", "classes") == "2 classes" and counted(1, "class", "classes") == "1 class"
    for cells, told in (([1.0, 2.0], "no cell is missing"), ([1.0, None], "1 missing cell is learnt")):
        frame = pd.DataFrame({"x": [*cells, 3.5, 4.5], "g": list("abab")})
        schema = infer_schema(frame, None, {})
        assert told in keep_missing({"train": frame}, schema)[1].detail
        text = TableCodec().fit(frame, schema).describe()
        assert "of 1 numeric column, one-hot of 1 categorical column, " in text


def test_floor_and_ceiling_within_chance_of_each_other_judge_nothing():
    near = {"ideal": 0.5, "ceiling": 0.501, "floor": 0.498}
    assert Score("a", 0.47, "lower", noise=0.01, **near).standing is None
    assert Score("a", 0.47, "lower", noise=0.0001, **near).standing < 0
    assert Score("a", 0.6, "lower", noise=0.01, ideal=0.5, ceiling=0.5, floor=0.9).standing == pytest.approx(0.75)


def test_a_figure_says_whether_it_differs_from_real_data_by_more_than_chance():
    chance = {"better": "higher", "ceiling": 0.9, "ceiling_range": [0.88, 0.92]}
    assert [Score("a", value, **chance).differs for value in (0.85, 0.89, 0.95)] == ["worse", "same", "better"]
    auc = {"better": "lower", "ideal": 0.5, "ceiling_range": [0.49, 0.53]}
    assert [Score("a", value, **auc).differs for value in (0.5, 0.52, 0.45, 0.6)] == ["same", "same", "worse", "worse"]
    assert Score("a", 0.85, "higher", ceiling=0.9).differs is None  # no draws, no claim
    assert Score("a", 0.9, floor_range=[0.3, 0.4], **chance).decides
    assert not Score("a", 0.9, floor_range=[0.86, 0.89], **chance).decides  # a naive sample passes for a real one


def test_noise_of_a_two_sample_auc_is_that_of_rows_alike():
    import numpy as np

    n, rng = 40, np.random.default_rng(0)
    ranks = rng.random((1000, 2 * n)).argsort(axis=1).argsort(axis=1)
    seen = np.std((ranks[:, n:].sum(axis=1) - n * (n - 1) / 2) / n**2)  # the AUC is the rank sum of one half
    assert np.sqrt((2 * n + 1) / 12) / n == pytest.approx(seen, rel=0.07)  # 3 standard errors of a deviation of 1000


def test_parts_of_figures_of_pictures_are_no_columns(tmp_path):
    score = Score("fid/pixels@x/n60", 3.0, "lower", detail={"mean": 1.0, "covariance": 2.0})
    result = RunResult("dcgan", "digits", 0, Source("embedded", "digits", "0" * 64), figures=[score])
    write_page(result, [], None, None, tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert "Columns, worst first" not in page and "Figures in parts" in page and "covariance" in page


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["model=dcgan"], "DCGAN looks at no class; add conditional=true, or leave it out"),
        (["model=vae"], "VAE looks at no class; leave it out"),
        (["model=cyclegan", "data.other=digits"], "CycleGAN looks at no class; leave it out"),
        (["model=dcgan", "conditional=true"], None),
        (["model=cvae"], None),
        (["model=sgan"], None),
        (["model=ddpm"], None),
        (["model=cyclegan", "data.other=digits", "model.semantic=1"], None),
    ],
)
def test_labels_are_hidden_only_from_models_that_look_at_them(words, told):
    cfg = config("data=digits", "data.labelled=50", *words)
    if told is None:
        check_beside(cfg)
    else:
        with pytest.raises(UserError, match=f"data.labelled=50 changes nothing.*{told}"):
            check_beside(cfg)
    with pytest.raises(UserError, match="data.labelled=50 hides classes, and data.partners=true"):
        ImageData(SklearnDigits(), labelled=50, partners=True)


def test_wording_of_small_things():
    with pytest.raises(UserError, match="this data is an image; models for it"):
        check_pairing(config("model=ctgan", "data=digits"))
    with pytest.raises(UserError, match="this data is a table; models for it"):
        check_pairing(config("model=dcgan", "data=iris"))
    with pytest.raises(
        UserError, match="is a table, as long as no column is named as its times: .*data.time=COLUMN; mod"
    ):
        check_pairing(config("model=tsar", "data=csv", "data.path=x.csv"))
    with pytest.raises(ValueError, match=r"^model.label_smoothing=2 must lie"):
        NonSaturating(2)
    for option, told in (
        ({"n": 0}, "watch.image.fid.n=0 must be at least 2"),
        ({"every": 0}, "fid.every=0 must be at"),
    ):
        with pytest.raises(ValueError, match=f"{told}[^=]*$"):
            Fid(None, **option)  # type: ignore[arg-type]


def test_one_augmentation_needs_no_list():
    x = torch.zeros(2, 3, 8, 8)
    torch.manual_seed(0)
    listed = build_diffaugment(["color"])(x)
    torch.manual_seed(0)
    assert torch.equal(build_diffaugment("color")(x), listed) and not torch.equal(listed, x)
    with pytest.raises(UserError, match="model.diffaugment: 'colour' is not among .*did you mean 'color'"):
        build_diffaugment("colour")


def test_epochs_that_people_read_of_count_from_one():
    assert str(Diverged(9, 40, "try less")).startswith("the loss became NaN or infinite in epoch 10, step 40")


@pytest.mark.parametrize(
    ("key", "told"),
    [
        ("optimizer.lr", "did you mean 'model.optimizer.lr'?"),
        ("metrics.table.bosting.folds", "did you mean 'metrics.table.boosting'?"),
        ("metrics.table.boosting.folds", "to set it write +metrics.table.boosting.folds=VALUE"),
        ("metrics.series.discriminativ.steps", "did you mean 'metrics.series.discriminative.steps'?"),
        ("metrics.image.swd.patchs", "did you mean '+metrics.image.swd.patches'?"),
    ],
)
def test_the_right_name_stands_where_the_config_has_it(key, told):
    """What is hinted at can be given: metrics lie one level deeper than their group's name says."""
    assert told in unknown_option(key, ["model=vae", f"{key}=3"]), unknown_option(key, ["model=vae", f"{key}=3"])


@pytest.mark.parametrize("name", ["lr", "weight_decay", "eps"])
@pytest.mark.parametrize(("model", "part"), [("vae", "optimizer"), ("dcgan", "critic_optimizer")])
def test_rates_below_zero_are_refused_before_any_data_is_read(model, part, name):
    for value in ("-0.1", "fast"):
        cfg = config(f"model={model}", "data=digits", f"++model.{part}.{name}={value}")
        with pytest.raises(UserError, match=f"model.{part}.{name}={value} must be a number of at least 0"):
            check(cfg)


def test_a_secret_is_for_tables(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("day,level\n1,2\n")
    words = [f"real={path}", f"synthetic={path}", "secret=level", f"out={tmp_path / 'out'}"]
    with pytest.raises(UserError, match="secret=level is for tables; leave it out for series"):
        evaluate([*words, "data.time=day"])


def test_a_condition_in_braces_says_how_it_is_written():
    with pytest.raises(UserError, match=r"condition={yes:yes}: a condition is written a column at a time, as in"):
        options(["condition={yes:yes}"], "sample")
    assert options(["condition={}"], "sample").condition == {}


def test_a_constraint_that_cannot_be_read_is_named_by_its_place():
    error = InstantiationException("Error in call to target 'Expression' full_key: data.constraints1")
    error.__cause__ = UserError("the expression 'a ! b' cannot be read")
    assert explain(error).startswith("data.constraints[1]: the expression 'a ! b'")
