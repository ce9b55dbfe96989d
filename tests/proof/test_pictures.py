"""What a run of pictures measures, draws and writes; sampling to files; two folders compared."""

from __future__ import annotations

import functools
import json
import logging
import time
from dataclasses import replace
from types import SimpleNamespace

import lightning as L
import numpy as np
import pytest
import torch
from PIL import Image

from datakiln.callbacks.budget import Budget
from datakiln.callbacks.ema import Ema
from datakiln.callbacks.fid import MONITOR, Fid
from datakiln.callbacks.samples import SampleGrids
from datakiln.codecs.pictures import to_model_space
from datakiln.data.pictures.finding import find_pictures
from datakiln.data.pictures.pictures import ImageData
from datakiln.data.pictures.sources import SklearnDigits
from datakiln.errors import UserError
from datakiln.metrics.base import MetricError
from datakiln.metrics.pictures import evaluate as image_sets
from datakiln.metrics.pictures.evaluate import ImageSets, evaluate_images, memorisation, nearest
from datakiln.models.diffusion.flow_matching import FlowMatching
from datakiln.models.diffusion.pictures import PUSHES
from datakiln.models.gan.dcgan import DCGAN
from datakiln.plots.grids import ACROSS, grid
from datakiln.pretrained.efficientnet import SHA256
from datakiln.proof.base import scores
from datakiln.sampling.pictures import _folder_name, circle, renamed, write_by_class, write_images
from datakiln.sampling.synthesizer import Synthesizer
from datakiln.spec import PLAIN, Sampling

ADAM = functools.partial(torch.optim.Adam, lr=2e-3, betas=(0.5, 0.99))


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def own_cache(cache, monkeypatch):
    monkeypatch.setenv("DATAKILN_CACHE", str(cache))


@functools.cache
def digits() -> ImageData:
    data = ImageData(SklearnDigits(), batch_size=128)
    data.setup("fit")
    return data


def train(folder, callbacks, epochs: int = 3, conditional: bool = False) -> tuple[DCGAN, L.Trainer]:
    torch.manual_seed(0)
    model = DCGAN(
        digits().spec, latent_dim=8, width=8, conditional=conditional, generator_optimizer=ADAM, critic_optimizer=ADAM
    )
    trainer = trainer_of(folder, callbacks, epochs)
    trainer.fit(model, datamodule=digits())
    return model, trainer


def trainer_of(folder, callbacks, epochs: int) -> L.Trainer:
    return L.Trainer(
        max_epochs=epochs, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, num_sanity_val_steps=0, default_root_dir=str(folder), callbacks=callbacks,
        use_distributed_sampler=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def synthesizer(tmp_path_factory) -> Synthesizer:
    model, _ = train(tmp_path_factory.mktemp("run"), [], 1, conditional=True)
    return Synthesizer(model, digits().codec)


def test_watching_changes_nothing_and_leaves_grids(tmp_path):
    fid = Fid(digits(), every=2, n=64, n_train=200, extractor="pixels", budget=None)
    watched, trainer = train(tmp_path, [Ema(0.9), SampleGrids(digits(), grids=2), fid])
    plain, _ = train(tmp_path / "plain", [])
    assert all(torch.equal(a, b) for a, b in zip(watched.parameters(), plain.parameters(), strict=True))
    files = sorted(path.name for path in (tmp_path / "samples").iterdir())
    assert files == ["epoch-0001.png", "epoch-0002.png", "epoch-0003.png", "training.gif"]
    with Image.open(tmp_path / "samples" / "training.gif") as animation:
        assert animation.n_frames == 3
    assert float(trainer.callback_metrics[MONITOR]) > 0
    named = [name for name in trainer.callback_metrics if name.startswith("val/fid/pixels@") and name.endswith("/n64")]
    assert len(named) == 1 and trainer.callback_metrics[named[0]] == trainer.callback_metrics[MONITOR]
    assert not [name for name, _ in watched.named_modules() if "extractor" in name.lower() or "network" in name]


def test_measuring_is_apart_from_the_budget_of_training(tmp_path, monkeypatch):
    def slow(*_):
        start = time.process_time()
        while time.process_time() < start + 0.2:
            pass
        return "fid/slow/n64", 1.0

    monkeypatch.setattr(Fid, "_measure", slow)
    budget, start = Budget(1000.0), time.process_time()
    train(tmp_path, [budget, Fid(digits(), every=1, n=64, extractor="pixels", budget=None)], epochs=2)
    assert 0.0 < budget.spent < time.process_time() - start - 0.4


def test_fid_keeps_to_its_budget(tmp_path, caplog, monkeypatch):
    """What all samples would take is estimated before they are drawn: none are, but for a few in the last epoch."""
    monkeypatch.setattr("datakiln.callbacks.fid.GRACE", 0.0)
    fid = Fid(digits(), every=1, n=5000, n_train=200, extractor="pixels", budget=1e-6)
    with caplog.at_level(logging.WARNING, logger="datakiln.callbacks.fid"):
        _, trainer = train(tmp_path, [fid])
    assert "FID of 5,000 samples would take about" in caplog.text and "none yet; all from epoch" in caplog.text
    assert fid.next_epoch > 1000
    assert fid.full_names[MONITOR].endswith("/n128"), "the last epoch is always measured, if only by a few"
    state = fid.state_dict()
    again = Fid(digits())
    again.load_state_dict(state)
    assert again.every == fid.every and again.next_epoch == fid.next_epoch
    caplog.clear()
    fixed = Fid(digits(), every=1, n=64, n_train=200, extractor="pixels", budget=1e-6, widen=False)
    with caplog.at_level(logging.WARNING, logger="datakiln.callbacks.fid"):
        train(tmp_path, [fixed], epochs=1)
    assert "raise watch.image.fid.every" in caplog.text and fixed.every == 1


def test_fewer_samples_come_first_and_no_monitor_compares_them(tmp_path, caplog, monkeypatch):
    """Training has taken 10 s at the first turn and 100 s at the second; a sample takes 1 ms, and 10 % may be spent."""
    monkeypatch.setattr("datakiln.callbacks.fid.GRACE", 0.0)
    passed = iter([10.0, 100.0, 101.0])
    monkeypatch.setattr(Fid, "_elapsed", property(lambda self: self.seconds + self.now))
    monkeypatch.setattr(Fid, "_timed", lambda self, model: 1e-3)
    measured = []
    keep = Fid._affordable

    def watched(self, model, epoch, is_last):
        self.now, self._probed = next(passed), 1e-3
        measured.append(keep(self, model, epoch, is_last))
        return measured[-1]

    monkeypatch.setattr(Fid, "_affordable", watched)
    fid = Fid(digits(), every=1, n=1500, n_train=200, extractor="pixels", budget=0.1)
    with caplog.at_level(logging.WARNING, logger="datakiln.callbacks.fid"):
        _, trainer = train(tmp_path, [fid])
    assert measured[:2] == [896, 1500]
    assert "1,500 samples would take about 2.0 s, more than 10 % of the training so far: 896 for now" in caplog.text
    names = {name.rpartition("/")[2] for name in trainer.callback_metrics if name.startswith("val/fid/")}
    assert "n896" in names and fid.full_names[MONITOR].endswith("/n1500")


class Pushed(FlowMatching):
    """Draws training pictures, the blacker the further from a push of 0.5."""

    def draw(self, n, condition, options=PLAIN):
        real = to_model_space(digits().examples("train", n)[0])
        return (real - (self._pushed(options) - 0.5) ** 2).clamp(-1.0, 1.0)


@pytest.mark.parametrize(("guidance", "seen", "kept"), [(None, 0, 0.5), (0.25, 0, 0.25), (None, 10**9, 0.0)])
def test_the_push_whose_samples_are_nearest_is_kept(tmp_path, monkeypatch, caplog, guidance, seen, kept):
    monkeypatch.setattr("datakiln.callbacks.fid.SEEN", seen)
    torch.manual_seed(0)
    model = Pushed(digits().spec, width=8, middle=1, guidance=guidance, optimizer=ADAM)
    fid = Fid(digits(), every=1, n=64, n_train=500, extractor="pixels", budget=None)
    trainer = trainer_of(tmp_path, [fid], 2)
    with caplog.at_level(logging.WARNING, logger="datakiln.callbacks.fid"):
        trainer.fit(model, datamodule=digits())
    assert float(model.push) == kept
    assert ("guidance=0.5 unless asked otherwise" in caplog.text) == (kept == 0.5)
    assert trainer.callback_metrics.get("val/guidance") == (0.5 if kept == 0.5 else None)
    assert float(model.state_dict()["push"]) == kept, "a checkpoint has it"
    again = Fid(digits())
    again.load_state_dict(fid.state_dict())
    assert again._way == (PUSHES.index(0.5) if kept == 0.5 else 0) and again._chosen == fid._chosen == 2


def test_weights_from_before_a_push_was_chosen_are_loaded():
    model = FlowMatching(digits().spec, width=8, middle=1, guidance=0.3)
    state = {name: value for name, value in model.state_dict().items() if name != "push"}
    model.load_state_dict(state)
    assert float(model.push) == pytest.approx(0.3)


@pytest.mark.parametrize("push", [float("nan"), float("inf"), -1.0])
def test_a_push_that_is_no_guidance_is_refused(push):
    model = FlowMatching(digits().spec, width=8, middle=1)
    with pytest.raises(UserError, match=f"guidance={push} must be between 0 and 100"):
        model.load_state_dict({**model.state_dict(), "push": torch.tensor(push)})


def sets(judged: torch.Tensor, labels: torch.Tensor | None = None) -> ImageSets:
    data = digits()
    holdout, holdout_labels = data.examples("test", 1000)
    return ImageSets(
        lambda n: data.batches("train", n), len(data.pictures["train"].x), judged, labels, holdout, holdout_labels,
        data.labelled(), data.fingerprint,
    )  # fmt: skip


@pytest.mark.journey
def test_real_pictures_beat_noise_on_every_figure():
    """Judged: real validation digits with their labels; they must lie by the ceiling and far from the floor."""
    part = digits().pictures["val"]
    metrics = [image_sets.features, image_sets.judge, image_sets.memorisation]
    results = {r.name.rpartition("/n")[0]: r for r in evaluate_images(sets(part.x, part.y), metrics)}
    assert results.pop("").name == "fid_infinity", "153 pictures are no many times 128 features"
    tag = next(name for name in results if name.startswith("fid/")).removeprefix("fid/")
    assert tag.startswith("classifier@"), "labelled grey pictures are judged by their own classifier"
    fid = results[f"fid/{tag}"]
    assert fid.figure.value < 0.3 * fid.floor.value and fid.ceiling.value < 0.3 * fid.floor.value
    assert results[f"precision/{tag}"].figure.value > 0.85 and results[f"recall/{tag}"].figure.value > 0.85
    accuracy = results[f"judge/accuracy/{tag}"]
    assert accuracy.figure.value > 0.9 and accuracy.ceiling.value > 0.9 and accuracy.floor.value < 0.5
    shares = results[f"judge/class_share_distance/{tag}"].figure
    assert shares.value < 0.1 and sum(shares.detail.values()) == pytest.approx(1.0)
    assert results[f"judge/classes_covered/{tag}"].figure.value == 1.0
    assert results["memorisation/copies"].figure.value == 0.0
    assert {r.figure.name.rpartition("/n")[2] for r in results.values()} == {"153"}, "the same n for all three sides"
    assert all(r.why == "" and r.ceiling is not None and r.floor is not None for r in results.values())
    scored = {score.name.rpartition("/n")[0]: score for score in scores(list(results.values()))}
    assert all(score.differs == "same" for score in scored.values() if score.better != "none"), "within chance"
    assert scored[f"fid/{tag}"].decides and scored[f"kid/{tag}"].decides and scored[f"fid/{tag}"].draws == 12
    blind = scored[f"judge/classes_covered/{tag}"]  # naive digits show every class too
    assert blind.decides is False and "does not tell real pictures from naive ones" in blind.note


def test_few_real_pictures_give_a_ceiling_at_the_figures_n():
    """400 and 400 real digits against 200 and 200: the distance is carried on from the smaller ones to the larger."""
    pool = torch.cat(list(digits().batches("train")))
    measure = [functools.partial(image_sets.features, extractor="pixels", kinds=["fid"])]

    def beside(train, judged, real=None):
        made = ImageSets(lambda n: train[:n].split(256), len(train), judged)
        return {r.name: r for r in evaluate_images(made, measure, real=real)}

    half = ImageSets(lambda n: pool[:200][:n].split(256), 200, pool[200:400])
    found = beside(pool[:400], pool[800:1200], half)
    fid = next(r for name, r in found.items() if name.startswith("fid/"))
    true = frechet_of(pool[400:800], pool[800:1200])
    small = frechet_of(pool[:200], pool[200:400])
    assert fid.ceiling.n == fid.figure.n == 400 and fid.ceiling.value < 0.8 * small
    assert fid.ceiling.value == pytest.approx(true, rel=0.35)
    assert fid.ceiling_range[0] < fid.figure.value < fid.ceiling_range[1]


def frechet_of(train: torch.Tensor, judged: torch.Tensor) -> float:
    made = ImageSets(lambda n: train[:n].split(256), len(train), judged)
    return image_sets.features(made, extractor="pixels", kinds=["fid"])[0].value


def test_copies_are_seen():
    train_pictures = digits().pictures["train"].x
    noisy = (train_pictures[:50].int() + 1).clamp(max=255).to(torch.uint8)  # one grey level away is a copy still
    mixed = torch.cat([noisy, digits().pictures["val"].x[:50]])
    copies = next(f for f in memorisation(sets(mixed)) if f.name.startswith("memorisation/copies"))
    assert copies.value == 0.5
    distances, found = nearest(noisy, digits().batches("train"), k=3)
    assert torch.equal(found[:, 0], train_pictures[:50]) and (distances[:, 0] <= 1.0).all()
    assert (distances.diff(dim=1) >= 0).all()


def test_nearest_agrees_with_comparing_all():
    queries, real = digits().pictures["val"].x[:20], torch.cat(list(digits().batches("train")))
    distances, _ = nearest(queries, digits().batches("train"), k=4)
    brute = (queries[:, None].float() - real[None].float()).square().flatten(2).mean(dim=2).sqrt()
    torch.testing.assert_close(distances, brute.sort(dim=1).values[:, :4], rtol=1e-5, atol=1e-4)


def test_without_labels_there_is_no_judge():
    import dataclasses

    results = evaluate_images(dataclasses.replace(sets(digits().pictures["val"].x), labelled=None), [image_sets.judge])
    assert [r.figure for r in results] == [None] and "needs pictures with classes" in results[0].why


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("metrics.image.features.extractor=resnet", "metrics.image.features.extractor=resnet: known are auto"),
        ("metrics.image.features.resize=cleen", "metrics.image.features.resize=cleen: .*did you mean 'clean'"),
        ("watch.image.fid.precision=exakt", "watch.image.fid.precision=exakt: .*did you mean 'exact'"),
        ("metrics.image.features.extractor=inception", "metrics.image.features.extractor=inception: cannot download"),
    ],
)
def test_what_could_not_measure_is_refused_before_training(tmp_path, monkeypatch, option, said):
    from hydra import compose, initialize_config_dir

    from datakiln.cli.run_folders import register_resolvers
    from datakiln.jobs.run import Run
    from datakiln.metrics.extractors import build
    from datakiln.metrics.extractors.weights import WeightsFile
    from datakiln.storage import CONF

    register_resolvers()
    monkeypatch.setattr(build, "WEIGHTS", WeightsFile("x.pth", (tmp_path / "nowhere").as_uri(), "0" * 64))
    with initialize_config_dir(str(CONF), version_base="1.3"):
        job = Run(compose("train", overrides=["model=dcgan", "data=digits", f"output_dir={tmp_path}", option]))
    job.load_data()
    with pytest.raises(UserError, match=said):
        job.fit()
    assert not hasattr(job, "trainer")


def test_a_metric_that_cannot_be_had_leaves_the_others():
    broken = functools.partial(image_sets.features, extractor="resnet")
    results = evaluate_images(sets(digits().pictures["val"].x), [broken, image_sets.memorisation])
    assert results[0].figure is None and "extractor=resnet: known are" in results[0].why
    assert [r.name.rpartition("/n")[0] for r in results if r.figure] == [
        "memorisation/nearest_distance", "memorisation/copies", "memorisation/near_copies"
    ]  # fmt: skip


def test_a_network_that_the_model_was_trained_with_decides_nothing():
    asked = sets(digits().pictures["val"].x[:60])
    measure = functools.partial(image_sets.features, extractor="pixels", n_train=60, kinds=["fid"])
    (fid,) = measure(asked)
    network = asked.extractor("pixels", "exact", "clean")
    assert fid.note == network.card == f"pixels@{network.hash}, trained on nothing"
    with pytest.raises(MetricError, match="the model was trained with pixels, which can decide nothing"):
        measure(replace(asked, trained_with=frozenset({"pixels"})))
    with pytest.raises(MetricError, match="the model was trained with pixels"):
        measure(replace(asked, trained_with=frozenset({network.hash})))
    network.facts = {"accuracy": 0.9876}
    assert network.card.endswith(", right on 98.76% of pictures it was not")


def test_auto_goes_past_what_the_model_was_trained_with(monkeypatch):
    asked = replace(sets(digits().pictures["val"].x[:60]), trained_with=frozenset({"efficientnet_lite0"}))
    names = {"auto": "efficientnet_lite0", "classifier": "classifier", "pixels": "pixels"}

    built = []

    def extractor(self, name, *_):
        built.append(name)
        return SimpleNamespace(name=names[name], hash=f"hash of {names[name]}")

    monkeypatch.setattr(ImageSets, "extractor", extractor)
    assert asked.judging("auto", "exact", "clean").name == ("pixels" if asked.labelled is None else "classifier")
    assert replace(asked, labelled=None).judging("auto", "exact", "clean").name == "pixels"
    published = replace(asked, labelled=None, trained_with=frozenset({SHA256[:8]}))
    assert published.judging("auto", "exact", "clean").name == "pixels"
    assert "auto" not in built, "which would say of a network that judges nothing that it does"
    by_hash = replace(asked, labelled=None, trained_with=frozenset({"hash of efficientnet_lite0"}))
    assert by_hash.judging("auto", "exact", "clean").name == "pixels"
    assert replace(asked, trained_with=frozenset()).judging("auto", "exact", "clean").name == "efficientnet_lite0"


def test_a_training_is_not_watched_by_a_network_it_looks_through(tmp_path, monkeypatch):
    monkeypatch.setattr(DCGAN, "trained_with", frozenset({"pixels"}))
    with pytest.raises(UserError, match="watch.image.fid.extractor=pixels: the model is trained with it"):
        train(tmp_path, [Fid(digits(), n=64, extractor="pixels")])


def test_few_pictures_cost_only_the_figures_that_need_more():
    judged = digits().pictures["val"].x[:5]
    results = evaluate_images(sets(judged), [functools.partial(image_sets.features, extractor="pixels", n_train=60)])
    measured = {r.name.partition("/")[0]: r for r in results if r.figure is not None}
    assert set(measured) == {"fid", "kid", "prd_f8", "prd_f1_8"}
    assert all(r.ceiling and r.floor and not r.why for r in measured.values())
    missing = {r.name: r.why for r in results if r.figure is None}
    assert set(missing) == {"precision", "recall", "coverage", "density", "fid_infinity"}
    assert "not computed: precision and recall need more than 5" in missing["recall"]
    assert "fid_infinity of 768 features is measured of at least 7,680 pictures, not 5" in missing["fid_infinity"]


def test_samples_go_to_files(tmp_path, synthesizer):
    write_images(synthesizer, 20, str(tmp_path / "grid.png"), {}, 0)
    with Image.open(tmp_path / "grid.png") as picture:
        assert picture.size == (5 * (56 + 2) + 2, 4 * (56 + 2) + 2)
        assert "20 synthetic pictures" in picture.info["Description"]
    write_images(synthesizer, 12, str(tmp_path / "folder") + "/", {"class": "3"}, 0)
    files = sorted((tmp_path / "folder").iterdir())
    assert [file.name for file in files[:2]] == ["00000.png", "00001.png"] and len(files) == 12
    write_images(synthesizer, 12, str(tmp_path / "x.npz"), {"class": "3"}, 0)
    array = np.load(tmp_path / "x.npz")
    assert array["images"].shape == (12, 8, 8, 1) and str(array["class"]) == "3"
    assert (np.asarray(Image.open(files[5])) == array["images"][5, ..., 0]).all()
    assert (array["images"].transpose(0, 3, 1, 2) == synthesizer.sample(12, {"class": "3"}, seed=0)).all()


def test_truncation_makes_samples_more_alike(tmp_path, synthesizer):
    spread = {}
    for scale in (None, 1.0, 0.1, 0.0):
        write_images(synthesizer, 64, str(tmp_path / f"{scale}.npz"), {"class": "1"}, 0, Sampling(truncation=scale))
        images = np.load(tmp_path / f"{scale}.npz")["images"].astype(float)
        spread[scale] = images.std(axis=0).mean()
    assert spread[0.0] == 0.0 < spread[0.1] < 0.5 * spread[1.0]
    assert spread[None] == spread[1.0], "the scale that leaves latents as they are"
    asked = json.loads(str(np.load(tmp_path / "0.1.npz")["sampling"]))
    assert asked == {"seed": 0, "condition": {"class": "1"}, "truncation": 0.1}, "a file says how it was made"


def test_a_walk_is_closed_smooth_and_animated(tmp_path, synthesizer):
    write_images(synthesizer, 24, str(tmp_path / "walk.png"), {}, 0, interpolate=True)
    with Image.open(tmp_path / "walk.gif") as animation:
        assert animation.n_frames == 24 and animation.info["loop"] == 0
    assert (tmp_path / "walk.png").exists()
    keys = torch.randn(3, 50)
    way = circle(keys, 24)
    torch.testing.assert_close(way[[0, 8, 16]], keys)
    steps = (way - way.roll(1, 0)).norm(dim=1)
    assert steps.max() < 2.5 * steps.min()
    norms = way.norm(dim=1)
    assert norms.min() > 0.9 * keys.norm(dim=1).min(), "great circles stay where the Gaussian's mass is"


def test_a_folder_for_each_class_is_read_back_with_its_classes(tmp_path, synthesizer):
    names = synthesizer.codec.spec.classes
    assert write_by_class(synthesizer, 64, str(tmp_path / "each"), 3, 0) == 3 * len(names)
    files, labels, found = find_pictures(tmp_path / "each", labels=True)
    assert found == tuple(sorted(names)) and np.bincount(labels).tolist() == [3] * len(names)
    assert write_by_class(synthesizer, 25, str(tmp_path / "shares"), None, 0) == 25
    assert len(find_pictures(tmp_path / "shares", labels=True)[0]) == 25
    one = next(iter(synthesizer.pictures(3, {"class": names[1]}, 1, PLAIN)))
    assert (np.asarray(Image.open(tmp_path / "each" / names[1] / "00000.png")) == one[0, 0]).all()
    assert (_folder_name("T-shirt/top"), _folder_name("../x"), _folder_name(" ")) == ("T-shirt_top", "_._x", "_")
    assert renamed(("a", "b c")) == "" and "(those of T-shirt/top in T-shirt_top:" in renamed(("T-shirt/top", "a"))
    assert "<0 in _0, <1 in _1, <2 in _2 and 2 more:" in renamed([f"<{i}" for i in range(5)])
    with pytest.raises(UserError, match="give out=FOLDER/"):
        write_by_class(synthesizer, 64, str(tmp_path / "x.npz"), 3, 0)


@pytest.mark.parametrize(
    ("out", "options", "message"),
    [
        ("x.jpg", {}, "pictures go to grid.png"),
        (
            "x.npz",
            {"options": Sampling(mean=True)},
            "mean=True changes nothing .* it follows truncation",
        ),
        ("x.npz", {"condition": {"class": "elf"}}, "condition.class=elf"),
        ("x.npz", {"condition": {"colour": "red"}}, "condition.colour is unknown"),
        ("x.npz", {"interpolate": True}, "a walk goes to"),
        ("x.png", {"interpolate": True, "n": 3}, "at least 8 steps"),
        ("x.png", {"n": 5000}, "too many for one grid"),
    ],
)
def test_mistakes_are_told(tmp_path, synthesizer, out, options, message):
    n, condition = options.pop("n", 10), options.pop("condition", {})
    with pytest.raises(UserError, match=message):
        write_images(synthesizer, n, str(tmp_path / out), condition, 0, **options)
        options["n"], options["condition"] = n, condition


def test_a_grid_holds_the_pictures_in_order():
    pictures = np.arange(6, dtype=np.uint8)[:, None, None, None] * np.ones((6, 3, 60, 60), dtype=np.uint8)
    sheet = grid(pictures, columns=3)
    assert sheet.shape == (2 * 62 + 2, 3 * 62 + 2, 3)
    assert [int(sheet[2 + 62 * (i // 3), 2 + 62 * (i % 3), 0]) for i in range(6)] == list(range(6))
    assert sheet[0, 0, 0] == 255 and ACROSS == 8


@pytest.mark.journey
def test_the_command_from_training_to_folders(tmp_path, monkeypatch, capsys):
    """Train, sample to a folder, and compare it with a folder of real digits: what a person does."""
    from hydra import compose, initialize_config_dir

    from datakiln.cli import evaluate
    from datakiln.cli.run_folders import register_resolvers
    from datakiln.jobs.run import Run
    from datakiln.storage import CONF

    register_resolvers()
    run = tmp_path / "run"
    run.mkdir()
    options = [
        "model=dcgan", "data=digits", "epochs=2", f"output_dir={run}", "model.width=4", "conditional=true",
        "n_synthetic=300", "watch.image.fid.every=1", "watch.image.fid.n=200", "watch.image.fid.budget=null",
        "~metrics.image.swd", "~metrics.image.membership",  # they have tests of their own, and take as long as the rest
    ]  # fmt: skip
    with initialize_config_dir(str(CONF), version_base="1.3"):
        job = Run(compose("train", overrides=options))
    job.check()
    job.load_data()
    job.fit()
    job.synthesize()
    job.prove()
    names = {path.name for path in (run / "plots").iterdir()}
    assert {"beside.png", "neighbours.png", "classes.png", "epochs.png", "curves.png"} <= names
    made = np.load(run / "synthetic.npz")
    assert made["images"].shape == (300, 8, 8, 1) and len(made["labels"]) == 300
    figures = {score.name.partition("/")[0] for score in job.figures}
    assert {"fid", "kid", "precision", "recall", "judge", "memorisation", "best"} <= figures
    (name,) = (score.name for score in job.figures if score.name.startswith("best/"))
    assert name.startswith("best/val/fid/") and name.endswith("/n200")  # extractor and n, as in the logs
    best = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)
    assert best["monitor"] == "val/fid" and best["averaged"].keys() == job.model.generator.state_dict().keys()

    write_images(job.synthesizer, 60, str(tmp_path / "made") + "/", {}, 0)
    real = tmp_path / "real"
    real.mkdir()
    for i, picture in enumerate(digits().pictures["test"].x[:80, 0].numpy()):
        Image.fromarray(picture).save(real / f"{i}.png")
    (real / "bad.png").write_bytes(b"")
    monkeypatch.setattr(
        "datakiln.metrics.extractors.build._resolve", lambda name, weights: "pixels"
    )  # no package with weights is needed
    evaluate.main([f"real={real}", f"synthetic={tmp_path / 'made'}", f"out={tmp_path / 'compared'}"])
    result = json.loads((tmp_path / "compared" / "result.json").read_text())
    fid = next(figure for figure in result["figures"] if figure["name"].startswith("fid/"))
    assert fid["name"].endswith("/n60") and fid["ceiling"] < fid["value"]
    assert any("bad pictures" in step["name"] and step["rows"] == 1 for step in result["steps"])
