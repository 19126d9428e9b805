"""A run like the real ones, but tiny: fits a line, with all the machinery of a run directory.

python tests/experiments/runs/toy_run.py --config=tests/experiments/runs/toy_config.py:slow --workdir=DIR
"""

import sys
import time

import jax
import jax.numpy as jnp
import optax

from experiments.runs.command_line import Command, launch
from experiments.runs.directory import RunDirectory
from experiments.runs.metrics import MetricsWriter, check_finite
from experiments.runs.progress import Progress
from worldmodels.checkpoints import Checkpoints


def run(config, workdir, *, fresh=False):
    with RunDirectory(workdir, config, fresh) as directory:
        if directory.done:
            return directory.result
        optimizer = optax.adam(config.optimizer.learning_rate)
        update = make_update(optimizer)
        state = create(jax.random.key(config.seed), optimizer)
        checkpoints = Checkpoints(directory / "checkpoints")
        restored = checkpoints.restore(state)
        if restored:
            _, state, _ = restored
        start = int(state["step"])
        print(f"starting at {start}", flush=True)
        with (
            MetricsWriter(directory, {"update": start}) as writer,
            Progress(config.num_updates, "toy", initial=start) as bar,
        ):
            for number in range(start + 1, config.num_updates + 1):
                state, metrics = update(state)
                row = writer.write(metrics, update=number)
                check_finite(row, number)
                if number % 10 == 0:
                    writer.write_eval({"update": number, "return": [metrics["train/loss"], number]})
                if number % config.save_every == 0 or directory.interrupted():
                    checkpoints.save(number, state)
                    directory.stop_if_interrupted()
                bar.update(loss=row["train/loss"])
                time.sleep(config.seconds)
        return directory.mark_done({"params": state["params"], "final_loss": metrics["train/loss"]})


def make_update(optimizer):
    def update(state):
        x = jax.random.normal(jax.random.fold_in(state["key"], state["step"]), (16,))

        def loss_fn(params):
            return jnp.mean((params["slope"] * x + params["offset"] - (2 * x - 1)) ** 2)

        loss, grads = jax.value_and_grad(loss_fn)(state["params"])
        updates, opt_state = optimizer.update(grads, state["opt_state"])
        params = optax.apply_updates(state["params"], updates)
        state = dict(state, params=params, opt_state=opt_state, step=state["step"] + 1)
        return state, {"train/loss": loss, "train/params": jnp.stack(jax.tree.leaves(params))}

    return jax.jit(update)


def create(key, optimizer):
    params = {"slope": jnp.zeros(()), "offset": jnp.zeros(())}
    return {"params": params, "opt_state": optimizer.init(params), "key": key, "step": jnp.int32(0)}


if __name__ == "__main__":
    sys.exit(launch(Command("toy_run"), sys.argv))
