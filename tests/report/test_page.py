"""The page in a real browser: its numbers against JAX, its keys and buttons, what it sends (nothing)."""

import json
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxbp
from jaxbp.observe.explanation.json_reading import ACTIVATIONS, LOSSES, from_dict
from jaxbp.report.page import LIMIT, write_page
from tests.report.accessible import violations

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
PARAMS = {1: {"W": [[0.5, -0.4], [0.3, 0.8]], "b": [0.1, -0.2]}, 2: {"W": [[0.7, -0.6]], "b": [0.05]}}


def exercise():
    return jaxbp.explain(
        jaxbp.mlp([2, 2, 1], jaxbp.sigmoid), jaxbp.binary_cross_entropy, PARAMS, [1, 0], 1, eta=0.5
    )


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("no Chromium at hand")
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield started
        started.close()


@pytest.fixture
def opened(browser, tmp_path):
    """Opens an explanation's page; fails on any error of its script, and on any request."""
    contexts, faults = [], []

    def open_page(explanation, allow_refusals=False, **context):
        path = tmp_path / f"page{len(contexts)}.html"
        path.write_text(write_page(explanation), encoding="utf-8")
        contexts.append(browser.new_context(**context))
        page = contexts[-1].new_page()
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda message: faults.append(message.text) if not allow_refusals else None)
        page.on("request", lambda sent: None if sent.url == path.as_uri() else faults.append(sent.url))
        page.goto(path.as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert faults == []


def numbers(tree):
    """Every number of a tree by its path; those that JSON has no number for are words in it."""
    if isinstance(tree, dict):
        return {f"{k}.{path}": v for k in tree for path, v in numbers(tree[k]).items()}
    if isinstance(tree, list):
        return {f"{i}.{path}": v for i, one in enumerate(tree) for path, v in numbers(one).items()}
    if tree in ("inf", "-inf", "nan"):
        return {"": float(tree)}
    return {"": tree} if isinstance(tree, int | float) and not isinstance(tree, bool) else {}


PARTS = ("trace", "mu", "loss_value", "deltas")


def read(shown, layers):
    """The network that the page shows, with these layers."""
    given = {key: shown[key] for key in ("loss", "x", "y", "eta", "tied") if key in shown}
    return from_dict(given | {"layers": layers})


def from_jax(shown):
    """The same numbers by backprop, from the page's own inputs, without explain; and the new parameters."""
    net, loss, params, x, y, eta = read(shown, shown["layers"])
    with jax.enable_x64(True):
        params = jax.tree.map(jnp.asarray, params, is_leaf=lambda v: isinstance(v, list))
        x, y = jnp.asarray(x), jnp.asarray(y)
        bp = jaxbp.backprop(net, loss, params, x, y)
        new = jax.tree.map(lambda p, delta: p - eta * delta, params, bp.deltas.params)
        f = net.apply(new, x)
        after = {"mu": loss.mu(f), "loss_value": loss(f, y)}
    # The first places of the page's lists are of layer 1; a_l and f_l of what comes before it have none.
    layers = range(1, len(shown["trace"]["a"]) + 1)
    found = {
        "trace": {letter: [getattr(bp.trace, letter)[l] for l in layers] for letter in "af"},
        "mu": bp.mu,
        "loss_value": bp.loss,
        "deltas": {letter: [getattr(bp.deltas, letter)[l] for l in layers] for letter in "af"}
        | {leaf: [bp.deltas.params.get(l, {}).get(leaf) for l in layers] for leaf in "Wb"}
        | {"x": bp.deltas.x},
        "after": after,
    }
    return jax.tree.map(lambda v: np.asarray(v).tolist(), found), jax.tree.map(np.asarray, new)


def compare(shown):
    expected, new = from_jax(shown)
    got = numbers({part: shown[part] for part in PARTS} | {"after": shown["after"]})
    moved = jax.tree.map(
        np.asarray, read(shown, shown["after"]["layers"]).params, is_leaf=lambda v: isinstance(v, list)
    )
    pairs = {path: (got.get(path), value) for path, value in numbers(expected).items()}
    pairs |= {str(path): (a, b) for (path, a), b in zip(
        jax.tree_util.tree_leaves_with_path(moved), jax.tree.leaves(new), strict=True)}  # fmt: skip
    scale = max(np.abs(b)[np.isfinite(b)].max(initial=0) for _, b in pairs.values())
    (product,) = shown["factors"][-1]["product"]
    pairs |= {"product": (np.array(product, float), np.array(expected["deltas"]["x"]))}
    for path, (a, b) in pairs.items():
        assert a is not None, path
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-6 * scale, err_msg=path)


def test_the_page_opens_checked_against_jax(opened):
    page = opened(exercise())
    assert page.locator("#checked summary").inner_text().startswith("checked against JAX: largest difference")
    shown, written = page.evaluate("result"), exercise().to_dict()
    assert set(shown) == set(written)
    expected = numbers(written)
    assert numbers(shown).keys() == expected.keys()
    for path, value in numbers(shown).items():
        assert value == pytest.approx(expected[path], abs=1e-15), path
    assert json.loads(page.locator("#data").text_content()) == written
    assert len(write_page(exercise()).encode()) < LIMIT == 500_000


def explained(rng, net, d, C):
    """An explanation of the network at random parameters of three digits."""
    shapes = jax.eval_shape(net.init, jax.random.key(0))
    params = jax.tree.map(lambda p: rng.uniform(-2, 2, p.shape).round(3), shapes)
    x, y = rng.uniform(-2, 2, d).round(3), np.eye(C)[rng.integers(C)]
    return jaxbp.explain(net, jaxbp.squared_error, params, x, y)


SIZES = ([2, 3, 2], [3, 2], [2, 3, 3, 2], [1, 2], [2, 3, 2])
BRANCH = jaxbp.chain(jaxbp.dense(3, 2), jaxbp.relu, jaxbp.dense(2, 3))
KINDS = {
    "a block": (jaxbp.chain(jaxbp.dense(2, 3), jaxbp.residual(BRANCH), jaxbp.dense(3, 2)), 2, 2),
    "a skip with weights": (
        jaxbp.chain(jaxbp.tanh, jaxbp.residual(jaxbp.dense(3, 2), jaxbp.dense(3, 2, bias=False))), 3, 2,
    ),
    "a block in a block": (
        jaxbp.chain(jaxbp.residual(jaxbp.chain(jaxbp.dense(2, 2), jaxbp.residual(jaxbp.dense(2, 2)))),
                    jaxbp.silu, jaxbp.dense(2, 2)), 2, 2,
    ),
    "two activations": (
        jaxbp.chain(jaxbp.dense(2, 3), jaxbp.tanh, jaxbp.softplus, jaxbp.dense(3, 2, bias=False)), 2, 2,
    ),
    "a block without weights": (
        jaxbp.chain(jaxbp.dense(2, 3), jaxbp.residual(jaxbp.sigmoid), jaxbp.dense(3, 2)), 2, 2,
    ),
    "softmax and a slope of one's own": (
        jaxbp.chain(jaxbp.dense(2, 3), jaxbp.softmax, jaxbp.dense(3, 2), jaxbp.make_leaky_relu(0.2),
                    jaxbp.dense(2, 2)), 2, 2,
    ),
    "tied": (
        jaxbp.tied(jaxbp.chain(jaxbp.dense(2, 2), jaxbp.tanh, jaxbp.dense(2, 2)), (2, "W"), (1, "W")), 2, 2,
    ),
    "three times one W": (
        jaxbp.tied(
            jaxbp.tied(jaxbp.mlp([2, 2, 2, 2], jaxbp.sigmoid), (1, "W"), (2, "W")), (2, "W"), (3, "W")
        ), 2, 2,
    ),
    "tied into a block": (
        jaxbp.tied(
            jaxbp.chain(jaxbp.dense(2, 2), jaxbp.residual(jaxbp.chain(jaxbp.dense(2, 2), jaxbp.tanh))),
            (2, "branch", 1, "W"), (1, "W"),
        ), 2, 2,
    ),
}  # fmt: skip
TWICE = {("binary_cross_entropy", "sigmoid"), ("softmax_cross_entropy", "softmax")}  # backprop refuses them


def edited(page, rng, first, edits, round_):
    """So many edits as a person makes them, the loss and every activation chosen anew; yields the numbers."""
    losses = list(LOSSES)
    fields = page.locator("input[type=number]").evaluate_all("all => all.map(e => e.id)")
    menus = page.locator("select[id^=phi]").evaluate_all("all => all.map(e => e.id)")
    phis = page.locator("select[id^=phi] >> nth=0").evaluate("e => [...e.options].map(o => o.value)")
    selected = {}
    for i in range(first, first + edits):
        loss = losses[(i + round_) % len(losses)]
        chosen = [phis[(3 * (i + l) + round_) % len(phis)] for l in range(len(menus))]
        if loss.endswith("probabilities"):
            chosen[-1] = "sigmoid"  # its mu must lie between 0 and 1
        elif i % 2 or (loss, chosen[-1]) in TWICE:
            chosen[-1] = "identity"
        wanted = dict(zip(menus, chosen, strict=True)) | {"loss": loss}
        for name in wanted:
            if selected.get(name) != wanted[name]:
                page.select_option(f'[id="{name}"]', wanted[name])
        selected = wanted
        field = fields[rng.integers(len(fields))]
        low, high = (0, 1) if field.startswith("y") else (-2, 2)
        page.fill(f'[id="{field}"]', str(round(float(rng.uniform(low, high)), 3)))
        yield page.evaluate("result"), {loss, *chosen}


@pytest.mark.parametrize("each", [5, pytest.param(40, marks=pytest.mark.soak)])
def test_random_edits_of_five_networks_agree_with_jax(opened, each):
    """Every activation and every loss, chosen and typed as a person does."""
    rng = np.random.default_rng(0)
    met, edits = set(), 0
    for round_, sizes in enumerate(SIZES):
        page = opened(explained(rng, jaxbp.mlp(sizes), sizes[0], sizes[-1]))
        for shown, chosen in edited(page, rng, edits, each, round_):
            compare(shown)
            met |= chosen
            edits += 1
    assert met == {*ACTIVATIONS, *LOSSES}
    assert edits == 5 * each


FAST = "three times one W"


@pytest.mark.parametrize(
    "kind", [name if name == FAST else pytest.param(name, marks=pytest.mark.soak) for name in KINDS]
)
def test_random_edits_of_other_networks_agree_with_jax(opened, kind):
    """Blocks, shared weights, and activations where no layer of an mlp has one."""
    rng, many = np.random.default_rng(1), 3 if kind == FAST else 25
    page = opened(explained(rng, *KINDS[kind]))
    compare(page.evaluate("result"))
    edits = 0
    for shown, _ in edited(page, rng, 0, many, len(kind)):
        compare(shown)
        edits += 1
    assert edits == many


def test_steps_by_key_and_button(opened):
    page = opened(exercise())
    titles = []
    for _ in range(7):
        titles.append(page.locator("#step-title").inner_text())
        page.keyboard.press("ArrowRight")
    assert titles[0] == "1. forward, layer 1"
    assert titles[-1] == "5. one step of gradient descent"
    assert page.locator("#next").is_disabled()
    page.keyboard.press("Home")
    assert page.locator("#live").inner_text().startswith("Step 1 of 7, 1. forward, layer 1: a_1 = [0.6; 0.1]")
    page.get_by_role("button", name="Next").click()
    assert "a_2 = 0.186972" in page.get_by_role("status").inner_text()
    page.get_by_role("button", name="Back").click()
    page.keyboard.press("End")
    assert "loss from 0.604025 to 0.440079" in page.locator("#live").inner_text()
    assert page.locator('#chain [aria-current="step"]').count() >= 4
    page.focus('[id="x[1]"]')
    page.keyboard.press("ArrowLeft")  # moves the cursor in the field, not the step
    assert page.locator("#place").inner_text() == "step 7 of 7"


def test_gradient_descent_undo_and_reset(opened):
    page = opened(exercise())
    page.get_by_role("button", name="One step of gradient descent").click()
    assert page.evaluate("result.loss_value") == pytest.approx(0.4400791790938715, abs=1e-15)
    assert float(page.input_value('[id="W_1[2,1]"]')) == pytest.approx(0.26608041548800826)
    assert page.locator("#loss-before").inner_text() == "before 0.604025"
    page.get_by_role("button", name="Undo").click()
    assert page.evaluate("result.loss_value") == pytest.approx(0.6040246908465317, abs=1e-15)
    page.fill("#eta", "2")
    page.select_option("#phi_1", "relu")
    page.get_by_role("button", name="Reset").click()
    assert page.evaluate("result") == page.evaluate("(start(), result)")
    assert page.input_value("#phi_1") == "sigmoid"
    assert page.input_value("#eta") == "0.5"


def test_numbers_that_are_not_finite_are_refused_with_a_sentence(opened):
    page = opened(exercise())
    before = page.evaluate("result.loss_value")
    page.fill('[id="b_2"]', "")
    assert "b_2 is not a finite number" in page.locator("#live").inner_text()
    assert page.locator('[id="b_2"]').get_attribute("aria-invalid") == "true"
    page.fill('[id="b_2"]', "1e999")
    assert page.evaluate("result.loss_value") == before
    page.get_by_role("button", name="One step of gradient descent").click()
    assert page.evaluate("result.loss_value") == before
    page.fill('[id="b_2"]', "0.05")
    assert page.locator('[id="b_2"]').get_attribute("aria-invalid") == "false"


def test_blocks_two_activations_and_what_comes_before_layer_1(opened):
    net = jaxbp.chain(
        jaxbp.tanh,
        jaxbp.dense(2, 3),
        jaxbp.tanh,
        jaxbp.softplus,
        jaxbp.residual(jaxbp.chain(jaxbp.dense(3, 2), jaxbp.relu, jaxbp.dense(2, 3))),
        jaxbp.softmax,
        jaxbp.residual(jaxbp.dense(3, 2), jaxbp.dense(3, 2, bias=False)),
    )
    params = jax.tree.map(lambda p: np.round(np.asarray(p, float), 2), net.init(jax.random.key(0)))
    explanation = jaxbp.explain(net, jaxbp.softmax_cross_entropy, params, [1.0, 0.5], 1)
    page = opened(explanation)
    shown, expected = numbers(page.evaluate("result")), numbers(explanation.to_dict())
    assert shown.keys() == expected.keys()
    for path, value in shown.items():
        assert value == pytest.approx(expected[path], abs=1e-14), path
    page.select_option('[id="phi_1\'"]', "gelu")
    page.select_option('[id="phi_2.1"]', "silu")
    page.fill('[id="W_2.1[1,2]"]', "0.75")
    shown = page.evaluate("result")
    read = from_dict({key: shown[key] for key in ("layers", "loss", "x", "y", "eta")})
    again = jaxbp.explain(read.net, read.loss, read.params, read.x, read.y, eta=read.eta).to_dict()
    assert shown["deltas"]["x"] == pytest.approx(again["deltas"]["x"], abs=1e-12)


def test_a_class_called_script_is_text(opened):
    odd = jaxbp.elementwise(
        "<script>document.title='broken'</script>", jnp.tanh, lambda f: 1 - f**2, saves="output",
        formula=jaxbp.tanh.formula,
    )  # fmt: skip
    net = jaxbp.chain(jaxbp.dense(2, 2), odd, jaxbp.dense(2, 1))
    page = opened(jaxbp.explain(net, jaxbp.squared_error, PARAMS, [1, 0], 1))
    assert page.title() != "broken"
    assert "<script>" in page.locator(".net").inner_text()
    assert "<script>" in page.locator("#heading").inner_text()


def test_the_policy_allows_no_request(opened):
    page = opened(exercise(), allow_refusals=True)
    assert "default-src 'none'" in page.locator('meta[http-equiv="Content-Security-Policy"]').get_attribute(
        "content"
    )
    assert "http" not in write_page(exercise()).replace("http://www.w3.org/", "").replace("http-equiv", "")
    assert page.evaluate("fetch('https://example.org').then(() => 'sent', () => 'refused')") == "refused"


def the_lectures_net():
    net = jaxbp.mlp([3, 5, 5, 4], jaxbp.tanh)
    return jaxbp.explain(net, jaxbp.softmax_cross_entropy, net.init(jax.random.key(0)), [1, 0, 2], 2)


@pytest.mark.parametrize(
    ("scheme", "width"),
    [("dark", 360), *(pytest.param(*of, marks=pytest.mark.soak) for of in [("light", 360), ("dark", 1400)])],
)
def test_axe_finds_nothing(opened, scheme, width):
    """In a step backward, with a field that holds no number, on a screen where matrices scroll."""
    page = opened(the_lectures_net(), viewport={"width": width, "height": 740}, color_scheme=scheme)
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    page.fill("#eta", "")
    assert violations(page) == []


def test_axe_finds_nothing_in_the_exercise(opened):
    assert violations(opened(exercise(), color_scheme="light")) == []


def test_what_scrolls_is_reached_by_key_and_has_a_name(opened):
    page = opened(the_lectures_net(), viewport={"width": 360, "height": 740})
    wide = page.locator(".cells[tabindex]")
    assert "numbers of W_2" in wide.evaluate_all("all => all.map(e => e.ariaLabel)")
    page.set_viewport_size({"width": 1400, "height": 740})
    assert wide.count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_small_screens(opened, scheme):
    explanation = the_lectures_net()
    page = opened(explanation, viewport={"width": 360, "height": 740}, color_scheme=scheme)
    for _ in range(9):
        assert page.evaluate("document.documentElement.scrollWidth") == 360
        page.keyboard.press("ArrowRight")


def test_print_with_and_without_answers(opened):
    page = opened(exercise())
    assert page.locator("#paper").text_content() == ""  # it is written when it is wanted
    assert page.pdf()[:4] == b"%PDF"
    assert "0.546607" in page.locator("#paper").text_content()
    page.emulate_media(media="print")
    assert "0.546607" in page.locator("#paper").inner_text()
    page.evaluate("document.getElementById('worksheet').click()")
    sheet, _, answers = page.locator("#paper").inner_text().partition("Answers")
    assert "0.546607" not in sheet
    assert "0.546607" in answers
    assert page.locator("#paper .dots").count() > 30


def test_the_printed_picture_looks_like_that_on_the_screen(opened):
    """But for the mark at the step that is shown."""
    page = opened(exercise())
    looks = """where => [...document.querySelectorAll(where + " svg *")].map(e => {
        const s = getComputedStyle(e);
        return [s.fill, s.fontSize, s.textAnchor, s.strokeDasharray, s.stroke === "none"].join(" ");
    })"""
    page.emulate_media(media="print")
    page.wait_for_function("document.querySelector('#paper svg')")
    shown, printed = page.evaluate(looks, "#picture"), page.evaluate(looks, "#paper")
    assert printed == shown
    assert len(set(printed)) > 6
    look = "e => [getComputedStyle(e).fill, getComputedStyle(e).stroke]"
    fill, _ = page.locator("#paper circle").first.evaluate(look)
    _, stroke = page.locator("#paper line").first.evaluate(look)
    assert (fill, stroke) == ("rgb(255, 255, 255)", "rgb(68, 68, 68)")


@pytest.mark.parametrize("width", [1400, 700, 400])
def test_no_formula_goes_beyond_its_panel(opened, width):
    """A line that is too long goes on below, before a sign."""
    net = jaxbp.mlp([3, 5, 5, 4], jaxbp.tanh)
    params = jax.tree.map(lambda p: np.asarray(p).round(2), net.init(jax.random.key(0)))
    page = opened(
        jaxbp.explain(net, jaxbp.squared_error, params, [0.1, -0.1, 0.6], [1, 0, 0, 0]),
        viewport={"width": width, "height": 900},
    )
    titles, beyond = [], "(e => e.scrollWidth - e.clientWidth)(document.getElementById('direct'))"
    while page.locator("#next").is_enabled():
        titles.append(page.locator("#step-title").inner_text())
        assert page.evaluate(beyond) <= 0, titles[-1]
        page.keyboard.press("ArrowRight")
    assert len(titles) == 8


def test_a_field_shows_a_number_of_float32_by_its_fewest_digits(opened):
    """And computes with the number itself."""
    W = np.array([[0.1, -0.48, 1 / 3, 2.0, 1e-8, 0.0]], np.float32)
    net = jaxbp.mlp([6, 1])
    explanation = jaxbp.explain(
        net, jaxbp.squared_error, {1: {"W": W, "b": [0.1]}}, [1.0] * 6, 1, eta=0.3
    )
    page = opened(explanation)
    fields = [page.input_value(f'[id="W_1[1,{j}]"]') for j in range(1, 7)]
    assert fields == ["0.1", "-0.48", "0.33333334", "2", "1e-8", "0"]
    assert (page.input_value("#b_1"), page.input_value("#eta")) == ("0.1", "0.3")
    assert page.evaluate("result.layers[0].W") == W.astype(float).tolist()


def test_a_screen_that_shows_what_is_printed_has_the_paper(opened):
    page = opened(exercise())
    page.emulate_media(media="print")
    page.wait_for_function("document.getElementById('paper').textContent.includes('0.546607')")


def test_everything_is_reached_by_keyboard_and_has_a_name(opened):
    page = opened(exercise())
    for role in ("button", "spinbutton", "combobox", "checkbox", "tab"):
        for found in page.get_by_role(role).all():
            assert found.evaluate("e => e.tabIndex >= 0 || e.getAttribute('role') === 'tab'")
            assert found.evaluate(
                "e => (e.textContent + (e.ariaLabel ?? '') + (e.labels?.[0]?.textContent ?? '')).trim()"
            )
    reached = set()
    for _ in range(60):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.id"))
    assert {"W_1[1,2]", "x[1]", "b_2", "y", "phi_1", "loss", "eta", "next", "descend", "worksheet"} <= reached


def test_why_backwards_counts_multiplications(opened):
    net = jaxbp.mlp([3, 5, 4], jaxbp.tanh)
    explanation = jaxbp.explain(net, jaxbp.softmax_cross_entropy, net.init(jax.random.key(0)), [1, 0, 2], 2)
    page = opened(explanation)
    assert page.locator("#count-reverse").inner_text() == str(4 * 5 + 5 + 5 * 3)  # row W_2, diagonal, W_1
    assert page.locator("#count-forward").inner_text() == str(5 * 3 + 4 * 5 * 3 + 4 * 3)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("layer", "layers with a formula and its slope"),
        ("loss", "one of squared_error"),
        ("size", "at most 0.5 MB"),
    ],
)
def test_what_a_page_cannot_show_is_said(change, sentence):
    net, loss, sizes = jaxbp.mlp([2, 2, 1]), jaxbp.squared_error, (2, 1)
    if change == "layer":
        net = jaxbp.chain(jaxbp.dense(2, 1), jaxbp.elementwise("sine", jnp.sin, jnp.cos, saves="input"))
    if change == "loss":
        loss, sizes = jaxbp.make_softmax_cross_entropy(0.1), (2, 1)
    if change == "size":
        net, sizes = jaxbp.mlp([40, 40, 1]), (40, 1)
    params = net.init(jax.random.key(0))
    y = [1.0] * sizes[1]
    explanation = jaxbp.explain(net, loss, params, np.zeros(sizes[0]), y)
    with pytest.raises(ValueError, match=sentence):
        write_page(explanation)


def test_the_command_writes_the_page(tmp_path, capsys):
    pytest.importorskip("tyro")
    from jaxbp import cli

    path = tmp_path / "page.html"
    assert cli.main(["explain", "--html", str(path)]) == 0
    assert path.read_text(encoding="utf-8") == write_page(exercise())
    assert Path(path).stat().st_size < LIMIT
    capsys.readouterr()


def looked_up(y, *, eta=0.1, last=3, table=((0.1, 0.2), (0.3, -0.4), (0.5, 0.6))):
    """An output at each place of a sequence of ids, one of them there twice."""
    net = jaxbp.chain(
        jaxbp.embedding(3, 2, positions=4), jaxbp.dense(2, 2), jaxbp.tanh, jaxbp.dense(2, last)
    )
    params = jax.tree.map(lambda p: np.asarray(p, float).round(2), net.init(jax.random.key(1)))
    params[1]["E"] = [list(row) for row in table]
    return jaxbp.explain(net, jaxbp.softmax_cross_entropy, params, [2, 0, 2], y, eta=eta)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_page_of_ids(opened, scheme):
    """Its ids stay as they are; every other number can be changed, and each place has its row."""
    wide = {"width": 1400, "height": 900} if scheme == "light" else {"width": 360, "height": 740}
    page = opened(looked_up([0, 2, 1]), color_scheme=scheme, viewport=wide)
    shown, expected = numbers(page.evaluate("result")), numbers(looked_up([0, 2, 1]).to_dict())
    assert shown.keys() == expected.keys()
    for path, found in shown.items():
        assert found == pytest.approx(expected[path], abs=1e-14), path
    assert page.locator('[id^="x["]').count() == 0
    assert page.locator("#chain [data-value=x]").inner_text().split() == ["2", "0", "2"]
    assert "delta of a_1 is the product" in page.locator(".jacobians").inner_text()
    page.fill('[id="E_1[3,1]"]', "-0.7")
    again = numbers(looked_up([0, 2, 1], table=((0.1, 0.2), (0.3, -0.4), (-0.7, 0.6))).to_dict())
    for path, found in numbers(page.evaluate("result")).items():
        assert found == pytest.approx(again[path], abs=1e-14), path
    page.select_option("#loss", "squared_error")
    while page.locator("#next").is_enabled():
        assert page.locator("#difference").inner_text() in ("", "difference of the two ways: 0")
        page.click("#next")
    page.click("#descend")
    assert page.evaluate("values[key('loss')] < before")
    assert violations(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") == wide["width"]
    page.emulate_media(media="print")
    page.wait_for_function("document.querySelector('#paper svg')")
    assert "one_hot(x)" in page.locator("#paper").text_content()


@pytest.mark.parametrize("name", ["identity", "softmax", "tanh"])
def test_an_activation_with_the_name_of_another_is_its_own(opened, name):
    """Chosen and computed by what it is: f = 2 a, whatever it is called."""
    odd = jaxbp.elementwise(
        name, lambda a: 2 * a, lambda a: 2 * jnp.ones_like(a), saves="input", formula="f = 2 * a; slope = 2"
    )
    explanation = jaxbp.explain(
        jaxbp.chain(jaxbp.dense(2, 2), odd, jaxbp.dense(2, 1)), jaxbp.squared_error, PARAMS, [1, 0], 1
    )
    page = opened(explanation)
    assert page.input_value("#phi_1") == f"{name} of the network"
    assert page.evaluate("result.trace") == explanation.to_dict()["trace"]
    page.select_option("#phi_1", name)
    assert page.evaluate("result.trace") != explanation.to_dict()["trace"]


def test_a_page_of_fewer_bits_than_it_computes_in_is_refused():
    net = jaxbp.mixed_precision(jaxbp.mlp([2, 2, 1], jaxbp.tanh))
    explanation = jaxbp.explain(net, jaxbp.squared_error, PARAMS, [1, 0], 1)
    with pytest.raises(ValueError, match=r"layers in float64, in which it recomputes, got .* in bfloat16"):
        write_page(explanation)


def test_the_widest_page_has_few_elements(opened):
    """What opens it slowly is their layout: a sum of 16 products is a line of text where it has numbers."""
    net = jaxbp.mlp([16, 16, 16, 10], jaxbp.gelu)
    params = net.init(jax.random.key(0))
    page = opened(jaxbp.explain(net, jaxbp.softmax_cross_entropy, params, np.linspace(-1, 1, 16), 0))
    assert page.evaluate("document.querySelectorAll('*').length") < 11_000  # 17,052 when each was a formula
    assert "= (−" in page.locator("#direct .numbers").first.text_content().replace("\u00a0", " ")
    assert page.get_by_label("W_1[16,16]", exact=True).input_value()
