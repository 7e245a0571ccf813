"""A run that can be used again: kept in a folder, read in another process, predicting and evaluated.

| row | place | what it holds |
|---|---|---|
| 0 | `pixels`, `sources` | raw pixels as a network takes them; examples from a file, a frame, an array |
| 0 | `outputs`, `answers` | what a network says of many examples, in parts; what that means |
| 0 | `evaluation` | how good predictions are |
| 1 | `trained` | a network with its parameters and all that its predictions need |
| 2 | `folder` | how it is kept |
"""

from jaxbp.runs.evaluation import Evaluation as Evaluation
from jaxbp.runs.folder import load_run as load_run
from jaxbp.runs.folder import save_run as save_run
from jaxbp.runs.pixels import Pixels as Pixels
from jaxbp.runs.trained import Trained as Trained
