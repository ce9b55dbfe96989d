"""What Optuna may choose: Hydra's sweep syntax as distributions, and chosen values as overrides of a job."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, Override, RangeSweep, Sweep, Transformer
from hydra.errors import HydraException

from datakiln.cli import choices
from datakiln.errors import UserError

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

EXAMPLE = "latent_dim: range(2,17), model.optimizer.lr: tag(log,interval(1e-4,1e-2)), model: choice(vae,tvae)"


@dataclass(frozen=True)
class SearchSpace:
    """The options of every job of a sweep.

    Attributes:
        fixed: Overrides that all jobs share.
        chosen: What may be chosen for an option, by the option's key as it is written, such as "latent_dim".
    """

    fixed: Sequence[str]
    chosen: Mapping[str, BaseDistribution]

    @classmethod
    def read(cls, params: Mapping[str, Any], words: Sequence[str], loader: ConfigLoader) -> SearchSpace:
        """The space of `hydra.sweeper.params` and of the command line, which wins where both name an option.

        Raises:
            UserError: A value that cannot be read, an empty range, or nothing to choose.
        """
        parser = OverridesParser.create(config_loader=loader)
        named: dict[str, Override] = {}
        for word in [*(f"{key}={_written(value)}" for key, value in params.items()), *words]:
            try:
                override = parser.parse_override(word)
            except HydraException as error:
                told = " ".join(str(error).split())
                raise UserError(f"hydra.sweeper.params: {word!r} cannot be read ({told}); like {EXAMPLE}") from None
            named[override.key_or_group] = override
        swept = {key: one for key, one in named.items() if one.is_sweep_override()}
        if not swept:
            raise UserError(
                "hydra.sweeper.params is empty: nothing is left to choose; name values on the command line, such as "
                f"latent_dim=2,5,8, or write params in yaml, like {EXAMPLE}"
            )
        fixed = [str(one.input_line) for key, one in named.items() if key not in swept]
        return cls(fixed, {one.get_key_element(): _distribution(one) for one in swept.values()})

    def overrides(self, values: Mapping[str, Any]) -> list[str]:
        """The command line of the job with these values."""
        return [*(f"{name}={_written(values[name])}" for name in self.chosen), *self.fixed]

    def probes(self) -> Iterator[list[str]]:
        """Command lines that between them name every choice of a config group, to be composed before any job runs."""
        first = {name: _values(distribution)[0] for name, distribution in self.chosen.items()}
        yield self.overrides(first)
        for name, distribution in self.chosen.items():
            if name.lstrip("+").partition("@")[0] in choices.groups():
                yield from (self.overrides({**first, name: value}) for value in _values(distribution)[1:])


def _distribution(override: Override) -> BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    swept, is_log = override.value(), False
    if isinstance(swept, Sweep):
        is_log = "log" in swept.tags
        if swept.tags - {"log"} or (is_log and isinstance(swept, ChoiceSweep)):
            raise UserError(f"{override.input_line}: the only tag is log, of a range or an interval")
    try:
        if isinstance(swept, IntervalSweep):
            assert swept.start is not None and swept.end is not None
            kind = IntDistribution if isinstance(swept.start, int) and isinstance(swept.end, int) else FloatDistribution
            return kind(swept.start, swept.end, log=is_log)  # type: ignore[arg-type]
        if isinstance(swept, ChoiceSweep | RangeSweep):
            swept.shuffle = False  # the sampler has an order of its own, and a study takes choices in one order only
        listed: list[Any] = list(override.sweep_iterator())
        if not listed:
            raise ValueError("it holds no value")
        if isinstance(swept, RangeSweep):
            step = abs(swept.step)  # type: ignore[arg-type]
            if all(isinstance(value, int) for value in listed):
                return IntDistribution(min(listed), max(listed), log=is_log, step=int(step))
            return FloatDistribution(min(listed), max(listed), log=is_log, step=None if is_log else float(step))
        return CategoricalDistribution([_choice(value) for value in listed])
    except ValueError as error:
        raise UserError(f"{override.input_line} is no range to choose from: {error}") from None


def _choice(value: Any) -> Any:  # noqa: ANN401 (any value of Hydra's grammar)
    """A value as the study keeps it: numbers and truths as such, all else as it is written in an override."""
    return value if isinstance(value, bool | int | float) else Transformer.str(value)


def _written(value: Any) -> str:  # noqa: ANN401 (any yaml value)
    """A value as Hydra reads it."""
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _values(distribution: BaseDistribution) -> Sequence[Any]:
    """Every choice, or the lower end of a range."""
    return getattr(distribution, "choices", None) or [distribution.low]  # type: ignore[attr-defined]
