"""jaxbp: back-propagation you can see, prove and train with."""

from jaxbp import (
    data,
    jacobians,
    layers,
    observe,
    operators,
    report,
    runs,
    train,
    units,
    verify,
)
from jaxbp.backprop import (
    ValueAndGrad,
    backprop,
    backward,
    forward,
    value_and_grad,
    with_hand_vjp,
)
from jaxbp.data import (
    Batches,
    Dataset,
    load,
    split,
)
from jaxbp.jacobians import (
    JacobianChain,
    ParameterJacobian,
    PerExample,
    jacobian_chain,
    parameter_jacobian,
    per_example,
)
from jaxbp.layers import (
    Layer,
    chain,
    count_parameters,
    dense,
    dropout,
    elementwise,
    flatten,
    gelu,
    gelu_exact,
    identity,
    initializers,
    leaky_relu,
    make_leaky_relu,
    mixed_precision,
    mlp,
    relu,
    residual,
    sigmoid,
    silu,
    softmax,
    softplus,
    tanh,
)
from jaxbp.losses import (
    Loss,
    binary_cross_entropy,
    binary_cross_entropy_on_probabilities,
    make_softmax_cross_entropy,
    softmax_cross_entropy,
    squared_error,
)
from jaxbp.observe import (
    explain,
)
from jaxbp.recipes import (
    register,
)
from jaxbp.runs import (
    Evaluation,
    Pixels,
    Trained,
    load_run,
    save_run,
)
from jaxbp.trace import (
    Backprop,
    Deltas,
    Trace,
)
from jaxbp.train import (
    Checkpoints,
    DivergenceError,
    EarlyStopping,
    Result,
    Sweep,
    connect,
    fit,
    make_evaluate,
    sweep,
)
from jaxbp.units import (
    LinearUnitFit,
    PerceptronFit,
    fit_linear_unit,
    fit_perceptron,
)
from jaxbp.verify import (
    Finding,
    NetworkReport,
    Report,
    assert_rules,
    check,
    check_jvp,
    check_network,
    check_vjp,
)

__version__ = "0.1.0"

__all__ = [  # noqa: RUF022, in the order in which one meets them
    # networks
    "Layer",
    "chain",
    "count_parameters",
    "dense",
    "dropout",
    "elementwise",
    "flatten",
    "gelu",
    "gelu_exact",
    "identity",
    "initializers",
    "leaky_relu",
    "make_leaky_relu",
    "mixed_precision",
    "mlp",
    "register",
    "relu",
    "residual",
    "sigmoid",
    "silu",
    "softmax",
    "softplus",
    "tanh",
    # losses
    "Loss",
    "binary_cross_entropy",
    "binary_cross_entropy_on_probabilities",
    "make_softmax_cross_entropy",
    "softmax_cross_entropy",
    "squared_error",
    # back-propagation
    "Backprop",
    "Deltas",
    "Trace",
    "ValueAndGrad",
    "backprop",
    "backward",
    "explain",
    "forward",
    "value_and_grad",
    "with_hand_vjp",
    # data and training
    "Checkpoints",
    "Batches",
    "Dataset",
    "DivergenceError",
    "EarlyStopping",
    "Result",
    "Sweep",
    "connect",
    "fit",
    "load",
    "make_evaluate",
    "split",
    "sweep",
    # a run that is used again
    "Evaluation",
    "Pixels",
    "Trained",
    "load_run",
    "save_run",
    # the units of the lecture
    "LinearUnitFit",
    "PerceptronFit",
    "fit_linear_unit",
    "fit_perceptron",
    # Jacobians
    "JacobianChain",
    "ParameterJacobian",
    "PerExample",
    "jacobian_chain",
    "parameter_jacobian",
    "per_example",
    # verification
    "Finding",
    "NetworkReport",
    "Report",
    "assert_rules",
    "check",
    "check_jvp",
    "check_network",
    "check_vjp",
    # rooms
    "data",
    "jacobians",
    "layers",
    "observe",
    "operators",
    "report",
    "runs",
    "train",
    "units",
    "verify",
]
