"""Policies, values, acting, collection of episodes and the baselines, one file per method."""
