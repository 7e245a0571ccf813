"""The lecture's steps for one example, as formulas.

| row | place | what it holds |
|---|---|---|
| 0 | `lines` | what a step is made of |
| 1 | `forward` | step 1, for each kind of place |
| 1 | `outputs` | steps 2 and 3, for each loss |
| 1 | `backward` | step 4, for each kind of place |
| 2 | `lecture` | all of them in their order, and step 5 |
"""
