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

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp

from jaxbp import arguments, errors
from jaxbp.jaxprs.compile_once import at_once
from jaxbp.layers.activations import identity
from jaxbp.layers.composition import assert_states, numbered, split
from jaxbp.layers.formulas import formulas_of
from jaxbp.layers.layer import NO_LAYER, Layer, assert_params, handed, rows, taken
from jaxbp.layers.residual import residual
from jaxbp.layers.sequences.tied import added, opened
from jaxbp.losses import Loss
from jaxbp.losses.chunks import loss_and_gradient, parted
from jaxbp.trace import Backprop, Deltas, Formulas, Trace
from jaxbp.typing import Array, Given, Params, Random, Rows, Saved, Scalar, Targets


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
    _assert_logits("backprop", net, loss)
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


@dataclass(frozen=True)
class ValueAndGrad:
    """The function (params, x, y) -> (loss, delta_params) that `value_and_grad` makes.

    Args:
        net: the network.
        loss: the loss.
        measures: ``(f, y, weight, loss) -> number`` by name: it then returns
            ((loss, {name: number}), delta_params), of the same outputs f.
        has_state: whether it takes the network's state as a fourth argument and returns
            ((loss, state), delta_params), or ((loss, (state, {name: number})), delta_params).
        chunks: in how many parts the last layer and the loss are taken.
    """

    net: Layer
    loss: Loss
    measures: tuple[tuple[str, Callable[..., Scalar]], ...] = field(default=(), repr=False)
    has_state: bool = False
    chunks: int = 1

    def __post_init__(self) -> None:
        _assert_logits("value_and_grad", self.net, self.loss)
        if arguments.flag("value_and_grad", "has_state", self.has_state) and self.net.state is None:
            expected = "a network with state, such as one with batch_norm"
            raise ValueError(errors.message("value_and_grad", expected, self.net.name, "has_state=False"))
        if arguments.whole("value_and_grad", "chunks", self.chunks, low=1) > 1:
            parted(self.net)
            if self.measures:
                expected = "chunks=1 where metrics of the training batches are asked for"
                got, hint = f"chunks={self.chunks}", "the outputs are never whole; evaluate takes metrics"
                raise ValueError(errors.message("value_and_grad", expected, got, hint))

    def __call__(
        self,
        params: Params,
        x: Array,
        y: Targets,
        state: Any = None,
        *,
        key: Random | None = None,
        weight: Array | None = None,
        given: Given | None = None,
    ) -> tuple[Any, Params]:
        """The loss and its gradient; a key turns dropout on, weights of the examples go to the loss."""
        params, x, key = taken("value_and_grad", self.net, params, x, key, given)
        if state is not None and not self.has_state:
            hint = "value_and_grad(net, loss, has_state=True), or given={'state': state} for evaluation"
            got = "a fourth argument"
            raise TypeError(errors.message("value_and_grad", "(params, x, y)", got, hint))
        given = (given or {}) | self._of_training(state)
        named = {"key": key, **handed(self.net, given)}
        if self.chunks > 1:
            value, delta_params, saved = loss_and_gradient(
                self.net, self.loss, self.chunks, params, x, y, weight, named
            )
        else:
            f, saved = self.net.forward(params, x, **named)
            with jax.named_scope("loss"), errors.within("value_and_grad"):
                value, delta = self.loss(f, y, weight), self.loss.delta(f, y, weight)
            delta_params, _ = self.net.backward(params, saved, delta)
        aux: list[Any] = [self.net.state(saved)] if self.has_state and self.net.state else []
        if self.measures:
            aux.append({name: of(f, y, weight, self.loss) for name, of in self.measures})
        return ((value, aux[0] if len(aux) == 1 else tuple(aux)) if aux else value), delta_params

    def _of_training(self, state: Any) -> Given:
        """What the layers are given beside the rest: a state that the batch is learned from."""
        training = self.has_state and "training" in self.net.given
        return {"state": state} | ({"training": True} if training else {}) if self.has_state else {}

    @property
    def carries(self) -> bool:
        """Whether the network has state, which passes from batch to batch."""
        return self.net.state is not None

    def carrying(self, params: Params, x: Array) -> tuple["ValueAndGrad", Any]:
        """This function with has_state, and the state that there is before the first batch: zeros.

        Args:
            params: of net.
            x: the first batch.
        """
        grad_fn = replace(self, has_state=True)

        def left(params: Params, x: Array) -> Any:
            assert self.net.state is not None
            return self.net.state(self.net.forward(params, x, **handed(self.net, self._of_training(None)))[1])

        shapes = jax.eval_shape(left, params, x)
        return grad_fn, jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)

    def num_classes(self, params: Params, x: Array) -> int | None:
        """C, the size of the network's output, if the loss is one of classes: y must fit it."""
        params = arguments.params("value_and_grad", params)
        if not isinstance(x, jax.ShapeDtypeStruct):
            x = rows("value_and_grad", x, "x")
        return jax.eval_shape(self.net.apply, params, x).shape[-1] if self.loss.targets == "classes" else None

    def assert_targets(self, y: Targets, *, where: str = "") -> None:
        """Raise for targets that the loss does not take, while they have values: `Loss.assert_targets`."""
        self.loss.assert_targets(y, where=where)


def value_and_grad(net: Layer, loss: Loss, *, has_state: bool = False, chunks: int = 1) -> ValueAndGrad:
    """A function (params, x, y) -> (loss, delta_params), by the hand-written backward pass.

    It is called as ``jax.value_and_grad`` of the same loss and keeps only what the layers save. Without
    delta_x in its result, the compiler drops the first layer's product for it under `jax.jit`.

    Args:
        net: any layer.
        loss: says mean or sum over the examples.
        has_state: for a network with state: ``grad_fn(params, x, y, state)`` learns from the batch and
            returns ((loss, state), delta_params), the state for the next call; None, or zeros, is the first.
            `fit` does this by itself.
        chunks: in how many parts the last layer of a `chain` and the loss take the rows. With more than one
            the outputs are never whole, which of a text model with many ids are most of the memory. The
            last layer takes each row by itself, as `dense` does.

    Returns:
        ``grad_fn(params, x, y, *, key=None, weight=None, given=None)``; a key turns dropout on, the loss is
        that of ``weight``, (*n,), see `Loss`, and ``given`` is what layers name, see `Layer`.

    Raises:
        ValueError: for a loss on logits after a network that ends in its own softmax or sigmoid; for
            has_state with a network that has none, chunks with one that does not end in a layer with
            parameters.

    Example:
        >>> import jax, jax.numpy as jnp, jaxbp
        >>> net, x, y = jaxbp.mlp([3, 5, 2]), jnp.ones((4, 3)), jnp.array([0, 1, 1, 0])
        >>> params = net.init(jax.random.key(0))
        >>> by_hand = value_and_grad(net, jaxbp.softmax_cross_entropy)(params, x, y)
        >>> by_jax = jax.value_and_grad(lambda p: jaxbp.softmax_cross_entropy(net.apply(p, x), y))(params)
        >>> jax.tree.reduce(max, jax.tree.map(lambda u, v: float(abs(u - v).max()), by_hand, by_jax)) < 1e-7
        True

    Source: the lecture, "delta_W: used for training".
    """
    return ValueAndGrad(net, loss, has_state=has_state, chunks=chunks)


def _assert_logits(where: str, net: Layer, loss: Loss) -> None:
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
    return residual(replace(branch, forward=traced, backward=deltas_of, state=state), skip)
