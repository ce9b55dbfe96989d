"""What lies below a folder of pictures: links, what cannot be read, and nothing lost in silence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datakiln.data.pictures.finding import find_pictures, first_beside
from datakiln.data.pictures.folder import FolderImages
from datakiln.errors import UserError


def save(path: Path, level: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((8, 8), level, dtype=np.uint8)).save(path)


def test_linked_folders_are_followed_and_end(tmp_path):
    save(tmp_path / "pool" / "deep" / "x.png")
    for name in ("a", "b"):
        save(tmp_path / "set" / name / "0.png")
    (tmp_path / "set" / "a" / "more").symlink_to(tmp_path / "pool")
    (tmp_path / "set" / "a" / "again").symlink_to(tmp_path / "set" / "a")
    (tmp_path / "set" / "all").symlink_to(tmp_path / "set")
    (tmp_path / "pool" / "back").symlink_to(tmp_path / "pool" / "deep" / "..")
    files, labels, classes = find_pictures(tmp_path / "set", labels=True)
    found = [str(path.relative_to(tmp_path / "set")) for path in files]
    assert found == ["a/0.png", "a/more/deep/x.png", "b/0.png"] and labels == [0, 0, 1] and classes == ("a", "b")


def test_folders_that_are_linked_to_each_other_are_gone_into_once(tmp_path):
    """Each of twelve leads to all others: there are more ways through them than could ever be gone."""
    names = [f"f{i}" for i in range(12)]
    for name in names:
        save(tmp_path / "set" / "a" / name / "0.png")
        for other in names:
            if other != name:
                (tmp_path / "set" / "a" / name / f"to {other}").symlink_to(tmp_path / "set" / "a" / other)
    (tmp_path / "set" / "a" / "also f3").symlink_to(tmp_path / "set" / "a" / "f3")
    (tmp_path / "set" / "b").symlink_to(tmp_path / "set" / "a" / "f0")
    files, labels, _ = find_pictures(tmp_path / "set", labels=True)
    assert len({path.resolve() for path in files[:12]}) == labels.count(0) == 12
    assert labels.count(1) == 12


def test_a_link_to_nothing_is_told(tmp_path, caplog):
    for i in range(3):
        save(tmp_path / "a" / f"{i}.png", i)
    (tmp_path / "a" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere.png")
    raw = FolderImages(str(tmp_path))(None, 8)
    assert len(raw.train.x) == 3 and raw.classes == ("a",)
    assert "2 unreadable (a/gone.png, gone.png: cannot be read (No such file or directory))" in caplog.text


def test_a_folder_that_cannot_be_read_is_no_empty_one(tmp_path, monkeypatch):
    save(tmp_path / "a" / "0.png")
    save(tmp_path / "b" / "0.png")
    plain = Path.iterdir

    def closed(path):
        if path.name == "b":
            raise PermissionError(13, "Permission denied")
        return plain(path)

    monkeypatch.setattr(Path, "iterdir", closed)
    with pytest.raises(UserError, match=r"/b: this folder cannot be read \(Permission denied\)"):
        find_pictures(tmp_path, labels=True)


def test_what_is_hidden_or_a_folder_is_no_picture_beside_classes(tmp_path):
    for name in ("a", "b.png"):
        save(tmp_path / name / "0.png")
    save(tmp_path / ".thumb.png")
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere.png")
    assert first_beside(tmp_path) is None and find_pictures(tmp_path, labels=True)[2] == ("a", "b.png")
    save(tmp_path / "c.png")
    assert first_beside(tmp_path) == "c.png"
