"""The command `jaxbp train`.

| row | place | what lives there |
|---|---|---|
| 0 | `columns` | what each column of a table was taken for |
| 0 | `spreads` | columns of inputs whose scales differ too much |
| 0 | `run` | the folder of a run |
| 1 | `train` | the command |
"""
