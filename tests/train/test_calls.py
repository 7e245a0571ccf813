"""What `fit` and `sweep` are given is taken as what it means, or refused before the first epoch."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxbp
from jaxbp.data import Dataset
from tests.cases import draw_params
from tests.train.test_fit import EVALUATE, GRAD, NET, data

x, y = data()
HELD = {"validation": (x, y), "evaluate": EVALUATE}


def loss(params, x, y):
    return jaxbp.softmax_cross_entropy(NET.apply(params, x), y)


def with_aux(params, x, y):
    return loss(params, x, y), {"stats": x.mean(0)}


def never(record):
    raise AssertionError("an epoch was run")


def refusal(call, **options):
    """The message that refuses these options; nothing was trained before it came."""
    given = {"optimizer": optax.sgd(0.1), "key": jax.random.key(1), "batch_size": 8, "epochs": 3}
    given |= {"grad_fn": GRAD, "params": draw_params(NET, "float32"), "data": (x, y), "progress_bar": False}
    with pytest.raises((TypeError, ValueError)) as caught:
        call(**given | options)
    said = str(caught.value)
    assert ": expected " in said
    assert ", got " in said
    return said


def fit(callbacks=(never,), **options):
    return jaxbp.fit(callbacks=callbacks, **options)


async def later(record): ...


def updating(update):
    return optax.GradientTransformation(
        lambda params: (), lambda grads, state, params=None: update(grads, state)
    )


def gone():
    state = optax.adam(0.1).init(draw_params(NET, "float32"))
    jax.tree.map(lambda leaf: leaf.delete(), state)
    return state


def batches():
    while True:
        yield x[:8], y[:8]


BAD = {
    "optimizer not made": (
        {"optimizer": optax.adam},
        "got the function adam; make it, e.g. optax.adam(1e-3)",
    ),
    "optimizer by name": ({"optimizer": "sgd"}, "got 'sgd'; make it, e.g. optax.sgd(0.1)"),
    "a rate": ({"optimizer": 0.1}, "expected an optax optimizer, got the float 0.1; e.g. optax.sgd(0.1)"),
    "no optimizer": ({"optimizer": None}, "got None; e.g. optax.adam(1e-3)"),
    "an optimizer that wants a Hessian": (
        {"optimizer": optax.GradientTransformation(lambda params: (), lambda g, s, p, *, hessian: (g, s))},
        "missing 1 required keyword-only",
    ),
    "an optimizer that wants its loss by another name": (
        {"optimizer": optax.contrib.sophia(0.1)},
        "perhaps value, grad, value_fn, obj_fn, grad_fn, got obj_fn must be provided",
    ),
    "key 0": ({"key": 0}, "expected a key, got the int 0; try jax.random.key(0)"),
    "two keys": ({"key": jax.random.split(jax.random.key(0))}, "one key, got 2 keys"),
    "y for a weight": ({"data": (x, y, y)}, "expected data (x, y, weight), got y twice; give (x, y)"),
    "four arrays": ({"data": (x, y, x, y)}, "expected data (x, y) or a Dataset, got 4 arrays; give both"),
    "no arrays": ({"data": ({}, y)}, "expected arrays in x, got a dict of 0"),
    "a weight missing": ({"data": (x, y, np.ones(19))}, "26 x and 19 weight"),
    "a weight below 0": ({"data": (x, y, -np.ones(26))}, "expected weights from 0 on, got weight[0] is -1.0"),
    "a weight of NaN": ({"data": (x, y, np.full(26, np.nan))}, "weight[0] is nan"),
    "all weights 0": ({"data": (x, y, np.zeros(26))}, "one is above 0, got 0 for every example"),
    "words for weights": ({"data": (x, y, np.full(26, "a"))}, "text; code the words"),
    "weights grad_fn does not know": (
        {"data": (x, y, np.ones(26)), "grad_fn": lambda p, x, y: None},
        "a grad_fn that takes weights, for data has them, got a lambda; give it an argument weight",
    ),
    "weights evaluate does not know": (
        {"validation": (x, y, np.ones(26)), "evaluate": lambda p, x, y: {}},
        "an evaluate that takes weights",
    ),
    "weights that grad_fn needs": (
        {"grad_fn": lambda p, x, y, weight: None},
        "expected data (x, y, weight), for a grad_fn asks for weights, got (x, y) and a lambda",
    ),
    "weights that evaluate needs": (
        {"validation": (x, y), "evaluate": lambda p, x, y, *, weight: {}},
        "expected validation (x, y, weight), for an evaluate asks for weights",
    ),
    "a class too many": ({"class_weight": {3: 1.0}}, "expected a label in class_weight"),
    "a class too few": ({"class_weight": [1.0, 2.0]}, "a class_weight for each of 3 classes, got (2,)"),
    "a class by word": ({"class_weight": "balance"}, "did you mean 'balanced'?"),
    "no class counts": ({"class_weight": [0, 0, 0]}, "a class that occurs, got 0 for all"),
    "one class weight": ({"class_weight": 3.0}, "a number for each class, or"),
    "shuffle by word": ({"shuffle": "no"}, "expected shuffle True or False"),
    "x alone": ({"data": x}, "got float32 of shape (26, 4); give (x, y)"),
    "two rows alone": ({"data": x[:2]}, "got float32 of shape (2, 4); give (x, y)"),
    "a dict": ({"data": {"x": x, "y": y}}, "got a dict of 2; give its arrays"),
    "a generator": (
        {"data": batches()},
        "steps_per_epoch for an iterator, which may never end, got a generator; Batches(iterator, steps",
    ),
    "no batches": ({"data": lambda: iter(())}, "at least one batch, got none"),
    "a batch of one array": ({"data": lambda: [x[:8]]}, "expected data (x, y) or a Dataset, got float32"),
    "batches of a word": ({"data": lambda: "ab"}, "expected data (x, y) or a Dataset, got 'a'"),
    "batches and iterations": (
        {"data": jaxbp.Batches(batches, 3), "iterations": 5, "epochs": None},
        "batches from a source without the others, got iterations",
    ),
    "batches and class weights": (
        {"data": jaxbp.Batches(batches, 3), "class_weight": [1, 1, 1]},
        "got class_w",
    ),
    "x by name": ({"data": ({"a": x[:, :2], "b": x[:, 2:]}, y)}, "x as one array, got a dict of 2; join"),
    **{
        f"a list of {n} batches": (
            {"data": [(x[:8], y[:8])] * n},
            f"data (x, y) or a Dataset, got a list of {n} tuples; batches are jaxbp.Batches(data)",
        )
        for n in (1, 2, 3, 4)
    },
    "a pair of inputs": ({"data": ((x, x), y)}, "join its arrays, np.concatenate(x, axis=1), or give a grad"),
    "evaluated never": ({"evaluate_every": 2}, "evaluate_every beside validation, or beside iterations"),
    "labels in a column": (
        {"data": (x, y[:, None])},
        "labels of shape (8,) or rows of shape (8, 3), got shape (8, 1); drop the axis, y[..., 0]",
    ),
    "images": ({"data": (x.reshape(-1, 2, 2), y)}, "reshape"),
    "a part above 1": ({"validation": 1.2, "evaluate": EVALUATE}, "validation in (0, 1), got 1.2"),
    "a number held out": (
        {"validation": 5, "evaluate": EVALUATE},
        "got the int 5; a part of the data is a float",
    ),
    "a part of a stream": (
        {"validation": 0.2, "evaluate": EVALUATE, "memory_budget": 200},
        "or shuffle=False, where data stream or many processes give them, got a part, 0.2",
    ),
    "metrics by a wrong name": ({"metrics": ["acc"]}, "or a name of scikit-learn's scorers, got 'acc'"),
    "metrics of a function": (
        {"metrics": ["accuracy"], "grad_fn": jax.value_and_grad(loss)},
        "metrics beside jaxbp.value_and_grad, which tells its outputs, got the function loss; return ((loss,",
    ),
    "metrics of the host, of batches": ({"metrics": ["f1_macro"]}, "metrics of batches, got f1_macro"),
    "metrics of the host on a mesh": (
        {"metrics": ["f1_macro"], "validation": 0.2, "mesh": jax.make_mesh((1,), ("data",))},
        "metrics that are compiled, where devices train together, got f1_macro",
    ),
    "other targets": ({**HELD, "validation": (x, x)}, "3 class"),
    "callbacks alone": (
        {"callbacks": print},
        "a list of functions of an epoch's record, got the function print",
    ),
    "callbacks that are none": ({"callbacks": [1]}, "callback 0 to be a function, got the int 1"),
    "a callback of nothing": (
        {"callbacks": [lambda: None]},
        "callback 0 to take 1 argument, got a lambda ()",
    ),
    "a coroutine for a callback": ({"callbacks": [later]}, "a plain function, got the coroutine function"),
    "an optimizer of parameters of its own": (
        {"optimizer": optax.lookahead(optax.sgd(0.1), 5, 0.5)},
        "an optimizer whose update takes gradients, state, parameters, perhaps",
    ),
    "an optimizer that looks up what is not there": (
        {"optimizer": updating(lambda g, s: (g["W"], s))},
        "an optimizer whose update takes gradients, state, parameters, perhaps",
    ),
    "an optimizer that returns nothing": (
        {"optimizer": updating(lambda g, s: None)},
        "(updates like params, state), got",
    ),
    "an optimizer that returns updates alone": (
        {"optimizer": updating(lambda g, s: g)},
        "(updates like params, state), got",
    ),
    "an optimizer that returns three": ({"optimizer": updating(lambda g, s: (g, s, s))}, "got a tuple of 3"),
    "other updates": ({"optimizer": updating(lambda g, s: ({}, s))}, "got updates PyTreeDef({})"),
    "preprocess to nothing": ({"preprocess": lambda x: None}, "a row of floats for each example, got None"),
    "preprocess to a pair": ({"preprocess": lambda x: (x, x)}, "got a tuple of 2; e.g. lambda x: x / 255"),
    "preprocess through NumPy": (
        {"preprocess": lambda x: np.asarray(x) / 2},
        "preprocess: expected jax.numpy",
    ),
    "grad_fn through NumPy": (
        {"grad_fn": lambda p, x, y: (np.asarray(x).sum(), p)},
        "grad_fn: expected jax.numpy alone, for it is compiled, got",
    ),
    "grad_fn through float": (
        {"grad_fn": lambda p, x, y: (float(x.sum()), p)},
        "grad_fn: expected jax.numpy alone",
    ),
    "evaluate that asks": (
        {**HELD, "evaluate": lambda p, x, y: {"a": 1.0 if x.sum() > 0 else 0.0}},
        "evaluate: expected jax.numpy alone",
    ),
    "preprocess that waits": ({"preprocess": later}, "a plain function, got the coroutine function"),
    "more classes than outputs": ({"data": Dataset(x, y, 7)}, "the network's 3 classes, got a Dataset of 7"),
    "fewer classes than outputs": ({"data": Dataset(x, y, 2)}, "the network's 3 classes, got a Dataset of 2"),
    "a class for evaluate": ({**HELD, "evaluate": dict}, "evaluate"),
    "a deleted state": ({"optimizer": optax.adam(0.1), "opt_state": gone()}, "deleted"),
    "checkpoints True": (
        {"checkpoints": True},
        "checkpoints to be a Checkpoints, got True; e.g. jaxbp.Check",
    ),
    "early_stopping 5": ({"early_stopping": 5}, "got the int 5; e.g. jaxbp.EarlyStopping(5)"),
    "mesh 2": ({"mesh": 2}, "mesh to be a Mesh, got the int 2; e.g. jax.make_mesh"),
    "progress_bar 'no'": ({"progress_bar": "no"}, "progress_bar True or False"),
    "memory_budget 1e9": ({"memory_budget": 1e9}, "memory_budget a whole number of at least 1"),
    "preprocess": ({"preprocess": 255}, "preprocess to be a function, got the int 255"),
    "epochs nan": ({"epochs": float("nan")}, "epochs a whole number of at least 1, got the float nan"),
    "epochs 2.5": ({"epochs": 2.5}, "got the float 2.5"),
    "epochs True": ({"epochs": True}, "got True"),
    "batch_size 8.0": ({"batch_size": 8.0}, "batch_size a whole number, got the float 8.0; write 8"),
    "batch_size '8'": ({"batch_size": "8"}, "write it without quotes"),
    "evaluate None": ({**HELD, "evaluate": lambda p, x, y: None}, "to return {name: scalar}, got None"),
    "evaluate a scalar": ({**HELD, "evaluate": loss}, "to return {name: scalar}, got float32 of shape ()"),
    "a matrix": (
        {**HELD, "evaluate": lambda p, x, y: {"confusion": jnp.eye(3)}},
        "got 'confusion': float32 of",
    ),
    "evaluate of two": (
        {**HELD, "evaluate": lambda p, x: {}},
        "evaluate to take 3 arguments, got a lambda (p, x)",
    ),
    "a loss": ({"grad_fn": loss}, "float32 of shape () alone; e.g. jaxbp.value_and_grad(net, loss)"),
    "has_aux": (
        {"grad_fn": jax.value_and_grad(with_aux, has_aux=True)},
        "expected an aux {name: scalar}, for the history, got 'stats': float32 of shape (4,)",
    ),
    "gradients alone": ({"grad_fn": jax.grad(loss)}, "a scalar loss and a tree like params"),
    "a transposed gradient": (
        {"grad_fn": lambda p, x, y: (x.sum(), jax.tree.map(jnp.transpose, p))},
        "float32 of shape (4, 6) for [1]['W'] of shape (6, 4)",
    ),
    "a complex gradient": (
        {"grad_fn": lambda p, x, y: (x.sum(), jax.tree.map(lambda a: a + 1j, p))},
        "got complex64 of shape (6, 4) for [1]['W']",
    ),
    "a gradient of whole numbers": (
        {"grad_fn": lambda p, x, y: (x.sum(), jax.tree.map(lambda a: a.astype(int), p))},
        "got int32 of shape (6, 4) for [1]['W']",
    ),
    "a key by another name": (
        {"grad_fn": lambda params, x, y, rng: GRAD(params, x, y)},
        "an argument for a random key must be called key",
    ),
    "grad_fn of two": ({"grad_fn": lambda params, x: None}, "grad_fn to take 3 arguments"),
    "an array for grad_fn": (
        {"grad_fn": np.ones(3)},
        "grad_fn to be a function, got float64 of shape (3,); e.g. jaxbp.value_and_grad",
    ),
    "no grad_fn": ({"grad_fn": None}, "grad_fn to be a function, got None; e.g. jaxbp.value_and_grad"),
    "integers": (
        {"params": jax.tree.map(lambda p: p.astype(int), draw_params(NET, "float32"))},
        "floating-point parameters, got [1]['W'] int32; try jnp.asarray(W, float)",
    ),
    "bools": ({"params": {"w": jnp.array([True])}}, "got ['w'] bool"),
    "complex": ({"params": {"w": jnp.array([1j])}}, "got ['w'] complex64"),
    "functions": ({"params": {"w": jnp.ones(2), "f": jnp.tanh}}, "['f']"),
    "no parameters": ({"params": {}}, "at least one parameter, got none"),
    "NaN": ({"params": {"w": jnp.array([1.0, jnp.nan])}}, "finite parameters, got NaN or infinity in ['w']"),
    "a state of another": (
        {"opt_state": optax.adam(0.1).init(draw_params(NET, "float32"))},
        "an opt_state of this optimizer and these parameters",
    ),
    "a state of other shapes": (
        {
            "optimizer": optax.adam(0.1),
            "opt_state": optax.adam(0.1).init(jax.tree.map(lambda p: p[:1], draw_params(NET, "float32"))),
        },
        "float32 of shape (1, 4) for float32 of shape (6, 4) in [0].mu[1]['W']",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_fit_refuses_before_the_first_epoch(case):
    options, says = BAD[case]
    assert says in refusal(fit, **options)


def test_a_state_in_another_byte_order_goes_on_as_its_own():
    state = optax.adam(0.1).init(draw_params(NET, "float32"))
    other = jax.tree.map(lambda leaf: np.asarray(leaf).astype(leaf.dtype.newbyteorder(">")), state)
    ends = [
        jaxbp.fit(GRAD, draw_params(NET, "float32"), (x, y), optimizer=optax.adam(0.1), opt_state=given,
                  key=jax.random.key(1), batch_size=8, epochs=1, progress_bar=False).params
        for given in (state, other)
    ]  # fmt: skip
    jax.tree.map(np.testing.assert_array_equal, *ends)


def test_without_jit_there_are_no_epochs():
    with jax.disable_jit():
        assert "expected jit, for epochs are compiled programs, got jax_disable_jit" in refusal(fit)


@pytest.mark.parametrize("of", ["multi_transform", "masked", "init by name"])
def test_optimizers_of_parts_of_the_parameters_train_over_a_mesh(of):
    def is_w(params):
        return jax.tree_util.tree_map_with_path(lambda path, _: path[-1].key == "W", params)

    def named(params):
        return jax.tree.map(lambda w: "adam" if w else "sgd", is_w(params))

    optimizer = {
        "multi_transform": optax.multi_transform({"adam": optax.adam(0.1), "sgd": optax.sgd(0.1)}, named),
        "masked": optax.masked(optax.adam(0.1), is_w),
        "init by name": optax.GradientTransformation(
            lambda params: {"mean": params[1]["W"] * 0},
            lambda grads, state, params=None: (
                jax.tree.map(lambda g: -0.1 * g, grads),
                {"mean": 0.9 * state["mean"] + grads[1]["W"]},
            ),
        ),
    }[of]
    ends = [
        jaxbp.fit(GRAD, draw_params(NET, "float32"), (x, y), optimizer=optimizer, mesh=mesh,
                  key=jax.random.key(1), batch_size=8, epochs=2, progress_bar=False)
        for mesh in (None, jax.make_mesh((2, 2), ("data", "model"), devices=jax.devices()[:4]))
    ]  # fmt: skip
    for alone, over in zip(*(jax.tree.leaves((end.params, end.opt_state)) for end in ends), strict=True):
        np.testing.assert_allclose(over, alone, rtol=1e-5, atol=1e-6)
    if of != "init by name":  # what Adam keeps for a W is cut as that W is
        cut = [leaf.sharding.spec for leaf in jax.tree.leaves(ends[1].opt_state) if leaf.shape == (6, 4)]
        assert [spec[0] for spec in cut] == ["model"] * 2


@pytest.mark.parametrize(
    ("low", "high", "remedy"), [(-1, 1, "(y + 1) / 2"), (0, 255, "y / 255"), (1, 2, "y - 1")]
)
@pytest.mark.parametrize("held", [False, True], ids=["data", "validation"])
def test_targets_that_are_no_probabilities(low, high, remedy, held):
    net = jaxbp.mlp([4, 3, 1], jaxbp.tanh)
    good = (x[:, :1] > 0).astype(np.float32)
    bad = np.where(good, np.float32(high), np.float32(low))
    options = {"grad_fn": jaxbp.value_and_grad(net, jaxbp.binary_cross_entropy), "data": (x, bad)}
    if held:
        evaluate = jaxbp.make_evaluate(net.apply, jaxbp.binary_cross_entropy)
        options |= {"data": (x, good), "validation": (x, bad), "evaluate": evaluate}
    said = refusal(fit, params=draw_params(net, "float32"), **options)
    assert said.startswith("validation: " if held else "data: ")
    assert remedy in said


def test_modules_of_other_libraries_are_told_how_to_part_them():
    nnx, eqx = pytest.importorskip("flax.nnx"), pytest.importorskip("equinox")

    class Dropped(nnx.Module):
        def __init__(self, rngs):
            self.linear, self.drop = nnx.Linear(4, 3, rngs=rngs), nnx.Dropout(0.5, rngs=rngs)

    module = Dropped(nnx.Rngs(0))
    assert "nnx.split" in refusal(fit, params=module)
    _, state = nnx.split(module)
    said = refusal(fit, params=state)
    assert "['drop']" in said
    assert "nnx.split(model, nnx.Param, ...)" in said
    said = refusal(fit, params=eqx.nn.MLP(4, 3, 5, 1, key=jax.random.key(0)))
    assert ".activation" in said
    assert "eqx.partition" in said


def test_parted_modules_train():
    """What the messages advise."""
    nnx, eqx = pytest.importorskip("flax.nnx"), pytest.importorskip("equinox")
    options = {
        "optimizer": optax.adam(0.05),
        "key": jax.random.key(0),
        "epochs": 2,
        "batch_size": 13,
        "progress_bar": False,
    }
    train = Dataset(x, y, 3)

    graph, params, rest = nnx.split(nnx.Linear(4, 3, rngs=nnx.Rngs(0)), nnx.Param, ...)

    def of_nnx(params, x, y):
        return jaxbp.softmax_cross_entropy(nnx.merge(graph, params, rest)(x), y)

    assert jaxbp.fit(jax.value_and_grad(of_nnx), params, train, **options).stopped == "finished"
    params, static = eqx.partition(eqx.nn.Linear(4, 3, key=jax.random.key(0)), eqx.is_inexact_array)

    def of_equinox(params, x, y):
        return jaxbp.softmax_cross_entropy(jax.vmap(eqx.combine(params, static))(x), y)

    assert jaxbp.fit(jax.value_and_grad(of_equinox), params, train, **options).stopped == "finished"


def test_values_that_mean_the_same_train_the_same():
    """NumPy numbers, a raw key, lists and frames: the result is that of the plain value, bit for bit."""
    pandas = pytest.importorskip("pandas")
    options = {"optimizer": optax.sgd(0.1), "epochs": 2, "batch_size": 8, "progress_bar": False}
    params, key = draw_params(NET, "float32"), jax.random.key(7)
    expected = jaxbp.fit(GRAD, params, (x, y), key=key, **options)
    frame, column = pandas.DataFrame(x).convert_dtypes(), pandas.Series(y).astype("Int64")
    same = [
        {"key": jax.random.PRNGKey(7)},
        {"epochs": np.int64(2), "batch_size": np.uint8(8)},
        {"data": [x, y]},
        {"data": (x.astype(object), y.tolist())},
        {"data": (frame, column)},
        {"data": (np.ma.masked_array(x), y.astype(">i8"))},
        {"params": jax.tree.map(np.asarray, params)},
        {"callbacks": (c for c in [lambda record: None])},
    ]
    for other in same:
        given = {"grad_fn": GRAD, "params": params, "data": (x, y), "key": key} | options | other
        result = jaxbp.fit(**given)
        jax.tree.map(np.testing.assert_array_equal, result.params, expected.params)


@pytest.mark.parametrize("patience", [0, -1, float("nan"), 2.5, "3", None, True])
def test_patience_is_checked_when_it_is_given(patience):
    with pytest.raises((TypeError, ValueError), match="EarlyStopping: expected patience a whole number"):
        jaxbp.EarlyStopping(patience)


@pytest.mark.parametrize("mode", ["MIN", "maximum", None, True])
def test_a_mode_is_one_of_two_words(mode):
    with pytest.raises((TypeError, ValueError), match="EarlyStopping: expected mode 'min' or 'max', got"):
        jaxbp.EarlyStopping(3, mode=mode)
    result = jaxbp.sweep(
        GRAD,
        NET.init,
        (x, y),
        optimizer=optax.sgd,
        seeds=1,
        epochs=1,
        batch_size=8,
        progress_bar=False,
        hyperparameters={"learning_rate": [0.1]},
        key=jax.random.key(0),
    )
    with pytest.raises((TypeError, ValueError), match="best: expected mode 'min' or 'max', got"):
        result.best(mode=mode)


SWEPT = {
    "a seed of 33 bits": ({"seeds": [2**32]}, "seed 0 a whole number in [0, 4.29497e+09], got 4294967296"),
    "an optimizer that is made": ({"optimizer": optax.sgd(0.1)}, "a function that makes the optimizer, got"),
    "another name": (
        {"hyperparameters": {"eta": [0.1]}},
        "that takes the hyperparameters eta, got the function sgd",
    ),
    "no optimizer comes of it": (
        {"optimizer": lambda learning_rate: 3},
        "expected an optax optimizer, got the int 3",
    ),
    "a list": ({"hyperparameters": [0.1]}, "hyperparameters, a dict of lists of values, got a list of 1"),
    "NaN": ({"hyperparameters": {"learning_rate": [0.1, float("nan")]}}, "learning_rate, value 1"),
    "a word": ({"hyperparameters": {"learning_rate": "0.1"}}, "numbers for learning_rate"),
    "a rate of True": (
        {"hyperparameters": {"learning_rate": [True]}},
        "numbers or schedules for learning_rate, got True",
    ),
    "no rate": ({"hyperparameters": {"learning_rate": [0.1, None]}}, "numbers or schedules for learning"),
    "init": ({"init": draw_params(NET, "float32")}, "init to be a function, got a dict of 2"),
    "init of nothing": ({"init": lambda: None}, "init to take 1 argument"),
    "integers": ({"init": lambda key: {"w": jnp.ones(2, int)}}, "sweep: expected floating-point parameters"),
    "key": ({"key": 3}, "sweep: expected a key, got the int 3"),
    "seeds": ({"seeds": 2.0}, "seeds a whole number, got the float 2.0"),
    "seeds as floats": ({"seeds": [0, 1.5]}, "seed 1 a whole number"),
    "data": ({"data": (x, y, y)}, "sweep: expected data (x, y, weight), got y twice"),
    "epochs": ({"epochs": 1.0}, "sweep: expected epochs a whole number"),
    "evaluate": ({**HELD, "evaluate": lambda p, x, y: 1}, "to return {name: scalar}, got the int 1"),
    "a loss": ({"grad_fn": loss}, "alone; e.g. jaxbp.value_and_grad(net, loss)"),
    "order": ({"order": "Own"}, "did you mean 'own'?"),
    "memory_budget": ({"memory_budget": "1GB"}, "memory_budget a whole number"),
}


@pytest.mark.parametrize("case", SWEPT)
def test_sweep_refuses_before_the_first_epoch(case):
    options, says = SWEPT[case]
    swept = {
        "init": NET.init,
        "optimizer": optax.sgd,
        "hyperparameters": {"learning_rate": [0.1]},
        "seeds": 2,
    }

    def call(params, **given):
        return jaxbp.sweep(**given)

    assert says in refusal(call, **swept | options)


def test_a_batch_is_32_examples_or_all_there_are():
    """Where nobody says; 26 of them here, 3 after a part is held out, and of more 32."""
    given = {"optimizer": optax.sgd(0.1), "key": jax.random.key(1), "epochs": 1, "progress_bar": False}
    params = draw_params(NET, "float32")
    for n, options, steps in ((26, {}, 1), (4, {"validation": 0.25, "evaluate": EVALUATE}, 1), (78, {}, 3)):
        examples = np.resize(x, (n, 4)), np.resize(y, n)
        assert jaxbp.fit(GRAD, params, examples, **given, **options).step == steps
    grid = {"hyperparameters": {"learning_rate": [0.1]}, "seeds": 1, "optimizer": optax.sgd}
    swept = jaxbp.sweep(GRAD, NET.init, (x, y), **given | grid)
    alone = jaxbp.sweep(GRAD, NET.init, (x, y), **given | grid, batch_size=26)
    assert (swept.history["loss"] == alone.history["loss"]).all()


TEXTS = {
    "embedding": lambda: jaxbp.chain(jaxbp.embedding(5, 3), jaxbp.dense(3, 5)),
    "in half precision": lambda: jaxbp.mixed_precision(jaxbp.chain(jaxbp.embedding(5, 3), jaxbp.dense(3, 5))),
    "tied": lambda: jaxbp.gpt(5, 4, d=2, layers=1, heads=1),
}


@pytest.mark.parametrize("bad", [7, -1])
@pytest.mark.parametrize("net", TEXTS)
def test_an_id_that_no_table_has_is_refused_before_the_first_epoch(net, bad):
    """Where a run would lose its numbers hours later; in data, in what is held out, and by a sweep."""
    net = TEXTS[net]()
    ids = np.arange(48).reshape(12, 4) % 5
    wrong = ids.copy()
    wrong[3, 2] = bad
    given = {"grad_fn": jaxbp.value_and_grad(net, jaxbp.softmax_cross_entropy)}
    params = net.init(jax.random.key(0))
    place = "examples 3 and 1" if bad < 0 else "examples 0 and 3"
    for name, of in (
        ("data", {"data": (wrong, ids)}),
        ("validation", {"data": (ids, ids), "validation": (wrong, ids), "evaluate": EVALUATE}),
    ):
        said = refusal(fit, params=params, **given, **of)
        assert said.startswith(f"{name}, {place}: layer 1: embedding(5, ")
        assert f"expected ids in 0..4, got id {bad} at " in said
    sweep = {"hyperparameters": {"learning_rate": [0.1]}, "init": net.init, "optimizer": optax.sgd}
    assert f"got id {bad} at " in refusal(
        lambda params, callbacks=(), **options: jaxbp.sweep(**options), data=(wrong, ids), **given, **sweep
    )
