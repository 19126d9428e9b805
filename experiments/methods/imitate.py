"""AIME phase 2: trains a policy on demonstrations without actions, with a pretrained world model.

    python -m experiments imitate --config=imitate --config.model=DIR \\
        --config.demonstrations=DIR --workdir=DIR
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping

import jax
import numpy as np

from agents.actors import FilterActor
from aime.losses import AIMEOptions
from aime.offline import JointState, make_imitation_update, make_joint_update
from experiments.data.demonstrations import Demonstrations
from experiments.data.evaluation import Scores
from experiments.models import architectures, files
from experiments.runs import inputs
from experiments.runs.directory import RunDirectory
from experiments.runs.metrics import diverged_result, last_elbo
from experiments.runs.paths import folders_of
from experiments.runs.processes import open_run
from experiments.runs.training import Schedule, create_states, optimizer_from, print_storage, train
from worldmodels import export
from worldmodels.data.episodes import load_episodes
from worldmodels.data.loops import Dataset, Loops, make_loops
from worldmodels.data.storage import open_dataset
from worldmodels.devices.sharding import Placement, place
from worldmodels.export import Models
from worldmodels.losses import LossOptions
from worldmodels.training import TrainState

_ROOM = 2**24  # bytes, so that runs on few demonstrations have the programs of those on more


def run(config, workdir, *, fresh: bool = False) -> dict:
    """Trains and evaluates `config.num_seeds` policies in one program.

    Returns:
      {"return": `[num_seeds][episodes]`, "return_mean", "by_expert": [num_seeds], "elbo_per_record": of each policy,
      ...}, and "diverged" as of `diverged_result`.
    """
    with open_run(workdir, config, fresh=fresh) as directory:
        return directory.result or imitate(directory)


def imitate(directory: RunDirectory) -> dict:
    """Runs in an opened directory."""
    config = directory.config
    num_policies, evaluation = config["num_seeds"] * config["ensemble"], config["evaluation"]
    if config["ensemble"] < 1:
        raise ValueError(f"An ensemble has at least one policy; ensemble is {config['ensemble']}.")
    for name, what in (
        ("model", "world model, of `pretrain`, `export` or a published folder"),
        ("demonstrations", "folder of episodes"),
    ):
        if not config[name]:
            raise ValueError(f"AIME needs a {what}; pass --config.{name}=DIR.")
    inputs.check_policy(config)
    placement = place(config["devices"], batch_sizes=[config["batch_size"]], num_seeds=num_policies)
    pretrained = files.load(config["model"], "world_model")
    models = files.for_seeds(pretrained, num_policies)
    shown = architectures.demonstrations(config, models, pretrained.arguments["world_model"])
    sensors = architectures.sensors_for(models, shown.episodes)
    play = evaluator(config, models, shown)
    # True actions are loaded for the metric analysis/action_mse only; the loss does not see them.
    data = open_dataset(
        shown.episodes,
        storage=config["storage"],
        length=config["length"],
        sensors=sensors,
        with_actions=all(
            episode.records["pre_action"].shape[-1] == models.action_size for episode in shown.episodes
        ),
        with_reward=False,
        room_bytes=_ROOM,
        on_storage=print_storage("Demonstrations"),
        placement=placement,
    )
    del shown  # images are large, and the dataset has them now
    policies, arch = initial_policies(config, models, num_policies)
    state, learn = training(config, models, policies, num_policies, data, sensors, pretrained.loss, placement)
    clocks = ("num_updates", "updates_per_dispatch", "save_every")
    schedule = Schedule(**{name: config[name] for name in clocks}, evaluate_every=evaluation["every"])
    state = train(
        directory,
        state,
        learn,
        schedule,
        prefix="train/policy/",
        description="policy",
        evaluate=lambda state, update: play(state, evaluation["episodes"], evaluation["seed"]).row(),
        placement=placement,
    )
    save(directory, state, num_policies, pretrained, arch)
    elbo = last_elbo(directory.path, "train/policy/", config["length"])
    say_what_the_model_knows(elbo, pretrained.card)
    video = directory / "videos" / "evaluation.mp4" if evaluation["video"] else None
    scores = play(state, evaluation["final_episodes"], evaluation["seed"] + 1, video=video)
    steps = np.reshape(state.step, (config["num_seeds"], -1)).min(axis=1)  # of an ensemble the first to stop
    diverged = diverged_result(steps < config["num_updates"], steps)
    return directory.mark_done(scores.row() | elbo | {"num_updates": config["num_updates"]} | diverged)


def say_what_the_model_knows(shown: Mapping[str, list], body: Mapping) -> None:
    """Prints the evidence of the demonstrations beside that of what the world model was trained on.

    The wider apart they are, the less the model knows of what is shown. Scores it does not rank (results/cheetah-demo).
    """
    pair = [[x for x in of.get("elbo_per_record") or () if x is not None] for of in (shown, body)]
    if all(pair):
        known, own = map(np.mean, pair)
        print(
            f"Evidence per record: {known:.1f} nats of the demonstrations, {own:.1f} of the model's own data."
        )


def evaluator(config: dict, models, shown: Demonstrations) -> Callable[..., Scores]:
    """Returns (state, number of episodes, seed, video=None) -> scores of the policies of all seeds.

    Args:
      models: world models of all policies, leaves [num_seeds * ensemble, ...], of states that train none.
    """
    num_seeds, options = config["num_seeds"], config["evaluation"]
    evaluation = shown.evaluation(options, num_seeds)
    acting = dict(sample_action=options["sample_action"], num_seeds=num_seeds, ensemble=config["ensemble"])

    def play(state, num_episodes: int, seed: int, video=None) -> Scores:
        modules = (state.model.model if isinstance(state, JointState) else models, policy_state(state).model)

        def make_actor(num_envs: int) -> FilterActor:
            return FilterActor(*modules, num_envs, jax.random.key(seed), **acting)

        return evaluation.play(make_actor, num_episodes, seed, video=video)

    return play


def save(directory: RunDirectory, state, num_policies: int, pretrained: Models, arch: dict) -> None:
    """Keeps the trained policies, of the architecture `arch`, and the world models if they were trained too."""
    models = Models({"policy": arch}, policy=policy_state(state).model, num_seeds=num_policies)
    models = dataclasses.replace(models, ensemble=directory.config["ensemble"])
    if isinstance(state, JointState):
        arguments = models.arguments | {"world_model": pretrained.arguments["world_model"]}
        joint = dict(arguments=arguments, world_model=state.model.model, loss=pretrained.loss)
        models = dataclasses.replace(models, **joint)
    files.save(directory.path, directory.config, models)


def policy_state(state):
    """Returns the policy's train state, with or without a model that trains with it."""
    return state.policy if isinstance(state, JointState) else state


def initial_policies(config: dict, models, num_policies: int) -> tuple[object, dict]:
    """Returns policies and their constructor arguments: random ones, or those of an earlier run."""
    if config["policy_from"]:
        kept = files.load(config["policy_from"], "policy")
        if kept.num_seeds != num_policies:
            raise ValueError(
                f"{config['policy_from']} holds {kept.num_seeds} policies, the run asks for {num_policies}."
            )
        return kept.policy, kept.arguments["policy"]
    arch = dict(config["policy"], in_size=models.feature_size, action_size=models.read_size)
    build = functools.partial(export.build_policy, arch)
    return architectures.stacked(build, num_policies, config["seed"]), arch


def training(
    config: dict,
    models,
    policies,
    num_policies: int,
    data: Dataset,
    sensors: list[str],
    model_loss: dict,
    placement: Placement,
) -> tuple[TrainState | JointState, Loops]:
    """(initial state, training loops) for a frozen model or one that continues to train."""
    seed = config["seed"]
    loss = AIMEOptions(**config["loss"], nll_reweight=model_loss["nll_reweight"])
    optimizer = optimizer_from(config["optimizer"], config["num_updates"])
    options = {name: config[name] for name in ("batch_size", "first_fraction")}
    options |= {"num_seeds": num_policies, "placement": placement}
    policy = create_states(policies, optimizer, seed, num_policies)
    if not config["embodiment"]:
        update = make_imitation_update(optimizer, loss)
        return policy, make_loops(update, (data,), (models,), **options)

    keys = (*sensors, "pre_action")
    body = open_dataset(
        load_episodes(folders_of(config["embodiment"]), keys=keys, images_on_disk=True),
        storage=config["storage"],
        length=config["length"],
        sensors=sensors,
        on_storage=print_storage("Embodiment data"),
        placement=placement,
    )
    model_optimizer = optimizer_from(config["model_optimizer"], config["num_updates"])
    state = JointState(
        policy=policy, model=create_states(models, model_optimizer, seed + num_policies, num_policies)
    )
    update = make_joint_update(
        optimizer, model_optimizer, policy_loss=loss, model_loss=LossOptions(**model_loss)
    )
    return state, make_loops(update, (data, body), **options)
