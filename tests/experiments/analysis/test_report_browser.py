"""The report in a real browser: it opens offline, with its pictures and videos, and complains of nothing."""

import shutil
import subprocess

import numpy as np
import pytest
from PIL import Image

from experiments.analysis import page as report_page
from experiments.analysis.figures import Curve, learning_curves
from experiments.drawing import video
from experiments.drawing.style import save_figure
from experiments.drawing.table import Table

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--enable-logging=stderr",
)

BLUE = (0x00, 0x72, 0xB2)  # of AIME, which only the picture has
MAGENTA = (0xFF, 0x00, 0xFF)  # which only the video has


@pytest.mark.skipif(BROWSER is None, reason="there is no browser: apt-get install chromium")
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
    command = [BROWSER, *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", "--window-size=1000,1600"]
    result = subprocess.run(
        [*command, f"--screenshot={shot}", f"file://{page}"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert shot.is_file(), result.stderr
    assert "CONSOLE" not in result.stderr, result.stderr  # what the page's own policy refuses is told there
    pixels = np.asarray(Image.open(shot).convert("RGB")).astype(int)
    assert has(pixels[200:], BLUE) and has(pixels, MAGENTA)


def has(pixels, colour) -> bool:
    """Whether a hundred pixels [H, W, 3] have about this colour."""
    return (np.abs(pixels - colour).max(axis=-1) < 12).sum() > 100
