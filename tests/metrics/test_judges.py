"""Networks that judge pictures: DINOv2 of a person's own file, the classifier of colour pictures, cards, witnesses."""

from __future__ import annotations

import functools
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from datakiln.cli.evaluate import main
from datakiln.errors import UserError
from datakiln.metrics.extractors import classifier
from datakiln.metrics.extractors.build import build_extractor, check_extractor
from datakiln.metrics.extractors.dinov2 import DIM, FILE, HEADS, DINOv2Small, _Attention, _Block
from datakiln.metrics.pictures.evaluate import judge
from datakiln.metrics.pictures.sets import ImageSets
from datakiln.spec import LabelledImages


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DATAKILN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def dinov2() -> DINOv2Small:
    torch.manual_seed(0)
    net = DINOv2Small().eval()
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, 0, 0.02)
    return net


def test_dinov2_attends_as_torch_does():
    torch.manual_seed(0)
    ours, theirs = _Attention(), torch.nn.MultiheadAttention(DIM, HEADS, batch_first=True)
    theirs.in_proj_weight.data, theirs.in_proj_bias.data = ours.qkv.weight.data, ours.qkv.bias.data
    theirs.out_proj.weight.data, theirs.out_proj.bias.data = ours.proj.weight.data, ours.proj.bias.data
    x = torch.randn(2, 5, DIM)
    assert torch.allclose(ours(x), theirs(x, x, x, need_weights=False)[0], atol=1e-5)
    block = _Block().eval()
    layer = torch.nn.TransformerEncoderLayer(
        DIM, HEADS, 4 * DIM, 0.0, "gelu", 1e-6, batch_first=True, norm_first=True
    ).eval()
    named = {
        "self_attn.in_proj_weight": block.attn.qkv.weight, "self_attn.in_proj_bias": block.attn.qkv.bias,
        "self_attn.out_proj.weight": block.attn.proj.weight, "self_attn.out_proj.bias": block.attn.proj.bias,
        "linear1.weight": block.mlp["fc1"].weight, "linear1.bias": block.mlp["fc1"].bias,
        "linear2.weight": block.mlp["fc2"].weight, "linear2.bias": block.mlp["fc2"].bias,
        "norm1.weight": block.norm1.weight, "norm1.bias": block.norm1.bias,
        "norm2.weight": block.norm2.weight, "norm2.bias": block.norm2.bias,
    }  # fmt: skip
    layer.load_state_dict(named)
    with torch.no_grad():
        assert torch.allclose(block(x), layer(x), atol=1e-5)


def test_dinov2_has_the_places_of_a_smaller_grid_and_the_layout_of_the_published_file():
    """A slope over 37 x 37 patches stays one over 16 x 16; names and sizes are those of ViT-S/14."""
    net = dinov2()
    rows = torch.arange(37.0)[:, None].expand(37, 37).flatten()
    net.pos_embed.data.zero_()
    net.pos_embed.data[0, 1:, 0] = rows
    places = net._places()[0, 1:, 0].view(16, 16)
    assert torch.allclose(places, places[:, :1].expand(16, 16), atol=1e-4)
    inner = places[2:14, 0].diff()  # away from the border, where a cubic has nothing to lean on
    assert torch.allclose(inner, torch.full_like(inner, 37 / 16.1), rtol=0.05)
    state = net.state_dict()
    assert sum(value.numel() for value in state.values()) == 22_056_576
    assert state["blocks.11.attn.qkv.weight"].shape == (1152, 384) and state["pos_embed"].shape == (1, 1370, 384)
    assert {"cls_token", "mask_token", "patch_embed.proj.bias", "blocks.0.ls1.gamma", "norm.weight"} <= state.keys()


def test_dinov2_is_taken_from_a_file_and_never_fetched(tmp_path, own_cache):
    with pytest.raises(UserError, match=f"extractor=dinov2_small: .*{FILE} is missing; put the published"):
        check_extractor("dinov2_small", "exact", "clean", labelled=False)
    with pytest.raises(UserError, match="nowhere.pth is no file"):
        build_extractor("dinov2_small", weights=tmp_path / "nowhere.pth")
    torch.save({"cls_token": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(UserError, match="other.pth: not the state dict of DINOv2's ViT-S/14"):
        build_extractor("dinov2_small", weights=tmp_path / "other.pth")
    with pytest.raises(UserError, match="weights=x: only extractor=inception and dinov2_small take a file"):
        check_extractor("pixels", "exact", "clean", labelled=False, weights="x")
    net = dinov2()
    torch.save(net.state_dict(), tmp_path / "dino.pth")
    network = build_extractor("dinov2_small", weights=tmp_path / "dino.pth")
    black = torch.zeros(1, 1, 28, 28, dtype=torch.uint8)
    assert network.dim == 384 and f"@{network.hash}" in network.card and "without labels" in network.card
    with torch.no_grad():
        assert torch.allclose(network(black), net(torch.zeros(1, 3, 224, 224)), atol=1e-5)


def blots(n: int) -> LabelledImages:
    """Pictures of two classes that differ in their colour alone."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 80, (n, 3, 8, 8), generator=generator, dtype=torch.uint8)
    labels = torch.arange(n) % 2
    images[torch.arange(n), labels] += 60
    return LabelledImages(images, labels, "blots")


def test_colour_pictures_have_a_recipe_of_their_own(monkeypatch):
    monkeypatch.setattr(classifier, "COLOUR", replace(classifier.COLOUR, least=2_000, passes=1))
    data = blots(400)
    network = build_extractor("classifier", data=data)
    assert network.facts["accuracy"] == 1.0 and network.dim == 128
    assert network.card.endswith("right on 100.00% of pictures it was not")
    large = replace(data, images=data.images.repeat_interleave(8, 2).repeat_interleave(8, 3))
    assert large.side == 64 and classifier.recipe_of(large).side == 32


def test_windows_of_pictures_are_pictures():
    generator = torch.Generator().manual_seed(0)
    even = torch.full((5, 3, 9, 9), 0.3)
    assert torch.allclose(classifier._cropped(even, generator), even, atol=1e-5)
    slope = torch.linspace(-1, 1, 9).expand(200, 3, 9, 9)
    moved = classifier._cropped(slope, generator)
    rises = (moved[:, 0, 4].diff(dim=1) > 0).all(dim=1).float().mean()
    assert 0.35 < rises < 0.65, "half of them are mirrored"
    assert moved.amin() >= -1 - 1e-5 and moved.amax() <= 1 + 1e-5
    assert torch.equal(
        classifier._cropped(slope, torch.Generator().manual_seed(1)),
        classifier._cropped(slope, torch.Generator().manual_seed(1)),
    )


@pytest.mark.journey
def test_the_judge_of_colour_pictures_has_a_distance_of_its_own(monkeypatch):
    monkeypatch.setattr(classifier, "COLOUR", replace(classifier.COLOUR, least=2_000, passes=1))
    data = blots(400)
    sets = ImageSets(lambda n: data.images[:n].split(100), 400, data.images[200:], data.labels[200:], labelled=data)
    found = {figure.name.rpartition("/classifier")[0]: figure for figure in judge(sets)}
    assert set(found) == {f"judge/{name}" for name in ("class_share_distance", "classes_covered", "fid", "accuracy")}
    swapped = replace(sets, judged=255 - data.images[200:], kept={})
    worse = {figure.name.rpartition("/classifier")[0]: figure for figure in judge(swapped)}
    assert worse["judge/fid"].value > 10 * max(found["judge/fid"].value, 1e-3) and found["judge/fid"].high is None
    assert sets.goes_by_classifier is False and replace(sets, judged=sets.judged[:, :1]).goes_by_classifier
    assert functools.partial(judge)(replace(sets, trained_with=frozenset())) and sets.size == 200


def test_a_card_is_told_on_the_command_line(capsys, monkeypatch):
    main(["card=pixels"])
    assert capsys.readouterr().out.strip() == "pixels@e60d03e3, trained on nothing"
    main(["card=efficientnet_lite0"])
    assert "trained on 1.2 million photographs of ImageNet, right on 75.1% of others" in capsys.readouterr().out
    monkeypatch.setattr(
        "datakiln.metrics.extractors.build.build_extractor", lambda name, **_: SimpleNamespace(card=f"{name}: its card")
    )
    main(["card=digits", "data.validation=0.2"])
    told = capsys.readouterr().out
    assert "the classifier of data=digits: 1,222 pictures of 10 classes" in told and "classifier: its card" in told
    for words, said in (
        (["card=flowrs"], "card=flowrs is no extractor.*did you mean 'flowers'"),
        (["card=iris"], "a judge of classes is for pictures; data=iris has none"),
        (["card=digits", "run=x"], "card=digits measures no pictures; leave out run="),
    ):
        with pytest.raises(UserError, match=said):
            main(words)
