"""Environments whose renderer fails in the ways that OpenGL drivers do."""

import os
import signal
import time

import numpy as np

from experiments.envs.fake import FakePointMass


class Hanging(FakePointMass):
    def render(self, height=64, width=64, camera=None):
        time.sleep(60)


class Crashing(FakePointMass):
    def render(self, height=64, width=64, camera=None):
        os.kill(os.getpid(), signal.SIGSEGV)


class Refusing(FakePointMass):
    def render(self, height=64, width=64, camera=None):
        raise RuntimeError("neither EGL nor OSMesa\nworks here.")


class OnlySoftware(FakePointMass):
    def render(self, height=64, width=64, camera=None):
        if os.environ.get("MUJOCO_GL") != "osmesa":
            os.kill(os.getpid(), signal.SIGABRT)
        return super().render(height, width, camera)


class FromObservation(FakePointMass):
    """Starts at an observed position; its sensor `state` is the position."""

    def reset_from_observation(self, state):
        self.reset(0)
        self._position = state.astype(float)
        return self._with_state(self._record(np.zeros(2, np.float32), 0.0, False))

    def step(self, action):
        return self._with_state(super().step(action))

    def _with_state(self, record):
        return {**record, "state": record.pop("position")}


def make_from_observation(name, **options):
    """For `registry.register`."""
    return FromObservation(name, episode_length=4)


def hanging():
    return Hanging()


def crashing():
    return Crashing()


def refusing():
    return Refusing()


def only_software():
    return OnlySoftware()


class OnlyOSMesa(FakePointMass):
    def render(self, height=64, width=64, camera=None):
        if os.environ.get("EXPERIMENTS_GL_PROBED") != ":osmesa":
            os.kill(os.getpid(), signal.SIGABRT)
        return super().render(height, width, camera)


class HangingOnce(FakePointMass):
    """Hangs until the file that the variable names exists; the process that hangs makes it."""

    def render(self, height=64, width=64, camera=None):
        try:
            open(os.environ["HUNG_ONCE"], "x").close()
        except FileExistsError:
            return super().render(height, width, camera)
        time.sleep(60)


def only_osmesa(render_size=None, action_repeat=None, episode_length=None, camera=None, seed=0):
    return OnlyOSMesa(render_size=render_size, episode_length=episode_length)


def hanging_once():
    return HangingOnce()
