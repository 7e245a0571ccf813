"""Composition: `residual` adds Jacobians, and is a layer again."""

from collections.abc import Sequence
from typing import Any

import jax

from jaxbp import arguments, errors, recipes
from jaxbp.layers.activations import identity
from jaxbp.layers.composition.chain import assert_states, factors_of, names_of, no_layer, split
from jaxbp.layers.layer import Layer, assert_params, handed, no_params
from jaxbp.operators import Operator, Sum
from jaxbp.typing import Array, Given, Params, Random, Saved


@recipes.own("residual")
def residual(branch: Layer, skip: Layer = identity) -> Layer:
    """out = skip(f) + branch(f), whose Jacobian is J_skip + J_branch; with the plain skip, I + J_branch.

    Backward, delta_out flows unchanged into both and their delta_f are added. The parameters are
    ``{"branch": ...}``, and ``"skip"`` beside it when the skip has any.

    Args:
        branch: any layer.
        skip: the identity, or a projection such as ``dense(d_in, d_out, bias=False)`` where the branch
            changes the size.

    Raises:
        ValueError: when applied, if the two results differ in shape.

    Example: the slope of f + f^2 / 2 at f = 3 is 1 + 3.
        >>> import jax.numpy as jnp
        >>> from jaxbp.layers import elementwise
        >>> block = residual(elementwise("half square", lambda a: a**2 / 2, lambda a: a, saves="input"))
        >>> out, saved = block.forward({}, jnp.array([3.0]))
        >>> block.backward({}, saved, jnp.ones(1))[1]
        Array([4.], dtype=float32)

    Source: the lecture, residual block; He et al. 2016.
    """
    for role, part in (("branch", branch), ("skip", skip)):
        arguments.instance("residual", role, part, Layer, no_layer(part))
    name = f"residual({branch.name}" + (f", skip={skip.name})" if skip is not identity else ")")
    parts = {"branch": branch, "skip": skip}
    names = names_of([branch, skip])
    stateful = [role for role, part in parts.items() if part.state is not None]

    def of(params: Params) -> dict[str, Params]:
        assert_params(name, params, [role for role, part in parts.items() if part.has_params])
        return {"branch": {}, "skip": {}} | params

    def add(branch_out: Array, skip_out: Array) -> Array:
        if branch_out.shape != skip_out.shape:
            raise ValueError(
                errors.message(
                    name,
                    "branch and skip to give one shape, for they are added",
                    f"{branch_out.shape} from the branch and {skip_out.shape} from the skip",
                    "give the skip a projection, skip=dense(d_in, d_out, bias=False)",
                )
            )
        return skip_out + branch_out

    def init(key: Random) -> Params:
        keys = jax.random.split(arguments.key("init", key))
        return {
            role: part.init(k) for (role, part), k in zip(parts.items(), keys, strict=True) if part.has_params
        }

    def apply(params: Params, f: Array, *, key: Random | None = None, given: Given | None = None) -> Array:
        assert_states(name, given, names, stateful)
        p, (key_branch, key_skip) = of(params), split(key, 2)
        with errors.within("branch"):
            branch_out = branch.apply(p["branch"], f, key=key_branch, **handed(branch, given, "branch"))
        with errors.within("skip"):
            skip_out = skip.apply(p["skip"], f, key=key_skip, **handed(skip, given, "skip"))
        return add(branch_out, skip_out)

    def forward(
        params: Params, f: Array, *, key: Random | None = None, given: Given | None = None
    ) -> tuple[Array, Saved]:
        assert_states(name, given, names, stateful)
        p, (key_branch, key_skip) = of(params), split(key, 2)
        with errors.within("branch"):
            of_branch = handed(branch, given, "branch")
            branch_out, branch_saved = branch.forward(p["branch"], f, key=key_branch, **of_branch)
        with errors.within("skip"):
            skip_out, skip_saved = skip.forward(p["skip"], f, key=key_skip, **handed(skip, given, "skip"))
        return add(branch_out, skip_out), (branch_saved, skip_saved)

    def added(ways: Sequence[Any], params: Params, saved: Saved, delta_out: Array) -> tuple[Any, Array]:
        """The rule of the sum: delta_out to both, their delta_f added."""
        p, (branch_saved, skip_saved) = of(params), saved
        of_branch, delta_f = ways[0](p["branch"], branch_saved, delta_out)
        of_skip, delta_f_skip = ways[1](p["skip"], skip_saved, delta_out)
        of_params = {"branch": of_branch, "skip": of_skip}
        return {role: of_params[role] for role in params}, delta_f_skip + delta_f

    def backward(params: Params, saved: Saved, delta_out: Array) -> tuple[Params, Array]:
        return added([branch.backward, skip.backward], params, saved, delta_out)

    ways = [factors_of(part) for part in parts.values()]

    def factors(params: Params, saved: Saved, delta_out: Array) -> tuple[Any, Array]:
        return added(ways, params, saved, delta_out)

    def state(saved: Saved) -> Any:
        both = zip(parts.items(), saved, strict=True)
        return {role: part.state(s) for (role, part), s in both if part.state is not None}

    def jacobian(params: Params, f: Array, *, given: Given | None = None) -> Operator:
        assert_states(name, given, names, stateful)
        p = of(params)
        of_skip = skip.jacobian(p["skip"], f, **handed(skip, given, "skip"))
        return Sum((of_skip, branch.jacobian(p["branch"], f, **handed(branch, given, "branch"))))

    has_params = branch.has_params or skip.has_params
    return Layer(
        name,
        apply,
        forward,
        backward,
        init if has_params else no_params,
        jacobian,
        form="sum",
        parts=(branch, skip),
        means="I + J_branch" if skip is identity else "J_skip + J_branch",
        given=names,
        state=state if stateful else None,
        factors=None if None in ways else factors,
    )
