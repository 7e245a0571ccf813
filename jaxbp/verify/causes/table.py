"""The causes: what each word means, the usual mistake, what helps, and a minimal rule that has it."""

from typing import NamedTuple

X = "jnp.array([0.3, -0.8, 1.1, 2.0])"
SQUARE = "jnp.array([[0.3, -0.8], [1.1, 2.0]])"


class Cause(NamedTuple):
    """A word of the vocabulary.

    ``primal``, ``back`` (of the arguments ``a`` and the cotangent ``c``) and ``args`` are the minimal rule,
    unless it is written out as ``whole``; ``options`` are those that `check` needs to see it.
    """

    meaning: str
    usual: str
    remedy: str
    primal: str = "jnp.sin"
    back: str = ""
    args: str = X
    whole: str = ""
    options: str = ""

    @property
    def example(self) -> str:
        """The minimal rule: code that makes ``f`` and ``args``."""
        rule = self.whole or (
            f"f = jax.custom_vjp({self.primal})\n"
            f"f.defvjp(lambda *a: (f(*a), a), lambda a, c: ({self.back},))"
        )
        call = f"report = jaxbp.check(f, *args{', ' if self.options else ''}{self.options})"
        return f"import jax, jax.numpy as jnp, jaxbp\n\n{rule}\nargs = ({self.args},)\n{call}\n"


CAUSES = {
    "sign": Cause(
        "the rule (or a term of it) is minus the derivative",
        "a difference the other way round, the minus of cos' = -sin or of (1/x)' forgotten",
        "change the sign",
        back="-c * jnp.cos(a[0])",
    ),
    "factor": Cause(
        "the rule (or a part of it) is a constant times the derivative",
        "the 2 of x^2 forgotten, a mean taken for a sum, what frequencies count twice counted once",
        "multiply by the constant that is named; where it is a length, look at that axis",
        primal="lambda x: x * x", back="c * a[0]",
    ),
    "zero": Cause(
        "the rule gives nothing for an argument that the value depends on",
        "zeros or None for an argument that was thought to be fixed, a stop_gradient too many",
        "give the derivative, or hold the argument fixed (nondiff_argnums, stop_gradient outside)",
        back="0 * c",
    ),
    "transposed": Cause(
        "a transpose is missing or too many, or a product stands on the wrong side",
        "W @ c for W.T @ c, a running sum that runs the same way back",
        "the VJP applies the transposed operator: swap the axes, turn the order round",
        primal="lambda w, x: w @ x", back="jnp.outer(c, a[1]), a[0] @ c",
        args=f"{SQUARE}, jnp.array([1., 2.])",
    ),
    "cotangent_transposed": Cause(
        "the right rule of the transposed cotangent",
        "an output that is laid out (out, in) in one place and (in, out) in another",
        "transpose the cotangent first",
        primal="lambda x: x @ jnp.diag(jnp.array([1., 2.]))", back="c.T @ jnp.diag(jnp.array([1., 2.]))",
        args=SQUARE,
    ),
    "swapped": Cause(
        "the cotangent of another argument, or those of two outputs exchanged",
        "a tuple returned in another order than that of the arguments",
        "return the cotangents in the order of the arguments",
        primal="lambda x, y: jnp.sin(x) * y", back="c * jnp.sin(a[0]), c * a[1] * jnp.cos(a[0])",
        args=f"{X}, 2 - {X}",
    ),
    "missing_sum": Cause(
        "what some outputs (or devices) contribute is left out",
        "a broadcast in the primal without its sum in the VJP; .set where .add is meant",
        "sum over the axis that was broadcast; add where several outputs use one entry",
        primal="lambda x: x[jnp.array([0, 1, 1, 3])]",
        back="jnp.zeros(4).at[jnp.array([0, 1, 1, 3])].set(c)",
    ),
    "extra_sum": Cause(
        "a sum over an axis whose entries should each keep their own",
        "a psum over the mesh in the rule, where shard_map does it; a sum of per-example cotangents",
        "leave the sum to whoever broadcasts the value",
        primal="lambda x: jnp.sin(x)", args=SQUARE,
        back="jnp.sum(c * jnp.cos(a[0]), 0, keepdims=True) + 0 * c",
    ),
    "missing_term": Cause(
        "a term or a slope of the chain rule is left out, or one that is too many is there",
        "the product rule by half, a value held fixed that depends on the input, no slope of an activation",
        "add what is named; without a name: differentiate each use of the argument, and add them up",
        primal="lambda x: x * jnp.sin(x)", back="c * jnp.sin(a[0])",
    ),
    "unmasked": Cause(
        "right where the value depends on the argument, and not zero where nothing does",
        "a mask (of padding, of the other triangle, of a branch not taken) that the VJP forgot",
        "apply the primal's mask to the cotangent",
        primal="lambda x: jnp.where(jnp.arange(4) < 2, jnp.sin(x), 0)", back="c * jnp.cos(a[0])",
    ),
    "misplaced": Cause(
        "the right numbers in the wrong places: shifted, the other way round, in another order, elsewhere",
        "an index off by one, a reversal or a sort not undone, a kernel not flipped, the other argmax",
        "undo what the primal does to the order",
        primal="lambda x: jnp.sin(x)[::-1]", back="c * jnp.cos(a[0])[::-1]",
    ),
    "conjugate": Cause(
        "complex numbers by another convention",
        "the gradient of a framework that conjugates cotangents",
        "JAX's VJP of a holomorphic f is c f'(z), without a conjugate",
        primal="lambda z: z * z", back="2 * c * jnp.conj(a[0])",
        args="jnp.array([1. + 2j, 0.5 - 1j, 2. + 0.3j])",
    ),
    "slope": Cause(
        "sums and places are right, and the slope of single entries is another function's",
        "the formula of a derivative remembered wrongly, or that of a similar function",
        "differentiate the formula again, or let JAX do it",
        primal="lambda x: jnp.arctan(x)", back="c / (1 + jnp.abs(a[0])) ** 3",
    ),
    "approximate": Cause(
        "right to some digits only",
        "another epsilon than the primal's, a constant with few digits, an approximation differentiated",
        "use the constants of the primal",
        primal="lambda x: jnp.sum(x) / jnp.sqrt(jnp.sum(x * x) + 1e-5)",
        back="c / jnp.sqrt(a[0] @ a[0] + 1e-3) - c * a[0] * a[0].sum() / (a[0] @ a[0] + 1e-3) ** 1.5",
    ),
    "lost_digits": Cause(
        "right in exact arithmetic, and without its digits as it runs where autodiff keeps them",
        "the difference of nearly equal numbers: 2 x y - 2 / sqrt(pi) far out, 1 - y^2 near 1",
        "write the difference in another form: log1p, expm1, a series far out",
        primal="lambda x: 1 / x", args="jnp.array([3e5])",
        back="c * (a[0] / (1 + a[0]) - 1 - (a[0] / (1 + a[0]) - a[0] / (a[0] + 1 + 1 / a[0])))",
    ),
    "straight_through": Cause(
        "the cotangent comes back, though the derivative is zero",
        "a straight-through estimator that was not declared",
        "if it is on purpose, say declare='straight_through'; else give zeros",
        primal="jnp.round", back="c",
    ),
    "wrong_point": Cause(
        "the right derivative, taken elsewhere",
        "y (1 - y) applied to the input instead of the output; the new value of a loop for the old",
        "save what the formula is written in",
        primal="lambda x: 1 / (1 + jnp.exp(-x))", back="c * a[0] * (1 - a[0])",
    ),
    "nan": Cause(
        "not a number where the derivative is one",
        "0 / 0 or 0 x inf: a division by what the primal guards, a where around and not inside",
        "guard the operation that is named: put the safe value in before it, not after",
        primal="lambda x: jnp.prod(x)", back="c * jnp.prod(a[0]) / a[0]", args="jnp.array([1., 0., 2., 3.])",
    ),
    "not_linear": Cause(
        "the rule is not linear in the cotangent (or the tangent)",
        "a term that is not multiplied by the cotangent, a cotangent that is clipped or normalized",
        "multiply every term by the cotangent; declare='clipped' where it is on purpose",
        back="c * jnp.cos(a[0]) + 1",
    ),
    "dtype": Cause(
        "the cotangent has another dtype than its argument, or is computed in a coarser one than the primal",
        "residuals or sums in half precision",
        "compute in the dtype of the primal, and cast the result to that of the argument",
        back="(c * jnp.cos(a[0])).astype(jnp.bfloat16)",
    ),
    "shape": Cause(
        "the cotangent has another shape, or the rule fails on the shapes that reach it",
        "an axis that was squeezed or kept, a rule written for one dimension only",
        "give the cotangent the shape of the argument",
        back="(c * jnp.cos(a[0]))[:2]",
    ),
    "primal": Cause(
        "under grad the function has another value",
        "a forward rule with a formula of its own, a NaN or an infinity replaced in it",
        "call the function itself in the forward rule",
        whole="f = jax.custom_vjp(jnp.sin)\n"
        "f.defvjp(lambda x: (1.1 * jnp.sin(x), x), lambda x, c: (c * jnp.cos(x),))",
    ),
    "raises": Cause(
        "the derivative raises where the value does not",
        "a residual that is not saved, a traced array among nondiff_argnums or closed over",
        "read the exception; pass arrays as arguments of the rule",
        back="c * a[3]",
    ),
    "second_order": Cause(
        "the rule is right and its own derivative is not",
        "a stop_gradient in the backward rule, a residual that was computed outside",
        "compute what depends on the arguments from the arguments",
        primal="lambda x: x**3", back="3 * c * jax.lax.stop_gradient(a[0]) ** 2", options="order=2",
    ),
    "vmap": Cause(
        "right for an example alone, and wrong under vmap",
        "a batching rule (custom_vmap, a callback, a kernel) that mixes up the axis of the batch",
        "compare the batched operation with a loop over the examples",
        whole="@jax.custom_batching.custom_vmap\n"
        "def slope(x):\n"
        "    return jnp.cos(x)\n\n"
        "slope.def_vmap(lambda size, batched, x: (jnp.cos(x)[::-1], True))\n"
        "f = jax.custom_vjp(jnp.sin)\n"
        "f.defvjp(lambda x: (jnp.sin(x), x), lambda x, c: (c * slope(x),))",
    ),
    "one_input": Cause(
        "wrong when one input alone is perturbed (symbolic zeros)",
        "a residual saved only for some of the inputs that may be perturbed",
        "save what each perturbed input needs",
        whole="f = jax.custom_vjp(lambda x, w: x * w)\n\n"
        "def forward(x, w):\n"
        "    both = x.perturbed and w.perturbed\n"
        "    return x.value * w.value, (x.value, w.value * (1 if both else 2))\n\n"
        "f.defvjp(forward, lambda saved, c: (c * saved[1], c * saved[0]), symbolic_zeros=True)",
        args=f"{X}, 2 - {X}",
    ),
    "nondeterministic": Cause(
        "the same inputs and the same cotangent give different results",
        "random numbers or a counter on the host, a state outside of the function",
        "pass the key or the state as an argument, and save it",
        whole="import itertools\n\n"
        "count = itertools.count()\n"
        "f = jax.custom_vjp(jnp.sin)\n"
        "f.defvjp(lambda x: (jnp.sin(x), x), lambda x, c: (\n"
        "    c * jax.pure_callback(lambda x: next(count) + x, x, x),))",
    ),
    "kink": Cause(
        "at a kink the rule is no slope between those of both sides",
        "a maximum that pays every argument at a tie, a slope of a third kind at 0",
        "take one of the slopes, or a mean of them",
        primal="lambda x: jnp.abs(x)", back="c * jnp.where(a[0] == 0, 2, jnp.sign(a[0]))",
        args="jnp.array([-1., 0., 2.])",
    ),
    "not_as_declared": Cause(
        "a rule that was declared to be no derivative is not what was declared",
        "declare='stop' for a rule that lets something through, 'scaled' for one that does more",
        "declare what it is, or mend it",
        back="0.01 * c", options="declare='stop'",
    ),
    "other": Cause(
        "wrong, and no mistake that is known gives the rule's result; the sentence says what is known",
        "unknown",
        "compare at few entries; take parts of the primal out until the rule is right",
        primal="lambda x: jnp.sum(jnp.sin(x)) ** 2", back="c * jnp.exp(a[0])",
    ),
}  # fmt: skip
