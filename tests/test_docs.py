"""README and the site: what they name exists, their commands compose, and the site is read without a network."""

from __future__ import annotations

import configparser
import math
import os
import re
import shlex
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.utils import get_class

from datakiln.cli import choices
from datakiln.cli.checks import check_arguments, check_pairing, check_reach, check_values
from datakiln.cli.commands import options
from datakiln.cli.free_names import spell_out
from datakiln.cli.report import OPTIONS
from datakiln.cli.run_folders import register_resolvers
from datakiln.metrics import base
from datakiln.models.gan.pictures import ImageGAN
from datakiln.schema import Field, Schema
from datakiln.spec import Batch, DataSpec, Sampling

ROOT = Path(__file__).resolve().parents[1]
PAGES = ROOT / "docs" / "pages"
TEXTS = [ROOT / "README.md", *sorted(PAGES.glob("*.md"))]
COMMAND = re.compile(r"(?:python -m src\.|datakiln )(train|sample|evaluate|report)\b(.*)", re.DOTALL)
FLAGS = ("-m", "--multirun", "--help")
# what the theme's own script can load when a page asks for it: a repository's stars, diagrams, and what browsers of
# before 2020 lack; no page of ours asks, which `test_the_site_...` sees to
THEME_LOADS = {"api.github.com", "unpkg.com/mermaid", "unpkg.com/resize-observer", "${e}"}


def named(page: str) -> set[str]:
    """Everything that stands alone between backticks."""
    return set(re.findall(r"`([^`\n]+)`", (PAGES / f"{page}.md").read_text(encoding="utf-8")))


@pytest.mark.parametrize(
    ("page", "group"), [("models", "model"), ("data", "data"), ("sweeps", "logger"), ("first-run", "annealing")]
)
def test_every_choice_is_on_its_page(page, group):
    text = (PAGES / f"{page}.md").read_text(encoding="utf-8")
    words = {word for name in named(page) for word in re.findall(r"\w+", name)}
    assert set(choices.names(group)) <= words, f"{page}.md says nothing of these"
    if group == "model":
        headings = re.findall(r"^### `(\w+)`$", text, flags=re.MULTILINE)
        assert sorted(headings) == choices.names(group), "one paragraph each, and none of a model that is not there"
    if group == "data":
        assert set(re.findall(r"^\| `(\w+)` \|", text, flags=re.MULTILINE)) <= set(choices.names(group))


def test_every_metric_has_a_line_and_a_direction():
    rows = re.findall(r"^\| `(\w+)` \|[^|]+\| ([^|]+) \|$", (PAGES / "metrics.md").read_text("utf-8"), re.MULTILINE)
    metrics = {key for kind in choices.names("metrics") for key in choices._load(choices.CONF / f"metrics/{kind}.yaml")}
    assert {name for name, _ in rows} == metrics
    assert all(re.match(r"higher|lower|neither", better) for _, better in rows)


def test_sampling_options_are_told_of_the_models_that_follow_them():
    models: dict[str, Any] = {}
    for name in sorted({*choices.names("model")} - {"auto"}):
        models[name] = get_class(str(choices.keys("model", name)["model._target_"]))
    pictures = {name for name, model in models.items() if issubclass(model, ImageGAN)}
    page = (PAGES / "first-run.md").read_text(encoding="utf-8")
    for option, told in re.findall(r"^\| `(\w+)=(?:true)?` \|[^|]+\| ([^|]+) \|$", page, flags=re.MULTILINE):
        said = set(re.findall(r"`(\w+)`", told)) | (pictures if "every GAN of pictures" in told else set())
        assert said == {name for name, model in models.items() if option in model.options}, option
    assert set(Sampling.__dataclass_fields__) <= set(re.findall(r"^\| `(\w+)=", page, flags=re.MULTILINE))


def test_the_design_page_has_every_room_on_its_floor():
    contracts = configparser.ConfigParser()
    contracts.read(ROOT / ".importlinter")
    layers = contracts["importlinter:contract:floors"]["layers"].split("\n")
    floors = [re.findall(r"\w+", line) for line in reversed(layers) if line.strip()]
    wanted = {room: number for number, rooms in enumerate(floors) for room in rooms}
    page = (PAGES / "design.md").read_text(encoding="utf-8")
    assert {room: int(floor) for floor, room in re.findall(r"^\| (\d+) \| `(\w+)` \|", page, re.MULTILINE)} == wanted


def test_files_and_modules_that_are_named_exist():
    for text in TEXTS:
        content = text.read_text(encoding="utf-8")
        for path in re.findall(r"\b(?:conf|src|tests|docs)/[\w/]+\.(?:yaml|py|md|json)\b", content):
            invented = re.search(r"/(x|mine|patients)\.", path)  # what a reader is to write
            assert invented or (ROOT / path).is_file(), f"{text.name}: {path}"
        for path in re.findall(r"(?<![\w/])datakiln/[\w/]+\.py\b", content):
            assert (ROOT / "src" / path).is_file(), f"{text.name}: {path}"
        for module in re.findall(r"\bfrom (datakiln[\w.]+) import", content):
            path = ROOT / "src" / module.replace(".", "/")
            assert path.is_dir() or path.with_suffix(".py").is_file(), f"{text.name}: {module}"


def excerpt(first: str, last: str) -> str:
    """Code of the page on adding one's own, from one text to another, without its indentation."""
    page = (PAGES / "add-your-own.md").read_text(encoding="utf-8")
    start = page.index(first)
    return textwrap.dedent("    " + page[start : page.index(last, start) + len(last)])


def test_the_model_on_the_page_is_one():
    import torch

    made: dict[str, Any] = {"__name__": "page"}
    exec(compile(excerpt('"""One normal', "clamp(*self.spec.bounds)"), "add-your-own.md", "exec"), made)
    model = made["Normal"](DataSpec("image", (1, 4, 4)))
    x = torch.zeros(8, 1, 4, 4)
    assert model.losses(Batch(x))["loss"].item() == pytest.approx(16 * 0.5 * math.log(2 * math.pi))
    assert model.sample(5).shape == (5, 1, 4, 4)
    target = yaml.safe_load(excerpt("# @package _global_\n    # One", "lr: 1e-2}"))["model"]["_target_"]
    assert target == "datakiln.models.statistical.x.Normal"


def test_the_metric_on_the_page_is_one():
    made = {name: getattr(base, name) for name in ("metric", "EvalData", "Figure", "MetricError")}
    exec(compile(excerpt("@metric", "n=len(data.synthetic))]"), "add-your-own.md", "exec"), made)
    frame = pd.DataFrame({"a": [0.0, 1.0, 2.0], "b": ["x", "y", "x"]})
    schema = Schema((Field("a", "numeric", "float64"), Field("b", "category", "str")))
    (figure,) = made["mean_error"](base.EvalData(schema, frame, frame, frame.assign(a=frame.a + 0.5)))
    assert (figure.name, figure.value, figure.better) == ("fidelity/mean_error", 0.5, "lower")


def lines(text: str) -> Iterator[str]:
    """Every piece of code: each line of a block, and what stands between backticks."""
    blocks = re.findall(r"^(?: {4}|\t)(\S.*)$", text, flags=re.MULTILINE)
    yield from blocks
    yield from (" ".join(code.split()) for code in re.findall(r"`([^`]+)`", re.sub(r"^ {4}.*$", "", text, flags=re.M)))


def commands() -> list[tuple[str, str, tuple[str, ...]]]:
    """(first page, command, words) of every command line that has options."""
    found: dict[tuple[str, tuple[str, ...]], str] = {}
    for text in TEXTS:
        for line in lines(text.read_text(encoding="utf-8")):
            match = COMMAND.match(line)
            words = tuple(shlex.split(match[2], comments=True)) if match else ()
            if match and words:
                found.setdefault((match[1], words), text.stem)
    return [(page, command, words) for (command, words), page in found.items()]


COMMANDS = commands()
TRAIN = [pytest.param(w, id=f"{p}: {' '.join(w)}") for p, command, w in COMMANDS if command == "train"]
PLAIN = [pytest.param(c, w, id=f"{p}: {c} {' '.join(w)}") for p, c, w in COMMANDS if c != "train"]


def expanded(words: list[str]) -> list[list[str]]:
    """Jobs of a sweep that have every choice of a group once; a command that is no sweep is its only job."""
    parsed = OverridesParser.create().parse_overrides(words)
    each = [
        [f"{o.get_key_element()}={value}" for value in values_of(o)] or [w] for o, w in zip(parsed, words, strict=True)
    ]
    return [[values[i % len(values)] for values in each] for i in range(max(map(len, each), default=1))]


def values_of(override: Override) -> list[str]:
    """What a sweep gives a group, or the first thing it gives a number: one seed composes like another."""
    values = list(override.sweep_string_iterator()) if override.is_sweep_override() else []
    return values if override.key_or_group in choices.groups() else values[:1]


@pytest.mark.parametrize("words", TRAIN)
def test_commands_that_train_compose(words):
    words = list(words)
    if "--config-dir" in words:  # a person's own folder, which is not here
        at = words.index("--config-dir")
        del words[at : at + 2]
    assert ("-m" in words) == any("," in w and "[" not in w and "{" not in w for w in words)
    if "optuna" in " ".join(words):
        pytest.importorskip("optuna", reason="the extra [sweep] is not installed")
    words = spell_out([word for word in words if word not in FLAGS and word != "ckpt_path=last"])
    register_resolvers()
    for job in expanded(words):
        with initialize_config_dir(str(choices.CONF), version_base="1.3"):
            cfg = compose("train", overrides=job)
        cfg.output_dir = "nowhere"
        for check in (check_values, check_arguments, check_pairing, check_reach):
            check(cfg)


@pytest.mark.parametrize(("command", "words"), PLAIN)
def test_options_of_other_commands_exist(command, words):
    if command == "report":
        assert {word.partition("=")[0] for word in words if "=" in word} <= set(OPTIONS)
        assert any("=" not in word for word in words)
    else:
        cfg = options([word for word in words if word != "--help"], command)
        assert cfg.run or (command == "evaluate" and (cfg.card or (cfg.real and cfg.synthetic)))


def test_the_commands_of_the_docs_are_found():
    assert len(TRAIN) > 30 and len(PLAIN) > 20
    assert {"train", "sample", "evaluate", "report"} == {command for _, command, _ in COMMANDS}


class Loads(HTMLParser):
    """What a page loads by itself when it is opened, and what its scripts would be asked to load."""

    TAGS = {"script": ("src",), "img": ("src", "srcset"), "iframe": ("src",), "source": ("src", "srcset")}
    TAGS |= {"video": ("src", "poster"), "audio": ("src",), "embed": ("src",), "object": ("data",), "use": ("href",)}
    LINKS = {"stylesheet", "preconnect", "dns-prefetch", "preload", "prefetch", "modulepreload", "icon", "manifest"}

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.asks: list[str] = []
        self.code: list[str] = []
        self._inside = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self._inside = tag
        self.addresses += [given[name] for name in self.TAGS.get(tag, ()) if name in given]
        if tag == "link" and self.LINKS & set(given.get("rel", "").split()):
            self.addresses.append(given.get("href", ""))
        self.code.append(given.get("style", ""))
        if given.get("data-md-component") == "source" or "mermaid" in given.get("class", "").split():
            self.asks.append(self.get_starttag_text() or tag)

    def handle_data(self, data: str) -> None:
        if self._inside in ("style", "script"):
            self.code.append(data)


def elsewhere(style: str) -> list[str]:
    """What a style sheet loads over the network."""
    return re.findall(r"(?:url\(\s*|@import\s+)[\"']?((?:https?:)?//[^\"')\s]+)", style)


def test_what_loads_from_elsewhere_is_seen():
    page = Loads()
    page.feed(
        '<link rel="preconnect" href="https://a"><script src="//b"></script><img src="c.png"><style>@import "https://d";'
        '</style><p style="background: url(https://e/f.png)"><pre class="mermaid">'
    )
    assert page.addresses == ["https://a", "//b", "c.png"] and page.asks
    assert [address for code in page.code for address in elsewhere(code)] == ["https://d", "https://e/f.png"]


@pytest.mark.slow
def test_the_site_is_built_and_read_without_a_network(tmp_path):
    pytest.importorskip("material", reason="the extra [docs] is not installed")
    pytest.importorskip("mkdocstrings", reason="the extra [docs] is not installed")
    nowhere = dict.fromkeys(
        ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), "http://127.0.0.1:9"
    )
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--config-file", str(ROOT / "docs" / "mkdocs.yml")]
    environment = {**os.environ, **nowhere, "NO_PROXY": "", "no_proxy": "", "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(
        [*command, "--site-dir", str(tmp_path / "site")],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    pages = sorted((tmp_path / "site").glob("*.html"))
    assert {page.stem for page in pages} >= {text.stem for text in PAGES.glob("*.md")}
    for path in pages:
        page = Loads()
        page.feed(path.read_text(encoding="utf-8"))
        assert any(address.endswith(".css") for address in page.addresses), "the parser saw no style sheet"
        remote = [address for address in page.addresses if re.match(r"(https?:)?//", address)]
        remote += [address for code in page.code for address in elsewhere(code)]
        assert not remote, f"{path.name} loads {remote}"
        assert not page.asks, f"{path.name} asks the theme's script for {page.asks}"
    for path in (tmp_path / "site").rglob("*.css"):
        assert not elsewhere(path.read_text(encoding="utf-8")), path
    for path in (tmp_path / "site" / "javascripts").rglob("*.js"):
        assert "//" not in re.sub(r"^\s*//.*$", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE), path
    for path in (tmp_path / "site" / "assets" / "javascripts").glob("bundle.*.js"):
        calls = re.findall(r"[\"`]https?://([^\"`]+)[\"`]", path.read_text(encoding="utf-8"))
        strange = [call for call in calls if not call.startswith(tuple(THEME_LOADS))]
        assert not strange, "the theme's script can load more than it could: see that no page asks for it"
    reference = (tmp_path / "site" / "reference.html").read_text(encoding="utf-8")
    for name in ("sampling.synthesizer.Synthesizer.sample", "spec.DataSpec", "models.base.GenerativeModel.losses"):
        assert f'id="datakiln.{name}"' in reference, name
