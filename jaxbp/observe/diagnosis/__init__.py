"""What is wrong with the flow of one batch: measured once, then judged by rules, a function each.

| row | file | what it holds |
|---|---|---|
| 0 | `measured` | every value and delta of one pass, and where values come from |
| 0 | `record` | the closed list of findings, and the record of a diagnosis |
| 1 | `softmax` | normalizations exp / sum exp, however they are written |
| 1 | `inputs`, `graph` | findings in the batch; in the ways from parameters to the loss |
| 2 | `layers`, `loss`, `normalization` | in the layers; before the loss; in normalizations |
| 3 | `diagnose` | all of them, ordered by cause |
"""
