"""What the pictures show."""

import io

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxbp
from jaxbp import plots
from jaxbp.report import plot_history, plot_sweep
from jaxbp.runs.evaluation import of_classes, of_values

NET, CE = jaxbp.mlp([2, 3, 2], jaxbp.tanh), jaxbp.softmax_cross_entropy
PARAMS = NET.init(jax.random.key(0))
X, Y = np.array([[1.0, -0.5], [0.25, 2.0], [-1.0, 0.0]], np.float32), np.array([0, 1, 1])


def test_a_sweep_is_drawn_as_medians_within_ranges(monkeypatch):
    figure = pytest.importorskip("matplotlib.figure")
    drawn = []
    monkeypatch.setattr(figure.Figure, "savefig", lambda self, path, dpi: drawn.append(self))
    points = [{"eta": eta} for eta in (0.1, 0.5) for _ in range(3)]
    loss = np.array([[3, 1], [5, 2], [4, 6], [1, 1], [2, np.nan], [9, 3]], float)
    plot_sweep(points, {"loss": loss, "val_loss": 2 * loss}, "unused.png")
    axes, doubled = drawn[0].axes
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["eta 0.1", "eta 0.5"]
    assert [line.get_ydata().tolist() for line in axes.lines] == [[4, 2], [2, 2]]
    assert [line.get_ydata().tolist() for line in doubled.lines] == [[8, 4], [4, 4]]
    upper = [band.get_paths()[0].vertices[:, 1].max() for band in axes.collections]
    assert upper == [6, 9]


LOSS = {"loss": np.ones((2, 3))}
NO_HISTORIES = {
    "no columns": {},
    "a list": [1.0, 2.0],
    "None": None,
    "words": {"loss": ["high", "low"]},
    "two lengths": {"loss": np.ones(3), "val_loss": np.ones(2)},
    "a matrix": {"loss": np.ones((2, 3))},
}


@pytest.mark.parametrize("kind", NO_HISTORIES)
def test_what_is_no_history_is_refused(tmp_path, kind):
    with pytest.raises((TypeError, ValueError), match=r"plot_history: expected .*, got "):
        plot_history(NO_HISTORIES[kind], tmp_path / "a.png")


@pytest.mark.parametrize("points", [None, 5, [], [{"eta": 0.1}], [0.1, 0.2], ["ab", "cd"]])
def test_points_are_one_for_each_net(tmp_path, points):
    with pytest.raises(TypeError, match=r"plot_sweep: expected points, .*, got "):
        plot_sweep(points, LOSS, tmp_path / "a.png")


@pytest.mark.parametrize("path", [5, print, "a.png\0", "x" * 300, ".", "/", "picture"])
def test_a_picture_goes_to_a_path(path):
    with pytest.raises((TypeError, ValueError), match=r": expected path .*, got "):
        plot_sweep([{}, {}], LOSS, path)
    with pytest.raises((TypeError, ValueError), match=r": expected path .*, got "):
        plot_history({"loss": np.ones(3)}, path)


def chain(x=X[0]):
    return jaxbp.jacobian_chain(NET, PARAMS, x, loss=CE, y=0)


def one(params=PARAMS, x=X[0], y=0):
    return jaxbp.backprop(NET, CE, params, jnp.asarray(x), jnp.asarray(y))


def seen(**how):
    def loss(params, x):
        return jnp.sum(jnp.tanh(params["W"] @ x) ** 2)

    return jaxbp.cotangents(loss, **how)({"W": jnp.ones((2, 2))}, X[0])


ALL = {
    "history": lambda: plots.plot_history({"loss": np.ones(3), "val_accuracy": np.ones(3)}),
    "sweep": lambda: plots.plot_sweep([{"eta": 0.1}, {"eta": 0.5}], LOSS),
    "classes": lambda: plots.plot_evaluation(of_classes(Y, Y, ("a", "b"), 0.5)),
    "values": lambda: plots.plot_evaluation(of_values(X[:, 0], X[:, 1])),
    "activations": lambda: plots.plot_activations(jaxbp.relu, jaxbp.gelu),
    "deltas": lambda: plots.plot_deltas(one()),
    "cotangents": lambda: plots.plot_deltas(seen()),
    "norms": lambda: plots.plot_deltas(seen(reduce=("norm", "zeros"))),
    "images": lambda: plots.plot_images(np.eye(4)),
    "boundary": lambda: plots.plot_boundary(NET, PARAMS, X, Y),
    "jacobians": lambda: plots.plot_jacobians(chain()),
    "spectra": lambda: plots.plot_spectra(chain()),
    "network": lambda: plots.plot_network(one(), PARAMS),
}


@pytest.mark.parametrize("name", ALL)
def test_every_picture_has_titles_and_the_names_of_its_axes(name):
    """A color bar is an axis too, and has a name."""
    pytest.importorskip("matplotlib")
    figure = ALL[name]()
    assert any(axes.get_title() for axes in figure.axes) or figure.get_suptitle()
    for axes in figure.axes:
        if axes.axison and axes.get_xticks().size:
            assert axes.get_xlabel() or axes.get_ylabel(), axes.get_title()
        if axes.axison and axes.get_yticks().size:
            assert axes.get_ylabel() or axes.get_xlabel()
    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=40)
    assert len(png.getvalue()) > 1000


@pytest.mark.parametrize("name", ["images", "jacobians"])
def test_signs_can_be_told_in_grey(name):
    """The colors of a signed picture are ordered by brightness."""
    pytest.importorskip("matplotlib")
    figure = plots.plot_images(np.array([[-1.0, 0, 0, 1]])) if name == "images" else ALL[name]()
    colors = figure.axes[0].images[0].cmap(np.linspace(0, 1, 32))[:, :3]
    grey = colors @ [0.299, 0.587, 0.114]
    assert (np.diff(grey) > 0).all()
    low, high = figure.axes[0].images[0].get_clim()
    assert low == -high


def test_lines_differ_without_color():
    pytest.importorskip("matplotlib")
    for figure in (plots.plot_history({"loss": np.ones(3), "val_loss": np.ones(3)}), ALL["spectra"]()):
        lines = figure.axes[0].lines
        styles = {(line.get_linestyle(), line.get_marker()) for line in lines}
        assert len(styles) == len(lines) > 1


def test_the_pictures_show_the_numbers():
    pytest.importorskip("matplotlib")
    f, slope = plots.plot_activations(jaxbp.tanh).axes[0].lines
    assert np.allclose(f.get_ydata(), np.tanh(f.get_xdata()), atol=1e-6)
    assert np.allclose(slope.get_ydata(), 1 - np.tanh(f.get_xdata()) ** 2, atol=1e-6)
    bp = one()
    bars = plots.plot_deltas(bp).axes[0].patches
    assert bars[0].get_width() == pytest.approx(float(jnp.linalg.norm(bp.deltas.f[2])))
    assert bars[-1].get_width() == pytest.approx(float(jnp.linalg.norm(bp.deltas.x)))
    texts = {text.get_text() for text in plots.plot_network(bp, PARAMS).axes[0].texts}
    for part in (bp.trace.f[1], bp.deltas.f[1], bp.deltas.x, bp.trace.out):
        assert {f"{v:.4g}" for v in part.tolist()} <= texts
    drawn = plots.plot_spectra(chain()).axes[1].lines[-1].get_ydata()
    assert drawn[0] == pytest.approx(float(jnp.linalg.norm(bp.deltas.x)), rel=1e-5)
    heat = plots.plot_jacobians(chain()).axes[1].images[0].get_array()
    assert np.allclose(heat, PARAMS[2]["W"])


def test_a_boundary_lies_where_the_outputs_are_equal():
    pytest.importorskip("matplotlib")
    net, params = jaxbp.dense(2, 1), {"W": jnp.array([[1.0, 0.0]]), "b": jnp.array([-0.5])}
    figure = plots.plot_boundary(net, params, X, np.array([1, 0, 0]))
    assert figure.axes[0].get_title().endswith("3 of 3 examples right")
    (line,) = [c for c in figure.axes[0].collections if np.array_equal(np.ravel(c.get_array()), [0.0])]
    across = np.concatenate([path.vertices[:, 0] for path in line.get_paths()])
    assert np.allclose(across, 0.5, atol=1e-3)
    assert plots.plot_boundary(lambda p, x: x @ p["W"][0], params, X, Y % 2).axes


@pytest.mark.parametrize(
    ("draw", "words"),
    [
        (lambda: plots.plot_activations(), "at least one layer"),
        (lambda: plots.plot_activations("relu"), "layers to be a Layer"),
        (lambda: plots.plot_activations(jaxbp.softmax), "take each a by itself"),
        (lambda: plots.plot_activations(jaxbp.dense(1, 1)), "take each a by itself"),
        (lambda: plots.plot_activations(jaxbp.relu, a_max=0), "a_max a number above 0"),
        (lambda: plots.plot_deltas([1]), "seen to be a Backprop or Cotangents"),
        (lambda: plots.plot_deltas(seen(reduce=("max",))), "deltas, or their norms"),
        (lambda: plots.plot_images(np.ones((2, 3))), "give image=(height, width)"),
        (lambda: plots.plot_images(np.ones((2, 4)), (3, 2)), "image of 4 numbers"),
        (lambda: plots.plot_images(np.ones((101, 4))), "choose some, rows[:100]"),
        (lambda: plots.plot_images(np.ones((2, 4)), titles=["a"]), "titles, one for each of 2"),
        (lambda: plots.plot_images(np.ones(4)), "rows of shape"),
        (lambda: plots.plot_boundary(NET, PARAMS, np.ones((2, 3), np.float32), Y[:2]), "x of N pairs"),
        (lambda: plots.plot_boundary(NET, PARAMS, X, Y + 1), "classes from 0 to 1, got y[1] = 2"),
        (lambda: plots.plot_boundary(NET, PARAMS, X, Y * 0.5), "y of 3 classes"),
        (lambda: plots.plot_boundary(NET, PARAMS, X, Y[:2]), "y of 3 classes"),
        (lambda: plots.plot_jacobians(NET), "chain to be a JacobianChain"),
        (lambda: plots.plot_network(one(x=X, y=Y)), "one example of one axis"),
        (lambda: plots.plot_network(NET), "bp to be a Backprop"),
        (lambda: plots.plot_network(one(), path="picture"), "path to name a picture"),
    ],
)
def test_what_cannot_be_drawn_is_said(draw, words):
    with pytest.raises((TypeError, ValueError)) as caught:
        draw()
    text = str(caught.value)
    assert ": expected " in text
    assert ", got " in text
    assert words in text


def test_names_of_users_are_no_formulas():
    pytest.importorskip("matplotlib")
    names = ("$x_{", "b" * 200)
    figure = plots.plot_evaluation(of_classes(Y, Y, names, 0.5))
    figure.savefig(io.BytesIO(), format="png", dpi=40)
    plots.plot_history({"$a$ {": np.ones(3), "loss $": np.ones(3)}).savefig(io.BytesIO(), format="png")
    plots.plot_images(np.eye(4), titles=["$\\frac{", "b" * 100, "", "$"]).savefig(io.BytesIO(), format="png")


def test_a_picture_is_written_where_it_is_said(tmp_path):
    pytest.importorskip("matplotlib")
    figure = plots.plot_spectra(chain(), tmp_path / "a.svg")
    assert (tmp_path / "a.svg").read_text().startswith("<?xml")
    assert figure.axes


@pytest.mark.parametrize("ways", [2, 10, 12, 14])
def test_each_way_of_an_experiment_has_a_marker_of_its_own(ways):
    """For colors come again, and are none on a grey print."""
    from experiments.record import dots

    drawn, axes = dots({"a row": {f"way {i}": (1, 2, 3) for i in range(ways)}}, "seconds", "Several ways")
    shown = [line.get_marker() for line in axes.lines if len(line.get_xdata()) == 1]
    assert len(shown) == len(set(shown)) == ways
    handles = drawn.legends[0].legend_handles
    assert [handle.get_marker() for handle in handles] == shown
