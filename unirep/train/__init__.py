"""Training: step, optimizer, loop, log, and checkpoints.

A run is made of a `state.Training` (method and optimizer), a `TrainState` that
`step.build`'s program moves, and `loop.run`, which feeds it batches and saves.
"""
