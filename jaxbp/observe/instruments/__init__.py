"""Instruments: what of a model is measured while it trains, each a pure function for any model.

| row | file | what it holds |
|---|---|---|
| 0 | `statistics` | the norm, the zeros and the histogram of an array |
| 1 | `flow`, `updates` | the statistics of every value and delta; of what a step changes |
| 1 | `spectrum`, `noise` | singular values of a Jacobian; the gradient noise scale |
| 2 | `learned` | why nothing was learned |
"""
