"""PIDM: what the demonstrator would see in a few steps is foreseen, and an inverse model finds the action for it."""

from __future__ import annotations

import functools

from agents.pidm import (
    Foresight,
    PredictivePolicy,
    foresight_loss,
    predictive_inverse_loss,
    with_foresight,
)
from experiments.methods.baseline_recipes import Fit, FrameStackBaseline
from experiments.models import architectures


class PIDM(FrameStackBaseline):
    """Predictive inverse dynamics: BCO with a horizon."""

    label = "PIDM"
    paper = "Tian et al. 2024"
    needs = ("embodiment", "vectors")
    preset = "pidm"

    def __init__(self, config):
        super().__init__(config)
        self._horizon = config["horizon"]
        self.arguments = self.data.arch | {"kind": "pidm", "horizon": self._horizon}

    @functools.cached_property
    def fits(self):
        """The foresight, then the policy that inverts it."""
        data, options = self.data, dict(length=self.data.arch["num_frames"] + self._horizon)
        loss = functools.partial(foresight_loss, horizon=self._horizon)
        return (
            Fit("foresight", data.windows(data.shown.episodes, with_actions=False, **options), loss),
            Fit(
                "policy",
                data.windows(data.body, with_actions=True, **options),
                predictive_inverse_loss,
                "foresight",
            ),
        )

    def create(self, network, key):
        """Creates a network; see `Baseline`."""
        arch, episodes = self.arguments, self.data.episodes
        if network == "policy":
            return architectures.build_network(arch, key, episodes, network=PredictivePolicy)
        arch = {name: value for name, value in arch.items() if name not in ("action_size", "horizon")}
        return architectures.build_network(arch, key, episodes, network=Foresight)

    def begin(self, policy, teacher):
        """Gives the policy its foresight."""
        return with_foresight(policy, teacher)
