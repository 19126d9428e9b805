"""The first two minutes: AIME learns from what is part of the package, with a figure and a video.

python -m experiments demo --config=demo:first --workdir=runs/first
"""

from __future__ import annotations

from experiments.analysis import report
from experiments.analysis.scores import Results, cells_of, scores_of
from experiments.data.bundle import bundled
from experiments.methods import imitate
from experiments.runs.directory import RunDirectory
from experiments.runs.stages import Stages, changed
from experiments.studies.side_by_side import side_by_side
from worldmodels.data.episodes import load_episodes


def run_everything(config, directory: RunDirectory) -> dict:
    """Lets AIME imitate the bundle's demonstrations, and writes the report; as of `demo`."""
    bundle, stages = bundled(config.bundle), Stages(directory.path)
    aime = changed(
        config.imitate,
        model=str(bundle.model),
        demonstrations=str(bundle.demonstrations),
        num_demonstrations=config.num_demonstrations,
        num_seeds=config.num_seeds,
    )
    random = bundle.random_returns
    aime.evaluation.random_return = sum(random) / len(random)
    result = stages.run("aime", imitate.run, aime)
    aime_run, (shown,) = stages.path("aime"), load_episodes(bundle.oracle)
    with stages.timed("report"):
        facts = dict(method="aime", task=config.env, env=config.env, setup=config.setup)
        facts |= dict(
            demonstrations=str(config.num_demonstrations), dataset=config.published_data, variant=""
        )
        expert = [episode.return_ for episode in load_episodes(bundle.demonstrations)]
        cells = cells_of([scores_of(aime_run, facts)])
        report.write(
            Results(cells, {config.env: random}, expert={config.env: expert}),
            directory.path,
            title=config.title,
            lead=(
                f"It has watched {config.num_demonstrations} episodes without actions, with a world model that knows "
                "the body from flailing, no reward and no environment."
            ),
            extra=[side_by_side(config.video, directory.path, config.env, shown, [("AIME", aime_run, 0)])],
            seconds=stages.seconds,
            settings=directory.path,
        )
    table = (directory / "tables" / "results.md").read_text()
    means = {"aime": result["return_mean"]}
    return directory.mark_done({"table": table, "return": means, "seconds": stages.seconds})
