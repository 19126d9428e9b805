"""The architecture, tested: who may import what, what an import may do, how long a function may be."""

import ast
import graphlib
import pathlib
import subprocess
import sys
from collections.abc import Iterator

import pytest

ROOT = pathlib.Path(__file__).parent.parent
LAYERS = ("worldmodels", "agents", "aime", "experiments", "launch")  # imports go from right to left
SHELVES = (
    *("configs", "envs", "drawing", "runs", "data", "models"),
    *("methods", "analysis", "studies", "speed"),
)  # of experiments; a file imports from its own shelf or an earlier one
SIMULATORS = {"dm_control", "metaworld", "gymnasium", "mujoco"}
MAX_LINES = 60  # of a function
MAX_FILE_LINES = 400
# A docstring does not begin with them: that of a function begins with a verb, that of a class with a noun.
RELATIVES = {"What", "Whether", "Where", "How", "Which", "Who", "When", "Those"}
ARTICLES = {"The", "A", "An", "All", "That", "As", "With", "See"}  # and a function's not with these either

# Third-party package: where it may be imported, as beginnings of paths.
CONFINED = {
    "distrax": ("worldmodels/distributions.py",),
    "tensorflow_probability": ("worldmodels/distributions.py",),
    "orbax": ("worldmodels/checkpoints.py",),
    "torch": ("worldmodels/published/files.py", "experiments/data/converters/tdmpc2.py"),
    "minari": ("experiments/data/converters/minari.py",),
    "huggingface_hub": ("worldmodels/hub.py",),
    "pyarrow": ("experiments/data/converters/lerobot",),
    "absl": ("experiments/", "launch/"),
    "ml_collections": ("experiments/", "launch/"),
    "submitit": ("launch/",),
    "tensorflow": (),
    "clu": (),
    **{name: ("experiments/envs/",) for name in SIMULATORS},
}
# These take seconds to import or bring a display along: only inside the function that needs them.
ONLY_INSIDE_FUNCTIONS = SIMULATORS | {"torch", "orbax", "minari", "pyarrow", "huggingface_hub"}
# Environment workers import these, and never JAX.
WITHOUT_JAX = ("experiments.envs", "worldmodels.data.episodes")


def sources() -> list[pathlib.Path]:
    return sorted(path for layer in LAYERS for path in (ROOT / layer).rglob("*.py"))


def imports(tree: ast.AST, inside_function: bool = False) -> Iterator[tuple[str, bool]]:
    """(dotted name of an imported module, whether the import is inside a function)."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, inside_function) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((f"{node.module}.{alias.name}", inside_function) for alias in node.names)
        is_function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        yield from imports(node, inside_function or is_function)


def violations(path: str, code: str) -> list[str]:
    """What a file, given by its path below the root, imports and should not."""
    layer = path.split("/")[0]
    found = []
    for name, inside_function in imports(ast.parse(code)):
        package = name.split(".")[0]
        if package in LAYERS and LAYERS.index(package) > LAYERS.index(layer):
            found.append(f"{path} imports {name}, which is above it")
        if layer == "launch" and package in LAYERS[:3]:
            found.append(f"{path} imports {name}; launch knows only experiments.configs")
        if package in CONFINED and not path.startswith(CONFINED[package] or ("nowhere",)):
            found.append(
                f"{path} imports {name}, which belongs to {' or '.join(CONFINED[package]) or 'no file'}"
            )
        if package in ONLY_INSIDE_FUNCTIONS and not inside_function:
            found.append(f"{path} imports {name} at the top; only the function that needs it may")
    return found


def family(module: list[str]) -> str:
    """A method is a file's name up to its first underscore: `online_learner` belongs to `online`."""
    return module[2].partition("_")[0]


def misplaced(path: str, code: str) -> list[str]:
    """What a file of `experiments` imports from a later shelf, from another method or from the command line."""
    here = path.removesuffix(".py").split("/")
    found = []
    for name, _ in imports(ast.parse(code)):
        there = name.split(".")
        if there[:2] == ["experiments", "__main__"]:
            found.append(f"{path} imports the command line")
        if here[:1] != ["experiments"] or there[:1] != here[:1] or not {here[1], there[1]} <= set(SHELVES):
            continue
        if SHELVES.index(there[1]) > SHELVES.index(here[1]):
            found.append(f"{path} imports {name} from a later shelf")
        if here[1] == there[1] == "methods" and family(there) != family(here):
            found.append(f"{path} imports {name} of another method")
    return found


def circles() -> list[str]:
    """Modules that import each other, also inside functions."""
    names = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in sources()}
    graph = {
        name: {
            target
            for found, _ in imports(ast.parse(path.read_text()))
            for target in (found, found.rpartition(".")[0])
        }
        & (names.keys() - {name})
        for name, path in names.items()
    }
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return error.args[1]
    return []


def long_functions(path: str, code: str) -> list[str]:
    return [
        f"{path}:{node.lineno} {node.name} has {node.end_lineno - node.lineno + 1} lines"
        for node in ast.walk(ast.parse(code))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno - node.lineno + 1 > MAX_LINES
    ]


def all_of(check) -> list[str]:
    return [
        found for path in sources() for found in check(path.relative_to(ROOT).as_posix(), path.read_text())
    ]


def test_imports_go_down_and_stay_where_they_belong():
    assert all_of(violations) == []


def test_a_file_imports_from_its_own_shelf_or_an_earlier_one():
    assert all_of(misplaced) == []


def test_no_files_import_each_other():
    assert circles() == []


def test_no_module_has_a_name_of_the_standard_library():
    names = {path.stem: path for path in sources()} | {path.parent.name: path for path in sources()}
    assert [str(names[name]) for name in names.keys() & sys.stdlib_module_names] == []


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("experiments/data/folders.py", "def f():\n    from experiments.methods import collect"),
        ("experiments/methods/imitate.py", "from experiments.methods.pretrain import run"),
        ("experiments/studies/demo.py", "import experiments.__main__"),
    ],
)
def test_the_rule_of_the_shelves_finds_a_wrong_import(path, code):
    assert len(misplaced(path, code)) == 1


def test_functions_fit_a_screen():
    assert all_of(long_functions) == []


def test_files_have_one_subject_and_stay_short():
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in sources()}
    assert {path: length for path, length in lengths.items() if length > MAX_FILE_LINES} == {}


def test_every_module_says_what_it_is():
    assert [str(path) for path in sources() if not ast.get_docstring(ast.parse(path.read_text()))] == []


def test_packages_are_marked_as_typed():
    packages = [layer for layer in LAYERS if (ROOT / layer / "__init__.py").is_file()]
    assert [layer for layer in packages if not (ROOT / layer / "py.typed").is_file()] == []


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("worldmodels/rssm.py", "from agents import values"),
        ("agents/sac.py", "import experiments.runs.command_line"),
        ("agents/sac.py", "from absl import flags"),
        ("worldmodels/rssm.py", "import distrax"),
        ("worldmodels/published/files.py", "import torch"),
        ("experiments/methods/pretrain.py", "def f():\n    import mujoco"),
        ("experiments/envs/dmc.py", "from dm_control import suite"),
        ("launch/slurm.py", "import worldmodels.rssm"),
        ("experiments/runs/metrics.py", "import tensorflow as tf"),
    ],
)
def test_the_checker_finds_a_wrong_import(path, code):
    assert len(violations(path, code)) == 1


def test_the_checker_allows_what_is_allowed():
    assert violations("experiments/envs/dmc.py", "def f():\n    from dm_control import suite") == []
    assert (
        violations("aime/losses.py", "import jax\nfrom worldmodels import losses\nfrom agents import bc")
        == []
    )


def in_a_fresh_interpreter(code: str) -> None:
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert result.returncode == 0, result.stderr


EVERY_MODULE = """
import importlib, pkgutil, sys
def every_module(*names):
    for name in names:
        module = importlib.import_module(name)
        for found in pkgutil.walk_packages(getattr(module, "__path__", []), name + "."):
            importlib.import_module(found.name)
"""


def test_importing_the_library_touches_no_device_and_defines_no_flags():
    in_a_fresh_interpreter(
        EVERY_MODULE
        + """
every_module("worldmodels", "agents", "aime")
from absl import flags
from jax._src import xla_bridge
layers = ("worldmodels", "agents", "aime")
ours = [name for name in flags.FLAGS.flags_by_module_dict() if name.startswith(layers)]
assert not ours, f"flags are defined by {ours}"
assert not xla_bridge._backends, "a JAX backend was started"
late = ("torch", "orbax", "mujoco", "dm_control", "metaworld", "ml_collections")
loaded = [name for name in late if name in sys.modules]
assert not loaded, f"{loaded} were imported"
"""
    )


def test_importing_the_packages_alone_is_cheap():
    in_a_fresh_interpreter(
        "import sys, worldmodels, agents, aime, experiments\nassert 'jax' not in sys.modules"
    )


def test_what_environment_workers_import_does_not_import_jax():
    in_a_fresh_interpreter(EVERY_MODULE + f"every_module(*{WITHOUT_JAX!r})\nassert 'jax' not in sys.modules")


def test_docstrings_begin_with_a_verb_or_a_noun():
    found = []
    for path in sources():
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.FunctionDef | ast.ClassDef) or not ast.get_docstring(node):
                continue
            # The first line of a preset says in `--help` what it changes.
            is_noun = isinstance(node, ast.ClassDef) or "configs" in path.parts
            is_noun |= any("property" in ast.unparse(decorator) for decorator in node.decorator_list)
            first = ast.get_docstring(node).split()[0]
            if first in RELATIVES or not is_noun and first in ARTICLES:
                found.append(f"{path.relative_to(ROOT)}:{node.lineno} {node.name} begins with {first!r}")
    assert not found, "\n".join(found)
