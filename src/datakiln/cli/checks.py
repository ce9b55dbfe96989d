"""What can be told of a config before any data is read: values out of range, and options that reach nothing."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf, flag_override

from datakiln.cli import choices, kinds, signatures
from datakiln.cli.options import declared
from datakiln.cli.private import check_privacy
from datakiln.cli.strict import check_guarantee, check_report, check_strict
from datakiln.data.pictures import finding
from datakiln.data.tables.finding import check_table
from datakiln.errors import UserError, near
from datakiln.jobs.lengths import budget_seconds
from datakiln.spec import doublings
from datakiln.wording import with_article

GIVEN = ("spec",)  # arguments that the program adds to what the yaml says
EXPRESSION = "datakiln.constraints.Expression"


def check(cfg: DictConfig) -> None:
    """Everything that can be told of a config without importing what it names.

    Raises:
        UserError: The first thing that is wrong, in one line.
    """
    name_constraints(cfg)
    check_privacy(cfg)
    check_values(cfg)
    budget_seconds(cfg.get("budget"))
    check_report(cfg)
    check_strict(cfg)
    check_guarantee(cfg)
    check_pairing(cfg)
    check_beside(cfg)
    check_reach(cfg)
    check_watch(cfg)
    check_side(cfg)
    check_step_rules(cfg)
    check_trainer(cfg)
    check_processes(cfg)
    check_arguments(cfg, only_ours=True)
    check_types(cfg)
    check_references(cfg)
    check_path(cfg)


def name_constraints(cfg: DictConfig) -> None:
    """Makes expressions of constraints that are plain text; gives those of before this package was named its name."""
    data = cfg.get("data")
    declared = data.get("constraints") if OmegaConf.is_dict(data) else None
    rules = declared if isinstance(declared, ListConfig) else ListConfig([])
    for i, one in enumerate(rules):
        if isinstance(one, str):
            with flag_override(rules, "readonly", False):
                rules[i] = {"_target_": EXPRESSION, "text": one}
        target = str(one.get("_target_", "")) if OmegaConf.is_dict(one) else ""
        now = target.replace("src.", "datakiln.", 1)
        if target.startswith("src.constraints.") and signatures.is_ours(now):
            one["_target_"] = now


def check_values(cfg: DictConfig) -> None:
    """Refuses options without a value and values no model could use; imports nothing.

    Raises:
        UserError: The option, its value and what it may be.
    """
    missing = sorted(OmegaConf.missing_keys(cfg))
    if missing:
        raise UserError(f"{missing[0]}= is missing; for example {missing[0]}=VALUE")
    for key in map(str, cfg):
        _fit(cfg, declared("train"), key)


def check_types(cfg: DictConfig) -> None:
    """Refuses values of another type than the class they are for declares; imports nothing.

    Raises:
        UserError: The option, its value and what it must be.
    """
    for path, node in _nodes(cfg):
        target = str(node["_target_"])
        for key in map(str, node):
            if not key.startswith("_"):
                _fit(node, target, key, path)


def check_references(cfg: DictConfig) -> None:
    """Refuses options of the data in which a ${ is meant as it is: what is built from options would look it up.

    Raises:
        UserError: The option and its value.
    """
    for path, text in _texts(OmegaConf.to_container(cfg.data, resolve=True), "data"):
        if "${" in text:
            told = f"{path}={text}: options read ${{ as a reference to another option"
            raise UserError(f"{told}; rename the column in the file, or leave it out of the options")


def _texts(value: Any, path: str) -> Iterator[tuple[str, str]]:  # noqa: ANN401 (any yaml value)
    """Every text among plain values, keys too, with the name of its option."""
    if isinstance(value, str):
        yield path, value
    for key, part in value.items() if isinstance(value, dict) else ():
        yield from ((path, str(key)), *_texts(part, f"{path}.{key}"))
    for i, part in enumerate(value if isinstance(value, list) else ()):
        yield from _texts(part, f"{path}[{i}]")


def _fit(node: DictConfig, target: str, key: str, path: str = "") -> None:
    """Checks a value in its place, and writes it as its kind has it."""
    if kinds.kind_of(target, key) == kinds.ANY:
        return
    value = OmegaConf.to_container(node[key], resolve=False) if OmegaConf.is_config(node[key]) else node[key]
    fitted = kinds.checked(value, target, key, f"{path}.{key}".lstrip("."))
    if type(fitted) is not type(value) or fitted != value:
        with flag_override(node, "readonly", False):
            node[key] = fitted


def _nodes(node: Any, path: str = "") -> Iterator[tuple[str, DictConfig]]:  # noqa: ANN401 (any yaml value)
    """What a class is built from, with its full name, in all of a config."""
    if OmegaConf.is_list(node) and not node._is_none() and not node._is_interpolation():
        for i in range(len(node)):
            yield from _nodes(node._get_node(i), f"{path}[{i}]")
    if OmegaConf.is_dict(node) and not node._is_none() and not node._is_interpolation():
        if "_target_" in node:
            yield path, node
        for key in node:
            yield from _nodes(node._get_node(key), f"{path}.{key}".lstrip("."))


def check_pairing(cfg: DictConfig) -> None:
    """Refuses a model on a kind of data that it cannot model; imports nothing.

    Raises:
        UserError: The pair, and the models that fit the data.
    """
    model, kind = str(cfg.model._target_), signatures.attribute(str(cfg.data._target_), "kind")
    supports = signatures.attribute(model, "supports")
    if kind is None or supports is None or kind in supports:
        return  # a class that is not ours is asked when it is built
    folders = _folders()
    names = choices.names("model", folders)
    targets = {name: str(choices.keys("model", name, folders).get("model._target_", "")) for name in names}
    fitting = [name for name, target in targets.items() if kind in (signatures.attribute(target, "supports") or ())]
    name, kinds = model.rpartition(".")[2], " or ".join(sorted(supports))
    told = f"model {name} is for {kinds} data, but this data is {with_article(kind)}"
    if kind == "table" and "series" in supports:
        told += ", as long as no column is named as its times: data=csv data.path=FILE data.time=COLUMN"
    raise UserError(f"{told}; models for it: {', '.join(fitting)}")


def check_beside(cfg: DictConfig) -> None:
    """Refuses a model that needs pictures beside each picture without them, and them where no model looks at them.

    Raises:
        UserError: The option, and the way out.
    """
    name, needs = str(cfg.model._target_).rpartition(".")[2], signatures.attribute(str(cfg.model._target_), "beside")
    if needs is None or signatures.attribute(str(cfg.data._target_), "kind") != "image":
        return
    if needs == "domain" and not cfg.data.get("other"):
        told = f"model {name} translates between two sets of pictures, and there is one"
        raise UserError(f"{told}; give the second one, data.other=usps or data.other=DIR")
    if needs == "partner" and not cfg.data.get("partners"):
        raise UserError(f"data.partners=false: model {name} learns from pairs of a class; leave it at true")
    target, model = str(cfg.model._target_), cfg.model
    told = model.get("conditional") or model.get("semantic") or signatures.attribute(target, "reads_labels")
    if cfg.data.get("labelled") is not None and not told:
        way_out = "add conditional=true, or leave it out" if "conditional" in model else "leave it out"
        raise UserError(f"data.labelled={cfg.data.labelled} changes nothing: {name} looks at no class; {way_out}")
    odd = {"other": "domain", "partners": "partner"}
    for key, of in odd.items():
        if cfg.data.get(key) and needs != of:
            raise UserError(f"data.{key}={cfg.data[key]} changes nothing for model {name}; leave it out")


def check_watch(cfg: DictConfig) -> None:
    """Refuses to watch another kind of data than there is, and a monitor whose measurement is off; imports nothing.

    Raises:
        UserError: The option, and the way out.
    """
    kind = signatures.attribute(str(cfg.data._target_), "kind")
    watched: Any = cfg.get("watch") or {}
    if kind is None:
        return
    if watched and kind not in watched:
        told = f"watch={','.join(watched)} is for other data than {with_article(kind)}"
        raise UserError(f"{told}; write watch={kind}, or watch=[] for none")
    for name, node in choices.keys("watch", kind).get(f"watch.{kind}", {}).items():
        measured = signatures.attribute(str(node["_target_"]), "figures") or ()
        if cfg.monitor in measured and not (watched.get(kind) or {}).get(name):
            raise UserError(
                f"monitor={cfg.monitor} is measured by watch.{kind}.{name}, which is off; leave it on, or choose "
                "another monitor="
            )


def check_side(cfg: DictConfig) -> None:
    """Refuses a side that pictures cannot have, or that the model's nets do not reach, before pictures are decoded.

    Raises:
        UserError: The side, and those that fit.
    """
    side = cfg.data.get("side")
    if side is None:
        return
    if isinstance(side, bool) or not isinstance(side, int) or side < 2:
        raise UserError(f"data.side={side} must be a whole number of pixels, at least 2")
    if signatures.attribute(str(cfg.model._target_), "doubles"):
        doublings(side)


def check_path(cfg: DictConfig) -> None:
    """Refuses a path without a table or pictures, in the words of the data that would read it; imports nothing heavy.

    Raises:
        UserError: The path, and what is wrong with it.
    """
    reads = signatures.attribute(str(cfg.data._target_), "reads")
    path, data_dir = cfg.data.get("path"), cfg.data.get("data_dir")
    if reads == "pictures" and path:
        finding.check_pictures(finding.find_folder(str(path), data_dir), bool(cfg.data.get("labels", True)))
    other = cfg.data.get("other")
    if other and signatures.attribute(str(cfg.data._target_), "kind") == "image":
        folder = finding.find_folder(str(other), data_dir)
        if folder.is_dir() and str(other) not in choices.names("data", _folders()):
            finding.check_pictures(folder, True, "data.other")
    if reads == "table" and path:
        check_table(str(path), data_dir)


def check_step_rules(cfg: DictConfig) -> None:
    """Refuses constraints of series for a model whose steps are not drawn one by one; imports nothing.

    Raises:
        UserError: The option and the way out.
    """
    is_series = str(cfg.data._target_).startswith("datakiln.data.series.")
    target = str(cfg.model._target_)
    if is_series and cfg.data.get("constraints") and not signatures.attribute(target, "redraws"):
        told = f"data.constraints= of series are met step by step, which {target.rpartition('.')[2]} does not draw"
        raise UserError(f"{told}; take model=tsar, or leave them out")


def check_trainer(cfg: DictConfig) -> None:
    """Refuses trainer options that a model which alternates two optimizers cannot follow; imports nothing.

    Lightning would say so late, in its own terms, or quietly train in another precision than was asked for.

    Raises:
        UserError: The option, its value, and the way out.
    """
    target = str(cfg.model._target_)
    precisions = signatures.attribute(target, "precisions")
    if precisions is None:
        return
    name, trainer = target.rpartition(".")[2], cfg.trainer
    precision = str(trainer.get("precision") or "32-true")
    if precision not in precisions:
        raise UserError(f"trainer.precision={precision}: {name} trains in 32-true or bf16-mixed; choose one of them")
    if trainer.get("gradient_clip_val"):
        told = f"trainer.gradient_clip_val={trainer.gradient_clip_val}: {name} does not clip gradients"
        way_out = "model.critic_optimizer.lr, model.generator_optimizer.lr"
        raise UserError(f"{told}; leave it at null, and against large steps lower {way_out}")
    batches = trainer.get("accumulate_grad_batches")
    if batches not in (None, 1):
        told = f"trainer.accumulate_grad_batches={batches}: {name} updates after every batch"
        raise UserError(f"{told}; for larger batches in the same memory raise batch_size and set model.accumulate")


def check_processes(cfg: DictConfig) -> None:
    """Refuses counts of processes that are none, and what cannot be shared out; imports nothing.

    Raises:
        UserError: The option and its value.
    """
    trainer = cfg.trainer
    devices, strategy = trainer.get("devices", 1), trainer.get("strategy")
    if OmegaConf.is_list(devices) and len(devices) == 1:
        return
    if isinstance(devices, bool) or not str(devices).isdecimal() or int(devices) < 1:
        raise UserError(f"trainer.devices={devices} must be a number of processes, such as 2; each takes one device")
    if trainer.get("num_nodes") not in (None, 1):
        told = f"trainer.num_nodes={trainer.get('num_nodes')}: processes of several machines are started from outside"
        raise UserError(f"{told}; use torchrun or srun, and leave trainer.num_nodes out")
    if strategy not in (None, "auto", "single_device", "ddp"):
        raise UserError(f"trainer.strategy={strategy}: processes share batches, not weights; take trainer=ddp")
    if int(devices) == 1:
        return
    is_private = str((cfg.get("privacy") or {}).get("mechanism", "none")) != "none"
    whole = {
        "budget": cfg.get("budget") is not None,
        "privacy": is_private,
        "model=auto": str(cfg.model.get("_target_", "")).endswith("Auto"),
    }
    for name, is_given in whole.items():
        if is_given:
            raise UserError(f"trainer.devices={devices} does not go with {name}; train in one process there")


def check_arguments(cfg: DictConfig, only_ours: bool = False) -> None:
    """Refuses an option that is no argument of the class it is for, and a class that lacks one.

    Arguments:
        cfg: The config.
        only_ours: Whether to leave out classes of other packages that must be imported for it.

    Raises:
        UserError: The option, the class, and the argument that was meant.
    """
    for path, node in _targets(OmegaConf.to_container(cfg, resolve=False)):
        target = str(node["_target_"])
        if target.startswith("src."):
            now = signatures.where(target.rpartition(".")[2])
            way_out = f"it is now {now}" if now else "nothing of that name is left"
            raise UserError(f"{path}._target_={target} is of before this package was called datakiln; {way_out}")
        if target.startswith("datakiln.") and not signatures.is_ours(target):
            module, _, name = target.rpartition(".")
            there = signatures.names(module)
            told = f"; known there: {', '.join(sorted(there))}" if there else f": there is no module {module}"
            raise UserError(f"{path}._target_={target} is not known{near(name, there) or told}")
        if only_ours and not signatures.is_told(target):
            continue
        known, required, is_open = _taken(target, path)
        for key in node:
            if not str(key).startswith("_") and key not in known and not is_open:
                raise UserError(f"{path}.{key} is no argument of {target}{near(str(key), known)}")
        lacking = [] if node.get("_partial_") else sorted(required - set(node) - set(GIVEN))
        if lacking and not node.get("_args_"):
            folders = _folders()
            others = [name for name in choices.names(path, folders) if choices.is_complete(path, name, folders)]
            way_out = f"; complete choices of {path}=: {', '.join(others)}" if others else ""
            raise UserError(f"{path}.{lacking[0]} is missing: {target} cannot do without it{way_out}")


def check_reach(cfg: DictConfig) -> None:
    """Refuses a top-level option, such as latent_dim, that does not reach the model; imports nothing.

    Raises:
        UserError: The option and both values.
    """
    for key in map(str, cfg):
        value = cfg[key]
        if key not in cfg.model or cfg.model[key] == value:
            continue
        if not OmegaConf.is_config(value):
            told = f"{key}={value} does not reach the model, whose {key} is {cfg.model[key]}"
            raise UserError(f"{told}; set {key}= and not model.{key}=")
        if "_target_" not in cfg.model[key]:
            raise UserError(f"model.{key} is taken from {key}; write {key}.{next(iter(cfg.model[key]))}=VALUE")


def _folders() -> choices.Folders:
    """Where this config was composed from, a person's own folders included."""
    from hydra.core.hydra_config import HydraConfig

    sources = HydraConfig.get().runtime.config_sources if HydraConfig.initialized() else []
    own = [Path(source.path) for source in sources if source.schema == "file"]
    return (*choices.OURS, *(folder for folder in own if folder != choices.CONF))


def _targets(node: Any, path: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:  # noqa: ANN401 (any yaml value)
    if isinstance(node, list):
        for i, part in enumerate(node):
            yield from _targets(part, f"{path}[{i}]")
    if isinstance(node, dict):
        if "_target_" in node:
            yield path, node
        for key, part in node.items():
            yield from _targets(part, f"{path}.{key}".lstrip("."))


def _taken(target: str, path: str) -> tuple[set[str], set[str], bool]:
    """Argument names, those without a default, and whether any other name is taken as well."""
    if signatures.is_told(target):
        known = signatures.arguments(target)
        return set(known), {name for name, (default, _) in known.items() if not default}, signatures.is_open(target)
    from hydra._internal.utils import _locate  # get_object would write a page to the log before it raises

    try:
        parameters = inspect.signature(_locate(target)).parameters.values()
    except ImportError as error:
        told = f"{path}._target_={target} cannot be imported ({error.__cause__ or error})"
        raise UserError(f"{told}; your own modules are found in the current folder and in PYTHONPATH") from error
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    required = {p.name for p in parameters if p.default is p.empty and p.kind in kinds}
    return {p.name for p in parameters}, required, any(p.kind == p.VAR_KEYWORD for p in parameters)
