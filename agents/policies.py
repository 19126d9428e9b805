"""Policies over latent features."""

from worldmodels.world_model import TanhGaussianHead as TanhGaussianPolicy

__all__ = ["TanhGaussianPolicy"]
