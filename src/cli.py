"""What the commands share: options, one-line errors, run folders. Imports nothing heavy."""

from __future__ import annotations

import functools
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from src.errors import UserError, near

CONF = Path(__file__).resolve().parent.parent / "conf"
SWEEP_VARIABLE = "DATAKILN_SWEEP_DIR"  # tells parallel workers which folder their sweep writes to


def run_hydra(task: Callable[[DictConfig], float | None], config_name: str) -> None:
    """Runs a task under Hydra; every error becomes one line unless `debug=true`."""
    import hydra
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    caught: list[Exception] = []

    def job(cfg: DictConfig) -> float | None:
        try:
            return task(cfg)
        except Exception as error:
            if HydraConfig.get().mode == RunMode.MULTIRUN:
                # one failed job must not end the sweep: it is reported, kept and counted instead
                return _failed_job(error, HydraConfig.get())
            caught.append(error)  # raised below: Hydra would print a line of its own about it
            return None

    os.environ["HYDRA_FULL_ERROR"] = "1"  # let errors reach us instead of Hydra's own printing
    os.environ.pop(SWEEP_VARIABLE, None)
    with _one_line_errors(sys.argv[1:], functools.partial(_known_keys, config_name)):
        register_resolvers()
        hydra.main(version_base="1.3", config_path=str(CONF), config_name=config_name)(job)()
        if caught:
            raise caught[0]
        failed = sorted(Path(os.environ.get(SWEEP_VARIABLE, "/nonexistent")).glob("*/error.txt"))
        if failed:
            raise UserError(f"{len(failed)} job(s) of the sweep failed: {', '.join(str(f.parent) for f in failed)}")


def _failed_job(error: Exception, hydra_config: Any) -> float:  # noqa: ANN401 (Hydra's config node)
    message = explain(error)
    overrides = " ".join(hydra_config.overrides.task)
    folder = Path(hydra_config.runtime.output_dir)
    details = "".join(traceback.format_exception(error))
    (folder / "error.txt").write_text(f"{overrides}\n{message}\n\n{details}", encoding="utf-8")
    print(f"job {hydra_config.job.num} failed ({overrides}): {message}", file=sys.stderr, flush=True)
    return float("nan")


def options(argv: Sequence[str], config_name: str) -> DictConfig:
    """key=value options over the defaults in `conf/<config_name>.yaml`; free keys only below its `condition`.

    Raises:
        UserError: Something that is not key=value, or a key that is not there.
    """
    path = CONF / f"{config_name}.yaml"
    if any(arg in ("-h", "--help") for arg in argv):
        print(path.read_text(encoding="utf-8"), end="")
        raise SystemExit(0)
    config = OmegaConf.load(path)
    assert isinstance(config, DictConfig)
    for arg in argv:
        key, sign, value = arg.partition("=")
        head = key.partition(".")[0]
        if not sign:
            raise UserError(f"{arg!r} is not key=value{near(arg, map(str, config))}")
        if head not in config.keys():  # noqa: SIM118 (a missing value, ???, is not `in` an OmegaConf)
            raise UserError(f"unknown option {key!r}{near(head, map(str, config))}; known: {', '.join(map(str, config))}")
        try:
            parsed = OmegaConf.from_dotlist([f"value={value}"])["value"]
        except Exception as error:
            raise UserError(f"option {key}={value!r} cannot be read ({type(error).__name__}); quote it") from None
        config = set_option(config, key, parsed)
    return config


def set_option(config: DictConfig, key: str, value: Any) -> DictConfig:  # noqa: ANN401 (any yaml value)
    """Sets `a` or `a.name`, where a name may hold spaces and further dots, as columns do."""
    head, dot, rest = key.partition(".")
    if dot:
        inner = dict(config[head] or {})
        inner[rest] = value
        config[head] = inner
    else:
        config[head] = value
    return config


def command(main: Callable[[list[str]], None]) -> None:
    """Runs a plain key=value command with one-line errors."""
    with _one_line_errors(sys.argv[1:], lambda: []):
        main([arg for arg in sys.argv[1:] if arg != "debug=true"])


class _one_line_errors:  # noqa: N801 (a context manager reads as a verb)
    """Turns any error into one line on stderr and exit code 1 (2 for a mistake of the person), unless `debug=true`."""

    def __init__(self, argv: Sequence[str], known: Callable[[], list[str]]) -> None:
        self.debug = any(arg.lstrip("+") == "debug=true" for arg in argv)
        self.known = known

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:  # noqa: ANN401
        if error is None or self.debug or isinstance(error, SystemExit):
            return
        if isinstance(error, KeyboardInterrupt):
            print("stopped", file=sys.stderr)
            sys.exit(130)
        if hasattr(error, "exit_code"):
            print(explain(error), file=sys.stderr, flush=True)
            sys.exit(error.exit_code)
        if isinstance(error, BrokenPipeError):
            sys.exit(141)
        print(f"error: {explain(error, self.known)}", file=sys.stderr, flush=True)
        sys.exit(2 if _is_mistake(error) else 1)


def _is_mistake(error: BaseException) -> bool:
    return isinstance(error, UserError | OmegaConfBaseException) or type(error).__module__.startswith("hydra.")


def explain(error: BaseException, known: Callable[[], list[str]] = list) -> str:
    """One line for a person: what is wrong and, where it can be told, the way out."""
    if isinstance(error, UserError):
        return " ".join(str(error).split())
    name = type(error).__name__
    if name == "InstantiationException" and error.__cause__ is not None:
        key = str(error).rpartition("full_key: ")[2].strip() if "full_key" in str(error) else ""
        return f"{key}: {explain(error.__cause__)}" if key else explain(error.__cause__)
    text = " ".join(str(error).split())
    if name in ("ConfigCompositionException", "ConfigKeyError", "ConfigAttributeError") and "'" in text:
        key = text.split("'")[1].lstrip("+~")
        keys = known()
        short = {k.rpartition(".")[2]: k for k in keys}
        hint = near(key, keys) or near(key.rpartition(".")[2], short)
        return f"unknown or misplaced option {key!r}{hint}; --help lists the options of these choices"
    if name == "MissingConfigException":
        return text.replace("Available options in", "; known in") + (near(text.split("'")[1], _options_of(text)) if "'" in text else "")
    if isinstance(error, ValueError | FileNotFoundError | PermissionError | OSError) or _is_mistake(error):
        return text or name
    return f"{name}: {text} (debug=true shows where)"


def _options_of(text: str) -> list[str]:
    return [f"{group}/{word}" for group in ("model", "data", "trainer", "logger", "sweep", "experiment") for word in
            (p.stem for p in (CONF / group).glob("*.yaml"))] if "/" in text else []


def _known_keys(config_name: str) -> list[str]:
    """Every key of the config as this command line composes it, its wrong overrides left out."""
    from hydra import compose, initialize_config_dir

    choices = [arg for arg in sys.argv[1:] if arg.partition("=")[0] in ("model", "data", "trainer", "encoding", "logger")]
    choices = [arg for arg in choices if "," not in arg]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return _flatten(OmegaConf.to_container(compose(config_name, overrides=choices), resolve=False))


def _flatten(node: Any, prefix: str = "") -> list[str]:  # noqa: ANN401 (any yaml value)
    if not isinstance(node, dict):
        return []
    keys = [f"{prefix}{key}" for key in node]
    return keys + [deep for key, value in node.items() for deep in _flatten(value, f"{prefix}{key}.")]


def register_resolvers() -> None:
    """Makes `${run_dir:...}` and `${sweep_dir:...}` known to OmegaConf."""
    OmegaConf.register_new_resolver("run_dir", run_dir, replace=True)
    OmegaConf.register_new_resolver("sweep_dir", sweep_dir, replace=True)
    OmegaConf.register_new_resolver("stem", lambda path: Path(str(path)).stem if path else "", replace=True)


def run_dir(root: str, name: str, ckpt_path: str | None, overrides: Any) -> str:  # noqa: ANN401 (OmegaConf list)
    """The folder of a run: a new one, or with ckpt_path=last that of the newest unfinished run with these options."""
    return _run_dir(root, name, ckpt_path == "last", tuple(overrides))


@functools.cache
def _run_dir(root: str, name: str, go_on: bool, overrides: tuple[str, ...]) -> str:
    if go_on:
        return str(unfinished_run(Path(root), name, overrides))
    return str(fresh_folder(Path(root), name))


def fresh_folder(root: Path, name: str) -> Path:
    """Makes `root/<date>/<time>-<name>`, with a number behind it where that exists already."""
    day, moment = time.strftime("%Y-%m-%d"), time.strftime("%H-%M-%S")
    for suffix in ("", *(f"-{i}" for i in range(2, 1000))):
        folder = root / day / f"{moment}-{name}{suffix}"
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        return folder
    raise UserError(f"{root / day} is full of runs of this second; try again")


def unfinished_run(root: Path, name: str, overrides: Sequence[str]) -> Path:
    """The newest run below root with this name and these overrides that has no result yet.

    Raises:
        UserError: There is none.
    """
    wanted = _identity(overrides)
    for folder in sorted(root.glob(f"*/*-{name}*"), reverse=True):
        stored = folder / "config" / "overrides.yaml"
        if stored.is_file() and not (folder / "result.json").exists():
            if _identity(OmegaConf.load(stored)) == wanted:
                return folder
    told = " ".join(sorted(wanted)) or "the default options"
    raise UserError(f"ckpt_path=last: no unfinished run with {told} below {root}; give hydra.run.dir=FOLDER or a .ckpt file")


def _identity(overrides: Any) -> set[str]:  # noqa: ANN401 (list of text)
    return {str(o) for o in overrides if not str(o).startswith(("ckpt_path=", "hydra.", "debug="))}


def sweep_dir(root: str) -> str:
    """The folder of a sweep, the same in all its worker processes."""
    if SWEEP_VARIABLE not in os.environ:
        os.environ[SWEEP_VARIABLE] = str(fresh_folder(Path(root), "sweep"))
    return os.environ[SWEEP_VARIABLE]


def on_termination(stop: Callable[[str], None]) -> None:
    """Calls `stop` with the signal's name at SIGTERM or the first Ctrl-C; a second one ends the process at once."""

    def handle(number: int, frame: Any) -> None:  # noqa: ANN401 (a frame)
        signal.signal(number, signal.SIG_DFL)
        stop(signal.Signals(number).name)

    try:
        signal.signal(signal.SIGTERM, handle)
        signal.signal(signal.SIGINT, handle)
    except ValueError:  # not in the main thread (a notebook's or launcher's worker): the owner of the process handles it
        return
