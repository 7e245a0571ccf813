"""Elman's cell, the gated recurrent unit and the long short-term memory."""

import jax
import jax.numpy as jnp

from jaxbp import recipes
from jaxbp.layers.initializers import Initializer, glorot_uniform, orthogonal
from jaxbp.layers.layer import Layer
from jaxbp.layers.recurrence.through_time import Back, Carry, Cell, recurrence
from jaxbp.typing import Array


def _elman_step(u: Array, q: Array, carry: Carry) -> tuple[Carry, tuple[()]]:
    return {"h": jnp.tanh(u + q)}, ()


def _elman_back(delta: Carry, kept: tuple[()], before: Carry, after: Carry) -> Back:
    delta_a = delta["h"] * (1 - after["h"] ** 2)
    return Back(delta_a, delta_a, {})


ELMAN = Cell(1, ("h",), _elman_step, _elman_back)


@recipes.own("elman")
def elman(
    d_in: int,
    d_h: int,
    *,
    carries: bool = False,
    init: Initializer = glorot_uniform,
    recurrent_init: Initializer = orthogonal,
) -> Layer:
    """h_t = tanh(W x_t + R h_{t-1} + b), Elman's network; the output is every h_t.

    Parameters ``{"W": (h, d_in), "R": (h, h), "b": (h,)}``. Backward through time,

        delta_h,t = delta_out,t + delta_a,t+1 R;  delta_a,t = delta_h,t (1 - h_t^2)
        delta_W = sum_t delta_a,t^T x_t^T;  delta_R = sum_t delta_a,t^T h_{t-1}^T;  delta_x,t = delta_a,t W

    the lecture's chain with l read as time, and one W for all layers. Saves x and h.

    h_0 = 0. With ``carries`` it is what ``given={"state": ...}`` has, and ``layer.state(saved)`` is the last
    h, {"h": (*n, h)}, for the places that follow. The delta of h_0 is not passed on: back-propagation through
    time is truncated where a pass begins. `jaxbp.fit` then wants the data in order, row i of a batch going on
    where row i of the batch before ended, as `jaxbp.data.streams` has them; h is 0 again where the data begin
    again, and for what is evaluated.

    Its Jacobian is a `jaxbp.operators.Recurrent`, of the size of the forward pass; in a `jacobian_chain`
    ``factor.steps`` is the chain through time, J_{h_t}(h_{t-1}) = diag(1 - h_t^2) R.

    Args:
        d_in: the size of x_t.
        d_h: the size of h_t.
        carries: whether a pass goes on where an earlier one ended.
        init: the initializer of W.
        recurrent_init: the initializer of R.

    Returns:
        A layer from (*n, T, d_in) to (*n, T, d_h).

    Raises:
        TypeError: for sizes that are no whole numbers, a ``carries`` that is no flag; when applied to
            integers.
        ValueError: for sizes below 1; when applied to f, parameters or a state of other shapes.

    Example: with R = 1, what came in at the first place is seen at the second.
        >>> layer = elman(1, 1, carries=True)
        >>> params = {"W": jnp.ones((1, 1)), "R": jnp.ones((1, 1)), "b": jnp.zeros(1)}
        >>> h, saved = layer.forward(params, jnp.array([[0.5], [0.0]]))
        >>> h[:, 0], layer.state(saved)["h"]
        (Array([0.46211717, 0.431...], dtype=float32), Array([0.431...], dtype=float32))
        >>> layer.backward(params, saved, jnp.array([[0.0], [1.0]]))[1][:, 0]  # 1 - h_2^2 times 1 - h_1^2
        Array([0.639..., 0.813...], dtype=float32)

    Source: Elman 1990; Werbos 1990; Pascanu et al. 2013, arXiv 1211.5063.
    """
    return recurrence("elman", ELMAN, d_in, d_h, carries, init, recurrent_init)


def _gru_step(u: Array, q: Array, carry: Carry) -> tuple[Carry, Array]:
    (u_r, u_z, u_n), (q_r, q_z, q_n) = jnp.split(u, 3, -1), jnp.split(q, 3, -1)
    r, z = jax.nn.sigmoid(u_r + q_r), jax.nn.sigmoid(u_z + q_z)
    n = jnp.tanh(u_n + r * q_n)
    return {"h": (1 - z) * n + z * carry["h"]}, jnp.concatenate([r, z, n, q_n], -1)


def _gru_back(delta: Carry, kept: Array, before: Carry, after: Carry) -> Back:
    r, z, n, q_n = jnp.split(kept, 4, -1)
    delta_h = delta["h"]
    delta_n = delta_h * (1 - z) * (1 - n**2)
    delta_r = delta_n * q_n * r * (1 - r)
    delta_z = delta_h * (before["h"] - n) * z * (1 - z)
    u = jnp.concatenate([delta_r, delta_z, delta_n], -1)
    return Back(u, jnp.concatenate([delta_r, delta_z, delta_n * r], -1), {"h": delta_h * z})


GRU = Cell(3, ("h",), _gru_step, _gru_back, inner_bias=True)


@recipes.own("gru")
def gru(
    d_in: int,
    d_h: int,
    *,
    carries: bool = False,
    init: Initializer = glorot_uniform,
    recurrent_init: Initializer = orthogonal,
) -> Layer:
    """h_t = (1 - z) n + z h_{t-1}, the gated recurrent unit; the output is every h_t.

    With the reset gate r, the update gate z and what is new, n,

        r, z = sigma(W x_t + R h_{t-1} + b);  n = tanh(W_n x_t + b_n + r q),  q = R_n h_{t-1} + c

    the bias c inside the reset, as in PyTorch and Flax and not in Cho's. Parameters ``{"W": (3h, d_in), "R":
    (3h, h), "b": (3h,), "c": (h,)}``, gates in the order r, z, n. Backward, delta_h,t being
    delta_out,t and what comes from t + 1,

        delta_n = delta_h (1 - z)(1 - n^2);  delta_r = delta_n q r (1 - r);  delta_z = delta_h (h_{t-1} - n) z
        (1 - z) delta_h,t-1 = [delta_r, delta_z, delta_n r] R + delta_h z

    and the sums over time as in `elman`, R's with delta_n r. Saves x, h, r, z, n and q.

    h_0 = 0; with ``carries`` the state is {"h": (*n, h)}, see `elman`.

    Args:
        d_in: the size of x_t.
        d_h: the size of h_t.
        carries: whether a pass goes on where the last one ended, see `elman`.
        init: the initializer of each gate's W.
        recurrent_init: the initializer of each gate's R.

    Returns:
        A layer from (*n, T, d_in) to (*n, T, d_h).

    Raises:
        TypeError: for sizes that are no whole numbers, a ``carries`` that is no flag; when applied to
            integers.
        ValueError: for sizes below 1; when applied to f, parameters or a state of other shapes.

    Example: without weights every gate is 1/2, and half of the state is kept at each place.
        >>> layer = gru(1, 1, carries=True)
        >>> params = jax.tree.map(jnp.zeros_like, layer.init(jax.random.key(0)))
        >>> layer.apply(params, jnp.ones((2, 1)), given={"state": {"h": jnp.array([4.0])}})[:, 0]
        Array([2., 1.], dtype=float32)

    Source: Cho et al. 2014, arXiv 1406.1078; the products after the loop, Appleyard et al. 2016, arXiv
    1604.01946.
    """
    return recurrence("gru", GRU, d_in, d_h, carries, init, recurrent_init)


def _lstm_step(u: Array, q: Array, carry: Carry) -> tuple[Carry, Array]:
    a_i, a_f, a_g, a_o = jnp.split(u + q, 4, -1)
    i, f, o = jax.nn.sigmoid(a_i), jax.nn.sigmoid(a_f), jax.nn.sigmoid(a_o)
    g = jnp.tanh(a_g)
    c = f * carry["c"] + i * g
    return {"h": o * jnp.tanh(c), "c": c}, jnp.concatenate([i, f, g, o], -1)


def _lstm_back(delta: Carry, kept: Array, before: Carry, after: Carry) -> Back:
    i, f, g, o = jnp.split(kept, 4, -1)
    squashed, delta_h = jnp.tanh(after["c"]), delta["h"]
    delta_c = delta["c"] + delta_h * o * (1 - squashed**2)
    delta_a = jnp.concatenate(
        [
            delta_c * g * i * (1 - i),
            delta_c * before["c"] * f * (1 - f),
            delta_c * i * (1 - g**2),
            delta_h * squashed * o * (1 - o),
        ],
        -1,
    )
    return Back(delta_a, delta_a, {"c": delta_c * f})


LSTM = Cell(4, ("h", "c"), _lstm_step, _lstm_back, biases=(0.0, 1.0, 0.0, 0.0))


@recipes.own("lstm")
def lstm(
    d_in: int,
    d_h: int,
    *,
    carries: bool = False,
    init: Initializer = glorot_uniform,
    recurrent_init: Initializer = orthogonal,
) -> Layer:
    """c_t = f c_{t-1} + i g, h_t = o tanh(c_t), the long short-term memory; the output is every h_t.

    i, f, o = sigma(a) and g = tanh(a) with a_t = W x_t + R h_{t-1} + b. Parameters ``{"W": (4h, d_in), "R":
    (4h, h), "b": (4h,)}``, gates in the order i, f, g, o, as in PyTorch; b begins with 1 at the forget gate
    f, else 0. Backward through time,

        delta_h,t = delta_out,t + delta_a,t+1 R
        delta_c,t = delta_c,t+1 f_{t+1} + delta_h,t o (1 - tanh^2 c_t)
        delta_a,t = [delta_c g i(1-i), delta_c c_{t-1} f(1-f), delta_c i (1-g^2), delta_h tanh(c) o(1-o)]

    and the sums over time as in `elman`. Saves x, h, c, i, f, g and o. By way of the cell the Jacobian of c_T
    by c_t is prod_s diag(f_s): why it keeps gradients.

    h_0 = c_0 = 0; with ``carries`` the state is {"h": (*n, h), "c": (*n, h)}, see `elman`.

    Args:
        d_in: the size of x_t.
        d_h: the size of h_t.
        carries: whether a pass goes on where the last one ended, see `elman`.
        init: the initializer of each gate's W.
        recurrent_init: the initializer of each gate's R.

    Returns:
        A layer from (*n, T, d_in) to (*n, T, d_h).

    Raises:
        TypeError: for sizes that are no whole numbers, a ``carries`` that is no flag; when applied to
            integers.
        ValueError: for sizes below 1; when applied to f, parameters or a state of other shapes.

    Example: without weights every gate is 1/2 and nothing is new: c halves at each place.
        >>> layer = lstm(1, 1, carries=True)
        >>> params = jax.tree.map(jnp.zeros_like, layer.init(jax.random.key(0)))
        >>> state = {"h": jnp.zeros(1), "c": jnp.array([4.0])}
        >>> _, saved = layer.forward(params, jnp.ones((2, 1)), given={"state": state})
        >>> layer.state(saved)["c"]
        Array([1.], dtype=float32)

    Source: Hochreiter and Schmidhuber 1997; the rule, Greff et al. 2015, arXiv 1503.04069, section II-B; the
    forget gate's bias, Jozefowicz et al. 2015; the products after the loop, Appleyard et al. 2016.
    """
    return recurrence("lstm", LSTM, d_in, d_h, carries, init, recurrent_init)
