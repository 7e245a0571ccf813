"""What is wrong with the flow of one batch: measured once, then judged by rules, a function each.

| row | file | what it holds |
|---|---|---|
| 0 | `measured` | every value and delta of one pass, and where values come from |
| 0 | `record` | the closed list of findings, and the record of a diagnosis |
| 1 | `softmax` | normalizations exp / sum exp, however they are written |
| 2 | `activations` | activations, however they are written |
| 2 | `graph` | findings in the ways from parameters to the loss |
| 3 | `inputs` | in the batch |
| 4 | `units`, `loss`, `normalization` | in the units of a layer; before the loss; in normalizations |
| 4 | `examples` | in what single examples contribute |
| 5 | `layers` | in the deltas from layer to layer |
| 6 | `diagnose` | all of them, ordered by cause |
"""
