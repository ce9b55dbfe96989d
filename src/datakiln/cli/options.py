"""The options that a command has whatever is chosen, with the type and range of each, declared here and nowhere else.

What a model, a data set or a trainer takes, the annotations of its class declare; `datakiln.cli.kinds` reads both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal


@dataclass
class Train:
    """Of `conf/train.yaml`, which explains them; latent_dim is there where the model has one."""

    seed: Annotated[int, "at least 0"]
    epochs: Annotated[int, "at least 1"]
    budget: str | None
    batch_size: Annotated[int, "at least 1"]
    latent_dim: Annotated[int, "at least 1"]
    data_dir: str | None
    n_synthetic: Annotated[int, "at least 1"] | None
    plots: bool
    measure_latents: bool
    measure_uses: bool
    secret: str | None
    monitor: str
    mode: Literal["min", "max"]
    objective: str
    patience: Annotated[int, "at least 1"] | None
    ema: Annotated[float, "between 0 and 1"] | None
    save_every_seconds: Annotated[float, "at least 0"]
    ckpt_path: str | None
    root: str
    debug: bool
    study: Literal["utility", "augmentation", "fairness"] | None
    study_budget: str | None
    tags: list[str]
    sweep_figures: list[str] | None
    output_dir: str


@dataclass
class Sample:
    """Of `conf/sample.yaml`, which explains them."""

    run: str
    register: str | list[str] | None
    out: str
    n: Annotated[int, "at least 1"] | None
    balance: str | None
    per_class: Annotated[int, "at least 1"] | None
    fill: str | None
    mask: str | None
    score: str | None
    length: Annotated[int, "at least 1"] | None
    forecast: str | None
    horizon: Annotated[int, "at least 1"] | None
    paths: Annotated[int, "at least 1"] | None
    seed: Annotated[int, "at least 0"]
    weights: Literal["average", "raw"]
    device: str
    overwrite: bool
    translate: str | None
    to: str | None
    upscale: str | None
    vary: str | None
    per: Annotated[int, "at least 1"] | None
    parts: Annotated[int, "at least 1"] | None
    worker: str | None
    interpolate: bool
    traverse: int | str | list[int] | None
    reach: Annotated[float, "between 0 and 10"] | None
    attribute: str | int | None
    edit: Annotated[float, "between -10 and 10"] | None
    mix: Annotated[int, "at least 1"] | None
    project: str | None
    curve: float | list[float] | None
    debug: bool


@dataclass
class Evaluate:
    """Of `conf/evaluate.yaml`, which explains them."""

    run: str | None
    register: str | list[str] | None
    n: Annotated[int, "at least 1"] | None
    seed: Annotated[int, "at least 0"] | None
    real: str | None
    synthetic: str | None
    steps: int | None  # `Sampling` has the ranges of these five
    guidance: float | None
    temperature: float | None
    truncation: float | None
    mean: bool | None
    holdout: str | None
    target: str | None
    card: str | None
    data: dict[str, str | int | None]
    shadows: Annotated[int, "at least 0"]
    secret: str | None
    out: str | None
    debug: bool
    study: Literal["utility", "augmentation", "fairness"] | None
    budget: str | None
    tuning: Annotated[int, "at least 1"] | None
    repeats: Annotated[int, "at least 1"] | None


@dataclass
class Jobs:
    """Of `jobs` in `conf/serve.yaml`."""

    parallel: Annotated[int, "at least 1"]
    memory_mb: Annotated[int, "at least 100"]
    minutes: Annotated[int, "at least 1"]


@dataclass
class Serve:
    """Of `conf/serve.yaml`, which explains them."""

    root: str
    host: str
    port: Annotated[int, "at least 0"]
    keys: str | None
    new_key: str | None
    scoring: bool
    jobs: dict[str, int]
    streams: Annotated[int, "at least 1"]
    rate: Annotated[float, "at least 0.001"]
    burst: Annotated[int, "at least 1"]
    upload_mb: Annotated[int, "at least 1"]
    quota_mb: Annotated[int, "at least 1"]
    rows: Annotated[int, "at least 1"]
    columns: Annotated[int, "at least 1"]
    pictures: Annotated[int, "at least 1"]
    pixels: Annotated[int, "at least 1"]
    zip_ratio: Annotated[int, "at least 1"]
    models: Annotated[int, "at least 1"]
    debug: bool


@dataclass
class Optimizer:
    """Of those of torch, which check ranges only once they are built, after the data was read, and name no option."""

    lr: Annotated[float, "at least 0"]
    weight_decay: Annotated[float, "at least 0"]
    eps: Annotated[float, "at least 0"]


OPTIONS = {"train": Train, "sample": Sample, "evaluate": Evaluate, "serve": Serve}


def declared(config_name: str) -> str:
    """The dotted path of the class that declares the options of a command."""
    return f"{__name__}.{OPTIONS[config_name].__name__}"
