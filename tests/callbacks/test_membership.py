"""The membership curve while a model trains, what ends training by it, and where it is not measured."""

from __future__ import annotations

import functools

import lightning as L
import pytest
import torch

from datakiln.callbacks.membership import TableMembership
from datakiln.codecs.tables.scaling import MinMax
from datakiln.codecs.tables.table import TableCodec
from datakiln.data.sets.toy import ToyTable
from datakiln.data.tables.tables import TableData
from datakiln.models.base import LikelihoodModel
from datakiln.spec import PLAIN


class Copier(LikelihoodModel):
    """Draws the training rows, and in the first two epochs validation rows in their place."""

    supports = frozenset({"table"})

    def __init__(self, spec, data):
        super().__init__(spec, functools.partial(torch.optim.SGD, lr=0.0))
        self.data, self.weight, self.values = data, torch.nn.Parameter(torch.zeros(1)), []

    def losses(self, batch):
        return {"loss": self.weight.sum() + batch.x.mean()}

    def draw(self, n, condition, options=PLAIN):
        x = self.data.tensors["train" if self.current_epoch > 1 else "test"][0]
        return x[torch.arange(n) % len(x)]

    def publish(self, stage, figures):
        super().publish(stage, figures)
        self.values += [figures["membership"]] if "membership" in figures else []


def toy(validation: str = "apart", rows: int = 400) -> TableData:
    made = TableData(ToyTable(rows), TableCodec(numeric=MinMax), batch_size=100, validation=validation)
    made.setup("fit")
    return made


def trained(**options) -> tuple[Copier, L.Trainer]:
    data = toy()
    model = Copier(data.spec, data)
    trainer = L.Trainer(
        max_epochs=6, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, num_sanity_val_steps=0, use_distributed_sampler=False,
        callbacks=[TableMembership(data, every=1, **options)],
    )  # fmt: skip
    trainer.fit(model, datamodule=data)
    return model, trainer


def test_the_curve_rises_where_samples_become_training_rows() -> None:
    model, trainer = trained()
    assert trainer.current_epoch == 6 and len(model.values) == 6
    assert max(model.values[:2]) < 0.65 and min(model.values[2:]) > 0.95
    assert float(trainer.callback_metrics["val/membership"]) == pytest.approx(model.values[-1])


def test_training_ends_where_it_is_told_to() -> None:
    model, trainer = trained(stop=0.7)
    assert trainer.current_epoch == 3 and len(model.values) == 3


def test_where_validation_rows_train_there_is_nothing_to_measure() -> None:
    assert TableMembership(toy()).figures == ("val/membership",)
    assert TableMembership(toy("shared")).figures == ()
    assert TableMembership(toy(rows=60)).figures == ()  # 9 validation rows


def test_options_out_of_range_are_refused() -> None:
    for options in ({"every": 0}, {"rows": 5}, {"stop": 0.3}):
        with pytest.raises(ValueError, match=f"watch.table.membership.{next(iter(options))}="):
            TableMembership(toy(), **options)
