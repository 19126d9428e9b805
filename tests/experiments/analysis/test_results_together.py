import numpy as np
import pytest

from experiments.analysis import published_results
from experiments.analysis.figures import bars_of, comparison_bars
from experiments.analysis.page import FigureSection, TableSection, write_report
from experiments.analysis.tables import MethodScores, results_table, write_table
from experiments.drawing.style import save_figure


@pytest.mark.parametrize("num_seeds, num_episodes", [(1, 1), (2, 3), (12, 2)])
def test_scores_of_any_number_of_seeds_become_a_table_a_figure_and_a_page(tmp_path, num_seeds, num_episodes):
    returns = np.random.default_rng(0).uniform(50, 150, size=(num_seeds, num_episodes))
    cells = published_results.cells_of("cheetah-runbackward", "random", "lpomdp")
    scores = [
        MethodScores("Random", [[10.0, 20.0]]),
        *(MethodScores(name, returns, 20, cell.mean, cell.std) for name, cell in cells.items()),
        MethodScores("AIME, 1 demonstration", returns, 1),
        MethodScores("Expert", [[170.0]]),
    ]
    table = results_table(scores, random=15.0, expert=170.0, source=published_results.source().caption)
    write_table(table, tmp_path / "table")
    save_figure(comparison_bars(bars_of(scores, expert=170.0)), tmp_path / "bars")
    page = write_report(
        tmp_path / "report.html",
        title="Title",
        sections=[TableSection.of("Results", table), FigureSection("Bars", tmp_path / "bars.png", "Bars.")],
    )
    assert {path.name for path in tmp_path.iterdir()} == {
        "table.csv",
        "table.md",
        "bars.png",
        "bars.pdf",
        "report.html",
    }
    assert "97.3" in page.read_text()
