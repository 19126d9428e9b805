"""Scripts of one file: what they say of a wrong call, and of what they cannot read."""

import pathlib
import runpy

import pytest

RESULTS = pathlib.Path(__file__).parents[3] / "results"
# Arguments with which a script has nothing to do, and part of what it says; without any it says how it is called.
CALLS = {
    "metaworld6_state": ("nowhere", "nowhere"),
    "latent_actions": ("nowhere out", "There is no sweep in nowhere. Start one: "),
    "exogenous": ("sound nowhere", "The tables are noise and filter; there is none of 'sound'."),
    "decoder_free_times": ("sound", "Models see state or images, not 'sound'."),
    "published_curves": ("nowhere", "nowhere is no clone of https://github.com/IcarusWizard/AIME-NoB: "),
    "ensembles": ("nowhere 0", "nowhere"),
    "variation": ("nowhere out", "nowhere"),
}
WITHOUT = sorted({path.stem for path in RESULTS.glob("*.py")} - {"demo_repetitions", "decoder_free_times"})


def said(name: str, arguments: list[str], monkeypatch, capsys, folder: pathlib.Path) -> str:
    """What a script says of a call, which it ends with the exit code of a mistake."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr("sys.argv", [str(RESULTS / f"{name}.py"), *arguments])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(RESULTS / f"{name}.py"), run_name="__main__")
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert not list(folder.iterdir())
    return line


@pytest.mark.parametrize("name", WITHOUT)
def test_a_script_without_arguments_says_how_it_is_called(name, monkeypatch, capsys, tmp_path):
    line = said(name, [], monkeypatch, capsys, tmp_path)
    assert line.startswith(f"Error: It is called so: python results/{name}.py ")


@pytest.mark.parametrize("name", CALLS)
def test_a_script_says_in_a_sentence_what_is_wrong(name, monkeypatch, capsys, tmp_path):
    arguments, sentence = CALLS[name]
    assert sentence in said(name, arguments.split(), monkeypatch, capsys, tmp_path)


def test_what_is_not_the_users_mistake_keeps_its_traceback(monkeypatch):
    from experiments.runs.scripts import run_script

    monkeypatch.setattr("sys.argv", ["script.py"])
    with pytest.raises(ZeroDivisionError):
        run_script(lambda: print(1 / 0), None)
