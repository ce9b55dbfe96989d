"""The jobs of `sweep=survey`: for each data set the models of its kind, several seeds, and other learning rates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from datakiln.cli import choices, signatures
from datakiln.errors import UserError, near
from datakiln.jobs.lengths import budget_seconds
from datakiln.reports.survey.cells import RATES
from datakiln.saying import say

REAL, SHIPPED = ("mnist", "adult", "stocks"), ("digits", "toy", "sines")
OWN = {
    "model": "survey.models=[{}]",
    "data": "survey.data=[{}]",
    "seed": "survey.seeds=[{}]",
    "budget": "survey.budget={}",
}
UNUSED = (
    "measure_uses=false",
    "measure_latents=false",
)  # of runs with another learning rate, of which the page reads the quality alone
KNOWN = ("budget", "data", "models", "seeds", "rates", "chosen", "given")


@dataclass(frozen=True)
class Survey:
    """What `conf/sweep/survey.yaml` sets, where each is explained.

    Raises:
        UserError: A value that cannot be.
    """

    budget: str
    data: Sequence[str]
    models: Sequence[str] | None
    seeds: Sequence[int]
    rates: Sequence[float]
    chosen: Mapping[str, Sequence[str]]
    given: Mapping[str, Sequence[str]]

    @classmethod
    def of(cls, config: DictConfig) -> Survey:
        """The settings of a composed config."""
        node = OmegaConf.to_container(config.survey, resolve=True) if OmegaConf.is_dict(config.get("survey")) else None
        if not isinstance(node, dict):
            raise UserError("survey= is no option of its own; write survey.budget=10m or survey.models=[dcgan,cvae]")
        for name in map(str, node):
            if name not in KNOWN:
                raise UserError(f"survey.{name} is not known{near(name, KNOWN)}; known: {', '.join(KNOWN)}")
        budget_seconds(node["budget"])
        seeds, rates = _listed(node, "seeds", int), _listed(node, "rates", (int, float))
        if not seeds or len(set(seeds)) < len(seeds) or min(seeds) < 0:
            raise UserError(f"survey.seeds={seeds} must be different whole numbers of at least 0, such as [0,1,2]")
        if any(rate <= 0 or rate == 1 for rate in rates):
            raise UserError(f"survey.rates={rates} are factors of the learning rate: above 0, and not 1")
        data = _listed(node, "data", str) if node["data"] is not None else REAL if config.data_dir else SHIPPED
        models = None if node["models"] is None else _listed(node, "models", str)
        return cls(str(node["budget"]), data, models, seeds, rates, node["chosen"], node["given"])


def _listed(node: Mapping[Any, Any], name: str, kind: Any) -> list[Any]:  # noqa: ANN401 (one type or several)
    values = node[name]
    if not isinstance(values, list) or not all(isinstance(v, kind) and not isinstance(v, bool) for v in values):
        raise UserError(f"survey.{name}={values} must be a list, such as survey.{name}=[A,B]")
    return values


def jobs_of(config: DictConfig) -> list[list[str]]:
    """The options of every job, its own first and then those of the command line, which win.

    Raises:
        UserError: Options that are the survey's to choose, or names that are not there.
    """
    survey, words = Survey.of(config), list(map(str, config.hydra.overrides.task))
    for word in words:
        key, _, value = word.partition("=")
        if key in OWN:
            raise UserError(f"{word}: the survey chooses it; write {OWN[key].format(value.strip('[]'))}")
    folders = (*choices.OURS, *(Path(s.path) for s in config.hydra.runtime.config_sources if s.schema == "file"))
    jobs, trained = [], set()
    for data in survey.data:
        kind = kind_of(data, folders)
        for model in survey.chosen.get(kind, ()) if survey.models is None else survey.models:
            if kind not in supported(model, folders):
                continue
            trained.add(model)
            own = [f"model={model}", f"data={data}"]
            asked = [word for word in survey.given.get(kind, ()) if not has_own_way(model, word, folders)]
            given = [*length(model, folders), *asked]
            jobs += [[*own, f"seed={seed}", *given, *words] for seed in survey.seeds]
            for factor in survey.rates:
                if other := rates(model, factor, folders):
                    jobs.append([*own, f"seed={survey.seeds[0]}", *other, *given, *UNUSED, *words])
    if idle := [model for model in survey.models or () if model not in trained]:
        raise UserError(f"survey.models: {idle[0]} is for none of survey.data=[{','.join(survey.data)}]; leave it out")
    if not jobs:
        raise UserError(f"survey.data=[{','.join(survey.data)}] leaves no job; name models for it by survey.models=")
    return jobs


def announced(config: DictConfig) -> None:
    """Says what took the place of real data, where no folder of it was named."""
    if config.survey.data is None and not config.data_dir:
        told = f"no data_dir= or DATA_DIR: {', '.join(SHIPPED)} take the place of {', '.join(REAL)}"
        say(f"{told}; survey.data=[{','.join(REAL[:2])}] downloads those two, {REAL[2]} needs its file in data_dir=")


def has_own_way(model: str, word: str, folders: choices.Folders = choices.OURS) -> bool:
    """Whether an option that is switched on is on already in a way of the model's own, as `conditional` of acgan."""
    name, _, value = word.lstrip("+").partition("=")
    own = choices.keys("model", model, folders).get(name)
    return value == "true" and isinstance(own, str) and bool(own)


def kind_of(data: str, folders: choices.Folders) -> str:
    """The kind of a data set: image, table or series; raises `UserError` where there is none of that name."""
    known = choices.names("data", folders)
    if data not in known:
        raise UserError(f"survey.data: there is no data={data}{near(data, known)}; known: {', '.join(known)}")
    kind = signatures.attribute(str(choices.keys("data", data, folders).get("data._target_", "")), "kind")
    if kind is None:
        raise UserError(f"survey.data: data={data} does not say what kind it is; take a data set of datakiln's classes")
    return str(kind)


def supported(model: str, folders: choices.Folders) -> frozenset[str]:
    """The kinds of data a model is for; raises `UserError` where there is none of that name."""
    known = choices.names("model", folders)
    if model not in known:
        raise UserError(f"survey.models: there is no model={model}{near(model, known)}; known: {', '.join(known)}")
    target = str(choices.keys("model", model, folders).get("model._target_", ""))
    return frozenset(signatures.attribute(target, "supports") or ())


def rates(model: str, factor: float, folders: choices.Folders = choices.OURS) -> list[str]:
    """Options that multiply every learning rate of a model; empty for one that has none."""
    found = {k: float(v) for k, v in choices.keys("model", model, folders).items() if k.rpartition(".")[2] in RATES}
    return [f"{name}={value * factor:.6g}" for name, value in found.items() if name.startswith("model.")]


def length(model: str, folders: choices.Folders = choices.OURS) -> list[str]:
    """A model without a learning rate goes over the data as often as it is made for: more would change nothing."""
    own = choices.keys("model", model, folders).get("epochs")
    return [f"epochs={own}"] if own is not None and not rates(model, 1, folders) else []


class SurveySweeper(Sweeper):
    """Lets Hydra's launcher run the jobs of the survey."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Hydra's way of handing over what the sweep needs."""
        self.hydra_context, self.config = hydra_context, config
        self.launcher: Launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> None:
        """Runs every job; those that are done are skipped by the jobs themselves."""
        assert self.config is not None
        jobs, folder = jobs_of(self.config), Path(self.config.hydra.sweep.dir)
        self.validate_batch_is_legal(jobs)
        folder.mkdir(parents=True, exist_ok=True)
        OmegaConf.save(self.config, folder / "multirun.yaml")
        for result in self.launcher.launch(jobs, initial_job_idx=0):
            _ = result.return_value  # raises what a job has raised
