"""What classes and functions take, read from their source: importing them would import torch, and take seconds."""

from __future__ import annotations

import ast
import functools
import importlib.util
import re
from pathlib import Path
from typing import Any

PACKAGES = Path(__file__).resolve().parents[2]  # the folder that holds the package
Arguments = dict[str, tuple[str, str]]


def is_ours(target: str) -> bool:
    """Whether a dotted path names a class or function of this program."""
    return target.startswith("datakiln.") and _definition(target) is not None


def is_told(target: str) -> bool:
    """Whether the source tells all that a class or function takes, and nothing need be imported for it."""
    node = _definition(target)
    has_init = any(isinstance(part, ast.FunctionDef) and part.name == "__init__" for part in getattr(node, "body", []))
    return is_ours(target) or isinstance(node, ast.FunctionDef) or has_init


def annotation(target: str, argument: str) -> tuple[ast.expr, str] | None:
    """What an argument is annotated with, and the module whose names that uses; None where it is not told."""
    node, module = _definition(target), _place(target)
    if isinstance(node, ast.FunctionDef):
        return _annotated(node.args, argument, module)
    for part in node.body if node is not None else []:
        if isinstance(part, ast.FunctionDef) and part.name == "__init__":
            own = _annotated(part.args, argument, module)
            if own is not None or part.args.kwarg is None:
                return own
        if isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name) and part.target.id == argument:
            return part.annotation, module
    found = (annotation(base, argument) for base in _bases(target))
    return next((one for one in found if one is not None), None)


def meaning_of(name: str, module: str) -> tuple[ast.expr | ast.ClassDef | None, str]:
    """What a name means in a module, an alias as the expression it stands for, and where that is written."""
    for _ in range(10):  # imports of imports
        for node in _tree(module):
            if isinstance(node, ast.ClassDef) and node.name == name:
                return node, module
            targets = node.targets if isinstance(node, ast.Assign) else []
            targets = [node.target] if isinstance(node, ast.AnnAssign) and node.value is not None else targets
            if any(isinstance(target, ast.Name) and target.id == name for target in targets):
                return getattr(node, "value", None), module
        origin = _origin(name, module)
        if origin == f"{module}.{name}":
            break
        module, _, name = origin.rpartition(".")
    return None, module


def _annotated(arguments: ast.arguments, name: str, module: str) -> tuple[ast.expr, str] | None:
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    return next(((a.annotation, module) for a in every if a.arg == name and a.annotation is not None), None)


def _place(target: str) -> str:
    """The module that defines what a dotted path names."""
    module, _, name = target.rpartition(".")
    for _ in range(10):
        if any(isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == name for node in _tree(module)):
            break
        module, _, name = _origin(name, module).rpartition(".")
    return module


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
    folder = _folder(module.partition(".")[0])
    if folder is None or not module.replace(".", "_").isidentifier():
        return []
    place = folder / module.replace(".", "/")
    path = place / "__init__.py" if place.is_dir() else place.parent / f"{place.name}.py"
    if not path.is_file():
        return []
    try:
        return ast.parse(path.read_text(encoding="utf-8")).body
    except (SyntaxError, UnicodeDecodeError):
        return []  # a person's own; importing it will tell


@functools.cache
def _folder(package: str) -> Path | None:
    """The folder that holds a package or module; nothing is imported to find it."""
    if package == "datakiln":
        return PACKAGES
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError):
        return None
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        return None
    return Path(spec.origin).parents[1 if spec.submodule_search_locations else 0]


def _bases(target: str) -> list[str]:
    """Dotted paths of those bases of a class whose source is known."""
    node, module = _definition(target), target.rpartition(".")[0]
    bases = node.bases if isinstance(node, ast.ClassDef) else []
    paths = [_origin(base.id, module) for base in bases if isinstance(base, ast.Name)]
    return [path for path in paths if _definition(path) is not None]


def _origin(name: str, module: str) -> str:
    for node in _tree(module):
        if isinstance(node, ast.ImportFrom) and not node.level:
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    return f"{node.module}.{alias.name}"
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
