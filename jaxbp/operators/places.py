"""The operators of layers over places: what is taken from where, and what is carried from place to place."""

# ruff: noqa: D102
# What the methods do is said once, in Operator.

from dataclasses import field, replace

import jax
import jax.numpy as jnp

from jaxbp.operators.operator import Operator, record, static
from jaxbp.typing import Array, Float, Tensor


@record
class Routed(Operator):
    """sum_u S_u ⊗ W[u]: place p takes W[u] times what stands at place at[u, p], for each tap u.

    S_u, the matrix of tap u, has at most a single 1 in each row. Of a convolution this is block Toeplitz, at
    being s p + d u - lo; a max pool is routed with one tap and W = 1, as a layer that only selects. It holds
    the places and W, and forms its matrix without a multiplication.

    Args:
        at: (taps, m places), whole numbers; n for a tap that stands in the padding.
        W: (taps, groups, out, in), the channels of a place parted into groups that see their own alone.
        n: the places that there are to take from.
        transposed: whether this is J^T.

    Example: a difference of neighbors, of three places with one channel.
        >>> J = Routed(jnp.array([[0, 1], [1, 2]]), jnp.array([-1.0, 1.0]).reshape(2, 1, 1, 1), 3)
        >>> J.matrix()
        Array([[-1.,  1.,  0.],
               [ 0., -1.,  1.]], dtype=float32)

    Source: Sedghi et al. 2018, arXiv 1805.10408.
    """

    at: Array
    W: Array
    n: int = static()
    transposed: bool = field(default=False, metadata={"static": True})

    @property
    def shape(self) -> tuple[int, int]:
        groups, out, into = self.W.shape[-3:]
        m, n = self.at.shape[-1] * groups * out, self.n * groups * into
        return (n, m) if self.transposed else (m, n)

    @property
    def T(self) -> Operator:
        return replace(self, transposed=not self.transposed)

    @property
    def flops(self) -> int:
        """Those of one product with a vector."""
        return 2 * self.at.shape[-1] * self.W.size

    def push(self, V: Tensor) -> Tensor:
        if self.transposed:
            return replace(self, transposed=False).pull(V.T).T
        groups, _, into = self.W.shape[-3:]
        f = V.reshape(self.n, groups, into, -1)
        taken = f.at[self.at].get(mode="fill", fill_value=0)
        return jnp.einsum("upgik,ugoi->pgok", taken, self.W).reshape(-1, *V.shape[1:])

    def pull(self, M: Tensor) -> Tensor:
        if self.transposed:
            return replace(self, transposed=False).push(M.T).T
        groups, out, _ = self.W.shape[-3:]
        delta = M.reshape(-1, self.at.shape[-1], groups, out)
        given = jnp.einsum("kpgo,ugoi->upgik", delta, self.W)
        added = jnp.zeros((self.n, *given.shape[2:]), given.dtype).at[self.at].add(given, mode="drop")
        return jnp.moveaxis(added, -1, 0).reshape(*M.shape[:-1], -1)

    def matrix(self) -> Float[Array, "m n"]:
        if self.transposed:
            return replace(self, transposed=False).matrix().T
        taps, places = self.at.shape
        groups, out, into = self.W.shape[1:]
        p, g = jnp.arange(places).reshape(1, -1, 1), jnp.arange(groups).reshape(1, 1, -1)
        entries = jnp.broadcast_to(self.W[:, None], (taps, places, groups, out, into))
        J = jnp.zeros((places, groups, out, self.n, groups, into), self.W.dtype)
        return J.at[p, g, :, self.at[..., None], g, :].add(entries, mode="drop").reshape(self.shape)


@record
class Recurrent(Operator):
    """The Jacobian of a cell run over T places, held as the cell is: the same W and R at every place.

    A cell acts on each of its h units alone, but for u = W x_t and q = R h_{t-1}: its slopes by them are
    diagonals. The state s_t is h_t, of an LSTM with c_t after it:

        d s_t = by_u (W d x_t) + by_q (R d h_{t-1}) + by_s d s_{t-1}

    J is block lower triangular, J_{h_t}(x_t') = [h_t of] J_{s_t}(s_{t-1}) ... J_{s_t'+1}(s_t') by_u W, and
    costs what the cell costs; its matrix would have T^2 blocks.

    Args:
        W: (K h, d), K gates.
        R: (K h, h).
        by_u: (T, C, K, h), the slope of each of the C parts of the state by each gate's u.
        by_q: likewise, by q.
        by_s: (T, C, C, h), by each part of the state before.
        transposed: whether this is J^T.

    Example: h_t = 2 x_t + 3 h_{t-1}, whose slopes are 1.
        >>> one, two, three = jnp.ones((2, 1, 1, 1)), jnp.array([[2.0]]), jnp.array([[3.0]])
        >>> J = Recurrent(two, three, one, one, 0 * one)
        >>> J.matrix(), J.steps()[1]
        (Array([[2., 0.],
               [6., 2.]], dtype=float32), Array([[3.]], dtype=float32))

    Source: Werbos 1990; Pascanu et al. 2013, arXiv 1211.5063.
    """

    W: Array
    R: Array
    by_u: Array
    by_q: Array
    by_s: Array
    transposed: bool = field(default=False, metadata={"static": True})

    @property
    def shape(self) -> tuple[int, int]:
        T, (h, d) = self.by_u.shape[-4], (self.R.shape[-1], self.W.shape[-1])
        return (T * d, T * h) if self.transposed else (T * h, T * d)

    @property
    def T(self) -> Operator:
        return replace(self, transposed=not self.transposed)

    @property
    def flops(self) -> int:
        """Those of one product with a vector."""
        T = self.by_u.shape[-4]
        return 2 * (T * (self.W.size + self.R.size) + self.by_u.size + self.by_q.size + self.by_s.size)

    def steps(self) -> Float[Array, "T s s"]:
        """J_{s_t}(s_{t-1}) of every place t: their product is how much of a delta is left on the way back."""
        T, C, K, h = self.by_u.shape
        carried = jnp.einsum("tcbh,hj->tcbhj", self.by_s, jnp.eye(h, dtype=self.R.dtype))
        by_h = jnp.einsum("tckh,khj->tchj", self.by_q, self.R.reshape(K, h, h))
        return carried.at[:, :, 0].add(by_h).swapaxes(2, 3).reshape(T, C * h, C * h)

    def push(self, V: Tensor) -> Tensor:
        if self.transposed:
            return replace(self, transposed=False).pull(V.T).T
        T, C, K, h = self.by_u.shape
        x = V.reshape(T, self.W.shape[-1], *V.shape[1:], *(1,) * (V.ndim == 1))
        u = jnp.einsum("khd,tdn->tkhn", self.W.reshape(K, h, -1), x)
        R = self.R.reshape(K, h, h)

        def one(s: Array, at: tuple[Array, ...]) -> tuple[Array, Array]:
            u, by_u, by_q, by_s = at
            q = jnp.einsum("khj,jn->khn", R, s[0])
            s = jnp.einsum("ckh,khn->chn", by_u, u) + jnp.einsum("ckh,khn->chn", by_q, q) + (
                jnp.einsum("cbh,bhn->chn", by_s, s)
            )  # fmt: skip
            return s, s[0]

        start = jnp.zeros((C, h, u.shape[-1]), u.dtype)
        return jax.lax.scan(one, start, (u, self.by_u, self.by_q, self.by_s))[1].reshape(T * h, *V.shape[1:])

    def pull(self, M: Tensor) -> Tensor:
        if self.transposed:
            return replace(self, transposed=False).push(M.T).T
        T, C, K, h = self.by_u.shape
        rows = jnp.moveaxis(M.reshape(*M.shape[:-1], *(1,) * (M.ndim == 1), T, h), 0, -1)
        R = self.R.reshape(K, h, h)

        def one(s: Array, at: tuple[Array, ...]) -> tuple[Array, Array]:
            delta_h, by_u, by_q, by_s = at
            s = s.at[0].add(delta_h)
            q = jnp.einsum("ckh,chn->khn", by_q, s)
            before = jnp.einsum("cbh,chn->bhn", by_s, s).at[0].add(jnp.einsum("khj,khn->jn", R, q))
            return before, jnp.einsum("ckh,chn->khn", by_u, s)

        none = jnp.zeros((C, h, rows.shape[-1]), rows.dtype)
        u = jax.lax.scan(one, none, (rows, self.by_u, self.by_q, self.by_s), reverse=True)[1]
        x = jnp.einsum("khd,tkhn->ntd", self.W.reshape(K, h, -1), u)
        return x.reshape(*M.shape[:-1], T * self.W.shape[-1])

    def matrix(self) -> Float[Array, "m n"]:
        m, n = self.shape
        eye = jnp.eye(min(m, n), dtype=self.R.dtype)
        return self.pull(eye) if m <= n else self.push(eye)
