"""The keys of a config for its help: defaults as they are, meanings from the comments of the config's file.

A comment belongs to the key that is set on its line, or on the line below it. Keys whose defaults stand in a signature
have the words of its docstring.
"""

import ast
import functools
import io
import pathlib
import tokenize
from collections.abc import Iterator, Mapping
from typing import Any, TypeGuard

from experiments.configs._defaults import parameters

Comments = dict[str, str]  # {dotted key: comment or ""}, in the order of the file


def lines(file: str, preset: str, config: Any | None) -> Iterator[str]:
    """Lines for the help: the docstring of the config, and every key with its value and what it means.

    Args:
      file, preset: where the config is from.
      config: None if it needs another preset; then there are no keys.
    """
    tree = ast.parse(pathlib.Path(file).read_text())
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name == "get_config":
            yield f"\n{ast.get_docstring(node) or ''}"
    if config is None:
        return
    yield f"\nKeys and their values{f' with the preset {preset}' if preset else ''}:"
    meanings = _Meanings(pathlib.Path(file))
    for key, value in sorted(flat(config), key=lambda entry: meanings.place(entry[0])):
        setting = f"--config.{key}={value if isinstance(value, str) and value else repr(value)}"
        meaning = meanings.of(key)
        yield f"  {setting:<44}  {meaning}" if meaning else f"  {setting}"


def flat(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yields (dotted key, value) of everything in a config but its sections; those that are empty count."""
    for key, value in config.items():
        if hasattr(value, "items") and value:
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


class _Meanings:
    """The comments of a config file and of those whose configs are parts of it."""

    def __init__(self, path: pathlib.Path):
        self._path = path
        self._comments, self._parts = _read(path)

    def of(self, key: str) -> str:
        """Returns the comment on a dotted key, or ""."""
        if key in self._comments:
            return self._comments[key]
        part = self._part_with(key)
        return part[0].of(part[1]) if part else ""

    def place(self, key: str) -> tuple[int, ...]:
        """Returns where the key stands in the file: its number, or that of its section and its place in there."""
        order, named = list(self._comments), key
        while named and named not in self._comments:
            named = named.rpartition(".")[0]
        part = None if named == key else self._part_with(key)
        number = order.index(named) if named else len(order)
        return (number, *(part[0].place(part[1]) if part else ()))

    def _part_with(self, key: str) -> tuple["_Meanings", str] | None:
        """Returns the config of another file that a key is part of, and the key there."""
        names = key.split(".")
        for number in range(len(names), -1, -1):
            section = _join(*names[:number])
            part = self._parts.get(section) or self._parts.get(_join(*names[: number - 1], "*"))
            if part:
                file, section = part
                return _Meanings(self._path.with_name(f"{file}.py")), _join(section, *names[number:])
        return None


@functools.cache
def _read(path: pathlib.Path) -> tuple[Comments, dict[str, tuple[str, str]]]:
    """Returns the comments of a file, and {section: (config file, section there)} of what others define."""
    source = path.read_text()
    reader = _Reader(source)
    functions = {node.name: node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)}
    reader.functions = functions
    first = functions.pop("get_config")
    for node in (
        first,
        *(f for f in functions.values() if f.args.args[:1] and f.args.args[0].arg == "config"),
    ):
        reader.body(node.body, "")
    return reader.comments, reader.parts


class _Reader:
    """Finds what sets a key: `config.a.b = ...`, `config.a = dict(b=...)`, `config.a.update(b=...)`."""

    def __init__(self, source: str):
        tokens = tokenize.generate_tokens(io.StringIO(source).readline)
        found = [token for token in tokens if token.type == tokenize.COMMENT]
        self._above = {t.start[0]: _text(t) for t in found if t.line.lstrip().startswith("#")}
        self._beside = {t.start[0]: _text(t) for t in found if t.start[0] not in self._above}
        self.comments: Comments = {}
        self.parts: dict[str, tuple[str, str]] = {}
        self._groups: dict[str, ast.expr] = {}  # of local variables
        self.functions: dict[str, ast.FunctionDef] = {}

    def body(self, nodes: list[ast.stmt], section: str, names: Mapping[str, list[str]] | None = None) -> None:
        """Reads statements; `names` are the values of loop variables."""
        names = names or {}
        for node in nodes:
            if isinstance(node, ast.Assign):
                for target in node.targets:
                    for key in _keys(target, names):
                        if isinstance(target, ast.Name):
                            self._groups[target.id] = node.value
                            continue
                        if key:
                            self.comments.setdefault(_join(section, key), self._comment(node))
                        self._value(_join(section, key), node.value)
            elif isinstance(node, ast.Return) and isinstance(node.value, ast.Call | ast.Dict):
                self._value(section, node.value)
            elif isinstance(node, ast.Expr) and _is_update(node.value):
                for key in _keys(node.value.func.value, names):
                    self._entries(_join(section, key), node.value)
            elif isinstance(node, ast.For) and isinstance(node.iter, ast.Tuple | ast.List):
                values: list[Any] = [
                    entry.value for entry in node.iter.elts if isinstance(entry, ast.Constant)
                ]
                self.body(node.body, section, {**names, getattr(node.target, "id", ""): values})
            elif isinstance(node, ast.If | ast.For | ast.With):
                self.body(node.body, section, names)
                self.body(getattr(node, "orelse", []), section, names)

    def _value(self, key: str, value: ast.expr) -> None:
        """Reads what a key is set to: a section, in full or from another config."""
        if isinstance(value, ast.Call) and value.args and isinstance(value.args[0], ast.Dict):
            value = value.args[0]  # of ConfigDict({...})
        called = value.func.id if isinstance(value, ast.Call) and isinstance(value.func, ast.Name) else ""
        if called == "defaults":
            self._of_signature(key, value)
        elif called == "dict" or isinstance(value, ast.Dict):
            self._entries(key, value)
        elif called in self.functions:
            self.body(self.functions[called].body, key)
        else:
            found = [part for node in ast.walk(value) if (part := _part(node))]
            self.parts |= dict.fromkeys([key], found[0]) if found else {}

    def _entries(self, section: str, node: Any) -> None:
        pairs: list[tuple[Any, ast.expr]]
        if isinstance(node, ast.Dict):
            keyed = zip(node.keys, node.values)
            pairs = [(key.value, value) for key, value in keyed if isinstance(key, ast.Constant)]
        else:
            pairs = [(None, part) for part in node.args] + [(word.arg, word.value) for word in node.keywords]
        of_one = len(pairs) == 1 or node.lineno < node.end_lineno
        for key, value in pairs:
            if key is None:  # `**defaults(...)`
                self._value(section, self._groups.get(ast.unparse(value), value))
                continue
            self.comments.setdefault(_join(section, key), self._comment(value) if of_one else "")
            self._value(_join(section, key), value)

    def _of_signature(self, section: str, call: Any) -> None:
        """Reads `_presets.defaults`: what the signature's docstring says, unless a comment of the file does."""
        constants: list[Any] = [part.value for part in call.args if isinstance(part, ast.Constant)]
        name, *chosen = constants
        known, listed = parameters(name), not any(isinstance(part, ast.Starred) for part in call.args)
        own = {
            word.arg: self._comment(word.value) for word in call.keywords if word.value.lineno > call.lineno
        }
        for key in chosen if chosen and listed else known:
            self.comments.setdefault(_join(section, key), own.get(key) or known[key].meaning)

    def _comment(self, node: Any) -> str:
        """Returns the comment at the end of the node's last line, or those right above it."""
        beside = self._beside.get(node.end_lineno)
        above: list[str] = []
        line = node.lineno - 1
        while line in self._above:
            above.insert(0, self._above[line])
            line -= 1
        return beside or " ".join(above)


def _text(token: tokenize.TokenInfo) -> str:
    return token.string.lstrip("# ")


def _join(*names: str) -> str:
    return ".".join(filter(None, names))


def _is_update(node: ast.expr) -> TypeGuard[Any]:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "update"


def _keys(node: ast.expr, names: Mapping[str, list[str]]) -> list[str]:
    """Returns the dotted keys that `config.a[name]` stands for; "" is the config itself."""
    if isinstance(node, ast.Name):
        return [""]
    if isinstance(node, ast.Attribute):
        return [_join(key, node.attr) for key in _keys(node.value, names)]
    if isinstance(node, ast.Subscript):
        ends = (
            names.get(node.slice.id, ["*"]) if isinstance(node.slice, ast.Name) else [_constant(node.slice)]
        )
        return [_join(key, end) for key in _keys(node.value, names) for end in ends]
    return []


def _constant(node: ast.expr) -> str:
    return str(node.value) if isinstance(node, ast.Constant) else "?"


def _part(node: ast.AST) -> tuple[str, str] | None:
    """Returns ("pretrain", "world_model") for `pretrain.get_config(...).world_model`, else None."""
    section: list[str] = []
    while isinstance(node, ast.Attribute):
        section.insert(0, node.attr)
        node = node.value
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "get_config":
        return ast.unparse(node.func.value), _join(*(name for name in section if name != "to_dict"))
    return None
