"""What is in TensorBoard files, read without TensorBoard."""


def raw_events(folder):
    """Events of a TensorBoard file: records of length (8 bytes), checksum (4), event, checksum (4)."""
    from tensorboardX.proto.event_pb2 import Event

    (path,) = folder.glob("events.*")
    content = path.read_bytes()
    while content:
        size = int.from_bytes(content[:8], "little")
        yield Event.FromString(content[12 : 12 + size])
        content = content[16 + size :]


def read_events(folder):
    """{tag: (step, scalar or encoded image)}"""
    events = {}
    for event in raw_events(folder):
        for value in event.summary.value:
            content = value.image.encoded_image_string if value.HasField("image") else value.simple_value
            events[value.tag] = (event.step, content)
    return events


def read_hparams(folder):
    """({key: value} of the config, [tags of the scores]) of the tab HParams."""
    from tensorboardX.proto.plugin_hparams_pb2 import HParamsPluginData

    values = [value for event in raw_events(folder) for value in event.summary.value]
    found = [
        HParamsPluginData.FromString(v.metadata.plugin_data.content) for v in values if "hparams" in v.tag
    ]
    (start,) = (data.session_start_info for data in found if data.HasField("session_start_info"))
    (scores,) = (data.experiment for data in found if data.HasField("experiment"))
    settings = {key: getattr(value, value.WhichOneof("kind")) for key, value in start.hparams.items()}
    return settings, [info.name.tag for info in scores.metric_infos]
