"""One self-contained HTML page that shows a run: it opens offline, and pictures and videos travel inside it.

A page is a list of sections; `page.html` says how each kind looks. Text is always escaped; nothing is loaded from
anywhere, and the page forbids itself to try.
"""

import base64
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2

from experiments.drawing.table import MISSING, Table
from experiments.runs.settings import flatten, read_json, read_sessions
from worldmodels.files import write_atomically

MAX_MEGABYTES = 40.0  # browsers become slow beyond; a larger file is linked instead.

_MEDIA_TYPES = {
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".gif": "image/gif",
    ".svg": "image/svg+xml",
    ".mp4": "video/mp4",
}


@dataclass(frozen=True)
class TextSection:
    """Paragraphs of plain text."""

    title: str
    paragraphs: Sequence[str]


@dataclass(frozen=True)
class TableSection:
    """A table; rows whose first cell is in `emphasised` stand out."""

    table: Table
    emphasised: Sequence[str] = ()

    @property
    def title(self) -> str:
        """The table's title."""
        return self.table.title


@dataclass(frozen=True)
class MediaSection:
    """A picture (PNG, JPEG, GIF, SVG) or an mp4 that plays in a loop without sound.

    Attributes:
      path: of the file; without it the page shows `why_not`.
      alt: what it shows, in words, for those who cannot see it.
    """

    title: str
    path: str | os.PathLike | None
    alt: str
    caption: str = ""
    why_not: str = "There is no such file."

    @property
    def file(self) -> Path | None:
        """The file, if it exists."""
        return Path(self.path) if self.path is not None and Path(self.path).is_file() else None


@dataclass(frozen=True)
class TimesSection:
    """Durations of the stages, {stage: seconds}, with bars and the total."""

    title: str
    seconds: Mapping[str, float]


@dataclass(frozen=True)
class FactsSection:
    """Names and values, e.g. settings, folded at first; nested mappings read as dotted names."""

    title: str
    facts: Mapping[str, object]


Section = TextSection | TableSection | MediaSection | TimesSection | FactsSection


def write_page(
    path: str | os.PathLike, *, title: str, sections: Sequence[Section], lead: str = "", footer: str = ""
) -> Path:
    """Writes the page atomically.

    Args:
      path: the `.html` file.
      title: heading of the page.
      sections: in order; a section with an empty title has no heading.
      lead: one or two sentences below the title.
      footer: small print at the end.

    Returns:
      The path.

    Raises:
      ValueError: a figure of a kind that browsers do not show.
    """
    path = Path(path)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {"duration": duration, "flat": flatten, "plain": _plain}
    environment.filters |= {"megabytes": _megabytes, "media_type": _media_type, "data_url": _data_url}
    environment.filters["relative"] = lambda file: os.path.relpath(file, path.parent)
    template = environment.get_template("page.html")
    content = dict(title=title, lead=lead, sections=sections, footer=footer, max_megabytes=MAX_MEGABYTES)
    return write_atomically(path, template.render(content))


def run_sections(workdir: str | os.PathLike) -> list[FactsSection]:
    """Shows settings and software of a run, from its `config.json` and `metadata.json`; nothing without them."""
    workdir = Path(workdir)
    sections = []
    if (workdir / "config.json").is_file():
        sections.append(FactsSection("Settings", read_json(workdir / "config.json")))
    if sessions := read_sessions(workdir):
        sections.append(FactsSection("Software and machine", _session_facts(sessions)))
    return sections


def duration(seconds: float) -> str:
    """Writes seconds as "0.4 s", "42 s", "3 min 05 s", "2 h 10 min"."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if not minutes:
        return f"{rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def _megabytes(file: Path) -> float:
    return file.stat().st_size / 1e6


def _media_type(file: Path) -> str:
    """Returns the media type of a file; a ValueError if browsers do not show such files."""
    if file.suffix not in _MEDIA_TYPES:
        raise ValueError(f"A report shows {', '.join(_MEDIA_TYPES)} but not {file}; save the figure as .png.")
    return _MEDIA_TYPES[file.suffix]


def _data_url(file: Path) -> str:
    """Returns a file as an address that contains it."""
    return f"data:{_media_type(file)};base64,{base64.b64encode(file.read_bytes()).decode('ascii')}"


def _session_facts(sessions: Sequence[Mapping]) -> dict[str, object]:
    """Returns what a reader needs to repeat the run, from the last of its sessions."""
    session = sessions[-1]
    commit = session.get("commit") or {}
    edited = " with uncommitted changes" if commit.get("edited") else ""
    facts = {
        "command": " ".join(session.get("argv") or []),
        "commit": f"{commit['hash']}{edited}" if commit.get("hash") else "unknown",
        "started": session.get("time"),
        "sessions": len(sessions),
        "python": session.get("python"),
        "platform": session.get("platform"),
        "CPU cores": session.get("num_cpus"),
        "devices": session.get("devices"),
        "environment": session.get("environment"),
        "versions": session.get("versions"),
    }
    return {name: value for name, value in facts.items() if value not in (None, "", {}, [])}


def _plain(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None or value == {}:
        return MISSING
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list | tuple):
        return ", ".join(map(_plain, value)) or MISSING
    return str(value)
