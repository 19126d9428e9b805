"""Every command of the documentation is one that the command line takes: its name, preset, keys and values."""

import ast
import json
import pathlib
import re
import shlex
import subprocess
from collections.abc import Iterator

import pytest

from experiments.__main__ import COMMANDS
from experiments.runs.command_line import parse
from launch import sweep

ROOT = pathlib.Path(__file__).parent.parent
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "results").rglob("*.md")])
NOTEBOOKS = sorted((ROOT / "docs").rglob("*.ipynb"))
MODULES = sorted(path for package in ("experiments", "launch") for path in (ROOT / package).rglob("*.py"))
SCRIPTS = sorted((ROOT / "results").glob("*.sh"))
START = re.compile(r"python -m experiments +(?=[a-z])|python -m launch\.sweep +(?=[a-z])|aime-jax +(?=[a-z])")
OWN = re.findall(
    r"```python\n(# my/(\w+)\.py\n.*?)```", (ROOT / "docs" / "how-to" / "method.md").read_text(), re.DOTALL
)
OF_ANOTHER_TIME = re.compile(r"python -m experiments\.(?!envs\.worker)|--config=experiments/configs")


def commands(text: str) -> Iterator[list[str]]:
    """The commands of a page, as words: those in blocks and `between backquotes`, without what stands before them.

    Words may be left out, as "...".
    """
    for block in re.findall(r"```\w*\n(.*?)```|`([^`]*)`", text.replace("\\\n", " "), re.DOTALL):
        yield from in_code("".join(block))
    for line in re.sub(r"```.*?```", "", text.replace("\\\n", " "), flags=re.DOTALL).splitlines():
        if line.startswith("    "):
            yield from in_code(line)


def in_code(code: str) -> Iterator[list[str]]:
    values = dict(re.findall(r"^(\w+)=(\S+)$", code, re.MULTILINE))
    for line in code.splitlines():
        start = START.search(line)
        if start:
            for name, value in values.items():
                line = line.replace(f"${name}", value.strip('"'))
            program = "launch" if "launch" in start[0] else "experiments"
            words = shlex.split(line[start.end() :], comments=True)
            yield [program, *(word for word in words if word != "...")]


def check(program: str, *words: str) -> None:
    """Parses a command as its program would.

    Raises:
      ValueError: the program refuses it.
    """
    if program == "launch":
        arguments = sweep.parsed(words)
        if arguments.command == "run":
            sweep.check_flags(arguments)
            sweep.check_settings(sweep.planned(arguments))
        return
    if words[0] not in COMMANDS:
        raise ValueError(f"There is no command {words[0]!r}.")
    if not COMMANDS[words[0]].alone:
        given = any(word.startswith("--workdir") for word in words)
        parse(COMMANDS[words[0]], [*words, *([] if given else ["--workdir=DIR"])])


def wrong(found: Iterator[list[str]]) -> list[str]:
    """The commands that are refused, and why."""
    refused = []
    for words in found:
        try:
            check(*words)
        except (ValueError, SystemExit) as error:
            refused.append(f"{shlex.join(words)}: {error}")
    return refused


def name_of(path: pathlib.Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_the_commands_of_a_page_are_accepted(page, own_code):
    for code, name in OWN:  # what the commands of some pages name
        own_code(f"my.{name}", code)
    assert wrong(commands(page.read_text())) == []


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=name_of)
def test_the_commands_of_a_notebook_are_accepted(notebook):
    cells = json.loads(notebook.read_text())["cells"]
    assert wrong(words for cell in cells for words in commands("".join(cell["source"]))) == []


def test_the_commands_of_docstrings_are_accepted():
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
    nodes = (node for path in MODULES for node in ast.walk(ast.parse(path.read_text())))
    texts = (
        (ast.get_docstring(node) or "").replace("\\\n", " ") for node in nodes if isinstance(node, documented)
    )
    known = (words for text in texts for words in in_code(text) if words[1] in COMMANDS)
    assert wrong(words for words in known if not {"PRESET", "FILE"} & set(re.split(r"\W", str(words)))) == []


TYPED = re.compile(r"^(?:\w+=\S+ )*(?:python|pip|uv|bash|make|git|aime-jax|tensorboard|wandb) ", re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_the_commands_of_a_page_mean_the_same_in_zsh(page):
    for language, block in re.findall(r"^```(\w*)\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE):
        if not TYPED.search(block) or language == "python":
            continue
        bare = re.sub(r"'[^']*'|\"[^\"]*\"|\$\(.*?\)", "", block)
        # zsh takes these for names of files, and # for a word where it is not in a script.
        assert re.findall(r"\S*[\[\]*?()]\S*|#", bare) == [], block


def recorded(script: pathlib.Path, folder: pathlib.Path) -> list[list[str]]:
    """What a script runs, by running it with a program in the place of Python that only keeps its arguments."""
    text = script.read_text()
    copy = folder / "results" / script.name
    copy.parent.mkdir()
    copy.write_text(text)
    python, kept = folder / "python", folder / "kept"
    python.write_text(f'#!/bin/bash\nline=$(printf "%q " "$@")\necho "$line" >> {kept}\n')
    python.chmod(0o755)
    usage = re.search(rf"sh results/{script.name} (.*)", text)[1].partition("[")[0].split()
    subprocess.run(
        ["bash", copy, python, *usage[1:]], cwd=folder, capture_output=True, timeout=120, check=True
    )
    return [shlex.split(line) for line in kept.read_text().splitlines()]


@pytest.mark.parametrize("script", SCRIPTS, ids=name_of)
def test_the_commands_of_a_script_are_accepted(script, tmp_path):
    programs = {"experiments": "experiments", "launch.sweep": "launch"}
    calls = [words[1:] for words in recorded(script, tmp_path) if words[0] == "-m"]
    found = [[programs[module], *words] for module, *words in calls if module in programs]
    assert found and wrong(found) == []


@pytest.mark.parametrize("path", [*PAGES, *NOTEBOOKS, *MODULES, *SCRIPTS], ids=name_of)
def test_no_command_is_written_as_it_was_once(path):
    assert OF_ANOTHER_TIME.findall(path.read_text()) == []


@pytest.mark.parametrize(
    "text",
    [
        "`python -m experiments imitat --workdir=DIR`",
        "```\npython -m experiments imitate --config=imitate:smal --workdir=DIR\n```",
        "```bash\nAIME=1 python -m experiments imitate --config=imitate:small \\\n  --config.sed=1\n```",
        "    python -m experiments imitate --config.seed=one",
        "```\naime-jax imitate --config.seed=1 --colour=red\n```",
        "`python -m launch.sweep run imitate:small loss.kl=1`",
    ],
)
def test_a_wrong_command_is_found(text):
    assert len(wrong(commands(text))) == 1
