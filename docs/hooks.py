"""What the documentation adds to MkDocs: a reference page per module, the pages of results/, equations as MathML."""

import html
import pathlib
import re

import latex2mathml.converter
from mkdocs.structure.files import File

ROOT = pathlib.Path(__file__).resolve().parent.parent
PACKAGES = ("worldmodels", "agents", "aime", "experiments", "launch")
EQUATION = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL)


def modules(package: str) -> list[str]:
    """Dotted names of the modules of a package that have something to say."""
    paths = sorted((ROOT / package).rglob("*.py"))
    names = (".".join(path.relative_to(ROOT).with_suffix("").parts) for path in paths)
    return [name for name in names if not name.endswith(".__init__")]


def on_config(config):
    """Adds the reference to the navigation."""
    reference = [
        {package: [{name.partition(".")[2]: f"reference/{name}.md"} for name in modules(package)]}
        for package in PACKAGES
        if modules(package)
    ]
    config.nav.append({"Reference": reference})
    return config


def on_files(files, config):
    """Adds a page per module, and results/ as it lies in the repository."""
    for package in PACKAGES:
        for name in modules(package):
            page = f"# {name}\n\n::: {name}\n    options:\n      show_root_heading: false\n"
            files.append(File.generated(config, f"reference/{name}.md", content=page))
    for path in sorted((ROOT / "results").rglob("*")):
        if path.is_file():
            name = path.relative_to(ROOT).as_posix()
            files.append(File.generated(config, name, abs_src_path=str(path)))
    return files


def on_page_content(text, page, config, files):
    """Equations become MathML, which browsers draw without a script."""

    def convert(match: re.Match) -> str:
        display = "block" if match[1] == "div" else "inline"
        return latex2mathml.converter.convert(html.unescape(match[2]).strip(), display=display)

    return EQUATION.sub(convert, text)
