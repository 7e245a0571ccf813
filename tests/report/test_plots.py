"""What the pictures show."""

import numpy as np
import pytest

from jaxbp.report import plot_history, plot_sweep


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


@pytest.mark.parametrize("path", [None, 5, print, "a.png\0", "x" * 300, ".", "/", "picture"])
def test_a_picture_goes_to_a_path(path):
    with pytest.raises((TypeError, ValueError), match=r": expected path .*, got "):
        plot_sweep([{}, {}], LOSS, path)
    with pytest.raises((TypeError, ValueError), match=r": expected path .*, got "):
        plot_history({"loss": np.ones(3)}, path)
