"""The lecture's steps for one example, as formulas.

| row | place | what it holds |
|---|---|---|
| 0 | `lines` | what a step is made of |
| 1 | `lookup` | steps 1 and 4 of what takes rows of a table |
| 2 | `forward` | step 1, for each kind of place |
| 1 | `parts` | what a loss is, for steps 2 and 3 |
| 2 | `each_place` | the lines of a loss at each place of a sequence |
| 3 | `outputs` | steps 2 and 3, for each loss |
| 2 | `backward` | step 4, for each kind of place |
| 4 | `lecture` | all of them in their order, and step 5 |
"""
