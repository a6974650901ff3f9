"""The same need through what a user would pick instead (docs/peers.md).

`work`, `driver` and the modules of the systems run in the peers' own interpreter, which has no trio and nothing of swarmd
but these files; the rest runs in the benchmark.
"""
