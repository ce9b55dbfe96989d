"""What the tests share."""

from __future__ import annotations

import gc
import os
import pickle
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
def configs_are_composed_once():
    """Hydra reads and merges some thirty files for each composed config, of which the tests compose a thousand.

    What is read is kept by file and time of change. From the files of this checkout alone, the same choices of groups
    give the same list of files and the same config, to which Hydra then applies the values of each command line as
    ever: both are kept, pickled, since that is copied several times as fast as a tree of nodes.
    """
    from hydra._internal import defaults_list
    from hydra._internal.config_loader_impl import ConfigLoaderImpl
    from hydra._internal.sources_registry import SourcesRegistry
    from hydra.core.plugins import Plugins

    from datakiln.cli import choices

    Plugins.instance()  # it imports the sources anew: the class that Hydra uses is not the one an import gives
    source = SourcesRegistry.instance().resolve("file")
    load, read = source.load_config, {}

    def read_once(self, config_path):
        path = Path(self.path) / self._normalize_file_name(config_path)
        key = (path, path.stat().st_mtime_ns if path.exists() else 0)
        if key not in read:
            read[key] = pickle.dumps(load(self, config_path))
        return pickle.loads(read[key])

    def only_ours(repo):
        files = [each.path for each in repo.get_sources() if each.scheme() == "file"]
        return [Path(path).resolve() for path in files] == [choices.CONF.resolve()]

    found, listed = defaults_list._create_defaults_list, {}

    def listed_once(repo, config_name, overrides, prepend_hydra, skip_missing):
        if not only_ours(repo):
            return found(repo, config_name, overrides, prepend_hydra, skip_missing)
        chosen = (overrides.override_choices, overrides.append_group_defaults, overrides.deletions)
        key = (config_name, repr(chosen), prepend_hydra, skip_missing)
        values = overrides.config_overrides  # all else that this object holds comes of the choices
        if key not in listed:
            answer = found(repo, config_name, overrides, prepend_hydra, skip_missing)
            listed[key] = pickle.dumps((answer, vars(overrides) | {"config_overrides": []}))
        answer, after = pickle.loads(listed[key])
        vars(overrides).update(after, config_overrides=values)
        return answer

    merge, merged = ConfigLoaderImpl._compose_config_from_defaults_list, {}

    def merged_once(self, defaults, repo):
        if not only_ours(repo):
            return merge(self, defaults, repo)
        key = tuple((each.config_path, each.package, each.primary) for each in defaults)
        if key not in merged:
            merged[key] = pickle.dumps(merge(self, defaults, repo))
        return pickle.loads(merged[key])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(source, "load_config", read_once)
        patch.setattr(defaults_list, "_create_defaults_list", listed_once)
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
