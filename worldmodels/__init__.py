"""World models: models, losses, data and training. Knows nothing of tasks or simulators.

Import the module you need, for example `from worldmodels.world_model import WorldModel`;
importing this package itself is free and touches no device.
"""
