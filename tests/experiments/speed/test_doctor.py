import importlib.metadata
import sys

import pytest

from experiments.envs import rendering
from experiments.speed import doctor


def states(findings):
    return {finding.name: finding.state for finding in findings}


def test_a_machine_that_works_has_a_working_core(capsys):
    assert doctor.main(["--brief"]) == 0
    assert "!!" not in capsys.readouterr().out


def test_a_missing_core_package_is_named_with_its_fix(monkeypatch, capsys):
    def version(name):
        if name == "optax":
            raise importlib.metadata.PackageNotFoundError
        return "1.0"

    monkeypatch.setattr(importlib.metadata, "version", version)
    (finding,) = doctor.check_packages()
    assert (finding.state, finding.value) == ("broken", "missing: optax")
    assert "pip install -c constraints.txt" in finding.fix


def test_a_check_that_fails_is_a_finding(monkeypatch):
    def failing():
        raise RuntimeError("no device")

    monkeypatch.setattr(doctor, "check_devices", failing)
    monkeypatch.setattr(rendering, "probe", lambda backend: None)
    findings = {finding.name: finding for finding in doctor.examine(brief=True)}
    assert findings["failing"].state == "broken"
    assert findings["failing"].value == "RuntimeError: no device"


def test_missing_opengl_names_the_packages_and_is_not_fatal(monkeypatch):
    monkeypatch.setattr(rendering, "probe", lambda backend: "no library")
    findings = list(doctor.check_rendering(brief=False, workers=1))
    assert states(findings) == {"OpenGL egl": "missing", "OpenGL osmesa": "missing", "rendering": "missing"}
    assert "apt-get install -y libegl1" in findings[-1].fix


def test_rendering_is_timed_in_both_qualities(monkeypatch):
    monkeypatch.setattr(doctor, "version_of", lambda name: "1.0")  # dm_control is not there in Python 3.13
    monkeypatch.setattr(rendering, "probe", lambda backend: None if backend == "egl" else "no library")
    monkeypatch.setattr(
        doctor, "_render_speed", lambda backend, workers, quality="published": f"{quality} speed"
    )
    findings = {finding.name: finding.value for finding in doctor.check_rendering(brief=False, workers=1)}
    assert findings["OpenGL egl"] == "published speed"
    assert findings["OpenGL egl, fast"] == "fast speed, with render_quality=fast"


def test_an_unsupported_python_is_refused(monkeypatch):
    for version in ((3, 10, 9), (3, 14, 0)):
        monkeypatch.setattr(sys, "version_info", version)
        assert doctor.check_python().state == "broken"


@pytest.mark.parametrize("version", [(3, 11, 0), (3, 12, 1), (3, 13, 0)])
def test_all_of_python_3_13_works_but_deepmind_control_for_which_there_are_no_wheels(monkeypatch, version):
    monkeypatch.setattr(sys, "version_info", version)
    monkeypatch.setattr(doctor, "version_of", lambda name: None)
    works = version < (3, 13)
    finding = doctor.check_python()
    assert finding.state == ("ok" if works else "missing")
    fixes = {each.name: each.fix for each in doctor.check_extras()}
    fixes["task"] = doctor.check_simulator("dm_control", "walker-walk").fix
    for fix in (fixes["dm_control"], fixes["task"], *([] if works else [finding.fix])):
        assert ("use Python 3.12: labmaze, which it needs, has no wheel for 3.13" in fix) != works
    assert fixes["mujoco"].endswith('".[dmc]"' if works else '".[metaworld]"')
    assert fixes["metaworld"].endswith('".[metaworld]"')


def test_a_process_that_hangs_is_given_up():
    assert doctor.run_snippet("import time; time.sleep(60)", {}, timeout=0.5) == {
        "error": "no answer within 0 s"
    }


def test_a_process_that_dies_says_why():
    assert doctor.run_snippet("raise ValueError('no driver')", {}) == {"error": "ValueError: no driver"}
    assert doctor.run_snippet("import os; os._exit(7)", {}) == {"error": "the process died with code 7"}


@pytest.mark.parametrize(("state", "mark"), [("ok", "ok"), ("missing", "--"), ("broken", "!!")])
def test_a_finding_is_a_line_and_its_fix_another(state, mark):
    text = doctor.line(doctor.Finding("ffmpeg", state, "none", "install it"))
    assert text.splitlines()[0].split() == [mark, "ffmpeg", "none"]
    assert text.splitlines()[1].strip() == "-> install it"
