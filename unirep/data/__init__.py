"""Random-access sources, the sample contract and the batch pipeline.

NumPy and grain only. Read `sample`, then one source (`generated.synthetic`
or `arrays`), then `pipeline`.
"""
