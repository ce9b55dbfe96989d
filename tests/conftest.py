"""What the tests share."""

from __future__ import annotations

import copy
import gc
import os
import warnings
from pathlib import Path

import pytest

import src  # noqa: F401 (the tests of a clone test that clone's package, whatever is installed)

os.environ.setdefault("WANDB_MODE", "offline")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # as many workers as cores: more threads only get in each other's way
os.environ.setdefault("TQDM_DISABLE", "1")


def pytest_collection_finish() -> None:
    """What the tests import stays to the end: the garbage collector need not go through it again and again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True, scope="session")
def configs_are_parsed_once():
    """Hydra reads and merges some thirty files for each composed config, of which the tests compose a thousand.

    What is read is kept by file and time of change. What is merged is kept by the texts that went into it: the same
    choices of groups give the same, to which Hydra then applies the values of each command line as ever.
    """
    from hydra._internal.config_loader_impl import ConfigLoaderImpl
    from hydra._internal.sources_registry import SourcesRegistry
    from hydra.core.plugins import Plugins

    Plugins.instance()  # it imports the sources anew: the class that Hydra uses is not the one an import gives
    source = SourcesRegistry.instance().resolve("file")
    load, known = source.load_config, {}

    def remembered(self, config_path):
        path = Path(self.path) / self._normalize_file_name(config_path)
        key = (path, path.stat().st_mtime_ns if path.exists() else 0)
        if key not in known:
            known[key] = load(self, config_path)
            known[key].read_from = key  # copied with it
        return copy.deepcopy(known[key])

    merge, merged = ConfigLoaderImpl._compose_config_from_defaults_list, {}

    def merged_once(self, defaults, repo):
        read = [repo.load_config(config_path=each.config_path) for each in defaults]
        key = tuple(
            (each.config_path, each.package, each.primary, getattr(result, "read_from", (result.path, result.provider)))
            for each, result in zip(defaults, read, strict=True)
        )
        if key not in merged:
            merged[key] = merge(self, defaults, repo)
        return copy.deepcopy(merged[key])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(source, "load_config", remembered)
        patch.setattr(ConfigLoaderImpl, "_compose_config_from_defaults_list", merged_once)
        yield


@pytest.fixture(autouse=True)
def one_thread_and_no_denormals():
    """Small nets on small data: more threads than one only get in each other's way."""
    import torch

    torch.set_num_threads(1)
    torch.set_flush_denormal(True)


@pytest.fixture
def data_dir() -> Path:
    """The folder with real data; the test is skipped, and says so, where there is none."""
    folder = os.environ.get("DATA_DIR")
    if not folder or not Path(folder).is_dir():
        warnings.warn("DATA_DIR does not name a folder with real data: a test on real data is SKIPPED", stacklevel=1)
        pytest.skip("needs real data: set DATA_DIR")
    return Path(folder)
