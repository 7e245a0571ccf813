"""Vectorised NumPy and scikit-learn."""

import warnings

import numpy as np

from experiments.peers.job import Job


def numpy(job: Job, x: np.ndarray, y: np.ndarray):
    """Every array of an iteration is allocated once; each operation writes into one of them."""
    params = [p for layer in job.params() for p in layer]
    layers = list(zip(params[::2], params[1::2], strict=True))
    f = [np.empty((job.batch, size), np.float32) for size in job.sizes]
    delta = [np.empty_like(v) for v in f]
    slope = [np.empty_like(v) for v in f]
    positive = [np.empty(v.shape, bool) for v in f]
    grads = [np.empty_like(p) for p in params]
    scratch = [np.empty_like(p) for p in params]
    rows, labels = np.arange(job.batch), np.empty(job.batch, y.dtype)
    m, v, t = [np.zeros_like(p) for p in params], [np.zeros_like(p) for p in params], 0
    orders = job.orders()

    def gradient() -> float:
        for l, (W, b) in enumerate(layers, 1):
            np.matmul(f[l - 1], W.T, out=f[l])
            f[l] += b
            if l == len(layers):
                break
            if job.activation == "relu":
                np.maximum(f[l], 0, out=f[l])
            else:
                np.negative(f[l], out=f[l])
                np.exp(f[l], out=f[l])
                f[l] += 1
                np.reciprocal(f[l], out=f[l])
        logits, d = f[-1], delta[-1]
        logits -= logits.max(1, keepdims=True)
        np.exp(logits, out=d)
        total = d.sum(1, keepdims=True)
        loss = (np.log(total[:, 0]) - logits[rows, labels]).mean()
        d /= total
        d[rows, labels] -= 1
        d /= job.batch
        for l in range(len(layers), 0, -1):
            W, _ = layers[l - 1]
            np.matmul(delta[l].T, f[l - 1], out=grads[2 * l - 2])
            np.add.reduce(delta[l], 0, out=grads[2 * l - 1])
            if l == 1:
                break
            d, h = delta[l - 1], f[l - 1]
            np.matmul(delta[l], W, out=d)
            if job.activation == "relu":
                d *= np.greater(h, 0, out=positive[l - 1])
            else:
                d *= h
                d *= np.subtract(1, h, out=slope[l - 1])
        return loss

    def sgd() -> None:
        for p, g in zip(params, grads, strict=True):
            g *= job.rate
            p -= g

    def adam() -> None:
        """p -= rate c_1 m / (sqrt(v) + eps / c_2), the corrections of m and v drawn into two scalars."""
        nonlocal t
        t += 1
        root = (1 - 0.999**t) ** 0.5
        rate, eps = job.rate * root / (1 - 0.9**t), 1e-8 * root
        for p, g, m_p, v_p, s in zip(params, grads, m, v, scratch, strict=True):
            m_p *= 0.9
            m_p += np.multiply(g, 0.1, out=s)
            v_p *= 0.999
            g *= g
            g *= 0.001
            v_p += g
            np.sqrt(v_p, out=s)
            s += eps
            np.divide(m_p, s, out=s)
            s *= rate
            p -= s

    update = {"sgd": sgd, "adam": adam}[job.optimizer]

    def train(epochs: int) -> dict:
        for _ in range(epochs):
            losses = 0.0
            batches = next(orders)
            for batch in batches:
                np.take(x, batch, 0, out=f[0], mode="clip")
                np.take(y, batch, out=labels, mode="clip")
                losses += gradient()
                update()
        return {"loss": float(losses / len(batches))}

    return train


def scikit_learn(job: Job, x: np.ndarray, y: np.ndarray):
    from sklearn.neural_network import MLPClassifier

    net = MLPClassifier(
        job.sizes[1:-1],
        activation={"sigmoid": "logistic"}.get(job.activation, job.activation),
        solver=job.optimizer,
        alpha=0.0,
        batch_size=job.batch,
        learning_rate_init=job.rate,
        momentum=0.0,
        nesterovs_momentum=False,
        random_state=job.seed,
    )
    classes = np.arange(job.sizes[-1])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # fewer examples than a batch
        net.partial_fit(x[: len(classes)], classes, classes=classes)  # makes the arrays
    for (W, b), coef, intercept in zip(job.params(), net.coefs_, net.intercepts_, strict=True):
        coef[...], intercept[...] = W.T, b

    def train(epochs: int) -> dict:
        for _ in range(epochs):
            net.partial_fit(x, y)
        return {"loss": float(net.loss_)}

    return train


def matmul(job: Job, x: np.ndarray, y: np.ndarray):
    """One product of square matrices, as much as the machine can do."""
    a, b = np.random.default_rng(job.seed).random((2, job.sizes[0], job.sizes[0]), dtype=np.float32)
    c = np.empty_like(a)

    def train(epochs: int) -> dict:
        for _ in range(epochs):
            np.matmul(a, b, out=c)
        return {"loss": float(c[0, 0])}

    return train
