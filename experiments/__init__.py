"""Commands, configurations, environments, logs and reports: everything that touches the outside world."""

from worldmodels import __version__ as __version__
from worldmodels import lazy

__getattr__, __dir__, __all__ = lazy.names(
    __name__,
    {
        "data.bundle": ["bundled"],
        "envs.registry": ["make"],
        "models.loading": ["LoadedRun", "load_run", "load_world_model"],
    },
)
