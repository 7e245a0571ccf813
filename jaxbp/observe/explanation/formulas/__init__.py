"""Formulas as trees: one tree is evaluated and written in every notation.

| row | place | what it holds |
|---|---|---|
| 0 | `values` | numbers and matrices, and what each operator makes of them |
| 1 | `trees` | trees, how they are evaluated, and the tree of a formula in Python |
| 0 | `notations` | the pieces of a formula as text, LaTeX and MathML |
| 2 | `writer` | a tree in a notation, in symbols or with numbers |
"""
