"""The values inside a jaxpr: seen and moved at any depth, named, and searched for what is not finite.

| row | file | what it holds |
|---|---|---|
| 0 | `places` | values at any depth, seen and moved |
| 0 | `user_lines` | the user's line of an operation, and the function called there |
| 0 | `traps` | ways to lose a number, by name |
| 1 | `axes` | where each axis of each value comes from |
| 1 | `flows` | which inputs have a way to the outputs, and whether it is the derivative's |
| 1 | `labels` | names for values: the parameter, the function, the user's line |
| 2 | `nonfinite` | the operation that makes the first NaN or infinity, described |
| 3 | `search` | which one it is |
"""
