"""Tab completion: what is offered, in a real bash, and what a key press costs."""

from __future__ import annotations

import os
import pty
import select
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from datakiln.cli import choices
from datakiln.cli.completion import SCRIPTS, answer, script
from datakiln.cli.main import COMMANDS
from datakiln.errors import UserError
from tests.cli.console import write_console_command
from tests.cli.test_commands import HEAVY

BASH = shutil.which("bash")
in_bash = pytest.mark.skipif(BASH is None, reason="there is no bash")


@pytest.fixture(scope="module")
def environment(tmp_path_factory) -> dict[str, str]:
    """Where `datakiln` is the console command of this clone."""
    folder = tmp_path_factory.mktemp("bin")
    write_console_command(folder)
    path = f"{folder}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "TERM": "dumb"}


def asked(line: str) -> list[str]:
    return answer(line, COMMANDS)


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("datakiln tr", ["train "]),
        ("datakiln train da", ["data=", "data_dir=", "data."]),
        ("datakiln train model=vae data=ir", ["data=iris "]),
        ("datakiln train -m model=vae,wgan", ["model=vae,wgan ", "model=vae,wgan_gp "]),
        ("datakiln train logger=[csv,wa", ["logger=[csv,wandb "]),
        ("datakiln train model=cvae model.opt", ["model.optimizer."]),
        ("datakiln train model=cvae model.optimizer.l", ["model.optimizer.lr="]),
        ("datakiln train latent_d", ["latent_dim="]),
        ("datakiln train model=bootstrap latent_d", []),
        ("datakiln train +model.hid", ["+model.hidden="]),
        ("datakiln train data.missing=", ["data.missing=drop ", "data.missing=impute ", "data.missing=model "]),
        ("datakiln train data.ty", ["data.types."]),
        ("datakiln train debug=", ["debug=true ", "debug=false "]),
        ("datakiln train mode=", ["mode=min ", "mode=max "]),
        ("datakiln train hydra/laun", ["hydra/launcher="]),
        ("datakiln train hydra/launcher=j", ["hydra/launcher=joblib "]),
        ("datakiln train --conf", ["--config-dir "]),
        ("datakiln train --cfg j", ["job "]),
        ("datakiln train --config-dir ", []),
        ("datakiln train data=csv data.path=", []),
        ("datakiln train 'open quote", []),
        ("datakiln train data=tab", []),  # a mere base of others
        ("datakiln sample weights=", ["weights=average ", "weights=raw "]),
        ("datakiln sample cond", ["condition."]),
        ("datakiln evaluate re", ["real=", "register=", "repeats=", "report="]),
        ("datakiln report ", []),
        ("datakiln report fig", ["figures="]),
        ("datakiln completion f", ["fish "]),
        ("datakiln version ", []),
    ],
)
def test_what_is_offered(line, found):
    assert sorted(asked(line)) == sorted(found)


def test_every_choice_and_top_level_option_is_offered():
    for group in ("model", "data", "experiment", "sweep"):
        complete = [name for name in choices.names(group) if choices.is_complete(group, name)]
        assert asked(f"datakiln train {group}=") == [f"{group}={name} " for name in complete]
    offered = asked("datakiln train ")
    assert {"seed=", "epochs=", "model=", "data.", "latent_dim="} <= set(offered)
    assert not [word for word in offered if "@" in word or " " in word.strip() or "_target_" in word]


def test_own_choices_are_offered(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own" / "model").mkdir(parents=True)
    (tmp_path / "own" / "model" / "vase.yaml").write_text("# @package _global_\ndefaults: [vae, _self_]\nglaze: 3\n")
    for flag in ("--config-dir own", "--config-dir=own", "-cd own"):
        assert asked(f"datakiln train {flag} model=va") == ["model=vae ", "model=var ", "model=vase "]
        assert asked(f"datakiln train {flag} model=vase gl") == ["glaze="]
    assert asked("datakiln train --config-dir nowhere model=va") == ["model=vae ", "model=var "]


def test_a_shell_without_a_script_is_refused():
    with pytest.raises(UserError, match="no completion for 'bsh'; did you mean 'bash'"):
        script("bsh")
    with pytest.raises(UserError, match="no shell given; one of bash, zsh, fish"):
        script("")


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_the_other_scripts_can_be_read(shell, tmp_path):
    if shutil.which(shell) is None:
        pytest.skip(f"there is no {shell}")
    (tmp_path / "script").write_text(SCRIPTS[shell])
    assert subprocess.run([shell, "-n", str(tmp_path / "script")], check=False).returncode == 0


@in_bash
@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("datakiln ev", ["evaluate "]),
        ("datakiln train model=wgan", ["wgan ", "wgan_gp "]),  # readline replaces what follows the "=" alone
        ("datakiln train model=vae,cv", ["vae,cvae "]),
        ("datakiln train latent_", ["latent_dim="]),
        ("datakiln train data=", [f"{n} " for n in choices.names("data") if choices.is_complete("data", n)]),
    ],
)
def test_the_function_of_bash(environment, line, found):
    """As bash calls it: with the line, the cursor, and the name of the command."""
    program = """
        eval "$(datakiln completion bash)"
        COMP_WORDBREAKS=$' \\t\\n"\\'><=;|&(:' COMP_LINE=$1 COMP_POINT=${#1}
        _datakiln datakiln
        printf '%s\\n' "${COMPREPLY[@]}"
        complete -p datakiln
    """
    done = subprocess.run(
        [BASH, "--norc", "-c", program, "bash", line], env=environment, capture_output=True, text=True, check=True
    )
    *offered, registered = done.stdout.splitlines()
    assert offered == found
    assert "-F _datakiln" in registered


@in_bash
def test_a_key_press_in_bash(environment, tmp_path):
    """A terminal, a person's keys, and the words that bash then has."""
    (tmp_path / "rc").write_text('eval "$(datakiln completion bash)"\nPS1="ready> "\n')
    (tmp_path / "my table.csv").touch()
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(tmp_path)
        os.execve(BASH, ["bash", "--noprofile", "--rcfile", str(tmp_path / "rc"), "-i"], environment)
    try:
        read_until(terminal, "ready> ")
        keys = "datakiln tra\tmodel=cvx\x7fa\tlatent_d\t5 data=cs\tdata.path=my\t"
        to_the_front, show = "\x01", "printf '<%s>' "
        os.write(terminal, f"{keys}{to_the_front}{show}\n".encode())
        words = "<datakiln><train><model=cvae><latent_dim=5><data=csv><data.path=my table.csv>"
        assert words in read_until(terminal, words)
    finally:
        os.close(terminal)
        os.waitpid(child, 0)


def read_until(terminal: int, text: str, seconds: float = 30) -> str:
    """What the terminal shows until a text is among it."""
    shown, end = "", time.monotonic() + seconds
    while text not in shown and time.monotonic() < end:
        if select.select([terminal], [], [], 0.1)[0]:
            shown += os.read(terminal, 4096).decode()
    return shown


def test_a_key_press_imports_nothing_heavy(environment):
    told = {**environment, "PYTHONPROFILEIMPORTTIME": "1"}
    line = "datakiln train model=cvae data=adhd +model."
    command = [Path(environment["PATH"].split(os.pathsep)[0]) / "datakiln", "completion", "answer", line]
    done = subprocess.run(command, env=told, capture_output=True, text=True, check=True)
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time")}
    assert "+model.hidden=" in done.stdout.split()
    assert "datakiln.cli.completion" in imported
    assert not imported & {*HEAVY, "hydra", "omegaconf", "rich"}
