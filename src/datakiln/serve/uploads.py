"""Tables and ZIPs of pictures from clients, under names of our own; every limit is checked while reading."""

from __future__ import annotations

import itertools
import lzma
import re
import secrets
import shutil
import zipfile
import zlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from datakiln import strictjson
from datakiln.data.pictures.files import BadPicture, read_picture
from datakiln.data.pictures.finding import FORMATS
from datakiln.data.tables.files import TableContent, read_table_file
from datakiln.data.tables.limits import check_room
from datakiln.data.tables.remarks import true_of
from datakiln.data.tables.types import describe, infer_schema
from datakiln.errors import UserError, near
from datakiln.serve.owners import Owner
from datakiln.serve.requests import TypesRequest
from datakiln.serve.settings import MEGA, Settings

NAME = re.compile(r"[0-9a-f]{16}")
PIECE = 1 << 16
FEWEST_PICTURES = 10
TOLD = "upload.json"
DAMAGES = (  # what reading a ZIP raises where its bytes are not as they should be, besides OSError
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, RuntimeError, NotImplementedError, ValueError
)  # fmt: skip


class TooLarge(UserError):
    """More than a limit allows."""


@dataclass
class Upload:
    """What is known of one.

    Attributes:
        id: Our name of it.
        kind: "table" or "image".
        file: Of the table, or the folder of pictures, inside of the upload's own folder.
        rows: Rows, or pictures.
        columns: What was found of each column; of pictures none.
        types: As corrected.
        target: Column that classes are taken from.
        notes: Lines for the person.
    """

    id: str
    kind: str
    file: str
    rows: int
    columns: list[dict[str, str | int]] = field(default_factory=list)
    types: dict[str, str] = field(default_factory=dict)
    target: str | None = None
    notes: list[str] = field(default_factory=list)


async def receive(
    body: AsyncIterator[bytes], owner: Owner, settings: Settings, holds: Callable[[int], bool]
) -> tuple[str, Path]:
    """Writes a body to a file of our own name, as far as size and quota allow.

    Arguments:
        body: Its pieces.
        owner: Who sends it.
        settings: Of the server.
        holds: Counts bytes that come, and says whether the holder may keep them.

    Raises:
        TooLarge: It is larger; nothing of it is left.
    """
    name = secrets.token_hex(8)
    folder = owner.uploads / name
    folder.mkdir()
    path, size = folder / "received", 0
    try:
        with path.open("wb") as file:
            async for piece in body:
                size += len(piece)
                if size > settings.upload_mb * MEGA:
                    raise TooLarge(f"the upload is too large: a file may have {settings.upload_mb} MB; send less")
                if not holds(len(piece)):
                    raise TooLarge("the upload is too large: the quota is used up; send less, or delete an upload")
                file.write(piece)
        if not size:
            raise UserError("the upload is empty (0 bytes); send a table or a ZIP of pictures")
    except BaseException:
        shutil.rmtree(folder)
        raise
    return name, path


def take_in(name: str, path: Path, settings: Settings, holds: Callable[[int], bool]) -> Upload:
    """Reads what was received and finds out what it is; whatever cannot be used is removed.

    Arguments:
        name: The upload's.
        path: Of what was received.
        settings: Of the server.
        holds: Counts bytes that are unpacked, and says whether the holder may keep them.

    Raises:
        UserError: It is neither a usable table nor a usable ZIP of pictures.
    """
    try:
        with path.open("rb") as file:
            head = file.read(4)
        upload = _pictures(name, path, settings, holds) if head == b"PK\x03\x04" else _table(name, path, settings)
        strictjson.write(upload, path.parent / TOLD)
    except BaseException:
        shutil.rmtree(path.parent)
        raise
    return upload


def _table(name: str, path: Path, settings: Settings) -> Upload:
    with path.open("rb") as file:
        head = file.read(4)
    kept = path.with_name("table.parquet" if head == b"PAR1" else "table.csv")
    path.rename(kept)
    content = _read(kept, settings)
    columns = _described(content, TypesRequest())
    notes = true_of(content.notes, [str(told["name"]) for told in columns if told["type"] == "datetime"])
    return Upload(name, "table", kept.name, len(content.frame), columns=columns, notes=notes)


def _read(path: Path, settings: Settings) -> TableContent:
    check_room(path)
    content = read_table_file(path, most_columns=settings.columns)
    if len(content.frame) > settings.rows:
        raise TooLarge(f"the table has {len(content.frame):,} rows; at most {settings.rows:,} are taken")
    return content


def _described(content: TableContent, asked: TypesRequest) -> list[dict[str, str | int]]:
    frame = content.frame[[name for name in content.frame if asked.types.get(str(name)) != "drop"]]
    types = {name: kind for name, kind in asked.types.items() if kind != "drop"}
    schema = infer_schema(frame, asked.target, types, writings=content.writings, storage=content.storage)
    rows = {row.column: row for row in describe(schema, frame)}
    found: list[dict[str, str | int]] = []
    for column in map(str, content.frame.columns):
        row = rows.get(column)
        if row is None:
            found.append(
                {"name": column, "type": "drop", "missing": 0, "distinct": 0, "example": "", "why": "left out"}
            )
        else:
            told: dict[str, str | int] = {"type": row.type, "example": row.example, "why": row.why}
            told |= {"missing": int(row.missing), "distinct": int(row.distinct)}
            found.append({"name": column, **told})
    return found


def corrected(upload: Upload, asked: TypesRequest, owner: Owner, settings: Settings) -> Upload:
    """The upload with types as a person says; raises `UserError` for what the values cannot bear."""
    if upload.kind != "table":
        raise UserError("pictures have no columns; leave out types and target")
    if asked.target is not None and "${" in asked.target:
        raise UserError(f"target={asked.target}: a name with ${{ cannot be a target; rename the column")
    names = [str(column["name"]) for column in upload.columns]
    wrong = next((name for name in asked.types if name not in names), None)
    if wrong is not None:
        raise UserError(f"types.{wrong}: the table has no such column{near(wrong, names)}")
    if asked.target is not None and asked.types.get(asked.target) == "drop":
        raise UserError(f"target={asked.target} is dropped; choose another")
    folder = owner.uploads / upload.id
    upload.columns = _described(_read(folder / upload.file, settings), asked)
    upload.types, upload.target = {name: str(kind) for name, kind in asked.types.items()}, asked.target
    strictjson.write(upload, folder / TOLD)
    return upload


def find(name: str, owner: Owner) -> Upload | None:
    """An owner's upload; None for any other name."""
    path = owner.uploads / name / TOLD
    if not NAME.fullmatch(name) or not path.is_file():
        return None
    return strictjson.read(Upload, strictjson.parse(path.read_text(encoding="utf-8")))  # type: ignore[no-any-return]


def every(owner: Owner) -> list[Upload]:
    """All uploads of an owner, by name."""
    found = (find(path.parent.name, owner) for path in sorted(owner.uploads.glob(f"*/{TOLD}")))
    return [upload for upload in found if upload is not None]


def remove(upload: Upload, owner: Owner) -> None:
    """Forgets an upload."""
    shutil.rmtree(owner.uploads / upload.id)


def _pictures(name: str, path: Path, settings: Settings, holds: Callable[[int], bool]) -> Upload:
    """Unpacks pictures as `class-000/000001.png`: of the names in a ZIP only the folder's word is kept, in `notes`."""
    target = path.parent / "pictures"
    target.mkdir()
    classes: dict[str, str] = {}
    count = 0
    skipped: list[str] = []
    try:
        with zipfile.ZipFile(path) as archive:
            for member in itertools.islice(archive.infolist(), 2 * settings.pictures + 1):
                suffix = Path(member.filename).suffix.lower()
                if member.is_dir() or suffix not in FORMATS or "__MACOSX" in member.filename:
                    continue
                count += 1
                if count > settings.pictures:
                    raise TooLarge(f"the ZIP has more than {settings.pictures:,} pictures; send fewer")
                folder = target / _class_folder(member.filename, classes)
                folder.mkdir(exist_ok=True)
                kept = folder / f"{count:07d}{suffix}"
                _unpack(archive, member, kept, settings, holds)
                try:
                    _check_pixels(kept, count, settings.pixels)
                    read_picture(kept)
                except BadPicture as fault:
                    kept.unlink()
                    skipped.append(f"picture {count} {fault}")
    except (*DAMAGES, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the disk's fault and not the file's
        raise UserError(
            f"the ZIP is damaged, locked or packed in an odd way ({type(error).__name__}); pack it again"
        ) from None
    finally:
        path.unlink()
    usable = count - len(skipped)
    if usable < FEWEST_PICTURES:
        told = f"; {skipped[0]}" if skipped else ""
        raise UserError(f"the ZIP holds {usable} usable pictures, and at least {FEWEST_PICTURES} are needed{told}")
    if len(classes) == 1:
        for picture in (target / next(iter(classes.values()))).iterdir():
            picture.rename(target / picture.name)
        (target / next(iter(classes.values()))).rmdir()
    notes = [f"left out: {fault}" for fault in skipped[:5]]
    notes += [f"{own}: {told}" for told, own in classes.items()] if len(classes) > 1 else []
    return Upload(name, "image", "pictures", usable, notes=notes)


def _check_pixels(path: Path, number: int, most: int) -> None:
    """By the header, before anything is decoded."""
    try:
        with Image.open(path) as picture:
            width, height = picture.size
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        raise BadPicture("is damaged, or no picture") from None
    if width * height > most:
        raise TooLarge(f"picture {number} has {width * height:,} pixels; at most {most:,} are taken")


def _class_folder(member: str, classes: dict[str, str]) -> str:
    """A folder for the class that a picture's own folder names: letters and digits of it, behind a number."""
    parts = Path(member.replace("\\", "/")).parts
    told = parts[-2] if len(parts) > 1 else ""
    if told not in classes:
        own = word = re.sub(r"[^\w-]+", "_", told)[:40].strip("_.")
        numbers = itertools.count(len(classes))
        while not own or own in classes.values():
            own = f"{word or 'class'}-{next(numbers)}"
        classes[told] = own
    return classes[told]


def _unpack(
    archive: zipfile.ZipFile, member: zipfile.ZipInfo, kept: Path, settings: Settings, holds: Callable[[int], bool]
) -> None:
    """Writes one file; what the ZIP says of its size is not believed."""
    most = settings.zip_ratio * max(member.compress_size, 1)
    size = 0
    with archive.open(member) as packed, kept.open("wb") as file:
        while piece := packed.read(PIECE):
            size += len(piece)
            if size > most:
                raise TooLarge(
                    f"a file of the ZIP unpacks to more than {settings.zip_ratio} times its size; pack it plainly"
                )
            if not holds(len(piece)):
                raise TooLarge("the ZIP unpacks to more than the quota; send fewer pictures")
            file.write(piece)
