"""Environments whose renderer fails in the ways that OpenGL drivers do."""

import os
import signal
import time

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


def hanging():
    return Hanging()


def crashing():
    return Crashing()


def refusing():
    return Refusing()


def only_software():
    return OnlySoftware()
