"""jaxbp: back-propagation you can see, prove and train with.

What it has, in the order in which one meets it; ``help(jaxbp.NAME)`` explains each.

Networks: layers with their derivative by hand, and what composes them
    Layer, attend, avg_pool1d, avg_pool2d, batch_norm, chain, char_rnn, conv1d, conv2d, count_parameters,
    dense, depthwise1d, depthwise2d, dropout, elementwise, elman, embedding, fixed, flatten, gate, gelu,
    gelu_exact, global_avg_pool, gpt, group_norm, gru, identity, initializers, layer_norm, leaky_relu,
    lenet, lstm, make_leaky_relu, max_pool1d, max_pool2d, mixed_precision, mlp, register, relu, repeat,
    residual, resnet, rms_norm, sigmoid, silu, softmax, softplus, squeeze_scale, summary, tanh, tied

Losses: a value with its delta beside it
    Loss, binary_cross_entropy, binary_cross_entropy_on_probabilities, make_softmax_cross_entropy,
    softmax_cross_entropy, squared_error

Back-propagation: the four steps, every quantity by its symbol, every formula with its numbers
    Backprop, Deltas, Explanation, Printed, Trace, ValueAndGrad, backprop, backward, explain, forward,
    value_and_grad, with_hand_vjp

Data and training: whole epochs as one compiled program, of any gradient function
    Batches, Checkpoints, Dataset, DivergenceError, EarlyStopping, Result, Sweep, connect, fit, load,
    make_evaluate, split, sweep

Runs: a trained network that predicts, in another process too
    Evaluation, Pixels, Trained, load_run, save_run

Units: the perceptron and the linear unit of the lecture
    LinearUnitFit, PerceptronFit, fit_linear_unit, fit_perceptron

Jacobians: the explicit chain, and what contracts a Jacobian without forming it
    JacobianChain, ParameterJacobian, PerExample, jacobian_chain, parameter_jacobian, per_example

Observation: what happens inside of any JAX function
    Cotangents, Diagnosis, Nonfinite, Watch, cotangents, diagnose, first_nonfinite, name, watch

What delta_x is for: which inputs matter, inputs that mislead a network, inputs that it likes
    adversarial, generate, saliency

Verification: is a derivative rule right
    Finding, NetworkReport, Report, assert_rules, check, check_jvp, check_network, check_vjp

Rooms: modules with more of each
    data, jacobians, layers, observe, operators, plots, report, runs, train, units, verify
"""

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
from jaxbp.backprop_check import NetworkReport, check_network
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
    attend,
    avg_pool1d,
    avg_pool2d,
    batch_norm,
    chain,
    char_rnn,
    conv1d,
    conv2d,
    count_parameters,
    dense,
    depthwise1d,
    depthwise2d,
    dropout,
    elementwise,
    elman,
    embedding,
    fixed,
    flatten,
    gate,
    gelu,
    gelu_exact,
    global_avg_pool,
    gpt,
    group_norm,
    gru,
    identity,
    initializers,
    layer_norm,
    leaky_relu,
    lenet,
    lstm,
    make_leaky_relu,
    max_pool1d,
    max_pool2d,
    mixed_precision,
    mlp,
    relu,
    repeat,
    residual,
    resnet,
    rms_norm,
    sigmoid,
    silu,
    softmax,
    softplus,
    squeeze_scale,
    summary,
    tanh,
    tied,
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
    Cotangents,
    Diagnosis,
    Explanation,
    Nonfinite,
    adversarial,
    cotangents,
    diagnose,
    explain,
    first_nonfinite,
    generate,
    name,
    saliency,
)
from jaxbp.recipes import (
    register,
)
from jaxbp.report import (
    Watch,
    plots,
    watch,
)
from jaxbp.runs import (
    Evaluation,
    Pixels,
    Trained,
    load_run,
    save_run,
)
from jaxbp.tables import (
    Printed,
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
    Report,
    assert_rules,
    check,
    check_jvp,
    check_vjp,
)

__version__ = "0.1.0"

__all__ = [  # noqa: RUF022, in the order in which one meets them
    # networks
    "Layer",
    "attend",
    "avg_pool1d",
    "avg_pool2d",
    "batch_norm",
    "chain",
    "char_rnn",
    "conv1d",
    "conv2d",
    "count_parameters",
    "dense",
    "depthwise1d",
    "depthwise2d",
    "dropout",
    "elementwise",
    "elman",
    "embedding",
    "fixed",
    "flatten",
    "gate",
    "gelu",
    "gelu_exact",
    "global_avg_pool",
    "gpt",
    "group_norm",
    "gru",
    "identity",
    "initializers",
    "layer_norm",
    "leaky_relu",
    "lenet",
    "lstm",
    "make_leaky_relu",
    "max_pool1d",
    "max_pool2d",
    "mixed_precision",
    "mlp",
    "register",
    "relu",
    "repeat",
    "residual",
    "resnet",
    "rms_norm",
    "sigmoid",
    "silu",
    "softmax",
    "softplus",
    "squeeze_scale",
    "summary",
    "tanh",
    "tied",
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
    "Explanation",
    "Printed",
    "Trace",
    "ValueAndGrad",
    "backprop",
    "backward",
    "explain",
    "forward",
    "value_and_grad",
    "with_hand_vjp",
    # data and training
    "Batches",
    "Checkpoints",
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
    # runs
    "Evaluation",
    "Pixels",
    "Trained",
    "load_run",
    "save_run",
    # units
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
    # observation
    "Cotangents",
    "Diagnosis",
    "Nonfinite",
    "Watch",
    "cotangents",
    "diagnose",
    "first_nonfinite",
    "name",
    "watch",
    # what delta_x is for
    "adversarial",
    "generate",
    "saliency",
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
    "plots",
    "report",
    "runs",
    "train",
    "units",
    "verify",
]
