"""What the documentation adds to MkDocs: pages of modules, notebooks and results/; MathJax."""

import importlib.metadata
import json
import pathlib
import re

from mkdocs.structure.files import File

ROOT = pathlib.Path(__file__).resolve().parent.parent
PACKAGES = ("worldmodels", "agents", "aime", "experiments", "launch")
# Draws equations as SVG, in one file, without fonts: alike in every browser, and without a network.
MATHJAX = next(
    file for file in importlib.metadata.files("sphinx-mathjax-offline") if file.name == "tex-svg.js"
).locate()


def modules(package: str) -> list[str]:
    """Dotted names of the modules of a package that have something to say."""
    paths = sorted((ROOT / package).rglob("*.py"))
    names = (".".join(path.relative_to(ROOT).with_suffix("").parts) for path in paths)
    return [name for name in names if not name.endswith(".__init__")]


def notebook_page(path: pathlib.Path) -> str:
    """Markdown of a notebook with its outputs, but for what went to stderr."""
    parts = []
    for cell in json.loads(path.read_text())["cells"]:
        source = "".join(cell["source"])
        parts.append(source if cell["cell_type"] == "markdown" else f"```python\n{source}\n```")
        parts += map(output_text, cell.get("outputs", []))
    download = f'<a href="{path.name}" download>This page as a notebook</a>'
    return "\n\n".join([*filter(None, parts), download])


def output_text(output: dict) -> str:
    """Markdown of one output: a figure or text."""
    data = output.get("data", {})
    if "image/png" in data:
        image = "".join(data["image/png"]).replace("\n", "")
        return f'<img src="data:image/png;base64,{image}" alt="figure">'
    text = "".join(output.get("text", data.get("text/plain", ""))).rstrip()
    return f"```text\n{text}\n```" if text and output.get("name") != "stderr" else ""


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
    """Adds MathJax, a page per notebook and module, and results/ as it is stored in the repository."""
    files.append(File.generated(config, "javascripts/tex-svg.js", abs_src_path=str(MATHJAX)))
    for path in sorted((ROOT / "docs" / "notebooks").glob("*.ipynb")):
        files.append(File.generated(config, f"notebooks/{path.stem}.md", content=notebook_page(path)))
    for package in PACKAGES:
        for name in modules(package):
            options = "      show_root_heading: false\n      skip_local_inventory: false\n"
            page = f"# {name}\n\n::: {name}\n    options:\n{options}"
            files.append(File.generated(config, f"reference/{name}.md", content=page))
    for path in sorted((ROOT / "results").rglob("*")):
        if path.is_file():
            name = path.relative_to(ROOT).as_posix()
            files.append(File.generated(config, name, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown, page, config, files):
    """Links to notebooks, modules and results/, which lead to the files in the repository, lead to their pages.

    docs/ is the root of the site: what leaves it from `docs/how-to/` by `../../` leaves `how-to/` by `../`, and what
    leads into it from results/ finds it above.
    """
    if page.file.src_uri.startswith("results/"):
        markdown = markdown.replace("](../docs/", "](../")
    markdown = re.sub(r"\]\(([^)]*)\.ipynb\)", r"](\1.md)", markdown)
    up = "../" * page.file.src_uri.count("/")
    outside = rf"\]\({re.escape(up)}\.\./"
    markdown = re.sub(rf"{outside}(results/[^)]*)\)", rf"]({up}\1)", markdown)

    def reference(link: re.Match) -> str:
        return f"]({up}reference/{link[1].replace('/', '.')}.md)"

    return re.sub(rf"{outside}((?:{'|'.join(PACKAGES)})/[^)]*)\.py\)", reference, markdown)
