"""How a layer or a loss is made: a name in one table and arguments, as JSON holds them.

A record of functions cannot be written to a file, but the call that makes it can. `register` gives a layer,
a loss or a function a name. What a registered function makes remembers its arguments, and `to_dict` writes
the calls down:

    {"format": 1, "make": "chain", "with": {"parts": [{"make": "dense", "with": {"d_in": 2, ...}}, ...]}}

An object of a description is one of

| object | what it stands for |
|---|---|
| `{"name": n}` | what is registered as n |
| `{"make": n, "with": {...}}` | what it makes of these arguments |
| `{"array": [...], "dtype": d}`, `{"dtype": d}` | an array, a dtype |
| `{"dict": {...}}` | a dict of texts to such values |

`from_dict` calls what is in the table and nothing else, so that no description runs code of its own.
"""

from jaxbp.recipes.reading import from_dict as from_dict
from jaxbp.recipes.table import Recipe as Recipe
from jaxbp.recipes.table import own as own
from jaxbp.recipes.table import register as register
from jaxbp.recipes.writing import to_dict as to_dict
