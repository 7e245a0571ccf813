"""What the pictures show."""

import numpy as np
import pytest

from jaxbp.report import plot_sweep


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
