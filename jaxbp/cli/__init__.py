"""The command line.

| row | place | what lives there |
|---|---|---|
| 0 | `console`, `settings` | output on any console; the flags of the commands, and their ranges |
| 1 | `flags` | errors in the words of the flags |
| 1 | `judging/` | `jaxbp check`, `jaxbp diagnose` |
| 1 | `training/` | `jaxbp train` |
| 2 | `trained/` | `jaxbp predict`, `jaxbp evaluate`, `jaxbp report` |
| 2 | `experiments` | `jaxbp experiments` |
| 3 | `main` | which command, what went wrong in one line, and the exit status |
"""

from jaxbp.cli.main import main as main
from jaxbp.cli.settings import Check as Check
from jaxbp.cli.settings import Diagnose as Diagnose
from jaxbp.cli.settings import Train as Train
