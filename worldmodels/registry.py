"""Parts by name: encoders, rewards, baselines, ...; the project's, and `my.module:Name` of the user's own.

Who says a name decides what it may do. `choose` takes the user's word, from a config or a command line, and imports
the module. `get` takes the word of a model folder, a checkpoint or data, and imports nothing: it returns what is
registered, or what the user has named in this process before.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Generic, TypeVar

Part = TypeVar("Part")
_loaded: dict[str, Any] = {}


def find(name: str) -> Any:
    """Imports `my.module:Name`; of `adapter:my.module:Id` the module, in which the adapter looks for the rest.

    Raises:
      ValueError: no name of that form, no such module, or nothing of that name in it.
    """
    *adapter, module, attribute = ("", *name.split(":"))[-3:]
    if not module or not (any(adapter) or attribute.isidentifier()):
        raise ValueError(f"{name!r} names no code; that looks like 'my.module:Name'.")
    try:
        imported = importlib.import_module(module)
        return imported if any(adapter) else getattr(imported, attribute)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise  # an import inside the module
        raise ValueError(
            f"{name!r}: there is no module {error.name!r}; it must be importable from here, so start from its folder, "
            "install its package, or add its folder to PYTHONPATH."
        ) from error
    except AttributeError as error:
        raise ValueError(f"{name!r}: the module {module!r} has no {attribute!r}.") from error


def load(name: str) -> Any:
    """Imports `my.module:Name` on the user's word; from here on files that name it can be opened in this process."""
    if name not in _loaded:
        _loaded[name] = find(name)
    return _loaded[name]


def is_loaded(name: str) -> bool:
    """Returns whether the user has named it in this process."""
    return name in _loaded


def named(options: Mapping) -> Iterator[str]:
    """Yields the user's own parts that options name, as `encoder=dict(name="my.module:Name")` does at any depth."""
    for key, value in options.items():
        if isinstance(value, Mapping):
            yield from named(value)
        elif key in ("name", "kind") and isinstance(value, str) and ":" in value:
            yield value


def load_named(options: Mapping) -> None:
    """Loads every part that a user's options name."""
    for name in named(options):
        load(name)


def check_loaded(names: Iterable[str], what: str = "code") -> None:
    """Raises a ValueError that lists those that the user has not named in this process; `what` they are."""
    unknown = [name for name in dict.fromkeys(names) if not is_loaded(name)]
    if unknown:
        listed, code = ", ".join(map(repr, unknown)), ",".join(unknown)
        raise ValueError(
            f"The {what} {listed} is not of this project, and files do not choose which code runs. If you trust "
            f"it, name it yourself: --import={code}, in Python worldmodels.registry.load({unknown[0]!r})."
        )


class Registry(Generic[Part]):
    """The parts of one kind.

    Args:
      kind: in messages, "encoder".
      parts: {name: part} of the project.
      base: class that every part is a subclass of; None checks nothing.
    """

    def __init__(self, kind: str, parts: Mapping[str, Part], *, base: type | None = None):
        self.kind, self._parts, self._base = kind, dict(parts), base

    def __contains__(self, name: str) -> bool:
        return name in self._parts

    def names(self) -> list[str]:
        """Returns the registered names, in the order of registration."""
        return list(self._parts)

    def items(self) -> Iterable[tuple[str, Part]]:
        """Returns the registered parts with their names."""
        return self._parts.items()

    def register(self, name: str) -> Callable[[Part], Part]:
        """Registers what it decorates; a name has no colon."""
        if ":" in name:
            raise ValueError(f"Cannot register {name!r}: names with a colon are imported, not registered.")

        def add(part: Part) -> Part:
            self._parts[name] = self._checked(name, part)
            return part

        return add

    def get(self, name: str) -> Part:
        """Returns the part of a name that a file may have chosen; imports nothing.

        Raises:
          ValueError: the name is unknown, or of code that the user has not named in this process.
        """
        if name in self._parts:
            return self._parts[name]
        if ":" not in str(name):
            known = ", ".join(self._parts)
            raise ValueError(
                f"Unknown {self.kind} {name!r}. Known: {known}; or 'my.module:Name' of your own."
            )
        check_loaded([name], self.kind)
        return self._checked(name, _loaded[name])

    def choose(self, name: str) -> Part:
        """Returns the part of a name that the user has given; imports `my.module:Name`."""
        if name not in self._parts and ":" in name:
            load(name)
        return self.get(name)

    def make(self, *arguments: Any, name: str, **options: Any) -> Any:
        """Calls the part of a name with its arguments and options.

        Raises:
          ValueError: as `get`, or an option that it does not take.
        """
        part: Any = self.get(name)
        check_options(part, options, f"The {self.kind} {name!r}")
        return part(*arguments, **options)

    def _checked(self, name: str, part: Any) -> Part:
        if self._base is not None and not (isinstance(part, type) and issubclass(part, self._base)):
            raise ValueError(f"{name!r} is no {self.kind}: that is a subclass of {self._base.__name__}.")
        return part


def check_options(function: Callable, options: Mapping, who: str) -> None:
    """Raises a ValueError if a function or a class does not take one of the options; `who` begins the sentence."""
    # The signature of a class would be that of its metaclass, which for modules takes anything.
    parameters = inspect.signature(
        function.__init__ if isinstance(function, type) else function  # type: ignore[misc]  # only read
    ).parameters.values()
    unknown = [name for name in options if name not in {parameter.name for parameter in parameters}]
    if unknown and all(parameter.kind is not parameter.VAR_KEYWORD for parameter in parameters):
        known = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.name != "rngs"]
        raise ValueError(
            f"{who} has no option {unknown[0]!r}. It has {', '.join(known) or 'none'}; options of another part may "
            "have been left with it."
        )
