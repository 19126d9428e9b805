"""Several members of one run: each is the run of its seed alone, and the updates of all are one program.

A member plays its own episodes, remembers them in its own replay and has its own networks; its directory, `seeds/0`,
`seeds/1`, ..., contains what the run of its seed alone would leave, up to the rounding of the joint updates. Members
play one after the other and learn at the same time: states and replays are stacked for the updates of a round and dealt
out again. Those that learn while they play take their steps together.
"""

from __future__ import annotations

import contextlib
import json
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Any, Generic, Self, TypeVar

import jax
import numpy as np
from flax import nnx

from agents.actors import FilterActor
from agents.loop import Actor
from agents.planners import PLANNERS
from agents.planning import planning_actor
from experiments.data.evaluation import Scores
from experiments.data.rounds import Learner, Rounds, mean_metrics, shown_return
from experiments.runs.directory import RunDirectory
from experiments.runs.metrics import Diverged, MetricsWriter, diverged_among, read_rows
from experiments.runs.progress import Clocks, Progress
from experiments.runs.stages import seed_path
from worldmodels.checkpoints import CheckpointError, Checkpoints
from worldmodels.data.episodes import Episode
from worldmodels.devices.sharding import Placement
from worldmodels.files import write_atomically
from worldmodels.training import Metrics, select_seed, stack_seeds
from worldmodels.world_model import WorldModel

State = TypeVar("State", bound=Any)


class ModelLearner(Learner, Generic[State]):
    """One that learns a policy in a world model.

    Attributes:
      placement: the devices of the run.
      state: what has been learnt: `model`, `policy`, `critic` or None, and `step`; on all these devices, and may be
        replaced by one from anywhere.
    """

    placement: Placement

    @property
    def state(self) -> State:
        """The learnt state."""
        return self._state

    @state.setter
    def state(self, state: State) -> None:
        self._state = self.placement.put_state(state)

    @property
    def num_updates(self) -> int:
        """Updates made, pretraining included."""
        return int(self.state.step)

    @property
    def model(self) -> WorldModel:
        """The present world model, on one device."""
        return self.placement.fetch(self.state.model.model)

    @property
    def policy(self) -> nnx.Module:
        """The present policy, on one device."""
        return self.placement.fetch(self.state.policy.model)

    @property
    def critics(self) -> dict[str, tuple] | None:
        """{reward: (value network, its target)}, on one device; None without a critic."""
        if self.state.critic is None:
            return None
        critic = self.placement.fetch(self.state.critic)
        return {name: (critic.train.model[name], target) for name, target in critic.target.items()}

    def dispatches(self) -> list[int]:
        """Returns how many updates each program of a round makes."""
        raise NotImplementedError


class Member(Rounds):
    """A run that can be one of several in a program."""

    def playing(self) -> contextlib.AbstractContextManager:
        """Opens the environments for the time of a block."""
        raise NotImplementedError

    def prepare(self) -> None:
        """Begins a run without a checkpoint."""
        raise NotImplementedError

    def pretrain(self) -> None:
        """Trains before the first round, as far as that is not done."""

    def conclude(self) -> dict:
        """Saves what has been learnt, and evaluates it; returns the result of the run."""
        raise NotImplementedError

    @staticmethod
    def play_together(members: Sequence) -> list[Sequence[Episode]]:
        """Plays the next round of each, one after the other; returns the episodes of each."""
        return [member.play_round() for member in members]

    def share_programs(self, other: Self) -> None:
        """Uses what another member has compiled, which learns while this one does not."""

    def finish(self) -> dict:
        """Brings a run alone to its end; returns its result."""
        with self.playing():
            if not self.restore():
                self.prepare()
            self.pretrain()
            self.run()
            return self.directory.mark_done(self.conclude())


class ModelMember(Member):
    """A member whose learner has a world model: its policy, or a planner, plays in the model's states."""

    learner: ModelLearner

    def actor(self, num_envs: int, key: jax.Array, policy: Any = None, **options) -> FilterActor:
        """Returns an actor at the start of `num_envs` episodes, of the learner's policy unless another one is given."""
        networks = self.learner.model, self.learner.policy if policy is None else policy
        return FilterActor(*networks, num_envs, key, **options)

    def player(self, num_envs: int, key: jax.Array, policy: Any = None, **options) -> Actor:
        """Returns what plays the episodes that are learnt from: the `actor`, or the planner that the config names.

        It plans for the learner's reward in the learner's model, with policy and critic where it is guided. Of the
        options `epsilon` counts, the std of noise on its actions.
        """
        if not self.config["planning"]["name"]:
            return self.actor(num_envs, key, policy, **options)
        critic = self.learner.state.critic
        critics = {} if critic is None else self.learner.placement.fetch(critic).target
        planner = PLANNERS.make(
            next(iter(critics), "reward"),
            name=self.config["planning"]["name"],
            **self.config["planning"]["options"],
        )
        policy = self.learner.policy if policy is None else policy
        actor = planning_actor(planner, self.learner.model, policy, critics, num_envs, key)
        noise = np.random.default_rng(np.asarray(jax.random.key_data(key)))

        def play(records):
            actions = actor(records)
            disturbed = actions + options["epsilon"] * noise.standard_normal(actions.shape)
            return np.clip(disturbed, -1, 1).astype(np.float32)

        return play


Joint = Callable[[Sequence[bool]], list[Metrics]]  # which learners take part -> metrics of each


def learning_meanwhile(learners: Sequence[Learner]) -> Joint:
    """Returns what gives the metrics of learners that learn while their members play."""
    return lambda playing: [learner.learn() for learner in learners]


def run_members(
    directory: RunDirectory,
    make: Callable[[RunDirectory], Member],
    joint: Callable[[Sequence], Joint],
    allowed: Sequence[str],
) -> dict:
    """Plays and learns with all members, and joins their evaluations; returns the joined result.

    Args:
      directory: of all; its config has `seed` and `num_seeds`.
      make: makes the run of one member in its opened directory.
      joint: learners -> what makes their updates of a round.
      allowed: keys of the config that may change when a run continues.

    Raises:
      ValueError: the run has several devices, or members cannot be one program.
    """
    config = directory.config
    with contextlib.ExitStack() as stack:
        members = []
        for index in range(config["num_seeds"]):
            own = config | {"seed": config["seed"] + index, "num_seeds": 1}
            single = RunDirectory(seed_path(directory, index), own, allow_changes=allowed)
            members.append(make(stack.enter_context(single)))
            stack.enter_context(members[-1].playing())
        results = finish(directory, members, joint)
    write_evaluations(directory, [member.directory for member in members])
    row = Scores.joined(Scores.of_row(result) for result in results).row()
    others = results[0].keys() - row.keys() - {"diverged"}
    own = {name: [result[name] for result in results] for name in sorted(others)}
    return row | own | diverged_among(results)


def finish(
    directory: RunDirectory, members: Sequence[Member], joint: Callable[[Sequence], Joint]
) -> list[dict]:
    """Brings members in open environments to their ends; returns their results."""
    restore(members)
    for member in members[1:]:
        member.share_programs(members[0])
    for member in members:
        member.pretrain()
    play_and_learn(directory, members, joint([member.learner for member in members]))
    results = []
    for member in members:
        more = {"diverged": True} if "diverged" in member.facts else {}
        results.append(member.directory.result or member.directory.mark_done(member.conclude() | more))
    return results


def restore(members: Sequence[Member]) -> None:
    """Continues all from the same round: the newest checkpoint that they share; one that has diverged from its last."""
    steps = [steps_by_round(member.checkpoints) for member in members]
    going = [rounds.keys() for rounds, diverged in steps if not diverged]
    # Before the first round they may share none, and each continues with its own pretraining.
    shared = max(set.intersection(*map(set, going)), default=None) if going else None
    for member, (rounds, diverged) in zip(members, steps, strict=True):
        if not member.restore(step=None if diverged or shared is None else rounds[shared]):
            member.prepare()


def steps_by_round(checkpoints: Checkpoints) -> tuple[dict[int, int], bool]:
    """Returns the steps of the checkpoints that are whole by their round, and whether the newest has diverged."""
    rounds: dict[int, int] = {}
    diverged = False
    for step in checkpoints.steps():
        try:
            extra = checkpoints.read(step)[2]
        except CheckpointError as error:
            warnings.warn(f"{error} The run continues from an earlier one.", stacklevel=2)
            continue
        rounds[extra.get("round", -1)] = step  # -1: of an earlier release, which `Rounds.restore` refuses
        diverged = "diverged" in extra.get("facts", {})
    return rounds, diverged


def play_and_learn(directory: RunDirectory, members: Sequence[Member], learn: Joint) -> None:
    """Lets members play and learn until they are over; those that have diverged stand still."""
    before = members[0].learner.learns == "before"
    with contextlib.ExitStack() as stack:
        writers = [
            stack.enter_context(MetricsWriter(member.directory, vars(member.clocks))) for member in members
        ]
        for member, writer in zip(members, writers, strict=True):
            if not member.over:
                member.before_rounds(writer)
        done, total = members[0].shown
        bar = stack.enter_context(Progress(total, members[0].description, initial=done))
        while not all(member.over for member in members):
            playing = [not member.over for member in members]
            counts = [(member.done, member.num_updates) for member in members]
            metrics = timed(members, learn, playing) if before else []
            those = [number for number, plays in enumerate(playing) if plays]
            episodes = type(members[0]).play_together([members[number] for number in those])
            metrics = metrics if before else timed(members, learn, playing)
            rows = [
                finish_round(members[number], writers[number], own, metrics[number], counts[number])
                for number, own in zip(those, episodes, strict=True)
            ]
            done = max(member.shown[0] for member in members)
            bar.update(done - bar.completed, **shown_return(rows))
            directory.stop_if_interrupted()


def timed(members: Sequence[Member], learn: Joint, playing: Sequence[bool]) -> list[Metrics]:
    """Learns while the watches of all members run; those that learn while they play are watched then."""
    if members[0].learner.learns == "meanwhile":
        return learn(playing)
    with contextlib.ExitStack() as watches:
        for member in members:
            watches.enter_context(member.watch("updates"))
        return learn(playing)


def finish_round(member: Member, writer: MetricsWriter, *round_) -> dict:
    """Ends a round of a member, and returns its row.

    One that has diverged keeps its last finite state, stands still from then on, and has none.
    """
    try:
        return member.finish_round(writer, *round_)
    except Diverged as error:
        print(f"Seed {member.config['seed']}: {error}", file=sys.stderr)
        member.facts["diverged"] = True
        member.save()
        return {}


class JointUpdates:
    """Makes the updates of a round for all learners in one program.

    Args:
      learners: of members that differ in their seeds alone.
      make_loop: number of updates -> the jitted loop of all, made once; see `make_train_loop`.
      gather: () -> data of all.
    """

    def __init__(
        self,
        learners: Sequence[ModelLearner],
        make_loop: Callable[[int], Callable],
        gather: Callable[[], Any],
    ):
        if any(learner.placement.mesh is not None for learner in learners):
            raise ValueError("Members in one program learn on one device; pass --config.devices=one.")
        self._learners, self._loop, self._gather = learners, make_loop, gather

    def __call__(self, playing: Sequence[bool]) -> list[Metrics]:
        """Returns the mean metrics of each member; the state of one that does not play stays as it is."""
        learners = self._learners
        counts = [learner.dispatches() for learner, plays in zip(learners, playing, strict=True) if plays]
        if any(count != counts[0] for count in counts):
            raise ValueError(
                "Members in one program make the same updates, and the episodes of these earn different numbers; run "
                "the seeds one by one."
            )
        state, rows = stack_seeds([learner.state for learner in learners]), []
        data = self._gather() if counts[0] else None
        for count in counts[0]:
            state, metrics = self._loop(count)(state, data)
            rows.append((count, jax.device_get(metrics)))
        metrics = mean_metrics(rows)
        for number, (learner, plays) in enumerate(zip(learners, playing, strict=True)):
            if plays:
                learner.state = select_seed(state, number)
        return [select_seed(metrics, number) for number in range(len(learners))]


def write_evaluations(directory: RunDirectory, members: Sequence[RunDirectory]) -> None:
    """Joins the evaluations of members in the eval.jsonl of their run, up to the first that one of them lacks."""
    joined = []
    for rows in zip(*(read_rows(member / "eval.jsonl") for member in members), strict=False):
        finals = {row.get("final") for row in rows}
        if len(finals) > 1:  # one has diverged before the others
            break
        row = {} if finals == {None} else {"final": finals.pop()}
        row |= {name: [other.get(name) for other in rows] for name in rows[0] if name.startswith("analysis/")}
        row |= {name: rows[0][name] for name in vars(Clocks())}
        joined.append(row | Scores.joined(Scores.of_row(other) for other in rows).row())
    write_atomically(directory / "eval.jsonl", "".join(json.dumps(row) + "\n" for row in joined))
