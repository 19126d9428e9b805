"""The notebooks of the documentation run, in small, and are kept as they ran."""

import json
import pathlib

import matplotlib
import pytest

NOTEBOOKS = sorted((pathlib.Path(__file__).parent.parent / "docs" / "notebooks").glob("*.ipynb"))


def code_cells(path: pathlib.Path) -> list[dict]:
    return [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]


@pytest.fixture
def without_display():
    backend = matplotlib.get_backend()
    matplotlib.use("agg")
    yield
    matplotlib.pyplot.close("all")
    matplotlib.use(backend)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A folder of one's own, in which "the same cells continue the runs" of another notebook, as all promise."""
    return tmp_path_factory.mktemp("runs")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_cell_runs_with_the_tiny_presets(path, without_display, runs):
    names = {"__name__": "__main__"}
    for cell in code_cells(path):
        source = "".join(cell["source"]).replace('SIZE = "small"', 'SIZE = "tiny"')
        source = source.replace("tempfile.mkdtemp()", repr(str(runs)))
        exec(compile(source, path.name, "exec"), names)
    assert names["SIZE"] == "tiny" and names["RUNS"] == runs


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_are_kept_with_their_outputs(path):
    cells = code_cells(path)
    assert all(cell["execution_count"] for cell in cells), "run them: make notebooks"
    assert any(cell["outputs"] for cell in cells)
    for cell in cells:
        kinds = {
            kind for output in cell["outputs"] for kind in (output["output_type"], *output.get("data", {}))
        }
        assert "error" not in kinds
        assert ("image/png" in kinds) == ("plt.show()" in "".join(cell["source"]))
