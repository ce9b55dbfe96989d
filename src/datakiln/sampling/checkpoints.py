"""Reading and checking the files that `datakiln.callbacks.bundle` writes; nothing in them is ever executed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook
from torch.utils._python_dispatch import TorchDispatchMode

from datakiln.errors import UserError
from datakiln.sampling.archive import read_archive, walk
from datakiln.sampling.registry import build, is_known
from datakiln.spec import DataSpec
from datakiln.storage import PACKAGE

# 1: before the package was called datakiln; 2: before seals; 3: before grids, relations; 4: before planes; 5: hints
FORMAT = 6
IDENTITY = {"format": int, "model": dict, "spec": dict, "codec": dict, "origin": dict}
MAY_BE_THERE = ("constraints",)
SPARE = 8  # times that a weight may be made while a module is: some are wrapped, shared, drawn or replaced
COPY = 2048  # numbers that a copy of a tensor counts as beside its own, for what Python keeps of it
UNSAVED = 2**22  # numbers that are computed and not saved, at most


def find_checkpoint(run: str | Path) -> Path:
    """The checkpoint file for a run folder (best before last) or for a path to a file."""
    path = Path(run)
    if path.is_file():
        return path
    if not path.exists():
        raise UserError(f"run={run} does not exist; give the folder of a run, such as outputs/<date>/<time>-vae-iris")
    for candidate in ("checkpoints/best.ckpt", "checkpoints/last.ckpt"):
        if (path / candidate).is_file():
            return path / candidate
    raise UserError(
        f"run={run} holds no checkpoints/best.ckpt or last.ckpt; give the folder of one run that has trained"
    )


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """The content of a checkpoint, tensors on the CPU.

    Raises:
        UserError: The file is missing, cut short, not a checkpoint, holds code, or is of another program or version.
    """
    if not Path(path).is_file():
        raise UserError(f"checkpoint {path} does not exist")
    content, sealed = read_archive(Path(path))
    own = content.get("datakiln")
    if not isinstance(own, dict) or not isinstance(content.get("state_dict"), dict):
        raise UserError(f"checkpoint {path} was not written by datakiln; give the checkpoint or folder of a run")
    found = own.get("format")
    if not isinstance(found, int) or isinstance(found, bool):
        raise UserError(f"checkpoint {path}: its format is a {type(found).__name__}; use another")
    if found == FORMAT and sealed:
        _check_identity(Path(path), own)
        return content
    if found == FORMAT:
        raise UserError(f"checkpoint {path} has lost the hash at its end: it is cut short or was changed; use another")
    model = own.get("model")
    old = str(model.get("_target_", "")) if isinstance(model, dict) else ""
    if found == 1 and old.startswith("src."):
        raise UserError(
            f"checkpoint {path} is of before this package was called datakiln "
            f"({old} is now {_new_spelling(old)}); train it again"
        )
    if found == 2:
        raise UserError(f"checkpoint {path} is of before checkpoints carried a hash of their content; train it again")
    age = "an older" if found < FORMAT else "another"
    raise UserError(f"checkpoint {path} is of {age} format ({found}, this program reads {FORMAT}); train it again")


def _check_identity(path: Path, own: Mapping[str, Any]) -> None:
    """Refuses keys and types that no checkpoint has."""
    for name, kind in IDENTITY.items():
        if not isinstance(own.get(name), kind):
            raise UserError(f"checkpoint {path}: its {name} is {str(own.get(name))[:40]!r}, not a {kind.__name__}")
    for name, value, _ in walk(own):
        if isinstance(value, Tensor | bytes):
            raise UserError(f"checkpoint {path}: its {name} is a {type(value).__name__}, not plain; use another")
    unknown = sorted(map(str, set(own) - {*IDENTITY, *MAY_BE_THERE}))
    if unknown:
        raise UserError(f"checkpoint {path} holds {unknown[0]!r}, which no checkpoint has; use another")


def _new_spelling(old: str) -> str:
    """Where a model class of before the move is now."""
    module, name = old.split(".")[-2:]
    found = sorted((PACKAGE / "models").rglob(f"{module}.py"))
    return ".".join((*found[0].relative_to(PACKAGE.parent).with_suffix("").parts, name)) if found else "gone"


def load_model(content: Mapping[str, Any], raw: bool = False) -> Any:  # noqa: ANN401 (a GenerativeModel)
    """The model of a checkpoint that `read_checkpoint` gave, with its averaged weights unless the raw ones are wanted.

    Raises:
        UserError: See `build`; a frozen part has other weights than it was trained with; or a weight is no number.
    """
    own = content["datakiln"]
    spec, weights = DataSpec.from_state(own["spec"]), content["state_dict"]
    with BoundedBy(weights):
        model = build(own["model"], spec=spec)
    model.load_state_dict(weights)
    model.check_frozen(content.get("frozen", {}))
    if content.get("averaged") and not raw:
        model.averaged().load_state_dict(content["averaged"])
    _check_numbers(model)
    return model


def _check_numbers(model: nn.Module) -> None:
    """Refuses weights from which nothing can be drawn; buffers may be infinite, as the edges of bins are."""
    for name, weight in model.named_parameters():
        if not torch.isfinite(weight).all():
            told = "its training diverged, or somebody changed it"
            raise UserError(f"its weight {name} has values that are no finite numbers: {told}; use another")


def stage_of(path: str | Path) -> tuple[Any, dict[str, Any]]:
    """A trained model as the first stage of another, and the config that builds it again from the other's checkpoint.

    Its weights are then part of the other's: a two-stage model keeps its first stage inside and needs no second file.
    """
    content = read_checkpoint(find_checkpoint(path))
    own = content["datakiln"]
    return load_model(content), {**own["model"], "spec": own["spec"]}


class BoundedBy(TorchDispatchMode):
    """Inside, no module may make more weights, or larger tensors, than there are weights to load.

    So no config of a checkpoint can ask for all of the memory before its weights turn out not to fit.

    Arguments:
        weights: What will be loaded.

    Raises:
        UserError: The modules ask for more.
    """

    def __init__(self, weights: Mapping[str, Any]) -> None:
        """See the class."""
        super().__init__()
        self.numbers = SPARE * (UNSAVED + sum(v.numel() for v in weights.values() if isinstance(v, Tensor)))
        self.weights = SPARE * (len(weights) + SPARE)
        self.hook: Any = None

    def __enter__(self) -> BoundedBy:
        """Counts the weights of modules too: each may be small, and all together too many."""
        self.hook = register_module_parameter_registration_hook(self._count)
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:  # noqa: ANN401
        """Counts no more."""
        self.hook.remove()
        super().__exit__(*error)

    def _count(self, module: nn.Module, name: str, value: Tensor | None) -> None:
        self.weights -= value is not None
        if self.weights < 0:
            raise UserError("the stored model would have more weights than the checkpoint holds; refused")

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: ANN401
        """Refuses what makes a tensor larger than is left."""
        is_copy = func is torch.ops.aten.clone.default  # layers that are copied are registered nowhere
        if is_copy or not any(isinstance(value, Tensor) for value in args):
            self.numbers -= COPY + args[0].numel() if is_copy else _size_of(args)
            if self.numbers < 0:
                raise UserError("the stored model would be larger than the weights of the checkpoint; refused")
        return func(*args, **(kwargs or {}))


def _size_of(args: Sequence[Any]) -> int:
    """How many numbers a tensor would have that is made by sizes, or from one end to another."""
    if args and isinstance(args[0], list | tuple) and all(isinstance(size, int) for size in args[0]):
        return math.prod(args[0])
    return int(max((abs(value) for value in args if isinstance(value, int | float)), default=0))


def model_arguments(config: dict[str, Any]) -> dict[str, Any]:
    """The part of a model's config that sampling needs: no optimizers and schedulers, which are classes of others."""
    return {
        key: value
        for key, value in config.items()
        if not (isinstance(value, dict) and "_target_" in value and not is_known(str(value["_target_"])))
    }
