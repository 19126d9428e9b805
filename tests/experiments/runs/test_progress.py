import io

import numpy as np

from experiments.runs.progress import Clocks, Every, Progress, clock
from worldmodels.data.episodes import Episode


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_log_file_gets_plain_lines_with_the_time_left():
    file = io.StringIO()
    with Progress(4, "pretrain", every_seconds=0.0, file=file) as bar:
        bar.update(2, loss=0.12345, name="x")
        bar.update(2)
    lines = file.getvalue().splitlines()
    assert lines[0] == "pretrain: 0 of 4 done, starting"
    assert lines[1] == "pretrain: 2/4 (50%), 0:00 elapsed, 0:00 left, loss 0.1235 name x"
    assert lines[-1] == "pretrain: 4/4 (100%), 0:00 elapsed, loss 0.1235 name x"
    assert "\x1b" not in file.getvalue()


def test_a_log_file_is_not_flooded():
    file = io.StringIO()
    with Progress(1000, "pretrain", every_seconds=60.0, file=file) as bar:
        for _ in range(1000):
            bar.update()
    assert len(file.getvalue().splitlines()) == 2


def test_a_continued_run_starts_where_it_was():
    file = io.StringIO()
    with Progress(10, "pretrain", initial=6, every_seconds=0.0, file=file) as bar:
        bar.update(2)
    assert file.getvalue().splitlines()[1].startswith("pretrain: 8/10 (80%)")


def test_a_terminal_gets_a_bar():
    file = Terminal()
    with Progress(4, "pretrain", file=file) as bar:
        bar.update(4, loss=0.5)
    assert "4/4" in file.getvalue()
    assert "loss 0.5" in file.getvalue()


def test_bars_may_be_nested():
    file = Terminal()
    with Progress(2, "outer", file=file) as outer:
        with Progress(2, "inner", file=file) as inner:
            inner.update(2)
        outer.update(2)
    assert "inner" in file.getvalue()


def test_an_error_is_not_reported_as_the_end():
    file = io.StringIO()
    try:
        with Progress(4, "pretrain", file=file):
            raise ValueError
    except ValueError:
        pass
    assert len(file.getvalue().splitlines()) == 1


def test_durations_read_as_clocks():
    assert [clock(s) for s in (0, 59.6, 61, 3600, 36610)] == ["0:00", "1:00", "1:01", "1:00:00", "10:10:10"]


def test_it_is_time_at_the_multiples_of_a_period_also_where_a_step_passes_over_them():
    counts = [0, 3, 4, 8, 15, 16]
    steps = list(zip(counts, counts[1:], strict=False))
    assert [Every(4)(*step) for step in steps] == [False, True, True, True, True]
    assert not any(Every(period)(*step) for period in (0, None) for step in steps)


def test_simulator_steps_are_actions_times_action_repeat():
    flags = dict.fromkeys(("is_first", "is_last", "is_terminal"), np.zeros(4, bool))
    records = {"pre_action": np.zeros((4, 1)), "reward": np.zeros(4), **flags}
    episodes = [Episode(records, {"action_repeat": 2}), Episode(records, {})]
    assert Clocks(update=7, episode=1, agent_step=3, env_step=6).after(episodes) == Clocks(7, 3, 9, 6 + 6 + 3)


def test_work_of_unknown_amount_is_counted():
    file = io.StringIO()
    with Progress(0, "Converting", file=file) as progress:
        progress.update(3)
    assert file.getvalue().splitlines()[0] == "Converting: starting"
    assert file.getvalue().splitlines()[1].startswith("Converting: 3, 0:00 elapsed")
