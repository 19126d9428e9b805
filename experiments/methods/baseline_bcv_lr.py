"""BCV-LR: latent actions of expert video, aligned with the body's actions in the rounds of BCO(alpha)."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import jax

from agents.bcv_lr import alignment_loss, clone_loss, video_loss, with_features
from agents.fitting import FitSettings
from agents.frame_stack import with_encoder_of
from agents.latent_action_model import with_parts_of
from agents.noise import GaussianNoise
from agents.prototypes import prototype_loss
from experiments.methods.baseline_data import load_data
from experiments.methods.baseline_latent import LatentNetworks, label_counts, with_unlabelled
from experiments.methods.baseline_recipes import BCO
from experiments.methods.baseline_rounds import AlphaLearner, run_rounds
from worldmodels.data.dataset import sample

# What is predicted: the features of the next frame, which do not move.
_FIXED = {"space": "embedding", "target_rate": 0.0}
_MEASURED_WINDOWS = 512  # that features are standardised by


class BCVLR(BCO):
    """BCV-LR: latent actions of video that are aligned with the body's in rounds of interaction."""

    label = "BCV-LR"
    paper = "arXiv 2512.21586"
    needs = ("embodiment", "two episodes")
    preset = "bcv_lr"

    @staticmethod
    def train(directory):
        """Trains in rounds; see `run_rounds`."""
        config = directory.config
        data = with_unlabelled(config, load_data(config, BCVLR))
        return run_rounds(directory, data, LatentLearner) | label_counts(data)


@functools.cache
def _alignment(forward_weight: float) -> Callable:
    """Returns `alignment_loss`, the same for all seeds, so that only the first one compiles."""
    return functools.partial(alignment_loss, forward_weight=forward_weight)


class LatentLearner(AlphaLearner):
    """Features, model of video, aligned model and policy of one seed; round 0 begins with the first two."""

    networks: Sequence[str] = ("features", "video", "model", "policy")

    def __init__(self, run, data):
        latent = {**run.config["latent"], **_FIXED}
        self._latent = LatentNetworks(latent, data)
        encoder = jax.eval_shape(lambda: self._latent.model(jax.random.key(0)).inverse.encoder)
        if jax.tree.leaves(encoder):
            self._latent = LatentNetworks({**latent, "residual": True}, data)
            self._latent.arguments["standardize_embedding"] = True
        else:  # sensors as they are have no features to learn
            self.networks = self.networks[1:]
        self._alignment = _alignment(run.config["forward_weight"])
        super().__init__(run, data)

    def player(self, num_envs, seed):
        """Returns the best policy with noise."""
        return GaussianNoise(self.actor(), self._config["noise"], num_envs, seed=seed)

    def _arguments(self):
        return self._latent.arguments

    def _make(self, name, key):
        if name == "features":
            return self._latent.features(key, **self._config["features"])
        return self._latent.policy(key) if name == "policy" else self._latent.model(key)

    def _settings_of(self, name):
        return self._video_settings if name in ("features", "video") else super()._settings_of(name)

    @property
    def _video_settings(self):
        return FitSettings(**self._config["video"])

    def _learn(self, number, body, split):
        settings = self._continue(number, "model", "policy")
        if number == 0:
            self._watch()
        self._fit("model", body, split, self._alignment, settings)
        model = self.state["model"].best_model
        self._set("policy", lambda policy: with_parts_of(policy, model, "decoder"))
        shown, shown_split = self._demonstrations, self._demonstration_split
        self._fit("policy", shown, shown_split, clone_loss, settings, model)

    def _watch(self):
        """Learns latent actions of all video; the aligned model and the policy begin with what that has found."""
        data, settings = self._data, self._video_settings
        video = data.windows([*data.episodes, *data.shown.episodes], with_actions=False)
        if "features" in self.state:
            self._fit("features", video, None, prototype_loss, settings)
            # The last ones: of single windows, as in validation, this loss says nothing.
            features = self.state["features"].train.model
            measured = sample(video, jax.random.fold_in(self._key, 3), _MEASURED_WINDOWS)
            self._set("video", lambda model: with_features(model, features, measured))
        self._fit("video", video, None, video_loss, settings)
        found = self.state["video"].best_model
        parts = ("inverse", "forward", "quantizer", "target_encoder")
        self._set("model", lambda model: with_parts_of(model, found, *parts))
        self._set("policy", lambda policy: with_encoder_of(policy, found.inverse))
