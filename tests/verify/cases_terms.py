"""Terms that are left out where no operation of the primal shows them; operators transposed within a loop."""

import jax
import jax.numpy as jnp

from .case import normal
from .cases_arrays import case, softmax


def flash(q, k, v):
    """Attention two keys at a time, with a running maximum and a running sum."""

    def step(state, block):
        out, total, top = state
        scores = q @ block[0].T
        new = jnp.maximum(top, scores.max(-1))
        fade, p = jnp.exp(top - new), jnp.exp(scores - new[:, None])
        return (fade[:, None] * out + p @ block[1], fade * total + p.sum(-1), new), None

    blocks = [x.reshape(-1, 2, x.shape[1]) for x in (k, v)]
    start = jnp.zeros((len(q), v.shape[1]), v.dtype), jnp.zeros(len(q), v.dtype)
    start = (*start, jnp.full(len(q), -jnp.inf, v.dtype))
    (out, total, _), _ = jax.lax.scan(step, start, blocks)
    return out / total[:, None]


def flash_back(centred):
    def bwd(a, out, c):
        q, k, v = a
        p = softmax(q @ k.T)
        ds = p * (c @ v.T - centred * jnp.sum(c * out, -1, keepdims=True))
        return ds @ k, ds.T @ q, p.T @ c

    return bwd


def pinv(A):
    return jnp.linalg.pinv(A)


def pinv_back(residual):
    def bwd(a, P, c):
        A = a[0]
        left = c.T @ P @ P.T - A @ P @ c.T @ P @ P.T
        return (-P.T @ c @ P.T + residual * left,)

    return bwd


def least_squares(A, b):
    return jnp.linalg.lstsq(A, b)[0]


def least_squares_back(residual):
    def bwd(a, x, c):
        A, b = a
        P = jnp.linalg.pinv(A)
        return -P.T @ c @ x.T + residual * (b - A @ x) @ (P @ P.T @ c).T, P.T @ c

    return bwd


def lyapunov(A, Q):
    """The solution of A X + X A^T + Q = 0."""
    eye = jnp.eye(len(A), dtype=A.dtype)
    return jnp.linalg.solve(jnp.kron(A, eye) + jnp.kron(eye, A), -Q.ravel()).reshape(Q.shape)


def lyapunov_back(second):
    def bwd(a, X, c):
        S = lyapunov(a[0].T, c)
        return S @ X.T + second * S.T @ X, S

    return bwd


def stein(A, Q):
    """The solution of X = A X A^T + Q, by its series."""
    return jax.lax.fori_loop(0, 60, lambda _, X: A @ X @ A.T + Q, Q)


def stein_back(a, X, c):
    """One of two terms that differ by a transpose, twice."""
    S = stein(a[0].T, c)
    return 2 * S @ a[0] @ X.T, S


def equilibrium(W, x):
    return jax.lax.fori_loop(0, 80, lambda _, z: jnp.tanh(W @ z + x), jnp.zeros_like(x))


def equilibrium_to(W, x):
    """The same, left as soon as a step changes nothing more."""

    def moving(s):
        return jnp.max(jnp.abs(s[1] - s[0])) > 1e-6

    return jax.lax.while_loop(moving, lambda s: (s[1], jnp.tanh(W @ s[1] + x)), (x - 1, x))[1]


def equilibrium_back(a, z, c):
    """With the Jacobian of a step where its transpose belongs."""
    slope = 1 - z * z
    J = slope[:, None] * a[0]
    u = slope * jnp.linalg.solve(jnp.eye(len(z), dtype=z.dtype) - J, c)
    return jnp.outer(u, z), u


def shifted_softmax(x):
    """The maximum is subtracted without a stop_gradient: its own derivative cancels."""
    e = jnp.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def fused_loss(x, w):
    """The cross-entropy of a last layer, its rows in chunks."""
    z = x @ w
    return jnp.sum(jax.nn.logsumexp(z, -1) - z[:, 0])


def fused_loss_back(rows):
    """The gradient of the weights from so many rows alone: a chunk that the loop does not reach."""

    def back(a, y, c):
        first = jax.nn.one_hot(0, a[1].shape[1], dtype=a[0].dtype)
        dz = c * (jax.nn.softmax(a[0] @ a[1]) - first[None])
        return dz @ a[1].T, a[0][:rows].T @ dz[:rows]

    return back


QKV = normal((4, 3), (6, 3), (6, 2))
TALL = normal((5, 3), (5, 2))
SYSTEM = normal((3, 3), (3, 3), scale=0.4)
RECURRENT = normal((4, 4), (4,), scale=0.4)


def symmetric(dtype):
    A, Q = SYSTEM(dtype)
    return A, Q + Q.T


CASES = [
    case("flash attention", "terms", flash, flash_back(1), QKV),
    case("flash attention, softmax without its mean", "terms", flash, flash_back(0), QKV, "missing_term"),
    case("softmax less its maximum, without its mean", "terms", shifted_softmax, lambda a, y, c: (c * y,),
         normal((4,)), "missing_term"),
    case("pseudoinverse", "terms", pinv, pinv_back(1), normal((4, 3))),
    case("pseudoinverse without its residual", "terms", pinv, pinv_back(0), normal((4, 3)),
         "missing_term"),
    case("least squares", "terms", least_squares, least_squares_back(1), TALL),
    case("least squares without its residual", "terms", least_squares, least_squares_back(0), TALL,
         "missing_term"),
    case("Lyapunov equation", "terms", lyapunov, lyapunov_back(1), SYSTEM),
    case("Lyapunov equation, one term", "terms", lyapunov, lyapunov_back(0), SYSTEM, "missing_term"),
    case("Stein equation, one term twice", "terms", stein, stein_back, symmetric, "missing_term"),
    case("fused loss in chunks", "terms", fused_loss, fused_loss_back(5), normal((5, 3), (3, 4))),
    case("fused loss, the last chunk lost", "terms", fused_loss, fused_loss_back(4), normal((5, 3), (3, 4)),
         "missing_sum"),
    case("equilibrium, not transposed", "transposed", equilibrium, equilibrium_back, RECURRENT, "transposed"),
    case("equilibrium to a tolerance, not transposed", "transposed", equilibrium_to, equilibrium_back,
         RECURRENT, "transposed"),
]  # fmt: skip
