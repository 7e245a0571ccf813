"""`explain` of the library's other layers: by their numbers and Jacobians, and a sentence that says so."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxbp
from jaxbp import chain, dense
from jaxbp.observe.explanation.json_reading import from_dict

RNG = np.random.default_rng(0)
IMAGE, ROWS, PAIR = (RNG.normal(size=shape).round(2) for shape in ((3, 3, 1), (2, 2), 2))
BY_NUMBERS = "by its numbers and its Jacobian, not component by component: "
NETS = {
    "images": (
        chain(jaxbp.conv2d(1, 1, 2), jaxbp.max_pool2d(2), jaxbp.flatten(1, 1, 1), dense(1, 1)),
        IMAGE,
        ("conv2d(1, 1, 2), max_pool2d(2)", "changes no number here: flatten(1, 1, 1)"),
    ),
    "norms": (chain(jaxbp.layer_norm(2), dense(2, 1)), PAIR, ("layer_norm(2)", "delta_g_1 = ")),
    "attention": (
        chain(dense(2, 6), jaxbp.attend(1), jaxbp.flatten(2, 2), dense(4, 1)),
        ROWS,
        ("dense(2, 6), attend(1)",),
    ),
    "through time": (
        chain(jaxbp.lstm(2, 1), jaxbp.flatten(2, 1), dense(2, 1)),
        ROWS,
        ("lstm(2, 1)", "a_1 = lstm(2, 1)(x), f_1 = a_1", "delta_R_1 = "),
    ),
    "a repeated block": (
        chain(jaxbp.repeat(chain(dense(2, 2), jaxbp.tanh), 2), dense(2, 1)),
        PAIR,
        ("repeat(chain(dense(2, 2), tanh), 2)", "W_1.1 = ", "delta_W_1.1 = "),
    ),
}


@pytest.mark.parametrize("name", NETS)
def test_numbers_are_right_and_what_is_left_out_is_said(name):
    net, x, said = NETS[name]
    params = net.init(jax.random.key(0))
    explanation = jaxbp.explain(net, jaxbp.squared_error, params, x, [1.0])
    text = str(explanation)
    assert BY_NUMBERS in text
    for words in said:
        assert words in text
    assert explanation.largest_difference <= 4
    with jax.enable_x64(True):
        params = jax.tree.map(lambda p: jnp.asarray(p, float), params)
        loss, by_grad = jax.value_and_grad(
            lambda p, x: jaxbp.squared_error(net.apply(p, x), jnp.ones(1)), argnums=(0, 1)
        )(params, jnp.asarray(x))
    assert explanation.values[("$", "loss")][0][0] == pytest.approx(float(loss), rel=1e-12)
    deltas = [explanation.values[("$", f"delta_{name}")] for name in [*explanation.parameters(), "x"]]
    for found, wanted in zip(deltas, jax.tree.leaves(by_grad), strict=True):
        np.testing.assert_allclose(np.ravel(found), np.ravel(wanted), atol=1e-12)


BLOCK = chain(dense(2, 2), jaxbp.tanh)
TIED = {
    "two uses": (jaxbp.tied(chain(*BLOCK.parts, dense(2, 2), dense(2, 1)), (2, "W"), (1, "W")), "W_2 = W_1"),
    "the later has the array": (
        jaxbp.tied(chain(*BLOCK.parts, dense(2, 2), dense(2, 1)), (1, "b"), (2, "b")),
        "b_1 = b_2",
    ),
    "three uses": (
        jaxbp.tied(jaxbp.tied(jaxbp.mlp([2, 2, 2, 2]), (3, "W"), (2, "W")), (2, "W"), (1, "W")),
        "W_2 = W_1, W_3 = W_1",
    ),
    "from a block into its layer": (
        jaxbp.tied(chain(dense(2, 2), jaxbp.residual(BLOCK)), (2, "branch", 1, "W"), (1, "W")),
        "W_2.1 = W_1",
    ),
    "within a block": (
        chain(jaxbp.residual(jaxbp.tied(jaxbp.mlp([2, 2, 2]), (2, "W"), (1, "W"))), dense(2, 1)),
        "W_1.2 = W_1.1",
    ),
    "a layer that is no chain": (
        jaxbp.tied(jaxbp.residual(jaxbp.mlp([2, 2, 2])), ("branch", 2, "b"), ("branch", 1, "b")),
        "b_1.2 = b_1.1",
    ),
    "three uses in one block": (
        jaxbp.tied(
            jaxbp.tied(jaxbp.residual(jaxbp.mlp([2, 2, 2, 2])), ("branch", 2, "W"), ("branch", 1, "W")),
            ("branch", 3, "W"),
            ("branch", 1, "W"),
        ),
        "W_1.2 = W_1.1, W_1.3 = W_1.1",
    ),
}


@pytest.mark.parametrize("name", TIED)
def test_each_use_of_a_shared_array_is_seen_and_their_deltas_are_added(name):
    net, ties = TIED[name]
    params = jax.tree.map(lambda p: np.round(np.asarray(p, float), 2), net.init(jax.random.key(0)))
    y = [1.0] * net.apply(params, PAIR).size
    explanation = jaxbp.explain(net, jaxbp.squared_error, params, PAIR, y)
    assert BY_NUMBERS not in str(explanation)
    assert f"one array in several places, a prime for each use: {ties}" in str(explanation)
    assert explanation.largest_difference <= 4
    with jax.enable_x64(True):
        by_grad = jax.grad(lambda p: jaxbp.squared_error(net.apply(p, jnp.asarray(PAIR)), jnp.asarray(y)))(
            params
        )
    found = explanation.values
    for parameter, wanted in zip(
        explanation.parameters(), sorted_leaves(by_grad, explanation), strict=True
    ):
        np.testing.assert_allclose(np.ravel(found["$", f"delta_{parameter}"]), np.ravel(wanted), atol=1e-12)
    array = ties.rpartition(" = ")[2]
    uses = [array, *(tie.partition(" = ")[0] for tie in ties.split(", "))]
    each = [np.array(found["$", f"delta_{use}'"]) for use in uses]
    np.testing.assert_allclose(found["$", f"delta_{array}"], sum(each), atol=1e-15)
    assert all(abs(one - found["$", f"delta_{array}"]).max() > 1e-3 for one in each)
    read = from_dict(json.loads(json.dumps(explanation.to_dict())))
    again = jaxbp.explain(read.net, read.loss, read.params, read.x, read.y)
    assert again.to_dict() == explanation.to_dict()


def tied_all(net, *ties):
    for leaf, to, name in ties:
        net = jaxbp.tied(net, (leaf, name), (to, name))
    return net


SHARED = jaxbp.tied(jaxbp.mlp([2, 2, 2], jaxbp.identity), (2, "W"), (1, "W"))
PARTS = {
    "one part of a chain": (
        chain(dense(2, 2), SHARED, jaxbp.tanh, dense(2, 1)),
        jaxbp.tied(jaxbp.mlp([2, 2, 2, 2, 1], jaxbp.identity), (3, "W"), (2, "W")),
        (3, jaxbp.tanh),
        "layers 2, 3 are those within layer 2 of the network",
    ),
    "two parts, one within the other": (
        chain(SHARED, jaxbp.tied(chain(dense(2, 2), SHARED), (2, 1, "b"), (1, "b")), dense(2, 1)),
        tied_all(jaxbp.mlp([2] * 6 + [1], jaxbp.identity), (2, 1, "W"), (5, 4, "W"), (4, 3, "b")),
        (),
        "layers 1, 2 are those within layer 1 of the network; layers 3, 4, 5 are those within layer 2",
    ),
}


@pytest.mark.parametrize("name", PARTS)
def test_a_tied_network_that_is_a_part_is_explained_use_by_use(name):
    """As the chain in which its layers stand side by side, counted on."""
    net, flat, bend, said = PARTS[name]
    params = net.init(jax.random.key(0))
    arrays = [(path, leaf.round(2)) for path, leaf in jax.tree_util.tree_leaves_with_path(params)]
    places = [path for path, _ in jax.tree_util.tree_leaves_with_path(flat.init(jax.random.key(0)))]
    assert len(arrays) == len(places)
    side_by_side = {}
    for path, (_, leaf) in zip(places, arrays, strict=True):
        side_by_side.setdefault(path[0].key, {})[path[1].key] = leaf
    if bend:  # the activation after the part stands where the flat network has none
        inner, tie = flat.parts[0], flat.tie
        parts = [*(p for p in inner.parts if p.has_params)]
        flat = jaxbp.tied(chain(*parts[: bend[0]], bend[1], *parts[bend[0] :]), *tie)
    params = jax.tree.map(lambda p: p.round(2), params)
    explanation = jaxbp.explain(net, jaxbp.squared_error, params, PAIR, 1)
    assert BY_NUMBERS not in str(explanation)
    assert said in str(explanation)
    wanted = jaxbp.explain(flat, jaxbp.squared_error, side_by_side, PAIR, 1)
    assert explanation.to_dict() == wanted.to_dict()
    assert explanation.largest_difference <= 4
    with jax.enable_x64(True):
        params = jax.tree.map(lambda p: jnp.asarray(p, float), params)
        loss = lambda p: jaxbp.squared_error(net.apply(p, jnp.asarray(PAIR)), jnp.ones(1))  # noqa: E731
        by_grad = jax.grad(loss)(params)
    for name, leaf in zip(explanation.parameters(), jax.tree.leaves(by_grad), strict=True):
        np.testing.assert_allclose(
            np.ravel(explanation.values["$", f"delta_{name}"]), np.ravel(leaf), atol=1e-12
        )


def sorted_leaves(tree, explanation):
    """The arrays of a tree in the order of the explanation's names: those of a block before what follows."""
    leaves = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        words = [str(key.key) for key in path if str(key.key) != "branch"]
        numbers = ([] if isinstance(path[0].key, int) else ["1"]) + words[:-1]
        leaves[f"{words[-1]}_{'.'.join(numbers)}"] = leaf
    return [leaves[name] for name in explanation.parameters()]


@pytest.mark.parametrize(
    ("tied", "said"),
    [
        ("W_2", "tied: expected a list, got "),
        ([["W_2"]], r"tied\[1\]: expected two names of arrays"),
        ([["W_2", "W_9"]], r"tied\[1\]\[2\]: expected the name of an array, such as W_2, got \"W_9\""),
        ([["W_2", "W_2"]], r"tied\[1\]: tied: expected two different arrays"),
        ([["W_3", "W_1"]], r"tied\[1\]: tied: expected two arrays of one shape"),
        ([["W_2", "W_1"]], r"tied\[1\]: expected the numbers of W_1 in W_2, got others; write the same"),
        ([["W_2", "b"]], r"tied\[1\]\[2\]: expected the name of an array"),
    ],
)
def test_what_is_wrong_with_ties_in_a_file_is_said(tied, said):
    layers = [{"W": [[1, 2], [3, 4]]}, {"W": [[1, 2], [3, 5]]}, {"W": [[1, 1]]}]
    given = {"layers": layers, "loss": "squared_error", "x": [1, 0], "y": [1], "tied": tied}
    with pytest.raises(ValueError, match=said):
        from_dict(given)


def test_a_block_that_follows_weights_is_explained_where_it_stands():
    """What goes into it is computed before its branch, and comes back after it."""
    net = chain(dense(2, 2), jaxbp.residual(jaxbp.sigmoid), jaxbp.residual(BLOCK), dense(2, 1))
    explanation = jaxbp.explain(net, jaxbp.squared_error, net.init(jax.random.key(0)), PAIR, 1)
    made = {"x", "y", "eta", "f", *explanation.parameters()}
    for step in explanation.steps[:-1]:
        for line in (*step.matrix, *step.direct):
            assert names_in(line.computed) <= made | {line.target[1]}, (step.title, line)
            made.add(line.target[1])
    assert len({step.title for step in explanation.steps}) == len(explanation.steps)


def names_in(tree):
    """The quantities that a formula takes."""
    if not isinstance(tree, tuple):
        return set()
    if tree[0] == "each":
        return names_in(tree[2])  # of a formula in a, for each entry
    return {tree[1]} if tree[0] == "$" else set().union(*map(names_in, tree[1:]))


def test_what_changes_nothing_is_named():
    net = chain(dense(2, 2), jaxbp.dropout(0.5), dense(2, 1))
    text = str(jaxbp.explain(net, jaxbp.squared_error, net.init(jax.random.key(0)), PAIR, 1))
    assert "changes no number here: dropout(0.5)" in text
    assert BY_NUMBERS not in text
    assert "a_1 = W_1 f_0 + b_1, f_1 = a_1" in text  # and of the last layer it is said with the output
    assert "a_2 = W_2 f_1 + b_2  " in text


@pytest.mark.parametrize("y", [[1.0] * 4, np.ones((2, 3)), np.ones((1, 2, 2))])
def test_a_target_of_another_shape_than_the_outputs_at_each_place_is_refused(y):
    net = chain(jaxbp.elman(2, 2), dense(2, 2))
    params = net.init(jax.random.key(0))
    with pytest.raises(ValueError, match=r"expected y of shape \(2, 2\), got .* at each of 2 places"):
        jaxbp.explain(net, jaxbp.squared_error, params, ROWS, y)
    flat = chain(*net.parts, jaxbp.flatten(2, 2))
    assert jaxbp.explain(flat, jaxbp.squared_error, params, ROWS, [1.0] * 4).largest_difference <= 4


def test_what_has_no_single_example_is_refused():
    net = chain(jaxbp.batch_norm(2), dense(2, 1))
    with pytest.raises(ValueError, match=r"give its state, see jaxbp\.fixed"):
        jaxbp.explain(net, jaxbp.squared_error, net.init(jax.random.key(0)), PAIR, 1)
