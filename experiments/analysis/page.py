"""One self-contained HTML page that shows a run: it opens offline, and pictures and videos travel inside it.

A page is a list of sections, small dataclasses that know how to write themselves. Text is always escaped;
nothing is loaded from anywhere, and the page forbids itself to try.
"""

import base64
import html
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from experiments.analysis.tables import EM_DASH, Table
from worldmodels.files import write_atomically

MAX_EMBEDDED_BYTES = 40_000_000  # browsers become slow beyond; a larger video is linked instead.

_IMAGE_TYPES = {".png": "image/png", ".jpg": "image/jpeg", ".gif": "image/gif", ".svg": "image/svg+xml"}


class Section(Protocol):
    """A part of a page."""

    title: str

    def html(self, folder: Path) -> str:
        """The body of the section; `folder` is where the page will lie."""


@dataclass(frozen=True)
class TextSection:
    """Paragraphs of plain text."""

    title: str
    paragraphs: Sequence[str]

    def html(self, folder: Path) -> str:
        return "\n".join(f"<p>{_escape(text)}</p>" for text in self.paragraphs)


@dataclass(frozen=True)
class NumbersSection:
    """The few numbers that matter, large: (label, value, remark) each."""

    title: str
    numbers: Sequence[tuple[str, str, str]]

    def html(self, folder: Path) -> str:
        tiles = (
            f"<div><dt>{_escape(label)}</dt><dd><b>{_escape(value)}</b><small>{_escape(remark)}</small></dd></div>"
            for label, value, remark in self.numbers
        )
        return f'<dl class="numbers">{"".join(tiles)}</dl>'


@dataclass(frozen=True)
class TableSection:
    """A table as readers see it: headings [C], rows `[R][C]` of text; rows named in `emphasised` stand out."""

    title: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""
    emphasised: Sequence[str] = ()

    @classmethod
    def of(cls, title: str, table: Table, emphasised: Sequence[str] = ("AIME",)) -> "TableSection":
        """The section of a results table."""
        return cls(title, table.headings, table.cells, table.caption, emphasised)

    def html(self, folder: Path) -> str:
        head = "".join(f'<th scope="col">{_escape(text)}</th>' for text in self.headings)
        body = []
        for first, *others in self.rows:
            mark = ' class="emphasised"' if first in self.emphasised else ""
            cells = "".join(f"<td>{_escape(text)}</td>" for text in others)
            body.append(f'<tr{mark}><th scope="row">{_escape(first)}</th>{cells}</tr>')
        table = f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table>"
        return f'<figure><div class="wide" tabindex="0">{table}</div>{_caption(self.caption)}</figure>'


@dataclass(frozen=True)
class FigureSection:
    """A picture file (PNG, JPEG, GIF, SVG) with what it shows in words (`alt`) for those who cannot see it.

    Without a file, `why_not` says what happened.
    """

    title: str
    path: str | os.PathLike | None
    alt: str
    caption: str = ""
    why_not: str = ""

    def html(self, folder: Path) -> str:
        path = _existing(self.path)
        if path is None:
            return _missing(self.why_not or "There is no figure.")
        if path.suffix not in _IMAGE_TYPES:
            raise ValueError(
                f"A report shows {', '.join(_IMAGE_TYPES)} but not {path}; save the figure as .png."
            )
        image = f'<img src="{_data_url(path, _IMAGE_TYPES[path.suffix])}" alt="{_escape(self.alt)}">'
        return f'<figure><div class="paper">{image}</div>{_caption(self.caption)}</figure>'


@dataclass(frozen=True)
class VideoSection:
    """An mp4 file, playing in a loop without sound; without a file, `why_not` says what happened."""

    title: str
    path: str | os.PathLike | None
    alt: str
    caption: str = ""
    why_not: str = ""

    def html(self, folder: Path) -> str:
        path = _existing(self.path)
        if path is None:
            return _missing(self.why_not or "There is no video.")
        size = path.stat().st_size
        if size > MAX_EMBEDDED_BYTES:
            link = _escape(os.path.relpath(path, folder))
            return _missing(f"The video has {size / 1e6:.0f} MB and is not inside this page:") + (
                f'<p><a href="{link}">{link}</a></p>'
            )
        video = (
            f'<video controls autoplay loop muted playsinline aria-label="{_escape(self.alt)}" '
            f'src="{_data_url(path, "video/mp4")}">{_escape(self.alt)}</video>'
        )
        return f"<figure>{video}{_caption(self.caption)}</figure>"


@dataclass(frozen=True)
class TimesSection:
    """How long each stage took: {stage: seconds}, with bars and the total."""

    title: str
    seconds: Mapping[str, float]

    def html(self, folder: Path) -> str:
        total = sum(self.seconds.values())
        rows = []
        for stage, seconds in self.seconds.items():
            share = 100 * seconds / total if total > 0 else 0
            bar = f'<td class="bar"><span style="width:{share:.1f}%"></span></td>'
            rows.append(f'<tr><th scope="row">{_escape(stage)}</th><td>{duration(seconds)}</td>{bar}</tr>')
        rows.append(
            f'<tr class="emphasised"><th scope="row">Total</th><td>{duration(total)}</td><td></td></tr>'
        )
        return f'<div class="wide"><table class="times"><tbody>{"".join(rows)}</tbody></table></div>'


@dataclass(frozen=True)
class FactsSection:
    """Names and values, e.g. settings; nested mappings read as dotted names; `folded` hides them at first."""

    title: str
    facts: Mapping[str, object]
    folded: bool = False

    def html(self, folder: Path) -> str:
        flat = _flatten(self.facts)
        rows = "".join(
            f"<dt>{_escape(name)}</dt><dd>{_escape(_plain(value))}</dd>" for name, value in flat.items()
        )
        facts = f'<dl class="facts">{rows}</dl>'
        if not self.folded:
            return facts
        return f"<details><summary>{len(flat)} entries</summary>{facts}</details>"


def write_report(
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
    body = []
    for section in sections:
        heading = f"<h2>{_escape(section.title)}</h2>\n" if section.title else ""
        body.append(f"<section>\n{heading}{section.html(path.parent)}\n</section>")
    page = PAGE.format(
        title=_escape(title),
        style=STYLE,
        lead=f'<p class="lead">{_escape(lead)}</p>' if lead else "",
        body="\n".join(body),
        footer=f"<footer>{_escape(footer)}</footer>" if footer else "",
    )
    return write_atomically(path, page)


def run_sections(workdir: str | os.PathLike) -> list[FactsSection]:
    """Settings and software of a run, from its `config.json` and `metadata.json`; without them, nothing."""
    workdir = Path(workdir)
    sections = []
    config = _read_json(workdir / "config.json")
    if config:
        sections.append(FactsSection("Settings", config, folded=True))
    sessions = _read_json(workdir / "metadata.json").get("sessions", [])
    if sessions:
        sections.append(FactsSection("Software and machine", _session_facts(sessions), folded=True))
    return sections


def duration(seconds: float) -> str:
    """ "0.4 s", "42 s", "3 min 05 s", "2 h 10 min"."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if not minutes:
        return f"{rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def _session_facts(sessions: Sequence[Mapping]) -> dict[str, object]:
    """What a reader needs to repeat the run, from the last of its sessions."""
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


def _read_json(path: Path) -> dict:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def _flatten(facts: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    flat = {}
    for name, value in facts.items():
        if isinstance(value, Mapping) and value:
            flat.update(_flatten(value, f"{prefix}{name}."))
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def _plain(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None or value == {}:
        return EM_DASH
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list | tuple):
        return ", ".join(map(_plain, value)) or EM_DASH
    return str(value)


def _existing(path: str | os.PathLike | None) -> Path | None:
    return Path(path) if path is not None and Path(path).is_file() else None


def _data_url(path: Path, media_type: str) -> str:
    return f"data:{media_type};base64,{base64.b64encode(path.read_bytes()).decode('ascii')}"


def _caption(text: str) -> str:
    return f"<figcaption>{_escape(text)}</figcaption>" if text else ""


def _missing(why: str) -> str:
    return f'<p class="missing">{_escape(why)}</p>'


def _escape(text: object) -> str:
    return html.escape(str(text), quote=True)


PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; media-src data:; \
style-src 'unsafe-inline'">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<main>
<header>
<h1>{title}</h1>
{lead}
</header>
{body}
{footer}
</main>
</body>
</html>
"""

STYLE = """
:root { --ink: #1f2328; --muted: #5c6670; --line: #d9dee3; --soft: #f4f6f8; --page: #ffffff;
  --accent: #0072b2; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e8ea; --muted: #a0a8b0; --line: #3a4149; --soft: #22272d; --page: #16191d;
    --accent: #56b4e9; }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
main { max-width: 62rem; margin: 0 auto; padding: 2.5rem 1.25rem 4rem; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .6rem; letter-spacing: -.01em; }
h2 { font-size: 1.2rem; margin: 0 0 .8rem; }
p { margin: 0 0 .8rem; max-width: 46rem; }
.lead { font-size: 1.08rem; color: var(--muted); }
section { margin-top: 2.6rem; }
figure { margin: 0; }
figcaption { margin-top: .7rem; color: var(--muted); font-size: .88rem; max-width: 52rem; }
.paper { background: #fff; border: 1px solid var(--line); border-radius: 8px; padding: .8rem; }
img { display: block; width: 100%; height: auto; }
video { display: block; width: 100%; height: auto; border-radius: 8px; background: #000; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { padding: .42rem .7rem; text-align: right; white-space: nowrap;
  border-bottom: 1px solid var(--line); }
th:first-child, td:first-child { text-align: left; padding-left: .4rem; }
thead th { white-space: normal; vertical-align: bottom; color: var(--muted); font-weight: 600;
  font-size: .82rem; border-bottom: 2px solid var(--line); }
tbody th { font-weight: 500; }
.emphasised th, .emphasised td { font-weight: 700; background: var(--soft); }
.times { max-width: 46rem; }
.times .bar { width: 45%; }
.times .bar span { display: block; height: .7rem; min-width: 2px; border-radius: 2px;
  background: var(--accent); }
.numbers { display: flex; flex-wrap: wrap; gap: 1rem; margin: 0; }
.numbers > div { flex: 1 1 11rem; background: var(--soft); border-radius: 8px; padding: .8rem 1rem; }
.numbers dt { color: var(--muted); font-size: .85rem; }
.numbers dd { margin: 0; }
.numbers b { display: block; font-size: 1.7rem; line-height: 1.25; font-variant-numeric: tabular-nums; }
.numbers small { display: block; color: var(--muted); font-size: .82rem; line-height: 1.35; }
.facts { display: grid; grid-template-columns: minmax(9rem, max-content) 1fr; gap: .18rem 1.4rem;
  margin: .6rem 0 0; font-size: .88rem; }
.facts dt { color: var(--muted); overflow-wrap: anywhere; }
.facts dd { margin: 0; overflow-wrap: anywhere; font-family: ui-monospace, Menlo, Consolas, monospace; }
details summary { cursor: pointer; color: var(--accent); font-size: .92rem; }
.missing { color: var(--muted); background: var(--soft); border-radius: 8px; padding: .8rem 1rem; }
a { color: var(--accent); }
footer { margin-top: 3rem; padding-top: 1rem; border-top: 1px solid var(--line); color: var(--muted);
  font-size: .85rem; }
@media print { main { max-width: none; padding: 0; } section { break-inside: avoid; } }
"""
