"""The values inside a jaxpr: seen and moved at any depth, named, and searched for what is not finite.

| row | file | what it holds |
|---|---|---|
| 0 | `kept` | what JAX keeps of a remat and of a shard_map |
| 1 | `places` | values at any depth, seen and moved |
| 0 | `user_lines` | the user's line of an operation, and the function called there |
| 0 | `traps` | ways to lose a number, by name |
| 2 | `axes` | where each axis of each value comes from |
| 2 | `flows` | which inputs have a way to the outputs, and whether it is the derivative's |
| 2 | `labels` | names for values: the parameter, the function, the user's line |
| 3 | `nonfinite` | the operation that makes the first NaN or infinity, described |
| 4 | `search` | which one it is |
"""
