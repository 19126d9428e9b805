"""A method of imitation as its class describes it: name, needs, and options of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


class Method:
    """A method that a config names, the project's or the user's own.

    Attributes:
      command: that trains it; its config file has the same name.
      label: its name in tables and figures.
      paper: where it comes from.
      needs: of "embodiment" (episodes with actions), "actions" (the true ones of the demonstrations: an oracle), "world
        model", "vectors" (no images) and "two episodes" (it validates on whole ones).
      instead: what to use where the demonstrations lack the actions that it needs.
      preset: of the config file: the keys of its config, and their values.
      options: {name: default} of keys of its own, `config.options`; of an instance the config's.
      config: of the run, plain; of an instance.
    """

    command: str
    label: str
    paper: str = ""
    needs: Sequence[str] = ()
    instead: str = "another method"
    preset: str
    options: Mapping[str, object] = {}
    config: Mapping

    def __init__(self, config: Mapping):
        given = config.get("options") or {}
        unknown = [name for name in given if name not in self.options]
        if unknown:
            raise ValueError(
                f"{self.label} has no option {unknown[0]!r}. It has {', '.join(self.options) or 'none'}."
            )
        self.config, self.options = config, {**self.options, **given}
