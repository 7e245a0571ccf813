"""`watch`: a callback of `fit` that looks at the flow through a network while it trains.

| row | place | what lives there |
|---|---|---|
| 0 | `looks` | what was seen, as rows of a table and as text with sparklines |
| 1 | `picture` | the same drawn |
| 2 | `callback` | `watch` |
"""

from jaxbp.report.watching.callback import Watch as Watch
from jaxbp.report.watching.callback import watch as watch
