"""Wrong words are answered by the types that are declared where values are used, before Hydra or torch is imported."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hydra.utils import get_class
from omegaconf import OmegaConf

from datakiln.cli import choices
from datakiln.cli.checks import check_arguments, check_pairing, check_types, check_values
from datakiln.cli.commands import options
from datakiln.cli.free_names import spell_out
from datakiln.cli.kinds import kind_of, said
from datakiln.cli.sample import by_column
from datakiln.cli.words import check_words
from datakiln.errors import UserError
from tests.cli.test_refusals import config

TOYS = {"table": "iris", "image": "digits", "series": "toy_series"}
TABLE = "datakiln.data.tables.tables.TableData"
WRONG = {
    "debug=maybe": "debug=maybe must be one of default, fdr, limit, overfit, profiler, true, false",
    "debug=limt": "did you mean 'limit'",
    "model.optimizer.lr=fast": "model.optimizer.lr=fast must be a number",
    "model.lr=1e-4": "unknown option 'model.lr'; did you mean 'model.optimizer.lr'",
    "lr=1e-4": "unknown option 'lr'; did you mean 'model.optimizer.lr'",
    "seed=x": "seed=x must be a whole number of at least 0",
    "seed=1,x": "seed=x must be a whole number of at least 0",
    "n=abc": "unknown option 'n'; did you mean 'n_synthetic'",
    "epochs=-3": "epochs=-3 must be a whole number of at least 1",
    "data.split=3": r"data.split=3 must be null or a list of 3, each of it a number",
    "data.targt=x": "did you mean 'data.target', of data=csv",
    "trainer.max_epochs=many": "trainer.max_epochs=many must be a whole number or null",
    "data.missing=drp": "data.missing=drp must be one of drop, impute, model; did you mean 'drop'",
    "plots=maybe": "plots=maybe must be true or false",
    "tags=a": "tags=a must be a list",
    "trainer=fsdp": "trainer=fsdp: processes share batches here, not weights; trainer=ddp",
    "trainer=deepspeed_stage_2": "trainer=deepspeed_stage_2: processes share batches here",
    "latent_dimm=5": "did you mean 'latent_dim'",
}


def kinds_of(model: str) -> list[str]:
    """The kinds of data that a model of conf/model takes; those of tables for one that chooses among models."""
    supports = getattr(get_class(str(choices.keys("model", model).get("model._target_"))), "supports", {"table"})
    return sorted(supports & TOYS.keys())


@pytest.mark.parametrize("word", WRONG)
def test_wrong_words_are_refused_before_hydra_reads_a_config(word):
    with pytest.raises(UserError, match=WRONG[word]):
        check_words(spell_out([word]), "train")


@pytest.mark.slow
def test_a_wrong_word_imports_neither_hydra_nor_torch():
    code = (
        "import atexit, sys; sys.argv[1:] = ['seed=x']; heavy = {'hydra', 'torch', 'rich', 'pandas'}\n"
        "atexit.register(lambda: print(sorted(heavy & set(sys.modules))))\n"
        "import src\nfrom datakiln.cli.train import run; run()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and done.stdout == "[]\n" and done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "words",
    [
        ["model=vae", "latent_dim=2,5", "seed=range(0,3)", "model.beta=0.5", "-m"],
        ["data=csv", "data.path=a.csv", "data.target=2020", "data.types.a=numeric", "n_synthetic=null"],
        ["experiment=paper_iris", "anything=5"],  # presets may bring it: the composed config tells
        ["+trainer.accumulate_grad_batches=4", "model.optimizer.lr=1e-3", "~watch.table.fidelity", "epochs=1e2"],
        ["debug=true", "debug=limit", "tags=[a,b]", "trainer=cpu", "hydra.run.dir=x", "model.annealing.stop=0.5"],
        ["model=nope"],  # Hydra lists what there is
    ],
)
def test_right_words_and_those_that_only_the_config_can_tell(words):
    check_words(spell_out(words), "train")


@pytest.mark.parametrize(
    ("model", "data"),
    [
        *((model, TOYS[kind]) for model in choices.names("model") for kind in kinds_of(model)),
        ("tabar", "csv"),  # what a data set's options are does not depend on the model
        ("vae", "image_folder"),
    ],
)
def test_every_choice_is_of_the_types_that_it_declares(model, data):
    cfg = config(f"model={model}", f"data={data}", *(["data.path=x"] if data in ("csv", "image_folder") else []))
    check_pairing(cfg)
    before = OmegaConf.to_container(cfg, resolve=True)
    check_values(cfg)
    check_types(cfg)
    check_arguments(cfg, only_ours=True)
    assert OmegaConf.to_container(cfg, resolve=True) == before


@pytest.mark.parametrize(
    ("option", "told"),
    [
        ("+model.optimizer.betas=3", r"model.optimizer.betas=3 must be a list of 2, .*such as \[0.9,0.999\]"),
        ("data.split=[1,2]", "data.split=.* must be null or a list of 3"),
        ("data.types=3", "data.types=3 must be a mapping"),
        ("model.annealing=7", "model.annealing=7 must be built by a class"),
        ("watch.table.fidelity.every=x", "watch.table.fidelity.every=x must be a whole number"),
        ("+trainer.nope=3", "trainer.nope is no argument of lightning.Trainer"),
        ("trainer.precision=31", "trainer.precision=31 must be one of .*bf16-mixed"),
    ],
)
def test_composed_values_of_other_types(option, told):
    cfg = config(option)
    with pytest.raises(UserError, match=told):
        check_types(cfg)
        check_arguments(cfg, only_ours=True)


def test_values_are_written_as_their_types_have_them():
    cfg = config("epochs=1e2", "data=csv", "data.path=2020", "data.target=7")
    check_values(cfg)
    check_types(cfg)
    assert (cfg.epochs, cfg.data.path, cfg.data.target) == (100, "2020", "7") and isinstance(cfg.epochs, int)


def test_what_annotations_say():
    assert said(kind_of(TABLE, "missing")) == "one of drop, impute, model"
    assert said(kind_of("datakiln.data.tables.tables.FileData", "balance")) == "one of none, over, under"  # of its base
    assert said(kind_of("datakiln.data.tables.tables.FileData", "streaming")) == "auto or true or false"
    assert said(kind_of("torch.optim.AdamW", "lr")) == "a number of at least 0"


@pytest.mark.parametrize(
    ("command", "word", "told"),
    [
        ("sample", "n=abc", "n=abc must be a whole number of at least 1 or null"),
        ("sample", "seed=x", "seed=x must be a whole number"),
        ("sample", "overwrite=maybe", "overwrite=maybe must be true or false"),
        ("sample", "weights=rw", "weights=rw must be one of average, raw; did you mean 'raw'"),
        ("evaluate", "n=-1", "n=-1 must be a whole number of at least 1"),
    ],
)
def test_options_of_the_plain_commands(command, word, told):
    with pytest.raises(UserError, match=told):
        options([word], command)
    assert options(["n=1e3"], command).n == 1000


def test_conditions_on_columns_that_hold_an_equals_sign():
    columns = ["a", "a=b", "a=c", "x", "blood.pressure", "2020"]

    def told(*words: str):
        cfg = options([f"condition.{word}" for word in words], "sample")
        return by_column({str(name): value for name, value in cfg.condition.items()}, columns)

    assert told("x=b=c", "2020=>5", "blood.pressure=high") == {"x": "b=c", "2020": ">5", "blood.pressure": "high"}
    assert told("nope=1=2") == {"nope": "1=2"}  # refused later, with its name
    columns.remove("a")
    assert told("a=b=x", "a=c=>=5") == {"a=b": "x", "a=c": ">=5"}
    with pytest.raises(UserError, match="condition.x is given twice"):
        told("x=>=5", "x=<=9")
    with pytest.raises(UserError, match="condition.x is given twice"):
        told("x=5", "x=9")
