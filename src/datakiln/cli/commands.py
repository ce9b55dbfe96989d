"""What the commands share: options, one-line errors, what to do when asked to stop. Imports nothing heavy."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from datakiln.callbacks.stopping import interrupt, stopping
from datakiln.cli import choices, kinds
from datakiln.cli.calling import as_called
from datakiln.cli.explain import explain, is_mistake
from datakiln.cli.options import declared
from datakiln.errors import Interrupted, UserError, near
from datakiln.saying import listen, say
from datakiln.storage import CONF


def run_hydra(
    task: Callable[[DictConfig], float | None], config_name: str, compare: Callable[[list[str]], None]
) -> None:
    """Runs a task under Hydra, once or as a sweep; every error becomes one line unless `debug=true`.

    Arguments:
        task: One job, from its config to the figure a sweep ranks by.
        config_name: File in `conf`.
        compare: What prints the table after a sweep, given arguments as the command `report` takes them.
    """
    if {"-h", "--help"} & set(sys.argv[1:]):
        from datakiln.cli.usage import usage

        with one_line_errors(sys.argv[1:], config_name):
            say(usage(sys.argv[1:], config_name))
        return
    from datakiln.cli.free_names import spell_out
    from datakiln.cli.words import check_words

    flags_first = sorted(sys.argv[1:], key=lambda word: word not in ("-m", "--multirun"))  # or argparse is lost
    with one_line_errors(sys.argv[1:], config_name):
        _refuse_flags(sys.argv[1:])
        choices.folders(sys.argv[1:])  # refuses a --config-dir that is none
        sys.argv[1:] = spell_out(flags_first)
        check_words(sys.argv[1:], config_name)
        _announce(sys.argv[1:], config_name)
    import hydra
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    from datakiln.cli.optuna_sweeper import OptunaSweeper
    from datakiln.cli.run_folders import forget, remove_if_empty
    from datakiln.cli.survey_sweeper import SurveySweeper
    from datakiln.cli.sweepers import register
    from datakiln.cli.sweeps import Sweep

    Sweep.current = sweep = Sweep(sys.argv[1:])
    caught: list[Exception] = []

    def job(cfg: DictConfig) -> float | str | None:
        if HydraConfig.get().mode == RunMode.MULTIRUN:
            return sweep.run(task, cfg)
        try:
            return task(cfg)
        except Interrupted:
            remove_if_empty(Path(HydraConfig.get().runtime.output_dir), refused=True)
            raise
        except Exception as error:
            folder = Path(HydraConfig.get().runtime.output_dir)
            remove_if_empty(folder, refused=isinstance(error, UserError))
            caught.append(error)  # raised below: Hydra would print a line of its own about it
            return None

    os.environ["HYDRA_FULL_ERROR"] = "1"  # let errors reach us instead of Hydra's own printing
    forget()
    with one_line_errors(sys.argv[1:], config_name):
        register(OptunaSweeper)
        register(SurveySweeper)
        try:
            hydra.main(version_base="1.3", config_path=str(CONF), config_name=config_name)(job)()
        except Exception:
            if sweep.folder is not None:
                remove_if_empty(sweep.folder)
            raise
        if caught:
            raise caught[0]
        if sweep.folder is not None:
            sweep.close(compare)


def _announce(argv: Sequence[str], config_name: str) -> None:
    """Says at once what is going to be done: the imports alone take seconds."""
    if any(word.startswith(("-", "sweep=")) for word in argv):
        return  # a sweep counts its jobs first; and of --cfg job and its like a program may read the answer
    folders = choices.folders(argv)
    found = choices.chosen(argv, config_name, folders)
    if all(set(found[group]) <= set(choices.names(group, folders)) for group in ("model", "data")):
        model, data = (" and ".join(found[group]) for group in ("model", "data"))
        say(f"{config_name}: {model} on {data}")


def _refuse_flags(argv: Sequence[str]) -> None:
    """Refuses `--epochs 5`, which Hydra's parser would answer with a page of its own."""
    if not any(word.startswith("--") for word in argv):
        return
    from hydra._internal.utils import get_args_parser

    known = [flag for action in get_args_parser()._actions for flag in action.option_strings]
    for word in argv:
        flag = word.partition("=")[0]
        if flag.startswith("--") and flag not in known:
            raise UserError(f"unknown flag {flag}{near(flag, known)}; options are written name=value, without dashes")


def options(argv: Sequence[str], config_name: str) -> DictConfig:
    """key=value options over the defaults in `conf/<config_name>.yaml`; free keys, as text, below `condition`.

    Raises:
        UserError: Something that is not key=value, or a key that is not there.
    """
    path = CONF / f"{config_name}.yaml"
    if any(arg in ("-h", "--help") for arg in argv):
        say(as_called(path.read_text(encoding="utf-8").rstrip()))
        raise SystemExit(0)
    config = OmegaConf.load(path)
    assert isinstance(config, DictConfig)
    for arg in argv:
        key, sign, value = arg.partition("=")
        head = key.partition(".")[0]
        if not sign:
            raise UserError(f"{arg!r} is not key=value{near(arg, map(str, config))}")
        if head not in config.keys():  # noqa: SIM118 (a missing value, ???, is not `in` an OmegaConf)
            raise UserError(
                f"unknown option {key!r}{near(head, map(str, config))}; known: {', '.join(map(str, config))}"
            )
        if key == "condition":
            if value not in ("", "{}", "null"):
                told = "is written a column at a time, as in condition.age='>60' condition.city=Ulm"
                raise UserError(f"condition={value}: a condition {told}")
            value = value or "{}"
        config = set_option(config, key, value if key != head == "condition" else _parsed(key, value))
    for name in map(str, config):
        if not OmegaConf.is_missing(config, name):
            value = config[name]
            plain = OmegaConf.to_container(value) if OmegaConf.is_config(value) else value
            config[name] = kinds.checked(plain, declared(config_name), name, name)
    return config


def _parsed(key: str, value: str) -> Any:  # noqa: ANN401 (any yaml value)
    try:
        return OmegaConf.from_dotlist([f"value={value}"])["value"]
    except Exception as error:
        raise UserError(f"option {key}={value!r} cannot be read ({type(error).__name__}); quote it") from None


def set_option(config: DictConfig, key: str, value: Any) -> DictConfig:  # noqa: ANN401 (any yaml value)
    """Sets `a` or `a.name`, where a name may hold spaces and further dots, as columns do."""
    head, dot, rest = key.partition(".")
    if dot:
        inner = dict(config[head] or {})
        while rest in inner:  # of `condition.a=b=x condition.a=c=y` the columns may be a=b and a=c
            more, sign, value = str(value).partition("=")
            if not sign:
                raise given_twice(key)
            rest = f"{rest}={more}"
        inner[rest] = value
        config[head] = inner
    else:
        config[head] = value
    return config


def given_twice(key: str) -> UserError:
    """What to say of a condition on a column that has one already."""
    return UserError(f"{key} is given twice; one text can hold several comparisons: {key}='>60&<=70' or 'a|b'")


def command(main: Callable[[list[str]], None]) -> None:
    """Runs a plain key=value command with one-line errors."""
    with one_line_errors(sys.argv[1:], ""):
        main([arg for arg in sys.argv[1:] if arg != "debug=true"])


class one_line_errors:  # noqa: N801 (a context manager reads as a verb)
    """Turns any error into one line on stderr and exit code 1 (2 for a mistake of the person), unless `debug=true`.

    Arguments:
        argv: The command line.
        config_name: The config that its options are for.
    """

    def __init__(self, argv: Sequence[str], config_name: str) -> None:
        """See the class."""
        self.debug = any(arg.lstrip("+") == "debug=true" for arg in argv)
        self.argv, self.config_name = argv, config_name
        self._stopping = stopping(self._interrupt)
        self._asked = ""  # name of the signal

    def _interrupt(self, reason: str) -> None:
        self._asked = reason
        interrupt(reason)

    def __enter__(self) -> None:
        """From now on, what others say is shown as we would, and a signal, too, ends in one line."""
        listen()
        self._stopping.__enter__()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:  # noqa: ANN401
        """Tells the error and leaves."""
        self._stopping.__exit__(None, None, None)
        if error is None or self.debug or isinstance(error, SystemExit):
            return
        if self._asked and not isinstance(error, Interrupted):
            error = Interrupted(self._asked)  # what a module says that was left half imported
        if isinstance(error, KeyboardInterrupt):
            say("stopped", error=True)
            sys.exit(130)
        if isinstance(error, BrokenPipeError):
            sys.exit(141)
        if hasattr(error, "exit_code"):
            say(explain(error), error=True)
            sys.exit(error.exit_code)
        try:
            told = explain(error, self.argv, self.config_name)
        except UserError as fault:  # in a person's own choices, among which the one that was meant is looked for
            told = explain(fault)
        say(f"error: {told}", error=True)
        sys.exit(2 if is_mistake(error) else 1)
