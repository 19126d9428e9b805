"""What episodes and models that are used together must have in common, as far as metadata record it."""

from collections.abc import Iterator, Mapping

from worldmodels.data.episode_files import EpisodeError


def setup_of(metadata: Mapping, *, images: bool = True) -> dict[str, object]:
    """Returns {what: value} of a body and of how it is controlled and seen.

    Args:
      metadata: of an episode, or of what was learnt from episodes.
      images: whether it matters how they were drawn.
    """
    drawn = (metadata.get("rendering") or {}) if images else {}
    camera, seconds = drawn.get("camera"), metadata.get("control_seconds")
    bounds = metadata.get("action_bounds")
    setup = {
        "body": _body(metadata.get("environment")),
        "action repeat": metadata.get("action_repeat"),
        "seconds per step": round(seconds, 9) if isinstance(seconds, float) else None,
        "action bounds": f"{bounds['low']} to {bounds['high']}" if bounds else None,
        "quality of images": drawn.get("quality"),
        "camera": ("published" if camera is None else camera) if drawn else None,
    }
    return {name: value for name, value in setup.items() if value is not None}


def differences(
    here: Mapping, there: Mapping, *, images: bool = True
) -> Iterator[tuple[str, object, object]]:
    """Yields (what, value here, value there) of two metadata that both record it differently."""
    mine, theirs = setup_of(here, images=images), setup_of(there, images=images)
    for name in mine:
        if name in theirs and mine[name] != theirs[name]:
            yield name, mine[name], theirs[name]


def check_together(
    here: Mapping, there: Mapping, names: tuple[object, object], *, images: bool = True
) -> None:
    """Raises EpisodeError unless two metadata agree; `names` are those of what they belong to."""
    for what, mine, theirs in differences(here, there, images=images):
        again = "convert it with the --config.action_low and --config.action_high of the other"
        raise EpisodeError(
            f"{names[0]} has the {what} {mine} and {names[1]} has {theirs}; what is learnt from together must agree: "
            f"leave one out, or {again if what == 'action bounds' else 'collect it again'}."
        )


def _body(environment: object) -> str | None:
    """Returns the body of an environment, "walker" of "walker-walk"; None where a name of code does not say."""
    name, colon, rest = str(environment or "").partition(":")
    if colon and name != "gymnasium":
        return None
    return (rest or name).partition("-")[0] or None
