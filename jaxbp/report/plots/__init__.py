"""Pictures, by matplotlib: each function returns its figure, and writes it where it is given a path.

They can be read in grey: signs by colors from dark to bright, lines by their dashes and markers.

| row | file | what it holds |
|---|---|---|
| 0 | `figures` | a figure, a heat map with its color bar, the path of a picture |
| 1 | `training` | learning curves, sweeps, confusion matrices |
| 1 | `layers` | activations and slopes, deltas by layer, weights and inputs as images |
| 1 | `boundary` | what a network makes of a plane |
| 1 | `jacobians` | the factors of a chain, and their singular values |
| 1 | `network` | the units with values forward and deltas back |
"""

from jaxbp.report.plots.boundary import plot_boundary as plot_boundary
from jaxbp.report.plots.jacobians import plot_jacobians as plot_jacobians
from jaxbp.report.plots.jacobians import plot_spectra as plot_spectra
from jaxbp.report.plots.layers import plot_activations as plot_activations
from jaxbp.report.plots.layers import plot_deltas as plot_deltas
from jaxbp.report.plots.layers import plot_images as plot_images
from jaxbp.report.plots.network import plot_network as plot_network
from jaxbp.report.plots.training import plot_evaluation as plot_evaluation
from jaxbp.report.plots.training import plot_history as plot_history
from jaxbp.report.plots.training import plot_sweep as plot_sweep
