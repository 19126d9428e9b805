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
