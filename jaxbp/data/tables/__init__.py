"""Tables as features: what each column is, and the numbers it is scaled by.

| row | file | what it holds |
|---|---|---|
| 0 | `cells` | what one cell says |
| 0 | `columns` | the kinds of columns, and what each becomes |
| 1 | `scaled` | whether numbers look like features that were scaled already |
| 1 | `survey` | what the columns are, told from all of their cells |
| 1 | `scaled` | whether numbers given as raw columns look like features |
| 2 | `table` | typed columns, from a file, a frame or an array |
| 3 | `schema` | what a table means to a network, as strict JSON |
| 4 | `fitting` | from a table to its schema, by scikit-learn |
"""
