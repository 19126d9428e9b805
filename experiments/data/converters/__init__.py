"""Other people's data as episodes: one module per format, each with a function `episodes(config)`.

It yields (path below the target, function that makes the episode), so that what is there already is not made again.
A new format is one such module and one line in `experiments/data/convert.py`. The other way round it is a function
`export(paths, target, fps)` and a line in `experiments/data/dataset.py`.
"""
