"""How fast runs went, read off files with known numbers."""

import json

import pytest

from experiments import run_rates

START = 1_700_000_000.0  # 2023-11-14T22:13:20+00:00


def row(seconds, processor, **values):
    return {"time/unix": START + seconds, "time/processor": processor, **values}


@pytest.fixture
def folder(tmp_path):
    """A run of two sessions of two minutes each, with an hour between them."""
    run = tmp_path / "runs" / "a"
    run.mkdir(parents=True)
    (run / "config.json").write_text('{"num_seeds": 3}')
    sessions = [
        {"time": "2023-11-14T22:13:20+00:00", "processor_time": 30.0},  # other stages in the same process
        {"time": "2023-11-14T23:15:20+00:00"},
    ]
    (run / "metadata.json").write_text(json.dumps({"sessions": sessions}))
    metrics = [
        row(60, 50.0, env_step=100, **{"fps/agent_steps": 10.0, "fps/updates": 2.0}),
        row(120, 90.0, env_step=200, **{"fps/agent_steps": 30.0, "fps/updates": 2.0}),
        row(3720 + 120, 60.0, env_step=300, **{"fps/agent_steps": 20.0, "fps/updates": 5.0}),
    ]
    evaluations = [
        row(120, 90.0, **{"return": [0.0, 20.0]}),
        row(3720 + 60, 30.0, **{"return": [80.0, 100.0]}),
        row(3720 + 120, 60.0, **{"return": [90.0, 110.0]}),
    ]
    for name, rows in (("metrics", metrics), ("eval", evaluations)):
        (run / f"{name}.jsonl").write_text("".join(json.dumps(each) + "\n" for each in rows))
    return run.parent


def test_rates_are_medians_and_time_between_sessions_does_not_count(folder):
    (path,) = folder.iterdir()
    assert run_rates.row_of(path, "a") == {
        "run": "a",
        "seeds": 3,
        "env_steps": 300,
        "steps_per_second": 20.0,
        "updates_per_second": 2.0,
        "return": 100.0,
        "minutes": 4.0,
        "processor_minutes": 2.0,
        "minutes_to_share": 3.0,
        "processor_minutes_to_share": 1.5,
    }


def test_the_table_is_written_for_all_runs_below_a_folder(folder, tmp_path, capsys):
    run_rates.main([str(folder), f"--out={tmp_path / 'out'}"])
    line = next(line for line in capsys.readouterr().out.splitlines() if "runs/a" in line)
    assert line.replace(" ", "") == "|runs/a|3|300|20|2|100|4|2|3|1.5|"
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "rates.csv",
        "rates.md",
        "rates.tex",
    ]


@pytest.mark.parametrize(
    ("folders", "share", "message"),
    [
        (["nowhere"], 0.9, "There is no folder nowhere"),
        (["."], 1.5, "--share is above 0 and at most 1"),
    ],
)
def test_mistakes_are_one_sentence(folders, share, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        run_rates.run(folders, tmp_path, share=share)


def test_a_folder_without_runs_is_named(tmp_path):
    with pytest.raises(ValueError, match="No run in"):
        run_rates.run([tmp_path], tmp_path)
