"""The report in a real browser: it opens offline, with its pictures, and complains of nothing."""

import shutil
import subprocess

import numpy as np
import pytest
from PIL import Image

from experiments import report_page
from experiments.figures import Curve, learning_curves
from experiments.plot_style import save_figure

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


@pytest.mark.skipif(BROWSER is None, reason="there is no browser: apt-get install chromium")
def test_a_page_shows_in_a_browser(tmp_path):
    figure = learning_curves({"AIME": Curve([1, 2, 3], [[1.0, 5.0, 9.0], [2.0, 6.0, 9.5]])})
    save_figure(figure, tmp_path / "curve")
    sections = [
        report_page.TableSection("Scores", ["Method", "Return"], [["AIME", "9.3"]]),
        report_page.FigureSection("During training", tmp_path / "curve.png", alt="A curve that rises"),
    ]
    page = report_page.write_report(tmp_path / "report.html", title="Title", sections=sections)
    shot = tmp_path / "shot.png"
    command = [BROWSER, *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", "--window-size=1000,900"]
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
    blue = (
        np.abs(pixels - (0x00, 0x72, 0xB2)).max(axis=-1) < 12
    )  # the colour of AIME, which only the picture has
    assert blue[200:].sum() > 100
