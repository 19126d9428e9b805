"""What several processes tell each other without their devices, through the service that `jax.distributed` starts.

Collectives of devices would do where all goes well. But those of CPUs (Gloo) give up when one process lets the others
wait for 30 seconds, as a compiler on a busy machine may, and with none can a process say that it has failed. Here the
others wait for it as long as it lives, and a failure is their next answer.

All processes call these functions in the same order, on their main thread. A process that is alone waits for nobody.
"""

from __future__ import annotations

import contextlib

import jax

_PATIENCE = 24 * 3600 * 1000  # ms; a process that dies is noticed sooner, by its heartbeat
_VALUE, _FAILURE = "=", "!"
_number = 0  # of the next exchange


class OtherProcessFailed(RuntimeError):
    """Another process of this run has failed."""


def exchange(value: str) -> list[str]:
    """Returns the values of all processes, by their numbers, once all have come here.

    Raises:
      OtherProcessFailed: one of them has failed instead.
    """
    if jax.process_count() == 1:
        return [value]
    client, folder = _client(), _next_folder()
    client.key_value_set(f"{folder}{jax.process_index()}", _VALUE + value)
    answers = [client.blocking_key_value_get(f"{folder}{i}", _PATIENCE) for i in range(jax.process_count())]
    for process, answer in enumerate(answers):
        _raise_if_failure(process, answer)
    return [answer.removeprefix(_VALUE) for answer in answers]


def wait_for_all() -> None:
    """Returns once all processes have come here; raises as `exchange`."""
    exchange("")


def tell_failure(reason: str) -> None:
    """Ends the waiting of the others for this process, whatever they wait for: they raise with this reason."""
    if jax.process_count() > 1:
        with contextlib.suppress(jax.errors.JaxRuntimeError):  # the service itself may be gone
            _client().key_value_set(f"{_next_folder()}{jax.process_index()}", _FAILURE + reason)


def raise_failure_of_another(error: BaseException) -> None:
    """Raises OtherProcessFailed from an error of the devices, if another process has told of a failure since."""
    if jax.process_count() > 1:
        answers: list[tuple[str, str]] = []
        with contextlib.suppress(jax.errors.JaxRuntimeError):
            answers = _client().key_value_dir_get(_folder(_number))
        for key, answer in answers:
            if answer.startswith(_FAILURE):
                _next_folder()
                _raise_if_failure(int(key.rpartition("/")[2]), answer, error)


def _raise_if_failure(process: int, answer: str, error: BaseException | None = None) -> None:
    if answer.startswith(_FAILURE):
        reason = answer.removeprefix(_FAILURE).rstrip(".")
        raise OtherProcessFailed(
            f"Process {process} has failed, and this one stops with it; the reason there: {reason}."
        ) from error


def _next_folder() -> str:
    global _number
    _number += 1
    return _folder(_number - 1)


def _folder(number: int) -> str:
    return f"aime/{number}/"


def _client():
    """Returns the connection to the service. JAX has no public wait that needs no collective of the devices."""
    from jax._src import distributed

    return distributed.global_state.client
