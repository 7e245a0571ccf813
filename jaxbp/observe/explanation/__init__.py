"""Back-propagation on paper: `explain` and what it returns.

| row | place | what it holds |
|---|---|---|
| 0 | `places` | a network as a list of places: which map stands where, and what its quantities are called |
| 0 | `formulas/` | formulas as trees: how they are evaluated, and written as text, LaTeX and MathML |
| 0 | `inputs` | what a person types, as float64 arrays, or a sentence |
| 1 | `steps/` | the lecture's steps as formulas, without numbers |
| 1 | `network` | from a network and its parameters to places |
| 1 | `json_format` | the format of NET.json |
| 2 | `json_reading` | a network from NET.json |
| 2 | `picture` | the network as SVG |
| 2 | `notes` | what has to be known to read the steps |
| 2 | `walk` | from a network and its parameters to numbers |
| 2 | `two_ways` | the numbers of the direct way, and how far they are from the matrices' |
| 3 | `record` | `Explanation`: the steps and their numbers, and how they print |
| 4 | `explain` | all of them, for any network |

Only `explain`, `inputs`, `network`, `walk` and `json_reading` need JAX.
"""
