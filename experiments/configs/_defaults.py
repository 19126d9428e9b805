"""Defaults that stand in the library's signatures, read from its source: help and mistakes need not wait for JAX."""

import ast
import contextlib
import dataclasses
import functools
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

_ROOT = pathlib.Path(__file__).parents[2]


@dataclasses.dataclass(frozen=True)
class Parameter:
    """A parameter with a default.

    Attributes:
      default: its value.
      kind: of the values that it may have instead of None, where it may be None; else None.
      meaning: what the docstring says of it, or "".
    """

    default: Any
    kind: type | None
    meaning: str


@functools.cache
def parameters(name: str) -> Mapping[str, Parameter]:
    """Returns the parameters of a class or a function, "agents.sac:SACSettings", whose default is a plain value."""
    module, _, attribute = name.partition(":")
    node: Any = next(node for node in _tree(module).body if getattr(node, "name", "") == attribute)
    signature, found = _signature(node), {}
    meanings = _meanings(ast.get_docstring(node) or "", [key for key, *_ in signature])
    for key, annotation, default in signature:
        with contextlib.suppress(ValueError, LookupError):
            found[key] = Parameter(_value(default, module), _kind(annotation), meanings.get(key, ""))
    return found


@functools.cache
def _tree(module: str) -> ast.Module:
    return ast.parse(_ROOT.joinpath(*module.split(".")).with_suffix(".py").read_text())


def _signature(node: Any) -> list[tuple[str, ast.expr | None, ast.expr]]:
    """Returns (name, annotation, default) of the fields of a dataclass, or of the arguments of a function."""
    function = node
    if isinstance(node, ast.ClassDef):
        fields = [field for field in node.body if isinstance(field, ast.AnnAssign)]
        made = [part for part in node.body if getattr(part, "name", "") == "__init__"]
        if not made:
            return [
                (ast.unparse(field.target), field.annotation, field.value) for field in fields if field.value
            ]
        function = made[0]
    found = function.args
    placed = found.args[len(found.args) - len(found.defaults) :]
    pairs = [*zip(placed, found.defaults), *zip(found.kwonlyargs, found.kw_defaults)]
    return [(argument.arg, argument.annotation, default) for argument, default in pairs if default]


def _value(node: ast.expr, module: str) -> Any:
    """Returns the value of a literal, or of a constant of the module or of one that it imports."""
    if isinstance(node, ast.Name):
        for other in _tree(module).body:
            if isinstance(other, ast.Assign) and ast.unparse(other.targets[0]) == node.id:
                return _value(other.value, module)
        return _value(node, _origin(node.id, module)[0])
    if isinstance(node, ast.Attribute):
        return _value(ast.Name(node.attr), ".".join(_origin(ast.unparse(node.value), module)))
    return ast.literal_eval(node)


def _origin(name: str, module: str) -> tuple[str, str]:
    """Returns where a module imports a name from."""
    for node in _tree(module).body:
        if isinstance(node, ast.ImportFrom) and name in [alias.name for alias in node.names]:
            return node.module or "", name
    raise LookupError(f"{module} has no {name}.")


def _kind(annotation: ast.expr | None) -> type | None:
    """Returns int of `int | None`, None of annotations without None."""
    first, bar, none = (ast.unparse(annotation) if annotation else "").partition(" | ")
    return {"int": int, "float": float, "str": str}.get(first) if bar and none == "None" else None


def _meanings(docstring: str, names: Sequence[str]) -> dict[str, str]:
    """Returns {name: meaning} of the entries "name, other: meaning." of a docstring; several may stand in a line."""
    name = f"(?:{'|'.join(map(re.escape, names))})"
    entry = re.compile(rf"(?:^|[.;] )({name}(?:, {name})*): (.*?)(?=$|[.;] {name}(?:, {name})*: )")
    found: dict[str, str] = {}
    for text in re.split(r"\n(?= ? ?\S|$)", docstring):
        text = " ".join(text.split())
        for match in entry.finditer(text):
            found |= dict.fromkeys(match[1].split(", "), match[2].rstrip("."))
    return found
