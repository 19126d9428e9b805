"""What a package offers by its own name, imported when it is first used, so that `import worldmodels` is free."""

import importlib
import sys
from collections.abc import Callable, Mapping, Sequence


def names(
    package: str, modules: Mapping[str, Sequence[str]]
) -> tuple[Callable[[str], object], Callable[[], list[str]], list[str]]:
    """Returns `__getattr__`, `__dir__` and `__all__` of a package (PEP 562).

    Args:
      package: its `__name__`.
      modules: {module below it: what the package offers of it}.
    """
    homes = {name: f"{package}.{module}" for module, offered in modules.items() for name in offered}

    def get(name: str) -> object:
        if name not in homes:
            raise AttributeError(f"The package {package!r} has no {name!r}. It offers {', '.join(homes)}.")
        value = getattr(importlib.import_module(homes[name]), name)
        setattr(sys.modules[package], name, value)
        return value

    return get, lambda: sorted({*vars(sys.modules[package]), *homes}), sorted(homes)
