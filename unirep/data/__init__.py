"""Random-access sources, the sample contract and the batch pipeline.

NumPy and grain only. Read `contract`, then one source (`synthetic`, `digits`
or `arrays`), then `pipeline`.
"""
