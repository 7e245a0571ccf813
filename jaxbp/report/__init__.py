"""What a person looks at."""

from jaxbp.report.plots import plot_evaluation as plot_evaluation
from jaxbp.report.plots import plot_history as plot_history
from jaxbp.report.plots import plot_sweep as plot_sweep
from jaxbp.report.watching import Watch as Watch
from jaxbp.report.watching import watch as watch
