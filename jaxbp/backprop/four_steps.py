"""Back-propagation, the lecture's four steps, with every a_l, f_l and every delta named.

    1. forward     f_0 = x;  a_l = W_l f_{l-1},  f_l = phi_l(a_l)                     l = 1..L
    2. output      f = f_L,  mu = S(f),  loss = -y^T log mu
    3. output delta          delta_f = delta_mu J_mu(f) = mu^T - y^T
    4. backward    delta_{a_l} = delta_{f_l} J_{f_l}(a_l)                             l = L..1
                   delta_{W_l} = delta_{a_l}^T f_{l-1}^T
                   delta_{f_{l-1}} = delta_{a_l} W_l

Every delta here is a gradient, d loss / d v. The *error* of the older notation, delta^(l) = (y - f) f'
with the update W += eta delta x^T, is its negative: error_l = -delta_{a_l}.
"""

from dataclasses import replace

from jaxbp import arguments, errors
from jaxbp.jaxprs.compile_once import at_once
from jaxbp.layers.activations import identity
from jaxbp.layers.composition.chain import assert_states, numbered, split
from jaxbp.layers.composition.residual import residual
from jaxbp.layers.composition.tied import added, opened
from jaxbp.layers.entrance import NO_LAYER, taken
from jaxbp.layers.formulas import formulas_of
from jaxbp.layers.layer import Layer, assert_params, handed
from jaxbp.losses import Loss
from jaxbp.trace import Backprop, Deltas, Formulas, Trace
from jaxbp.typing import Array, Given, Params, Random, Rows, Saved, Targets


def forward(
    net: Layer, params: Params, x: Array, *, key: Random | None = None, given: Given | None = None
) -> Trace:
    """Step 1: every a_l and f_l.

    Args:
        net: any layer; a `chain` has its layers numbered as in the lecture, any other is L = 1.
        params: its parameters.
        x: (*n, d_0).
        key: for dropout; without it dropout is the identity.
        given: masks, positions, state: what layers of the net name, see `Layer`.

    Raises:
        ValueError: for a ``given`` that no layer names, or the state of another network.

    Example: x = (1, 0) through one sigmoid unit.
        >>> import jax.numpy as jnp, jaxbp
        >>> net = jaxbp.mlp([2, 1], output=jaxbp.sigmoid)
        >>> params = {1: {"W": jnp.array([[1.0, 2.0]]), "b": jnp.zeros(1)}}
        >>> trace = forward(net, params, jnp.array([1.0, 0.0]))
        >>> trace.a[1], trace.f[1]
        (Array([1.], dtype=float32), Array([0.7310586], dtype=float32))

    Source: the lecture, forward propagation.
    """
    params, x, key = taken("forward", net, params, x, key, given)
    return _forward(net, params, x, key, given)


def _forward(net: Layer, params: Params, x: Array, key: Random | None, given: Given | None) -> Trace:
    """`forward` of what was let in."""
    if net.tie is not None:
        return _forward(net.parts[0], opened(params, net.tie), x, key, given)
    parts, params = _parts(net, params)
    chained = net.form == "product"
    if chained:
        assert_states(net.name, given, net.given, [l for l, part in numbered(parts) if part.state])
    f, a, blocks, states, saved = {0: x}, {}, {}, {}, []
    for (l, part), k in zip(numbered(parts), split(key, len(parts)), strict=True):
        named = handed(part, given, l if chained else None)
        with errors.within(f"layer {l}"):
            if part.has_params:
                a[l], s = _open(part).forward(params[l], f[l - 1], key=k, **named)  # a_l = W_l f_{l-1}
                f[l] = a[l]
            else:
                f[l], s = part.forward({}, f[l], key=k, **named)  # f_l = phi_l(a_l)
        if _is_block(part):
            blocks[l] = s[0]
        if (state := _open(part).state) is not None:
            states[l] = state(s)
        saved.append(s)
    return Trace(f, a, blocks, tuple(saved), (states if chained else states[1]) if states else None)


def backward(net: Layer, params: Params, trace: Trace, delta_f: Rows) -> Deltas:
    """Step 4: every delta_{f_l}, delta_{a_l}, delta_{W_l}, delta_{b_l}, and delta_x.

    Args:
        net: the network of the trace.
        params: the parameters of the trace.
        trace: from `forward`.
        delta_f: delta_{f_L}, the shape of trace.out; ``loss.delta(trace.out, y)``, or any row to pull back.

    Raises:
        ValueError: for a delta_f that is not of the output's shape.

    Source: the lecture, back-propagation step 4.
    """
    arguments.instance("backward", "net", net, Layer, NO_LAYER)
    arguments.instance("backward", "trace", trace, Trace, "forward(net, params, x) makes it")
    params = arguments.params("backward", params)
    delta_f = arguments.array("backward", "delta_f", delta_f, floats=True)
    if delta_f.shape != trace.out.shape:
        hint = "was the trace made by another network?"
        expected = f"delta_f of the output's shape {trace.out.shape}"
        raise ValueError(errors.message("backward", expected, f"{delta_f.shape}", hint))
    if net.tie is not None:
        deltas = backward(net.parts[0], opened(params, net.tie), trace, delta_f)
        return deltas._replace(params=added(deltas.params, net.tie))
    parts, params = _parts(net, params)
    if len(parts) != len(trace.saved):
        got, hint = f"one of {len(trace.saved)}", "was it made by another network?"
        raise ValueError(errors.message("backward", f"a trace of {len(parts)} parts", got, hint))
    delta, deltas = delta_f, Deltas(f={max(trace.f): delta_f}, a={}, params={}, x=delta_f, blocks={})
    for (l, part), s in reversed(list(zip(numbered(parts), trace.saved, strict=True))):
        if part.has_params:
            deltas.a[l] = delta
            deltas.params[l], delta = _open(part).backward(params[l], s, delta)  # delta_{a_l}^T f_{l-1}^T
            if delta is not None:  # the first layer may have taken integers
                deltas.f[l - 1] = delta  # delta_{a_l} W_l
        else:
            _, delta = part.backward({}, s, delta)  # delta_{f_l} J_{f_l}(a_l)
        if _is_block(part):
            deltas.blocks[l] = deltas.params[l]["branch"]
            deltas.params[l]["branch"] = deltas.blocks[l].params
    return deltas._replace(x=delta, params=_params_like(net, deltas.params))


def backprop(
    net: Layer,
    loss: Loss,
    params: Params,
    x: Array,
    y: Targets,
    *,
    key: Random | None = None,
    given: Given | None = None,
) -> Backprop:
    """The four steps of back-propagation: loss, mu, trace and deltas.

    Works under `jax.jit` and `jax.vmap`, for a batch or one example. To train, use `value_and_grad`.

    Args:
        net: any layer.
        loss: says mean or sum over the examples.
        params: of net.
        x: (*n, d_0).
        y: targets as the loss takes them.
        key: for dropout; without it dropout is the identity.
        given: masks, positions, state: what layers of the net name, see `Layer`.

    Raises:
        TypeError: for what is no Layer, Loss, array or key, or parameters that are no floats.
        ValueError: for a loss on logits after a network that ends in its own softmax or sigmoid; for a
            ``given`` that no layer names, or the state of another network.

    Returns:
        ``bp.loss``, ``bp.mu``, ``bp.trace.a[l]``, ``bp.trace.f[l]``, ``bp.deltas.a[l]``, ``bp.deltas.f[l]``,
        ``bp.deltas.params[l]["W"]`` and ``bp.deltas.x``. ``bp.table(limit=, digits=)`` prints more of it.

    Example: logits 0 for two classes, so mu = (1/2, 1/2) and delta_f = mu - y.
        >>> import jax.numpy as jnp, jaxbp
        >>> params = {1: {"W": jnp.zeros((2, 3)), "b": jnp.zeros(2)}}
        >>> x, y = jnp.array([1.0, 2.0, 3.0]), jnp.array(0)
        >>> backprop(jaxbp.mlp([3, 2]), jaxbp.softmax_cross_entropy, params, x, y)
                   is                             shape   value
        f_0        x                              (3,)    1 2 3
        a_1        W_1 f_0 + b_1                  (2,)    0 0
        f_1        a_1                            (2,)    0 0
        mu         softmax(f_1)                   (2,)    0.5 0.5
        loss       softmax_cross_entropy(f_1, y)  ()      0.6931
        delta_f_1  d loss / d f_1                 (2,)    -0.5 0.5
        delta_a_1  delta_f_1                      (2,)    -0.5 0.5
        delta_W_1  delta_a_1^T f_0^T              (2, 3)  -0.5  -1  -1.5
                                                           0.5   1   1.5
        delta_b_1  delta_a_1                      (2,)    -0.5 0.5
        delta_x    delta_a_1 W_1                  (3,)    0 0 0

    Source: the lecture, "the four steps".
    """
    assert_logits("backprop", net, loss)
    params, x, key = taken("backprop", net, params, x, key, given)
    if given or isinstance(y, tuple | dict):  # words and flags, and what a loss of one's own takes
        return _backprop(net, loss, params, x, y, key, given)
    loss.assert_targets(y, where=f"backprop: {loss.name}", before=False)  # while they have values
    y = arguments.array("backprop", "y", y, fill=-1 if loss.targets == "classes" else None)
    bp: Backprop = at_once(_backprop, (net, loss), (params, x, y, key, given))
    return bp


def _backprop(
    net: Layer, loss: Loss, params: Params, x: Array, y: Targets, key: Random | None, given: Given | None
) -> Backprop:
    """The four steps of what was let in."""
    trace = _forward(net, params, x, key, given)
    f = trace.out
    with errors.within("backprop"):
        value, delta_f = loss(f, y), loss.delta(f, y)
    deltas = backward(net, params, trace, delta_f)
    inner = (net, params) if net.tie is None else (net.parts[0], opened(params, net.tie))
    formulas = Formulas(formulas_of(*_parts(*inner), loss.name, loss.mu))
    return Backprop(value, loss.mu(f), trace, deltas, formulas)


def assert_logits(where: str, net: Layer, loss: Loss) -> None:
    """A loss on logits has its own mu; a network that ends in the same function would apply it twice."""
    arguments.instance(where, "net", net, Layer, NO_LAYER)
    arguments.instance(where, "loss", loss, Loss, "e.g. jaxbp.squared_error, or a Loss of your own")
    # identity and dropout, whose Jacobian is its, pass on what is before them
    parts = [part for part in net.parts or (net,) if part.jacobian is not identity.jacobian]
    if parts and parts[-1].function is loss.mu:
        expected = f"logits, for it applies {getattr(loss.mu, '__name__', 'it')} itself"
        hint = "leave it out, the network's output is the logits"
        raise ValueError(
            errors.message(loss.name, expected, f"a network that ends in {parts[-1].name}", hint)
        )


def _parts(net: Layer, params: Params) -> tuple[tuple[Layer, ...], Params]:
    """The parts of a chain and their parameters by l; any other layer is a chain of one."""
    if net.form != "product":
        return (net,), {1: params}
    assert_params(net.name, params, range(1, sum(part.has_params for part in net.parts) + 1))
    return net.parts, params


def _params_like(net: Layer, delta_params: Params) -> Params:
    """The inverse of `_parts` on parameters."""
    return delta_params if net.form == "product" else delta_params.get(1, {})


def _is_block(part: Layer) -> bool:
    return part.form == "sum" and part.parts[0].has_params


def _open(part: Layer) -> Layer:
    """A residual block whose branch saves its Trace and returns its Deltas; others as they are."""
    if not _is_block(part):
        return part
    branch, skip = part.parts

    def traced(
        params: Params, f: Array, *, key: Random | None = None, given: Given | None = None
    ) -> tuple[Array, Trace]:
        trace = _forward(branch, params, f, key, given)
        return trace.out, trace

    def deltas_of(params: Params, trace: Saved, delta_out: Array) -> tuple[Params, Array]:
        deltas = backward(branch, params, trace, delta_out)
        return deltas, deltas.x

    state = branch.state and (lambda trace: trace.state)
    # It composes, also where the branch is one layer: what it returns is more than that layer's gradients.
    return residual(replace(branch, form="product", forward=traced, backward=deltas_of, state=state), skip)
