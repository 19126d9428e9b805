"""Where the records of a dataset are stored: on the device, in main memory, or with images in the episode files."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from worldmodels.data import dataset as datasets
from worldmodels.data.dataset import SequenceDataset
from worldmodels.data.episodes import Episode, StoredImages
from worldmodels.data.shared_dataset import SharedDataset
from worldmodels.data.streaming import StreamedDataset
from worldmodels.devices.sharding import ONE_DEVICE, Placement

# Shares of the free bytes that data may take: the rest is for models, gradients and activations.
SHARES = {"device": 0.5, "memory": 0.7, "disk": 0.7}
STORAGES = ("auto", *SHARES)


@dataclasses.dataclass(frozen=True)
class Storage:
    """Place of the data, with the reason.

    Attributes:
      place: "device", "memory" or "disk".
      num_bytes: {name: bytes} of all records.
      why: a clause for a reader.
    """

    place: str
    num_bytes: dict[str, int]
    why: str

    def __str__(self) -> str:
        parts = sorted(self.num_bytes.items(), key=lambda item: -item[1])
        largest = ", ".join(f"{name} {_size(number)}" for name, number in parts[:3])
        places = {"device": "on the device", "memory": "in main memory", "disk": "images on disk"}
        return f"{_size(sum(self.num_bytes.values()))} ({largest}), {places[self.place]}: {self.why}"


def choose_storage(
    episodes: Sequence[Episode], storage: str, names: Sequence[str], length: int, num_parts: int = 1
) -> Storage:
    """Decides where the records of these names are stored.

    Args:
      episodes: at least one.
      storage: "device", "memory" or "disk"; "auto" takes the first of them that leaves room: at most half of the
        free memory of the device, or 70 % of the free main memory.
      names: of arrays.
      length: T, records per window.
      num_parts: devices that share the records.

    Raises:
      ValueError: an unknown storage, or one that cannot hold them.
    """
    if storage not in STORAGES:
        raise ValueError(f"Unknown storage {storage!r}. Known: {', '.join(STORAGES)}.")
    num_bytes = {name: datasets.estimate_bytes(episodes, [name], length) for name in names}
    stored = [
        name for name in names if all(isinstance(each.records[name], StoredImages) for each in episodes)
    ]
    total, main = sum(num_bytes.values()), datasets.free_main_memory()
    need = dict(device=total // num_parts, memory=total)
    need["disk"] = total - sum(num_bytes[name] for name in stored)
    free = dict(device=datasets.free_memory(), memory=main, disk=main)

    def fits(place: str, share: float = 1.0) -> bool:
        return need[place] <= share * free[place]

    if storage == "auto":
        places = [
            place for place, share in SHARES.items() if (stored or place != "disk") and fits(place, share)
        ]
        storage = places[0] if places else "disk" if stored else "memory"
    if storage == "disk" and not stored:
        raise ValueError(
            "storage='disk' leaves images in their files, and these episodes have none there; "
            "load them with images_on_disk=True, or use storage='memory'."
        )
    if not fits(storage):
        raise ValueError(
            f"These {len(episodes)} episodes need {_size(need[storage])} with storage={storage!r}, where "
            f"{_size(free[storage])} are free; load fewer episodes (limit), fewer sensors, or choose another "
            f"storage of {', '.join(STORAGES)}."
        )
    return Storage(storage, num_bytes, f"takes {_size(need[storage])} of {_size(free[storage])} free")


def open_dataset(
    episodes: Sequence[Episode],
    *,
    storage: str = "auto",
    length: int,
    sensors: Sequence[str],
    with_actions: bool = True,
    with_reward: bool | None = None,
    room_bytes: int = 0,
    on_storage: Callable[[Storage], object] = lambda storage: None,
    placement: Placement = ONE_DEVICE,
) -> SequenceDataset | StreamedDataset:
    """Returns a dataset of episodes, wherever its records fit.

    Args:
      episodes, length, sensors, with_actions, with_reward: as of `SequenceDataset.create`. With images, load them by
        `load_episodes(..., images_on_disk=True)`, so that they are read once, or not at all.
      storage: as of `choose_storage`.
      room_bytes: for which there is room, about; few records and fewer share their programs, on a device alone.
      on_storage: called with the decision, to print it.
      placement: of the run. Several processes that share batches share data on the devices, too.

    Raises:
      ValueError: as `SequenceDataset.create` and `choose_storage`.
    """
    names = datasets.names_of(episodes, length, sensors, with_actions, with_reward)
    mesh = placement.mesh if placement.num_processes > 1 and not placement.deal_seeds else None
    chosen = choose_storage(episodes, storage, names, length, 1 if mesh is None else mesh.size)
    on_storage(chosen)
    options: dict[str, Any] = dict(length=length, sensors=sensors)
    options |= dict(with_actions=with_actions, with_reward=with_reward)
    if chosen.place == "device" and mesh is not None:
        return SharedDataset.create(episodes, mesh=mesh, **options)
    if chosen.place == "device":
        room = room_bytes // datasets.row_bytes(episodes, names)
        return SequenceDataset.create(episodes, room=room, **options)
    return StreamedDataset.create(episodes, images_on_disk=chosen.place == "disk", **options)


def _size(num_bytes: int) -> str:
    return f"{num_bytes / 2**30:.2f} GiB" if num_bytes >= 2**28 else f"{num_bytes / 2**20:.1f} MiB"
