"""A real browser without a window, for pages that are opened as files."""

import pathlib
import shutil
import subprocess

import pytest

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
needs_browser = pytest.mark.skipif(BROWSER is None, reason="there is no browser: apt-get install chromium")


def open_page(page: pathlib.Path, profile: pathlib.Path, *flags: str) -> subprocess.CompletedProcess:
    """Opens a page; stderr has what the page says on its console."""
    command = [BROWSER, *FLAGS, f"--user-data-dir={profile}", *flags, f"file://{page}"]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
