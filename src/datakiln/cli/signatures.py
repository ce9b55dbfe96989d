"""What our classes and functions take, read from their source: importing them would import torch, and take seconds."""

from __future__ import annotations

import ast
import functools
import re
from pathlib import Path
from typing import Any

PACKAGES = Path(__file__).resolve().parents[2]  # the folder that holds the package
Arguments = dict[str, tuple[str, str]]


def is_ours(target: str) -> bool:
    """Whether a dotted path names a class or function of this program."""
    return _definition(target) is not None


def names(module: str) -> list[str]:
    """Classes and functions that a module of ours defines or imports; empty for what is no module of ours."""
    found = []
    for node in _tree(module):
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            found.append(node.name)
        elif isinstance(node, ast.ImportFrom):
            found += [alias.asname or alias.name for alias in node.names]
    return [name for name in found if not name.startswith("_") and is_ours(f"{module}.{name}")]


def where(name: str) -> str:
    """Dotted path of the class or function of ours with that name, as a person writes it; "" where there is none."""
    found = []
    for path in sorted((PACKAGES / "datakiln").rglob("*.py")):
        module = ".".join(path.relative_to(PACKAGES).with_suffix("").parts).removesuffix(".__init__")
        own = [node.name for node in _tree(module) if isinstance(node, ast.ClassDef | ast.FunctionDef)]
        if name in (names(module) if path.name == "__init__.py" else own):
            found.append(f"{module}.{name}")
    return min(found, key=lambda target: target.count("."), default="")  # a room's door before the file behind it


def arguments(target: str) -> Arguments:
    """By name, the default as written ("" for none) and what it means; empty for what is not ours.

    A class that hands further keywords to its base takes the base's optional arguments too; it fills in the others.
    """
    node = _definition(target)
    if isinstance(node, ast.FunctionDef):
        return _of_function(node, ast.get_docstring(node) or "")
    if node is None:
        return {}
    inherited: Arguments = {}
    for base in _bases(target):
        inherited |= arguments(base)
    doc = ast.get_docstring(node) or ""
    for part in node.body:
        if isinstance(part, ast.FunctionDef) and part.name == "__init__":
            own = _of_function(part, doc)
            return {arg: said for arg, said in inherited.items() if said[0]} | own if part.args.kwarg else own
    return inherited | _of_dataclass(node, doc)


def is_open(target: str) -> bool:
    """Whether any other keyword is taken as well, because it is handed on to what is not ours."""
    node = _definition(target)
    if isinstance(node, ast.FunctionDef):
        return node.args.kwarg is not None
    if node is None:
        return True
    init = [part for part in node.body if isinstance(part, ast.FunctionDef) and part.name == "__init__"]
    if init and init[0].args.kwarg is None:
        return False
    bases = _bases(target)
    if not init and not bases:
        return False
    return any(is_open(base) for base in bases) or not bases


def attribute(target: str, name: str) -> Any:  # noqa: ANN401 (any literal)
    """A class attribute written as a literal or as frozenset of one, also of a base; None where there is none."""
    node = _definition(target)
    for part in node.body if isinstance(node, ast.ClassDef) else []:
        if not isinstance(part, ast.Assign | ast.AnnAssign) or part.value is None:
            continue
        names = part.targets if isinstance(part, ast.Assign) else [part.target]
        if any(isinstance(n, ast.Name) and n.id == name for n in names):
            value = part.value
            return (
                frozenset(ast.literal_eval(value.args[0])) if isinstance(value, ast.Call) else ast.literal_eval(value)
            )
    found = (attribute(base, name) for base in _bases(target))
    return next((value for value in found if value is not None), None)


@functools.cache
def _definition(target: str) -> ast.ClassDef | ast.FunctionDef | None:
    module, _, name = target.rpartition(".")
    for node in _tree(module):
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == name:
            return node
    origin = _origin(name, module)  # a name that the module has from another one
    return None if origin == target else _definition(origin)


@functools.cache
def _tree(module: str) -> list[ast.stmt]:
    place = PACKAGES / module.replace(".", "/")
    path = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
    if not module.startswith("datakiln.") or not path.is_file():
        return []
    return ast.parse(path.read_text(encoding="utf-8")).body


def _bases(target: str) -> list[str]:
    """Dotted paths of those bases of a class that are ours."""
    node, module = _definition(target), target.rpartition(".")[0]
    bases = node.bases if isinstance(node, ast.ClassDef) else []
    paths = [_origin(base.id, module) for base in bases if isinstance(base, ast.Name)]
    return [path for path in paths if is_ours(path)]


def _origin(name: str, module: str) -> str:
    for node in _tree(module):
        if isinstance(node, ast.ImportFrom) and any(alias.name == name for alias in node.names):
            return f"{node.module}.{name}"
    return f"{module}.{name}"


def _of_function(node: ast.FunctionDef, doc: str) -> Arguments:
    args = [a.arg for a in node.args.args if a.arg != "self"]
    values = [ast.unparse(d) for d in node.args.defaults]
    written = dict(zip(args, [""] * (len(args) - len(values)) + values, strict=True))
    for arg, default in zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True):
        written[arg.arg] = "" if default is None else ast.unparse(default)
    return _explained(written, doc)


def _of_dataclass(node: ast.ClassDef, doc: str) -> Arguments:
    if "dataclass" not in " ".join(map(ast.unparse, node.decorator_list)):
        return {}
    fields = [part for part in node.body if isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name)]
    own = [field for field in fields if "ClassVar" not in ast.unparse(field.annotation)]
    return _explained({ast.unparse(f.target): "" if f.value is None else ast.unparse(f.value) for f in own}, doc)


def _explained(written: dict[str, str], doc: str) -> Arguments:
    meaning = dict(re.findall(r"^    (\w+): (.+(?:\n        .+)*)", doc, flags=re.MULTILINE))
    return {arg: (default, " ".join(meaning.get(arg, "").split())) for arg, default in written.items()}
