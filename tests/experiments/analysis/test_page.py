import html.parser
import json

import pytest

from experiments.analysis import page as report_page
from experiments.analysis.page import (
    FactsSection,
    MediaSection,
    TableSection,
    TextSection,
    TimesSection,
    run_sections,
    write_page,
)
from experiments.drawing.table import Table

EVIL = "<script>alert('x')</script> & \"quotes\""


class Reader(html.parser.HTMLParser):
    """Collects tags, their attributes and text, and notes whether tags close in order."""

    VOID = {"meta", "img", "br", "hr"}

    def __init__(self, page):
        super().__init__()
        self.tags, self.text, self.open, self.balanced = [], "", [], True
        self.feed(page)
        self.balanced = self.balanced and not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        self.balanced = self.balanced and bool(self.open) and self.open.pop() == tag

    def handle_data(self, data):
        self.text += data

    def of(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


def read(tmp_path, *sections, **changes):
    path = write_page(tmp_path / "report.html", **({"title": "Title", "sections": sections} | changes))
    return Reader(path.read_text())


def make_file(tmp_path, name, content=b"content"):
    path = tmp_path / name
    path.write_bytes(content)
    return path


def all_sections(tmp_path):
    table = Table([EVIL, "Return"], [[EVIL, EVIL], ["AIME", "3.0"]], EVIL, EVIL)
    return [
        TextSection("Text", [EVIL]),
        TableSection(table, emphasised=["AIME"]),
        MediaSection("Figure", make_file(tmp_path, "a.png"), EVIL, EVIL),
        MediaSection("Video", make_file(tmp_path, "a.mp4"), EVIL, EVIL),
        MediaSection("No video", None, "", why_not=EVIL),
        TimesSection("Times", {EVIL: 3.0, "AIME": 60.0}),
        FactsSection(EVIL, {"env": {EVIL: EVIL}}),
    ]


def test_tags_close_in_order(tmp_path):
    assert read(tmp_path, *all_sections(tmp_path), lead="Lead.", footer="Footer.").balanced


def test_text_is_escaped_everywhere(tmp_path):
    reader = read(tmp_path, *all_sections(tmp_path), title=EVIL, lead=EVIL, footer=EVIL)
    assert reader.of("script") == [] and reader.text.count(EVIL) >= 14


def test_nothing_is_loaded_from_outside_of_the_page(tmp_path):
    reader = read(tmp_path, *all_sections(tmp_path))
    addresses = [
        value
        for _, attributes in reader.tags
        for name, value in attributes.items()
        if name in ("src", "href")
    ]
    assert len(addresses) == 2 and all(address.startswith("data:") for address in addresses)
    assert "default-src 'none'" in reader.of("meta")[3]["content"]


def test_pictures_have_words_for_those_who_cannot_see_them(tmp_path):
    reader = read(tmp_path, MediaSection("", make_file(tmp_path, "a.png"), "AIME reaches 86."))
    assert reader.of("img")[0]["alt"] == "AIME reaches 86."


def test_videos_loop_without_sound_and_have_controls(tmp_path):
    attributes = read(tmp_path, MediaSection("", make_file(tmp_path, "a.mp4"), "Words.")).of("video")[0]
    assert {"controls", "autoplay", "loop", "muted", "playsinline"} <= set(attributes)
    assert attributes["src"].startswith("data:video/mp4;base64,") and attributes["aria-label"] == "Words."


def test_a_file_that_is_missing_is_explained(tmp_path):
    reader = read(
        tmp_path, MediaSection("", tmp_path / "absent", "Words.", why_not="No EGL on this machine.")
    )
    assert "No EGL on this machine." in reader.text and reader.of("video") == reader.of("img") == []


def test_a_huge_video_is_linked_instead(tmp_path, monkeypatch):
    monkeypatch.setattr(report_page, "MAX_MEGABYTES", 3e-6)
    reader = read(tmp_path, MediaSection("", make_file(tmp_path, "a.mp4"), "Words."))
    assert reader.of("a") == [{"href": "a.mp4"}] and reader.of("video") == []


def test_a_figure_that_browsers_cannot_show_is_refused(tmp_path):
    with pytest.raises(ValueError, match="save the figure as .png"):
        read(tmp_path, MediaSection("", make_file(tmp_path, "a.pdf"), "Words."))


def test_the_row_of_the_method_is_emphasised(tmp_path):
    reader = read(tmp_path, *all_sections(tmp_path)[1:2])
    assert reader.of("tr") == [{}, {}, {"class": "emphasised"}]


def test_settings_and_software_come_from_the_run_directory(tmp_path):
    session = {
        "commit": {"hash": "abc123", "edited": True},
        "argv": ["demo.py"],
        "versions": {"jax": "0.10.2"},
    }
    (tmp_path / "config.json").write_text(json.dumps({"env": {"name": "walker-walk"}, "rate": 0.001}))
    (tmp_path / "metadata.json").write_text(json.dumps({"sessions": [session]}))
    text = read(tmp_path, *run_sections(tmp_path)).text
    for expected in (
        "env.name",
        "walker-walk",
        "0.001",
        "abc123 with uncommitted changes",
        "versions.jax",
        "0.10.2",
    ):
        assert expected in text


def test_a_folder_without_a_run_has_no_settings(tmp_path):
    assert run_sections(tmp_path) == []


@pytest.mark.parametrize(
    "seconds, text",
    [(0.42, "0.4 s"), (9.97, "10 s"), (59.6, "1 min 00 s"), (185, "3 min 05 s"), (7800, "2 h 10 min")],
)
def test_durations_read_naturally(seconds, text):
    assert report_page.duration(seconds) == text
