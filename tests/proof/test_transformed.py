"""What is measured and drawn of models that make pictures of pictures: makers of which every figure is known."""

from __future__ import annotations

import functools
from types import SimpleNamespace

import lightning as L
import numpy as np
import pytest
import torch
from PIL import Image

from datakiln.callbacks.fid import training_sets
from datakiln.codecs.pictures import to_levels
from datakiln.data.pictures.pictures import ImageData
from datakiln.data.pictures.sources import SklearnDigits
from datakiln.metrics.pictures.restoration import bicubic
from datakiln.models.gan.upscaler import Upscaler
from datakiln.proof import transformed
from datakiln.proof.transformed import source_labels, transformed_plot, transformed_scores
from datakiln.sampling.synthesizer import Synthesizer


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("DATAKILN_CACHE", str(tmp_path_factory.getbasetemp() / "judges"))  # trained once for all tests


@functools.cache
def digits(**options) -> ImageData:
    told = {key: list(value) if isinstance(value, tuple) else value for key, value in options.items()}
    data = ImageData(SklearnDigits(), batch_size=32, **told)
    data.setup("fit")
    return data


class Maker:
    """Stands for a trained model: makes of pictures what a function of them and of the wanted domain says."""

    def __init__(self, make, takes=(1, 8, 8), enlarges=1, varies=False):
        self.make = make
        self.model = SimpleNamespace(takes=takes, enlarges=enlarges, varies=varies)

    def transform(self, pictures, condition=None, seed=0, part=0):
        return self.make(np.asarray(pictures), (condition or {}).get("domain"), part).astype(np.uint8)


def measured(data: ImageData, maker: Maker) -> dict:
    sets = training_sets(data.target, torch.device("cpu"), sampled=True)
    found = transformed_scores(data, maker, sets, 0)
    return {score.name.split("/x")[0].split("/classifier@")[0]: score for score in found}


def of_next_class(data: ImageData):
    """Makes of each held-out digit one of the next class, a digit for a digit, and that again on the way back."""
    pictures, y = data.examples("test", 1000)
    rows = {k: np.flatnonzero(y.numpy() == k) for k in range(10)}
    known = {picture.tobytes(): i for i, picture in enumerate(pictures.numpy())}

    def make(step: int):
        def one(picture: np.ndarray) -> np.ndarray:
            i = known[picture.tobytes()]
            k = int(y[i])
            place = int(np.flatnonzero(rows[k] == i)[0])
            of = rows[(k + step) % 10]
            return pictures[of[place % len(of)]].numpy()

        return lambda given: np.stack([one(picture) for picture in given])

    return make


class TestTranslations:
    def test_untouched_pictures_keep_their_class_and_lose_nothing(self):
        found = measured(digits(other="digits"), Maker(lambda x, *_: x))
        for way in ("there", "back"):
            assert found[f"translation/cycle_{way}"].value == 0
            agreement = found[f"translation/agreement_{way}"]
            assert agreement.value == agreement.floor == agreement.ceiling > 0.9, "all three are the same pictures"
            assert agreement.floor_range == [agreement.floor] * 2, "no chance in what does not differ"

    def test_exchanged_classes_are_seen_where_the_cycle_sees_nothing(self):
        data = digits(other="digits")
        step, (first, second) = of_next_class(data), data.domains
        there, back = step(1), step(-1)
        maker = Maker(lambda x, domain, _: {second: there, first: back}[domain](x))
        found = measured(data, maker)
        for way in ("there", "back"):
            agreement = found[f"translation/agreement_{way}"]
            assert agreement.value < 0.1 and agreement.floor > 0.9 and agreement.ceiling > 0.9
            assert agreement.n == len(data.pictures["test"].x)
        assert found["translation/cycle_there"].value < 25, "it comes back to a digit of the class, mostly to itself"

    def test_each_way_is_judged_by_itself(self):
        data = digits(other="digits")
        step, second = of_next_class(data)(1), data.domains[1]
        found = measured(data, Maker(lambda x, domain, _: step(x) if domain == second else x))
        assert found["translation/agreement_there"].value < 0.1 < 0.9 < found["translation/agreement_back"].value

    def test_what_the_cycle_loses_is_root_mean_square_in_grey_levels_from_either_end(self):
        data = digits(other="digits")
        first, second = data.domains
        darker = Maker(lambda x, domain, _: x // 2 if domain == second else x)
        found = measured(data, darker)
        x = data.examples("test", 2000)[0].numpy().astype(float)
        lost = np.sqrt(((x - x // 2) ** 2).mean(axis=(1, 2, 3)))
        for way in ("there", "back"):
            score = found[f"translation/cycle_{way}"]
            assert score.value == pytest.approx(lost.mean())
            assert score.noise == pytest.approx(lost.std() / len(lost) ** 0.5)
        assert f"from {first} to {second}" in found["translation/cycle_there"].note
        assert f"from {second} to {first}" in found["translation/cycle_back"].note

    def test_sets_of_other_classes_have_no_agreement_and_say_why(self):
        data = digits(classes=("1", "2"), other="digits", other_classes=("3", "4"))
        found = measured(data, Maker(lambda x, *_: x))
        assert source_labels(data, 10) is None
        for way in ("there", "back"):
            assert found[f"translation/agreement_{way}"].value is None
            assert "two sets with the same classes" in found[f"translation/agreement_{way}"].why
            assert found[f"translation/cycle_{way}"].value == 0

    def test_classes_are_matched_by_name(self):
        data = digits(classes=("3", "7"), other="digits")
        names = [data.second.spec.classes[k] for k in source_labels(data, 40)]
        assert names == [("3", "7")[k] for k in data.examples("test", 40)[1].tolist()]
        agreement = measured(data, Maker(lambda x, *_: x))
        assert agreement["translation/agreement_there"].value > 0.9, "3 and 7 are the first and the second class here"
        assert agreement["translation/agreement_back"].value is None, "a judge of 3 and 7 knows no other digit"

    def test_the_picture_shows_both_ways_and_the_way_back(self, tmp_path, monkeypatch):
        data = digits(other="digits")
        first, second = data.domains
        shown = {}
        monkeypatch.setattr(transformed, "columns", lambda parts, path, words: shown.update(parts=parts) or path)
        transformed_plot(data, Maker(lambda x, domain, _: x // 2 if domain == second else x), tmp_path / "x.png")
        names, pictures = zip(*shown["parts"], strict=True)
        assert names == (first, f"to {second}", "back", second, f"to {first}", "back")
        given, other = (part.examples("test", 8)[0].numpy() for part in (data, data.second))
        wanted = (given, given // 2, given // 2, other, other, other // 2)
        assert all((a == b).all() for a, b in zip(pictures, wanted, strict=True))


class TestEnlarged:
    """Digits of 4 x 4 pixels made 8 x 8."""

    def maker(self, make) -> Maker:
        return Maker(make, takes=(1, 4, 4), enlarges=2)

    def test_bicubic_interpolation_is_the_floor_to_the_last_digit(self):
        found = measured(digits(), self.maker(lambda x, *_: bicubic(torch.from_numpy(x), 2).numpy()))
        assert set(found) == {f"upscaling/{name}" for name in ("psnr", "ssim", "consistency", "perceptual")}
        for score in found.values():
            assert score.value == score.floor and score.n == len(digits().pictures["test"].x), score.name

    def test_the_real_pictures_are_perfect(self):
        real = digits().examples("test", 2000)[0].numpy()
        found = measured(digits(), self.maker(lambda x, *_: real))
        assert found["upscaling/psnr"].value == 100 and found["upscaling/ssim"].value == pytest.approx(1)
        assert found["upscaling/perceptual"].value < 1e-6 < 0.01 < found["upscaling/perceptual"].floor
        assert found["upscaling/consistency"].value < 0.5, "means of blocks are rounded once"

    def test_blocks_are_consistent_and_dark_ones_are_not(self):
        def blocks(x, *_):
            return x.repeat(2, axis=2).repeat(2, axis=3)

        found = measured(digits(), self.maker(blocks))
        assert found["upscaling/consistency"].value == 0 < found["upscaling/consistency"].floor
        assert found["upscaling/psnr"].value < found["upscaling/psnr"].floor
        dark = measured(digits(), self.maker(lambda x, *_: blocks(x) // 2))
        assert dark["upscaling/consistency"].value > 30
        for name in ("psnr", "ssim"):
            assert dark[f"upscaling/{name}"].value < found[f"upscaling/{name}"].value, name

    def test_a_few_seconds_of_training_beat_interpolation(self):
        torch.manual_seed(0)
        adam = functools.partial(torch.optim.Adam, lr=2e-3)
        model = Upscaler(
            digits().spec, factor=2, width=16, blocks=2, generator_optimizer=adam, critic_optimizer=adam
        )  # fmt: skip
        trainer = L.Trainer(
            max_epochs=4, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
            enable_model_summary=False, num_sanity_val_steps=0, use_distributed_sampler=False,
        )  # fmt: skip
        untrained = measured(digits(), Synthesizer(model, digits().codec))
        trainer.fit(model, datamodule=digits())
        found = measured(digits(), Synthesizer(model, digits().codec))
        for name, by in (("psnr", 1.0), ("ssim", 0.03)):
            score = found[f"upscaling/{name}"]
            assert score.value > score.floor + by > untrained[f"upscaling/{name}"].value, name
        for name in ("consistency", "perceptual"):
            assert found[f"upscaling/{name}"].value < found[f"upscaling/{name}"].floor, name

    def test_the_picture_shows_what_was_given_and_what_should_come(self, tmp_path, monkeypatch):
        shown = {}
        monkeypatch.setattr(transformed, "columns", lambda parts, path, words: shown.update(parts) or path)
        real = digits().examples("test", 8)[0].numpy()
        transformed_plot(digits(), self.maker(lambda x, *_: x.repeat(2, axis=2).repeat(2, axis=3)), tmp_path / "x.png")
        small = to_levels(digits().inputs("test", 8, (1, 4, 4)))
        assert list(shown) == ["small", "bicubic", "model", "real"]
        assert (shown["model"] == shown["small"]).all() and (shown["small"][:, :, ::2, ::2] == small.numpy()).all()
        assert (shown["real"] == real).all() and (shown["bicubic"] == bicubic(small, 2).numpy()).all()


class TestVariations:
    def maker(self, make) -> Maker:
        return Maker(make, varies=True)

    def test_copies_have_no_spread_and_other_pictures_of_the_class_that_of_real_ones(self):
        data = digits()
        pictures, y = data.examples("test", 1000)
        rows = {k: np.flatnonzero(y.numpy() == k) for k in range(10)}

        def partner(x, _, part):
            """Of the class of each another one, by the number of the variation."""
            rng = np.random.default_rng(part)
            return np.stack([pictures[rng.choice(rows[int(k)])].numpy() for k in y[: len(x)]])

        assert measured(data, self.maker(lambda x, *_: x))["variation/spread"].value == 0
        real = measured(data, self.maker(partner))["variation/spread"]
        assert real.value == pytest.approx(1, abs=0.1) and real.ideal == 1
        half = measured(data, self.maker(lambda x, _, part: x // 2 + partner(x, _, part) // 2))["variation/spread"]
        assert half.value == pytest.approx(0.5, abs=0.06)

    def test_the_picture_shows_each_given_one_and_all_its_variations(self, tmp_path, monkeypatch):
        shown = {}
        monkeypatch.setattr(transformed, "columns", lambda parts, path, words: shown.update(parts) or path)
        transformed_plot(digits(), self.maker(lambda x, _, part: x // (part + 1)), tmp_path / "x.png")
        given = digits().examples("test", 8)[0].numpy()
        assert list(shown) == ["given", *(f"made {k}" for k in range(1, 6))]
        assert all((made == given // max(k, 1)).all() for k, made in enumerate(shown.values()))


def test_pictures_are_written_where_they_are_to_go(tmp_path):
    path = transformed_plot(digits(), Maker(lambda x, *_: x), tmp_path / "x.png")
    with Image.open(path) as picture:
        assert path == tmp_path / "x.png"
        page = np.asarray(picture.convert("L")) < 250
    rows, columns = (np.flatnonzero(page.any(axis=axis)) for axis in (1, 0))
    assert max(rows[0], page.shape[0] - rows[-1], columns[0], page.shape[1] - columns[-1]) < 50, "no empty bands"
    assert len(rows) > 500 and len(columns) > 150
