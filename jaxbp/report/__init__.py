"""What a person looks at."""

from jaxbp.report import plots as plots
from jaxbp.report.plots import plot_activations as plot_activations
from jaxbp.report.plots import plot_boundary as plot_boundary
from jaxbp.report.plots import plot_deltas as plot_deltas
from jaxbp.report.plots import plot_evaluation as plot_evaluation
from jaxbp.report.plots import plot_history as plot_history
from jaxbp.report.plots import plot_images as plot_images
from jaxbp.report.plots import plot_jacobians as plot_jacobians
from jaxbp.report.plots import plot_network as plot_network
from jaxbp.report.plots import plot_spectra as plot_spectra
from jaxbp.report.plots import plot_sweep as plot_sweep
from jaxbp.report.watching import Watch as Watch
from jaxbp.report.watching import watch as watch
