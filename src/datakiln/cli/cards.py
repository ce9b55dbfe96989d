"""`datakiln evaluate card=flowers`: what a network is that judges pictures; that of a data set's classes is trained."""

from __future__ import annotations

from omegaconf import DictConfig

from datakiln.cli import choices
from datakiln.cli.explain import explain
from datakiln.errors import UserError, near
from datakiln.saying import say
from datakiln.storage import CONF


def show_card(cfg: DictConfig) -> None:
    """Prints the card of an extractor, or trains the classifier of a data set, keeps it in the cache, and prints its.

    Arguments:
        cfg: Of the command `evaluate`: `card` is a name of `datakiln.metrics.extractors.build`, or of a data set, with
            that one's options as `data.NAME`.

    Raises:
        UserError: No extractor and no data set of pictures with classes is called so, or its weights are missing.
    """
    from datakiln.metrics.extractors.build import NAMES, build_extractor

    name = str(cfg.card)
    published = [known for known in NAMES if known not in ("auto", "classifier")]
    if name in published:
        say(build_extractor(name, download=False).card)
        return
    known = choices.names("data")
    if name not in known:
        told = f"card={name} is no extractor ({', '.join(published)}) and no data set"
        raise UserError(f"{told}{near(name, [*published, *known])}; for a classifier name its data: card=mnist")
    images = _labelled(name, cfg)
    say(f"the classifier of data={name}: {len(images.images):,} pictures of {images.classes} classes")
    network = build_extractor("classifier", data=images)
    say(network.card)


def _labelled(name: str, cfg: DictConfig):  # type: ignore[no-untyped-def]  # noqa: ANN202 (heavy to import)
    """The training pictures that a run on this data would give its judge."""
    from hydra import compose, initialize_config_dir
    from hydra.errors import HydraException
    from hydra.utils import instantiate

    from datakiln.cli.run_folders import register_resolvers
    from datakiln.data.pictures.pictures import ImageData

    register_resolvers()
    words = [f"data={name}", *(f"data.{key}={value}" for key, value in cfg.data.items()), "output_dir=unused"]
    try:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            config = compose("train", overrides=["model=dcgan", *words])
    except HydraException as error:
        raise UserError(explain(error, words)) from None
    data = instantiate(config.data, _convert_="all")
    if not isinstance(data, ImageData):
        raise UserError(f"card={name}: a judge of classes is for pictures; data={name} has none")
    data.prepare_data()
    data.setup("fit")
    images = data.labelled_sample()
    if images is None:
        raise UserError(f"card={name}: its pictures have no classes, so that no classifier can be trained")
    return images
