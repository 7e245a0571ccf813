"""Formulas as trees: one tree is evaluated and written in every notation.

| row | place | what it holds |
|---|---|---|
| 0 | `trees` | trees, their values, and the tree of a formula in Python |
| 0 | `notations` | the pieces of a formula as text, LaTeX and MathML |
| 1 | `writer` | a tree in a notation, in symbols or with numbers |
"""
