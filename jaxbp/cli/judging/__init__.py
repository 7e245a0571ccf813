"""The commands that judge the cases of a module: `jaxbp check`, `jaxbp diagnose`.

| row | place | what lives there |
|---|---|---|
| 0 | `formats` | what was found, as text, JSON, Markdown, notes on GitHub, JUnit's XML |
| 1 | `targets` | cases by their names; what is printed of them, and the exit status |
| 2 | `check`, `diagnose` | what each of the two says of a case |
"""
