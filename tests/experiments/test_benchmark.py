"""The benchmark, with the tiny preset."""

from experiments import benchmark
from experiments.configs import benchmark as benchmark_config


def test_every_part_is_timed_and_saved(tmp_path):
    benchmark.run(benchmark_config.get_config("tiny"), tmp_path / "run")
    table = (tmp_path / "run" / "benchmark.md").read_text()
    for row in (
        "world-model update",
        "policy update",
        "acting, 1 environment",
        "sampling a batch",
        "collection",
    ):
        assert row in table
