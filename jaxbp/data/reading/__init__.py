"""Files read strictly, in bounded memory.

| row | file | what it holds |
|---|---|---|
| 0 | `files` | a file before it is read: that it is there, what it is, how large it may be |
| 1 | `rows` | a text file as rows of cells |
| 1 | `readers` | IDX, .npy and .npz files |
| 2 | `faults` | what is wrong with a table, once for each column |
| 2 | `pairs` | which arrays of an .npz file are the inputs and which the labels |
| 3 | `csv` | tables of numbers as text |
"""
