"""The commands that use the folder of a run: `jaxbp predict`, `jaxbp evaluate`, `jaxbp report`.

| row | place | what lives there |
|---|---|---|
| 0 | `predict` | what the network says of new examples |
| 1 | `evaluate`, `report` | how good it is; a page about the run |
"""
