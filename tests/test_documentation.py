"""What the documentation is built from leads somewhere, and its build says so where it does not."""

import ast
import pathlib
import re
import subprocess

import pytest
from browser import needs_browser, open_page

ROOT = pathlib.Path(__file__).parent.parent
PAGES = sorted([*(ROOT / "docs").rglob("*.md"), *(ROOT / "results").rglob("*.md")])  # the site
CODE = re.compile(r"```.*?```|`[^`]*`", re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
PACKAGES = ("worldmodels", "agents", "aime", "experiments", "launch")
MODULES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def targets(page: pathlib.Path) -> list[str]:
    """What a page links to in the repository."""
    links = LINK.findall(CODE.sub("", page.read_text()))
    return [link.partition("#")[0] for link in links if not re.match(r"https?:|#", link)]


def docstrings(path: pathlib.Path) -> list[str]:
    nodes = ast.walk(ast.parse(path.read_text()))
    return [ast.get_docstring(node) or "" for node in nodes if isinstance(node, DOCUMENTED)]


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_of_a_page_lead_to_files(page):
    assert [target for target in targets(page) if not (page.parent / target).is_file()] == []


def test_links_of_the_readme_lead_to_files_and_folders():
    assert [target for target in targets(ROOT / "README.md") if not (ROOT / target).exists()] == []


def test_shapes_of_lists_of_lists_are_code_in_docstrings_because_markdown_takes_them_for_links():
    texts = ((path, text) for path in MODULES for text in docstrings(path))
    assert [path.name for path, text in texts if re.search(r"\]\[\w", CODE.sub("", text))] == []


def test_warnings_stop_the_build_of_the_documentation():
    command = subprocess.run(
        ["make", "-n", "docs"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert "mkdocs build" in command and "--quiet" not in command  # which keeps warnings from `strict`
    assert "strict: true" in (ROOT / "mkdocs.yml").read_text().splitlines()


def test_the_pages_of_the_site_load_nothing_from_elsewhere():
    settings = (ROOT / "mkdocs.yml").read_text()
    assert "http" not in settings
    # Without one, the plugin `offline` loads another from a foreign host.
    assert "polyfills: [javascripts/iframe-worker.js]" in settings


@needs_browser
def test_a_worker_runs_in_a_page_that_was_opened_as_a_file(tmp_path):
    shim = (ROOT / "docs" / "javascripts" / "iframe-worker.js").read_text()
    (tmp_path / "double.js").write_text('addEventListener("message", event => postMessage(2 * event.data))')
    (tmp_path / "page.html").write_text(
        f"<body><p></p><script>{shim}</script><script>const worker = new Worker('double.js');"
        "worker.addEventListener('message', event => document.querySelector('p').textContent = event.data);"
        "worker.postMessage(21)</script></body>"
    )
    page = open_page(tmp_path / "page.html", tmp_path / "profile", "--virtual-time-budget=5000", "--dump-dom")
    assert "<p>42</p>" in page.stdout, page.stderr
