"""The report in a real browser: it opens offline, with its pictures and videos, and complains of nothing."""

import numpy as np
from browser import needs_browser, open_page
from PIL import Image

from experiments.analysis import page as report_page
from experiments.analysis.figures import Curve, learning_curves
from experiments.drawing import video
from experiments.drawing.style import save_figure
from experiments.drawing.table import Table

BLUE = (0x00, 0x72, 0xB2)  # of AIME, which only the picture has
MAGENTA = (0xFF, 0x00, 0xFF)  # which only the video has


@needs_browser
def test_a_page_shows_in_a_browser(tmp_path):
    figure = learning_curves({"AIME": Curve([1, 2, 3], [[1.0, 5.0, 9.0], [2.0, 6.0, 9.5]])})
    save_figure(figure, tmp_path / "curve")
    film = np.broadcast_to(np.uint8(MAGENTA), (25, 240, 240, 3))
    video.write_mp4(tmp_path / "film.mp4", film, fps=25)
    sections = [
        report_page.TableSection(Table(["Method", "Return"], [["AIME", "9.3"]], title="Scores")),
        report_page.MediaSection("During training", tmp_path / "curve.png", alt="A curve that rises"),
        report_page.MediaSection("An episode", tmp_path / "film.mp4", alt="A square"),
    ]
    page = report_page.write_page(tmp_path / "report.html", title="Title", sections=sections)
    shot = tmp_path / "shot.png"
    result = open_page(page, tmp_path / "profile", "--window-size=1000,1600", f"--screenshot={shot}")
    assert shot.is_file(), result.stderr
    assert "CONSOLE" not in result.stderr, result.stderr  # what the page's own policy refuses is told there
    pixels = np.asarray(Image.open(shot).convert("RGB")).astype(int)
    assert has(pixels[200:], BLUE) and has(pixels, MAGENTA)


def has(pixels, colour) -> bool:
    """Whether a hundred pixels [H, W, 3] have about this colour."""
    return (np.abs(pixels - colour).max(axis=-1) < 12).sum() > 100
