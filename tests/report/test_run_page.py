"""The page of a run, read as text and opened in a real browser."""

import shutil

import jax
import numpy as np
import pytest

import jaxbp
from jaxbp.report.page.run import LIMIT, write_run_page
from tests.report.accessible import violations

pytest.importorskip("matplotlib")
pytest.importorskip("jinja2")
pytest.importorskip("sklearn")

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
EVIL = "<script>document.title = 'broken'</script>"
RNG = np.random.default_rng(0)
X = RNG.uniform(0, 1, (30, 16)).astype(np.float32)
Y = RNG.integers(0, 3, 30)
CLASSES = (EVIL, "b", "c")
HISTORY = {
    "epoch": np.arange(1, 4),
    "loss": np.array([3.0, 2.0, 1.0]),
    "val_accuracy": np.array([0.1, 0.2, 0.3]),
}
WATCHED = {EVIL: np.array([1.0, 0.5]), "out a": np.array([0.1, 0.2])}


def images():
    net = jaxbp.mlp([16, 6, 3], jaxbp.relu)
    params = net.init(jax.random.key(0))
    return jaxbp.Trained(net, params, jaxbp.softmax_cross_entropy, classes=CLASSES, settings={"note": EVIL})


def page_of_images(**given):
    run = images()
    evaluation = run.evaluate(X, np.array(CLASSES, object)[Y])
    return write_run_page(run, X, evaluation, Y, **given), evaluation


@pytest.fixture(scope="module")
def whole():
    return page_of_images(history=HISTORY, watched=WATCHED, title=EVIL)


@pytest.mark.soak
def test_the_page_says_what_the_run_did(whole):
    page, evaluation = whole
    wrong = int((evaluation.truth != evaluation.predicted).sum())
    assert f"{wrong} of 30 examples are misclassified" in page
    assert "After the last epoch: epoch 3, loss 1, val_accuracy 0.3." in page
    for row in evaluation.confusion.tolist():
        assert "".join(f"<td>{count}</td>" for count in row) in page
    run = images()
    bp = jaxbp.backprop(run.network, run.loss, run.params, X, Y)
    for name, delta in bp.deltas.quantities():
        cells = f"<td>{name}</td>", f"<td>{np.linalg.norm(np.asarray(delta, float)):.4g}</td>"
        assert all(cell in page for cell in cells), name
    assert "<td>delta_a_2^T f_1^T</td>" in page
    assert page.count("<img ") == 6
    assert page.count("alt=") == 6
    assert len(page.encode()) < LIMIT


def test_nothing_leaves_the_file_and_names_are_text(whole):
    page, _ = whole
    assert "default-src 'none'" in page
    assert "script-src" not in page
    assert "<script" not in page
    assert page.count("&lt;script&gt;") >= 3
    assert "http" not in page.replace("http-equiv", "")


def test_a_run_without_history_on_values():
    net = jaxbp.mlp([3, 2])
    run = jaxbp.Trained(net, net.init(jax.random.key(0)), jaxbp.squared_error)
    x, y = X[:, :3], X[:, :2]
    page = write_run_page(run, x, run.evaluate(x, y), y)
    for absent in ("Learning curves", "Delta norms", "Misclassified", "Confusion"):
        assert absent not in page
    for part in ("Result", "Deltas", "Learned features", "Predicted by true values", "r2", "rmse"):
        assert part in page


def test_examples_that_are_no_images_are_written_out():
    net = jaxbp.mlp([3, 2])
    run = jaxbp.Trained(net, net.init(jax.random.key(0)), jaxbp.softmax_cross_entropy)
    x, y = X[:, :3], Y % 2
    page = write_run_page(run, x, run.evaluate(x, y), y)
    first = int(np.flatnonzero(run.predict(x) != y)[0])
    assert f"<td>{' '.join(f'{v:.4g}' for v in x[first].tolist())}</td>" in page


def test_what_is_no_run_is_refused():
    run = images()
    evaluation = run.evaluate(X, np.array(CLASSES, object)[Y])
    with pytest.raises(TypeError, match="report: expected run to be a Trained, got"):
        write_run_page(run.network, X, evaluation, Y)
    with pytest.raises(TypeError, match="report: expected evaluation to be an Evaluation, got"):
        write_run_page(run, X, None, Y)
    with pytest.raises(ValueError, match="report: expected the examples of the evaluation, got 3 examples"):
        write_run_page(run, X[:3], evaluation, Y)


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("no Chromium at hand")
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield started
        started.close()


SCREENS = [(360, "dark"), (1100, "light")]


@pytest.mark.parametrize(("width", "scheme"), SCREENS)
def test_in_a_browser(whole, browser, tmp_path, width, scheme):
    path, sent, faults = tmp_path / "run.html", [], []
    path.write_text(whole[0], encoding="utf-8")
    page = browser.new_page(viewport={"width": width, "height": 740}, color_scheme=scheme)
    page.on("request", lambda request: sent.append(request.url))
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda message: faults.append(message.text))
    page.goto(path.as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert page.title() == EVIL
    shown = page.locator("img").evaluate_all("all => all.map(e => e.naturalWidth > 100 && e.width > 300)")
    assert shown == [True] * 6
    for heading in page.locator("nav a").all():
        target = heading.get_attribute("href").removeprefix("#")
        assert page.locator(f"#{target}").count() == 1
    assert {url for url in sent if not url.startswith("data:")} == {path.as_uri()}
    assert faults == []
    page.close()


def test_what_is_on_the_screen_is_printed(whole, browser, tmp_path):
    path = tmp_path / "run.html"
    path.write_text(whole[0], encoding="utf-8")
    page = browser.new_page(viewport={"width": 1100, "height": 740})
    page.goto(path.as_uri())
    on_screen = page.locator("main section").all_inner_texts()
    page.emulate_media(media="print")
    assert page.locator("main section").all_inner_texts() == on_screen
    assert len(on_screen) > 4
    assert all(shown.is_visible() for shown in page.locator("main img, main section, h1").all())
    page.close()


@pytest.mark.parametrize(("width", "scheme"), SCREENS)
def test_axe_finds_nothing(whole, browser, tmp_path, width, scheme):
    path = tmp_path / "run.html"
    path.write_text(whole[0], encoding="utf-8")
    page = browser.new_page(viewport={"width": width, "height": 740}, color_scheme=scheme)
    page.goto(path.as_uri())
    assert violations(page) == []
    page.close()


def test_the_command_writes_the_page(tmp_path, capsys):
    pytest.importorskip("tyro")
    from jaxbp import cli

    run = jaxbp.Trained(images().network, images().params, jaxbp.softmax_cross_entropy)
    jaxbp.save_run(tmp_path / "kept", run)
    np.savez(tmp_path / "data.npz", x=X, y=Y)
    (tmp_path / "kept" / "history.csv").write_text("epoch,loss\n1,2.5\n2,1.25\n")
    watched = "epoch,quantity,of,statistic,value\n0,delta,hidden a,norm,0.5\n0,value,hidden a,norm,7\n"
    (tmp_path / "kept" / "watch.csv").write_text(watched)
    assert cli.main(["report", str(tmp_path / "kept"), str(tmp_path / "data.npz")]) == 0
    page = (tmp_path / "kept" / "report.html").read_text(encoding="utf-8")
    assert "Run kept" in page
    assert "After the last epoch: epoch 2, loss 1.25." in page
    assert "Delta norms over time" in page
    assert page.count("<img ") == 6
    assert cli.main(["report", str(tmp_path / "kept")]) == 1
    assert "expected a file to report on" in capsys.readouterr().err
    assert cli.main(["report", str(tmp_path), "--html", str(tmp_path / "a.html")]) == 1
    assert not (tmp_path / "a.html").exists()
