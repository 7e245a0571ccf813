"use strict";
// The steps are trees, as jaxbp.explain has them: a number or [operator, ...trees]; ["$", name, i, j] is an entry of
// a quantity, counted from 1. This script evaluates them in float64, writes them in MathML, and steps through them.

const data = JSON.parse(document.getElementById("data").textContent);
const program = JSON.parse(document.getElementById("program").textContent);
const byId = (id) => document.getElementById(id);
var result; // the numbers of the page in the shape of #data, for a program to read

// Values: a number, or a matrix as a list of rows -----------------------------------------------------------------

const rowsOf = (v) => (typeof v === "number" ? [[v]] : v);
const flat = (v) => rowsOf(v).flat();
const single = (v) => (typeof v !== "number" && v.length === 1 && v[0].length === 1 ? v[0][0] : v);
const scaled = (c, v) => (typeof v === "number" ? c * v : v.map((row) => row.map((x) => c * x)));
const transposed = (v) => (typeof v === "number" ? v : v[0].map((_, j) => v.map((row) => row[j])));
const sum = (...terms) =>
  terms.every((t) => typeof t === "number")
    ? terms.reduce((a, b) => a + b)
    : rowsOf(terms[0]).map((row, i) => row.map((_, j) => terms.reduce((a, t) => a + rowsOf(t)[i][j], 0)));
const times = (a, b) => {
  if (typeof a === "number") return scaled(a, b);
  if (typeof b === "number") return scaled(b, a);
  return a.map((row) => b[0].map((_, j) => row.reduce((s, x, k) => s + x * b[k][j], 0)));
};
const softmax = (v) => {
  const a = flat(v), top = Math.max(...a), powers = a.map((x) => Math.exp(x - top));
  const total = powers.reduce((s, p) => s + p, 0);
  return powers.map((p) => [p / total]);
};
const logsumexp = (v) => {
  const a = flat(v), top = Math.max(...a);
  return top + Math.log(a.reduce((s, x) => s + Math.exp(x - top), 0));
};
// Phi(a) = erfc(-a / sqrt 2) / 2: the series of erf near 0, the continued fraction of erfc beyond.
function normalCdf(a) {
  const z = Math.abs(a) / Math.SQRT2;
  if (z < 2.5) {
    let term = z, total = z;
    for (let n = 1; Math.abs(term) > 1e-18 * Math.abs(total); n++) {
      term *= (2 * z * z) / (2 * n + 1);
      total += term;
    }
    const erf = (2 / Math.sqrt(Math.PI)) * Math.exp(-z * z) * total;
    return a < 0 ? (1 - erf) / 2 : (1 + erf) / 2;
  }
  let fraction = 0;
  for (let n = 80; n >= 1; n--) fraction = n / 2 / (z + fraction);
  const tail = Math.exp(-z * z) / Math.sqrt(Math.PI) / (z + fraction) / 2;
  return a < 0 ? tail : 1 - tail;
}

const operators = {
  "+": sum,
  "-": (a, ...others) => sum(a, ...others.map((b) => scaled(-1, b))),
  neg: (a) => scaled(-1, a),
  "·": (...f) => f.reduce((a, b) => a * b),
  "/": (a, b) => (typeof a !== "number" ? a.map((row) => row.map((x) => x / b)) : a === 0 ? 0 : a / b), // a term that y switches off is 0 whatever its denominator is
  "^": (a, n) => a ** n,
  exp: Math.exp,
  ln: (a) => (a > 0 ? Math.log(a) : -Infinity),
  yln: (y, p) => (y === 0 ? 0 : y * operators.ln(p)), // y ln p, and 0 where y is 0, as above
  ln1p: Math.log1p,
  tanh: Math.tanh,
  abs: Math.abs,
  sqrt: Math.sqrt,
  Phi: normalCdf,
  max: Math.max,
  min: Math.min,
  ">": (a, b) => Number(a > b),
  ">=": (a, b) => Number(a >= b),
  if: (condition, a, b) => (condition ? a : b),
  logsumexp,
  "@": (...f) => f.reduce(times),
  T: transposed,
  diag: (v) => flat(v).map((x, i, all) => all.map((_, j) => (i === j ? x : 0))),
  softmax,
  eye: (n) => Array.from({ length: n }, (_, i) => Array.from({ length: n }, (_, j) => Number(i === j))),
  row: (...entries) => [entries],
  column: (...entries) => entries.map((x) => [x]),
  entry: (v, i) => flat(v)[i - 1],
  sin: Math.sin,
  cos: Math.cos,
  // Of a sequence, a quantity has a row for each place: all in one row, and back, and the row of one place as a column.
  vec: (v) => [flat(v)],
  rows: (v, n) => Array.from({ length: n }, (_, i) => flat(v).slice((i * flat(v).length) / n, ((i + 1) * flat(v).length) / n)),
  place: (v, t) => column(rowsOf(v)[t - 1]),
  stack: (...all) => all.map(flat),
  ones: (n) => Array.from({ length: n }, () => [1]),
  kron: (a, b) => rowsOf(a).flatMap((row) => rowsOf(b).map((other) => row.flatMap((x) => other.map((y) => x * y)))),
  onehot: (ids, n) => flat(ids).map((id) => Array.from({ length: n }, (_, v) => Number(id === v))),
  named: (v) => v,
};

function evaluate(tree, values) {
  if (typeof tree === "number") return tree;
  const [operator, ...args] = tree;
  if (operator === "$") {
    const own = values[tree.join()];
    if (own !== undefined) return single(own);
    const whole = rowsOf(values["$," + args[0]]);
    return args.length === 3 ? whole[args[1] - 1][args[2] - 1] : whole.flat()[args[1] - 1];
  }
  if (operator === "each") {
    const [formula, a] = args;
    return single(rowsOf(evaluate(a, values)).map((row) => row.map((x) => evaluate(formula, { "$,a": x }))));
  }
  return single(operators[operator](...args.map((arg) => evaluate(arg, values))));
}

// State: the numbers in the fields and what is chosen -------------------------------------------------------------

const key = (name) => "$," + name;
const clone = (value) => JSON.parse(JSON.stringify(value));
const column = (list) => list.map((v) => [v]);

function start() {
  const y = program.places ? operators.rows([data.y], program.places) : column(data.y);
  const given = { [key("x")]: column(data.x), [key("y")]: y, [key("eta")]: data.eta };
  const put = (template, from) => {
    if (template && template.$rows) given[key(template.$rows)] = clone(from);
    else if (template && template.$flat) given[key(template.$flat)] = column(from);
    else if (template && typeof template === "object") for (const k in template) put(template[k], from[k]);
  };
  put(program.template.layers, data.layers);
  return { given, choices: { ...program.choices } };
}

const first = start();
let state = clone(first), history = [], at = 0, before = null, way = "direct", values = {}, after = {};

const holds = (when) => !when || state.choices[when[0]] === when[1];
const lines = (step, which) => step[which].filter((line) => holds(line[4]));

function run(steps, from) {
  const found = { ...from };
  for (const step of steps) {
    for (const [target, tree, , compute] of lines(step, "matrix")) found[target.join()] = evaluate(compute ?? tree, found);
  }
  return found;
}

function compute() {
  values = run(program.steps, state.given);
  const forward = program.steps.filter((step) => /^[12]/.test(step.title));
  const moved = { ...state.given };
  for (const name of program.parameters) moved[key(name)] = values[key(name + ":new")] ?? values[key(name)];
  const then = run(forward, moved);
  after = { ...moved, ...then };
  for (const name of [...program.parameters, "mu", "loss"]) values[key(name + ":new")] = after[key(name)];
  result = filled();
}

// Directly: from the numbers of the page, and within a step from its own.
function directly(step) {
  const own = { ...values };
  let worst = 0, scale = 0;
  for (const [target, tree, , calculated] of lines(step, "direct")) {
    const made = evaluate(calculated ?? tree, own);
    if (values[key(target[1])] !== undefined && target[1] !== "loss") {
      const other = evaluate(target, values);
      const apart = Math.abs(made - other);
      worst = made === other ? worst : Math.max(worst, Number.isNaN(apart) ? Infinity : apart);
      scale = Math.max(scale, Math.abs(other), Math.abs(made));
    }
    own[target.join()] = made;
  }
  for (const v of Object.values(values)) for (const x of flat(v)) if (Number.isFinite(x)) scale = Math.max(scale, Math.abs(x));
  return { own, worst, scale };
}

function plain(number) {
  return Number.isFinite(number) ? number : String(number).replace("Infinity", "inf").replace("NaN", "nan");
}

function filled() {
  const get = (name) => values[key(name)] ?? values[key(name.replace(":new", ""))];
  const fill = (t) => {
    if (t === null || typeof t !== "object") return t;
    if (Array.isArray(t)) return t.map(fill);
    if (t.$choice) return state.choices[t.$choice];
    const value = get(t.$rows ?? t.$flat ?? t.$number ?? "");
    if (t.$rows) return value === undefined ? null : rowsOf(value).map((row) => row.map(plain));
    if (t.$flat) return value === undefined ? null : flat(value).map(plain);
    if (t.$number) return plain(single(value));
    return Object.fromEntries(Object.entries(t).map(([k, v]) => [k, fill(v)]));
  };
  const made = fill(program.template);
  made.loss = state.choices.loss;
  made.factors = factors().map(([symbol, matrix, product]) => ({ symbol, matrix: rowsOf(matrix), product: rowsOf(product) }));
  made.differences = Object.fromEntries(program.steps.filter((s) => s.both).map((s) => [s.title, plain(directly(s).worst)]));
  return made;
}

// The chain: the delta of the output, then a Jacobian for each map, output first.
function factors() {
  let product = single(operators.vec(values[key(program.delta)]));
  const made = [[program.delta, product, product]];
  for (const step of program.steps) {
    for (const [name, when, whole] of step.factors) {
      if (!holds(when) || !whole) continue;
      product = single(times(product, values[key(name)]));
      made.push([name, values[key(name)], product]);
    }
  }
  return made;
}

// Writing: MathML, never from text that is parsed -------------------------------------------------------------------

const MATH = "http://www.w3.org/1998/Math/MathML", SVG = "http://www.w3.org/2000/svg";
function make(space, tag, attributes, ...children) {
  const element = space ? document.createElementNS(space, tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes ?? {})) if (value !== null && value !== undefined) element.setAttribute(name, value);
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}
const math = (tag, ...children) => make(MATH, tag, {}, ...children);
const html = (tag, attributes, ...children) => make(null, tag, attributes, ...children);
const mo = (text, attributes) => make(MATH, "mo", attributes ?? {}, text);
const paren = (text) => mo(text, { stretchy: "false" });
const thin = () => mo("\u2062", { lspace: "0.17em", rspace: "0" });
const GREEK = { mu: "μ", eta: "η", delta: "δ" };

function anatomy(name) {
  const found = /^(?:(delta)_)?([A-Za-z]+)(?:_([\w.]+))?('*)$/.exec(name);
  return found ? found.slice(1).map((part) => part ?? "") : ["", name, "", ""];
}

// T above the index, where there is one.
const superscript = (base, above) => (base.localName === "msub" ? math("msubsup", ...base.childNodes, above) : math("msup", base, above));

function nameOf(name, index = []) {
  name = name.replace(":new", "");
  const jacobian = /^J_\{?([^}()]+)\}?\(([^)]+)\)$/.exec(name);
  if (jacobian) return math("mrow", math("msub", math("mi", "J"), nameOf(jacobian[1])), paren("("), nameOf(jacobian[2]), paren(")"));
  const [delta, letter, sub, primes] = anatomy(name);
  let out = math("mi", GREEK[letter] ?? letter);
  if (sub) out = math("msub", out, math("mn", sub));
  if (primes) out = math("mrow", out, mo("′".repeat(primes.length), { lspace: "0", rspace: "0", stretchy: "false" }));
  if (delta) out = math("msub", math("mi", "δ"), out);
  return index.length ? math("mrow", out, paren("["), math("mn", index.join(",")), paren("]")) : out;
}

const textName = (name, index = []) => name.replace(":new", "") + (index.length ? `[${index.join(",")}]` : "");
function shown(x) {
  return Number.isFinite(x) ? String(Number((x + 0).toPrecision(program.digits)) + 0) : String(x);
}
const textValue = (v) => (typeof v === "number" ? shown(v) : `[${v.map((row) => row.map(shown).join(" ")).join("; ")}]`);

function written(value, attributes) {
  if (typeof value === "number") return make(MATH, "mn", attributes ?? {}, shown(value).replace("-", "−"));
  return make(MATH, "mtable", attributes ?? {}, value.map((row) => math("mtr", row.map((x) => math("mtd", written(x))))));
}

// How tightly a piece holds together, and when it needs parentheses: as the Writer of jaxbp.observe has it.
const ATOM = 2, PRODUCT = 1, SUM = 0;
const FUNCTIONS = new Set(["exp", "ln", "tanh", "abs", "sqrt", "Phi", "max", "min"]);
const hasFunction = (tree) => Array.isArray(tree) && tree[0] !== "$" && (FUNCTIONS.has(tree[0]) || tree.slice(1).some(hasFunction));

function writer(numbers) {
  const value = (v) => [written(v), typeof v === "number" && v < 0 ? SUM : ATOM];
  const group = (piece) => math("mrow", paren("("), piece, paren(")"));
  const infix = (pairs) => math("mrow", pairs.flatMap(([operator, piece]) => [operator === "\u2062" ? thin() : operator ? mo(operator) : null, piece]));
  const bound = (tree, rank) => {
    let [piece, own] = write(tree);
    if (own >= rank) return piece;
    if (numbers && Array.isArray(tree) && !hasFunction(tree)) [piece, own] = value(evaluate(tree, numbers));
    return own >= rank ? piece : group(piece);
  };
  const call = (name, pieces, singlePiece) => math("mrow", math("mi", name), singlePiece ? [mo("\u2061", { lspace: "0.17em", rspace: "0" }), pieces[0]] : [paren("("), ...pieces.flatMap((p, i) => (i ? [mo(","), p] : [p])), paren(")")]);
  const words = (text) => math("mtext", text);
  const pieces = {
    $: (name, ...index) => (numbers ? value(evaluate(["$", name, ...index], numbers)) : [nameOf(name, index), ATOM]),
    "+": (...terms) => [infix(terms.map((t, i) => (i ? ["+", bound(t, PRODUCT)] : ["", write(t)[0]]))), SUM],
    "-": (a, ...others) => [infix([["", write(a)[0]], ...others.map((t) => ["−", bound(t, PRODUCT)])]), SUM],
    neg: (a) => (numbers && evaluate(a, numbers) === 0 ? value(0) : [infix([["−", bound(a, PRODUCT)]]), SUM]),
    "·": (...all) => {
      const inner = all.some((f) => Array.isArray(f) && f[0] === "·");
      const rank = (f) => (inner || (Array.isArray(f) && ["ln", "tanh"].includes(f[0])) ? PRODUCT : ATOM);
      return [infix(all.map((f, i) => [i ? (numbers || inner ? "·" : "\u2062") : "", bound(f, rank(f))])), PRODUCT];
    },
    "@": (a, ...others) => [infix([["", write(a)[0]], ...others.map((t) => ["\u2062", bound(t, ATOM)])]), PRODUCT],
    "/": (a, b) => (numbers && evaluate(a, numbers) === 0 ? value(0) : [math("mfrac", numbers ? bound(a, PRODUCT) : write(a)[0], write(b)[0]), PRODUCT]),
    "^": (a, n) => [math("msup", bound(a, ATOM), write(n)[0]), ATOM],
    exp: (a) => (numbers ? value(Math.exp(evaluate(a, numbers))) : [math("msup", math("mi", "e"), write(a)[0]), ATOM]),
    if: (condition, a, b) => {
      if (numbers) return value(evaluate(["if", condition, a, b], numbers));
      const test = infix([["", write(condition[1])[0]], [condition[0] === ">=" ? "≥" : ">", write(condition[2])[0]]]);
      return [math("mrow", write(a)[0], words(" if "), test, words(" else "), write(b)[0]), SUM];
    },
    diag: (a) => (numbers ? value(evaluate(["diag", a], numbers)) : [call("diag", [write(a)[0]], false), PRODUCT]),
    T: (a) => (numbers ? value(transposed(evaluate(a, numbers))) : [superscript(bound(a, ATOM), math("mi", "T")), ATOM]),
    named: (a) => writer(null).write(a),
    call: (name, ...args) => [call(name, args.map((a) => write(a)[0]), false), PRODUCT],
    sum: (a, index = "i") => [math("mrow", math("munder", mo("∑", { movablelimits: "false" }), math("mi", index)), bound(a, PRODUCT)), PRODUCT],
    "=": (...sides) => [infix(sides.map((s, i) => [i ? "=" : "", write(s)[0]])), SUM],
    eye: () => [math("mi", "I"), ATOM],
    vec: (a) => (numbers ? value(single(operators.vec(evaluate(a, numbers)))) : [call("vec", [write(a)[0]], false), ATOM]),
    rows: (a) => [call("rows", [write(a)[0]], false), ATOM],
    ones: (n) => (numbers ? value(single(operators.ones(n))) : [math("mn", "1"), ATOM]),
    kron: (a, b) => [infix([["", bound(a, ATOM)], ["⊗", bound(b, ATOM)]]), PRODUCT],
    words: (text) => [words(text), ATOM],
  };
  function write(tree) {
    if (typeof tree === "number") return value(tree);
    const [operator, ...args] = tree;
    if (pieces[operator]) return pieces[operator](...args);
    const parts = args.map((a) => (numbers ? value(evaluate(a, numbers)) : write(a)));
    const one = (operator === "ln" || operator === "tanh") && parts[0][1] === ATOM;
    return [call(operator, parts.map(([piece]) => piece), one), PRODUCT];
  }
  return { write };
}

const different = (sides) => sides.filter((side, i) => i === 0 || side.textContent !== sides[i - 1].textContent || side.localName === "mtext");

function equation(all) {
  const sides = different(all);
  return formula(sides.flatMap((side, i) => (i ? [mo("="), side] : [side])));
}

// The same in pieces, each side and each term of a sum: where the screen or the paper is too narrow, a piece goes below.
function wrapping(all) {
  const [left, ...others] = different(all);
  const pieces = others.flatMap((side) => {
    const [first, ...terms] = termsOf(side);
    return [[mo("="), ...first], ...terms];
  });
  return [formula(left), ...pieces.flatMap((piece) => [html("wbr"), formula(...piece)])];
}

function termsOf(side) {
  const terms = [[]];
  for (const piece of side.localName === "mrow" ? [...side.childNodes] : [side]) {
    if (piece.localName === "mo" && piece.textContent === "+") {
      piece.setAttribute("form", "infix"); // though it begins a formula
      terms.push([]);
    }
    terms.at(-1).push(piece);
  }
  return terms;
}

function formula(...pieces) {
  return make(MATH, "math", { displaystyle: "true" }, math("mrow", ...pieces));
}

const dots = () => html("span", { class: "dots" });
function lineOf([target, tree, show], own, blank) {
  const symbols = [writer(null).write(target)[0]], line = html("div", {});
  if (show === "both" || show === "symbols" || (blank && show === "numbers")) symbols.push(writer(null).write(tree)[0]);
  if (blank) {
    line.append(...wrapping(symbols), html("span", { class: "piece" }, formula(mo("=")), dots()));
    return line;
  }
  if (show === "both" || show === "numbers") symbols.push(writer(own).write(tree)[0]);
  symbols.push(written(evaluate(target, own), { class: "result" }));
  line.append(...wrapping(symbols));
  return line;
}

function headingOf(step) {
  const equations = step.heading.filter(([, , , when]) => holds(when));
  return equations.map(([left, right, then], i) => {
    const sign = step.changes.length ? ":=" : "=";
    const sides = [writer(null).write(left)[0], mo(sign), writer(null).write(right)[0]];
    if (i + 1 < equations.length) sides.push(mo(then.trim()));
    return formula(sides);
  });
}

function changeOf(step, blank) {
  return step.changes.map((name) =>
    html("div", {}, formula(nameOf(name), mo(":"), blank ? null : written(values[key(name)]), blank ? null : mo("→"), blank ? null : written(values[key(name + ":new")], { class: "result" })), ...(blank ? [dots(), " → ", dots()] : []))
  );
}

function waysOf(step, blank) {
  const { own, worst, scale } = directly(step);
  const visible = (which, numbers) => lines(step, which).filter(([, , show]) => show !== "quiet").map((line) => lineOf(line, numbers, blank));
  return { direct: visible("direct", own), matrix: [...visible("matrix", step.both ? values : own), ...changeOf(step, blank)], worst, scale };
}

// The page ---------------------------------------------------------------------------------------------------------

const shades = (x, largest, color) => (Number.isFinite(x) && largest ? `background: rgb(var(--${color}) / calc(var(--shade) * ${Math.abs(x / largest).toFixed(3)}))` : null);
function cells(value) {
  const rows = rowsOf(value), largest = Math.max(...rows.flat().filter(Number.isFinite).map(Math.abs), 0);
  const box = html("div", { class: "cells", style: `grid-template-columns: repeat(${rows[0].length}, max-content)` });
  for (const x of rows.flat()) box.append(html("span", { style: shades(x, largest, x < 0 ? "delta" : "value") }, shown(x).replace("-", "−")));
  return box;
}

function fieldId(name, i, j, rows, columns) {
  const matrix = program.matrices.includes(name);
  if (rows * columns === 1 && !matrix) return name;
  return matrix ? `${name}[${i + 1},${j + 1}]` : `${name}[${i + 1}]`;
}

// What a field shows: a number of float32, such as a network's that was trained, by the fewest digits that name it there.
function typed(x) {
  if (!Number.isFinite(x) || Math.fround(x) !== x) return String(x);
  let digits = 1;
  while (Math.fround(Number(x.toPrecision(digits))) !== x) digits++;
  return String(Number(x.toPrecision(digits)));
}

function inputs(name) {
  const rows = rowsOf(state.given[key(name)]);
  const box = html("div", { class: "inputs", style: `grid-template-columns: repeat(${rows[0].length}, max-content)` });
  rows.forEach((row, i) =>
    row.forEach((x, j) => {
      const id = fieldId(name, i, j, rows.length, row.length);
      const field = html("input", { type: "number", step: "any", id, value: typed(x), required: "" });
      field.addEventListener("input", () => edited(field, name, i, j));
      box.append(html("label", { for: id }, html("span", {}, id), field));
    })
  );
  return box;
}

function menu(id, options) {
  const select = html("select", { id, "aria-label": id }, options.map((name) => html("option", { value: name }, name)));
  select.value = state.choices[id];
  select.addEventListener("change", () => {
    remember();
    state.choices[id] = select.value;
    refresh(`${id} is now ${select.value}.`);
  });
  return select;
}

function heading(name, extra) {
  return html("h3", { "aria-label": name }, math("math", nameOf(name)), extra ?? null);
}

function box(name, content, extra) {
  const kind = program.matrices.includes(name) ? "matrix" : "vector";
  return html("li", { "data-name": name }, heading(name, extra), html("div", { class: "pair", "data-kind": kind }, content));
}

function build() {
  const value = (name) => html("div", { class: name.startsWith("delta_") ? "back" : "computed", "data-value": name });
  const chain = byId("chain");
  chain.append(box("x", program.ids ? value("x") : [inputs("x"), value("delta_x")]));
  for (const { name, kind, choose } of program.boxes) {
    const extra = choose ? menu(choose, program.options[choose]) : null;
    chain.append(kind === "parameter" ? box(name, [inputs(name), value("delta_" + name)]) : box(name, [value(name), value("delta_" + name)], extra));
  }
  chain.append(box("mu", value("mu")), box("y", inputs("y")), box("loss", value("loss"), menu("loss", program.options.loss)));
  byId("eta").value = typed(state.given[key("eta")]);
  byId("eta").addEventListener("input", () => edited(byId("eta"), "eta", 0, 0));
}

function remember() {
  history.push(clone(state));
}

let broken = new Set();
function edited(field, name, i, j) {
  const number = field.value.trim() === "" ? NaN : Number(field.value);
  const wrong = !Number.isFinite(number);
  field.setAttribute("aria-invalid", String(wrong));
  broken[wrong ? "add" : "delete"](field.id);
  if (wrong) {
    say(`${field.id} is not a finite number: type one, such as 0.3. The page keeps the last one.`);
    return;
  }
  remember();
  if (typeof state.given[key(name)] === "number") state.given[key(name)] = number;
  else state.given[key(name)][i][j] = number;
  refresh(`${field.id} is now ${shown(number)}. The loss is ${textValue(compute() ?? single(values[key("loss")]))}.`);
}

function fields() {
  for (const name of [...(program.ids ? [] : ["x"]), "y", "eta", ...program.parameters]) {
    const rows = rowsOf(state.given[key(name)]);
    rows.forEach((row, i) =>
      row.forEach((x, j) => {
        const field = byId(fieldId(name, i, j, rows.length, row.length));
        field.value = typed(x);
        field.setAttribute("aria-invalid", "false");
      })
    );
  }
  for (const id in state.choices) byId(id).value = state.choices[id];
  broken.clear();
}

const say = (sentence) => { byId("live").textContent = sentence; };
const here = () => program.steps[at];

function touched(step) {
  const names = new Set(lines(step, "direct").concat(lines(step, "matrix")).map(([target]) => target[1].replace(":new", "")));
  return names;
}

function sentence(step) {
  const own = new Map(), { own: made } = directly(step);
  for (const [target, , show] of lines(step, "matrix").concat(step.both ? [] : lines(step, "direct"))) {
    if (show !== "quiet") own.set(textName(target[1], target.slice(2)), textValue(evaluate(target, made)));
  }
  const changes = step.changes.map((name) => `${name} from ${textValue(single(values[key(name)]))} to ${textValue(single(values[key(name + ":new")]))}`);
  return `Step ${at + 1} of ${program.steps.length}, ${step.title}: ${[...own].map(([name, value]) => `${name} = ${value}`).concat(changes).join("; ")}.`;
}

function refresh(announce) {
  compute();
  for (const node of document.querySelectorAll("[data-value]")) {
    const name = node.dataset.value, value = values[key(name)];
    const back = name.startsWith("delta_");
    if (value === undefined) continue;
    const unit = back && rowsOf(value).length === 1 && node.parentElement.dataset.kind !== "matrix"; // a unit's delta stands beside its value
    const caption = unit && typeof value !== "number" ? superscript(nameOf(name), math("mi", "T")) : nameOf(name);
    node.replaceChildren(html("small", {}, back ? math("math", caption) : "\u00a0"), cells(unit ? transposed(value) : value));
  }
  const loss = single(values[key("loss")]);
  byId("loss-now").textContent = shown(loss);
  byId("loss-before").textContent = before === null ? "" : `before ${shown(before)}`;
  byId("undo").disabled = !history.length;
  byId("note").textContent = caution();
  draw();
  show();
  chainOfJacobians();
  counts();
  if (announce) say(announce);
  reachable();
}

// What is too wide for the screen scrolls, and is then a stop of the Tab key, with a name.
function reachable() {
  // All widths are read before any attribute is written, or the page would be laid out for each box.
  const boxes = [...document.querySelectorAll("main .cells")].map((box) => [box, box.scrollWidth > box.clientWidth]);
  for (const [box, wide] of boxes) {
    const named = { tabindex: "0", role: "group", "aria-label": `numbers of ${box.closest("li").querySelector("h3").getAttribute("aria-label")}` };
    for (const [name, value] of Object.entries(named)) wide ? box.setAttribute(name, value) : box.removeAttribute(name);
  }
}

// What the loss expects and does not get.
function caution() {
  const loss = state.choices.loss, last = program.boxes.filter((box) => box.name === program.output).map((box) => state.choices[box.choose])[0];
  const targets = program.places ? rowsOf(values[key("y")]) : [flat(values[key("y")])];
  const total = targets.map((row) => row.reduce((a, b) => a + b, 0)).find((t) => Math.abs(t - 1) > 1e-9);
  if (loss === "softmax_cross_entropy" && total !== undefined) return `softmax_cross_entropy expects a y that adds to 1; this one adds to ${shown(total)}, and delta_f is ${shown(total)} mu - y.`;
  const twice = { softmax_cross_entropy: "softmax", binary_cross_entropy: "sigmoid" }[loss];
  if (twice && last === twice) return `${loss} applies ${twice} itself: choose identity for the last layer.`;
  const f = flat(values[key("f")]);
  if (loss.endsWith("probabilities") && f.some((p) => p <= 0 || p >= 1)) return `${loss} expects outputs between 0 and 1: choose sigmoid for the last layer.`;
  return "";
}

function show() {
  const step = here(), { direct, matrix, worst, scale } = waysOf(step, false);
  byId("step-title").textContent = step.title;
  byId("place").textContent = `step ${at + 1} of ${program.steps.length}`;
  byId("back").disabled = at === 0;
  byId("next").disabled = at + 1 === program.steps.length;
  byId("why").textContent = step.why;
  byId("heading").replaceChildren(...headingOf(step));
  byId("shapes").textContent = step.shapes.join(", ");
  byId("ways").hidden = !step.both || !direct.length || !matrix.length;
  byId("direct").replaceChildren(...direct);
  byId("matrix").replaceChildren(...matrix);
  const only = direct.length && matrix.length ? way : direct.length ? "direct" : "matrix";
  byId("direct").hidden = step.both ? only !== "direct" : !direct.length;
  byId("matrix").hidden = step.both ? only !== "matrix" : !matrix.length;
  for (const name of ["direct", "matrix"]) {
    byId("tab-" + name).setAttribute("aria-selected", String(only === name));
    byId("tab-" + name).tabIndex = only === name ? 0 : -1;
  }
  const zero = worst <= 4 * Number.EPSILON * scale;
  byId("difference").textContent = step.both && direct.length ? `difference of the two ways: ${zero ? "0" : worst.toPrecision(2)}` : "";
  byId("difference").className = zero ? "" : "wrong";
  const soFar = step.delta ? values[key(step.delta)] : undefined;
  byId("so-far").replaceChildren(...(soFar === undefined ? [] : ["from the loss to here: ", equation([nameOf(step.delta), written(soFar)])]));
  const names = touched(step);
  for (const item of document.querySelectorAll("#chain li")) {
    const now = names.has(item.dataset.name) || names.has("delta_" + item.dataset.name);
    if (now) item.setAttribute("aria-current", "step");
    else item.removeAttribute("aria-current");
  }
  for (const node of document.querySelectorAll("#picture [data-names]")) {
    node.classList.toggle("now", node.dataset.names.split(" ").some((name) => names.has(name)));
  }
  say(sentence(step));
}

function go(to) {
  at = Math.max(0, Math.min(program.steps.length - 1, to));
  show();
}

// The picture: a column for x, for each layer, and the loss.
function draw() {
  const weights = (tag) => [`W_${tag}'`, "W_" + tag].find((name) => program.boxes.some((b) => b.name === name)); // W': one use of several
  const columns = [{ name: "x" }];
  for (const b of program.boxes.filter((b) => b.kind === "value" && b.name.startsWith("f_") && !/[.']/.test(b.name))) columns.push({ name: b.name, W: weights(b.name.slice(2)) });
  columns.push({ name: "mu" }, { name: "loss" });
  const across = 170, down = 98, r = 25, most = Math.max(...columns.map((c) => Math.min(9, flat(values[key(c.name)]).length)));
  const width = across * columns.length, height = down * most + 34;
  const drawn = (c) => { const n = flat(values[key(c.name)]).length; return n <= 9 ? [...Array(n).keys()] : [...Array(8).keys(), n - 1]; };
  const place = (c, row, n) => [across * (c + 0.5), 14 + (height - 20) / 2 + down * (row - (n - 1) / 2)];
  const svg = make(SVG, "svg", { viewBox: `0 0 ${width} ${height}`, role: "img", width, class: "drawing", style: `min-width: ${Math.round(width * 0.6)}px`, "aria-label": columns.map((c) => `${c.name} = ${textValue(values[key(c.name)])}`).join(", ") });
  const labels = [];
  columns.slice(1).forEach((to, c) => {
    const left = drawn(columns[c]), right = drawn(to), units = [to, columns[c]].map((one) => flat(values[key(one.name)]).length);
    const weights = to.W ? rowsOf(values[key(to.W)]) : null; // of a sequence they are those of each place: no line has one
    const W = weights && weights.length === units[0] && weights[0].length === units[1] ? weights : null;
    const largest = W ? Math.max(...W.flat().map(Math.abs), 1e-300) : 1;
    left.forEach((unit, j) => right.forEach((other, i) => {
      if (!W && left.length === right.length && i !== j) return;
      const [x1, y1] = place(c, j, left.length), [x2, y2] = place(c + 1, i, right.length);
      const w = W ? W[other][unit] : largest / 2;
      svg.append(make(SVG, "line", { x1: x1 + r, y1, x2: x2 - r, y2, "stroke-width": 0.6 + 2.6 * Math.abs(w) / largest, "stroke-dasharray": w < 0 ? "5 3" : null, "data-names": W ? `${to.W} delta_${to.W}` : `${to.name}` }));
      if (W && left.length * right.length <= 9) {
        const part = right.length > 1 ? 0.3 + (0.4 * i) / (right.length - 1) : 0.4; // each at a place of its own
        labels.push(make(SVG, "text", { class: "weight", x: x1 + part * (x2 - x1), y: y1 + part * (y2 - y1) - 3 }, String(Number(w.toPrecision(4)))));
      }
    }));
  });
  svg.append(...labels);
  columns.forEach((c, k) => {
    const units = drawn(c), value = flat(values[key(c.name)]), delta = values[key("delta_" + c.name)] && flat(values[key("delta_" + c.name)]);
    units.forEach((unit, row) => {
      const [x, y] = place(k, row, units.length);
      const [, letter, sub] = anatomy(c.name);
      const label = make(SVG, "text", { x, y: y + 4, "font-style": "italic" }, GREEK[letter] ?? letter);
      if (sub) label.append(make(SVG, "tspan", { dy: 3, "font-size": 10 }, sub));
      if (units.length > 1) label.append(make(SVG, "tspan", { dy: sub ? -3 : 0 }, `[${unit + 1}]`));
      const small = (x) => String(Number(x.toPrecision(4)));
      svg.append(
        make(SVG, "g", { "data-names": `${c.name} delta_${c.name} a_${c.name.slice(2)} delta_a_${c.name.slice(2)}` },
          make(SVG, "circle", { cx: x, cy: y, r }), label,
          make(SVG, "text", { class: "value", x, y: y - r - 5 }, small(value[unit])),
          delta ? make(SVG, "text", { class: "delta", x, y: y + r + 15 }, small(delta[unit])) : null)
      );
    });
  });
  byId("picture").replaceChildren(svg);
}

function chainOfJacobians() {
  byId("factors").replaceChildren(
    ...factors().map(([name, matrix, product], i) =>
      html("li", {}, heading(name), cells(matrix), i ? html("div", { class: "back" }, html("small", {}, "product so far"), cells(product)) : null))
  );
}

// Multiplications: a row times a matrix, from the loss; or a matrix times a matrix, from x.
function counts() {
  const matrices = factors().map(([name, matrix]) => ({ name, rows: rowsOf(matrix).length, columns: rowsOf(matrix)[0].length, diagonal: isDiagonal(name) }));
  const cost = (a, b) => (a.diagonal && b.diagonal ? a.rows : b.diagonal ? a.rows * a.columns : a.diagonal ? b.rows * b.columns : a.rows * a.columns * b.columns);
  const product = (a, b) => ({ rows: a.rows, columns: b.columns, diagonal: a.diagonal && b.diagonal });
  const total = (list, fromLeft) => {
    const rest = [...list];
    let all = 0;
    while (rest.length > 1) {
      const k = fromLeft ? 0 : rest.length - 2;
      all += cost(rest[k], rest[k + 1]);
      rest.splice(k, 2, product(rest[k], rest[k + 1]));
    }
    return all;
  };
  const reverse = total(matrices, true), forward = total(matrices, false);
  byId("counts").replaceChildren(
    html("thead", {}, html("tr", {}, html("th", { scope: "col" }, "order"), html("th", { scope: "col" }, "multiplications"))),
    html("tbody", {},
      html("tr", {}, html("td", {}, "backward: from the loss, a row times a matrix each time"), html("td", { id: "count-reverse" }, String(reverse))),
      html("tr", {}, html("td", {}, "forward: from x, a matrix times a matrix"), html("td", { id: "count-forward" }, String(forward))))
  );
  byId("order").textContent = forward > reverse
    ? `The loss is one number, so its delta is a single row. From the loss each product is a row times a matrix: ${reverse} multiplications. From x it would be ${forward}, ${(forward / Math.max(reverse, 1)).toPrecision(2)} times as many; for 784 inputs it is hundreds of times.`
    : `From the loss the product takes ${reverse} multiplications, from x ${forward}: a network as small as this one does not show the difference. For 784 inputs it is hundreds of times.`;
}

function isDiagonal(name) {
  const found = /^J_\{(.+)\}\((.+)\)$/.exec(name);
  const bend = found && program.boxes.find((b) => b.name === found[1] && b.choose);
  return Boolean(bend) && state.choices[bend.choose] !== "softmax";
}

// Paper: all steps, with or without answers; written when it is wanted, for it is longer than the page.
function paper() {
  const blank = byId("worksheet").checked;
  const section = (step, without) => {
    const ways = waysOf(step, without);
    const part = (title, content) => (content.length ? [step.both ? html("h3", {}, title) : null, html("div", { class: "lines" }, content)] : []);
    return html("section", {}, html("h2", {}, step.title), html("p", {}, step.why), html("div", { class: "formula" }, headingOf(step)), part("directly", ways.direct), part("matrix-based", ways.matrix));
  };
  const given = ["x", "y", "eta", ...program.parameters].map((name) => html("div", {}, equation([nameOf(name), written(single(values[key(name)]))])));
  const picture = blank ? null : byId("picture").firstChild.cloneNode(true);
  const steps = (without) => program.steps.map((step) => section(step, without));
  byId("paper").className = blank ? "blank" : "";
  byId("paper").replaceChildren(
    ...[picture, html("section", {}, html("h2", {}, "Given"), html("div", { class: "given" }, given)), ...steps(blank),
      blank ? html("div", { class: "answers" }, html("h2", {}, "Answers"), ...steps(false)) : null].filter(Boolean)
  );
}

// Does this script compute what JAX computed?
function check() {
  const rows = [];
  const compare = (where, mine, theirs) => {
    if (Array.isArray(theirs) && theirs.length && typeof theirs[0] !== "object" && !Array.isArray(theirs[0]) || typeof theirs === "number") {
      const a = [mine].flat(), b = [theirs].flat();
      rows.push([where, Math.max(...a.map((x, i) => (x === b[i] ? 0 : Math.abs(x - b[i]))), 0)]);
    } else if (theirs && typeof theirs === "object") {
      for (const k in theirs) compare(`${where}${where ? " " : ""}${/^\d+$/.test(k) ? Number(k) + 1 : k}`, mine?.[k], theirs[k]);
    }
  };
  for (const part of ["trace", "mu", "loss_value", "deltas", "factors", "after"]) compare(part, result[part], data[part]);
  const worst = Math.max(...rows.map(([, d]) => (Number.isNaN(d) ? Infinity : d)), 0);
  const wrong = worst > 1e-6;
  byId("checked").className = wrong ? "wrong" : "";
  byId("checked").firstElementChild.textContent = wrong
    ? `differs from JAX by ${worst.toPrecision(2)}: do not trust this page in this browser`
    : `checked against JAX: largest difference ${worst ? worst.toExponential(0) : "0"}`;
  byId("checks").replaceChildren(html("tbody", {}, rows.map(([where, d]) => html("tr", {}, html("td", {}, where), html("td", {}, d ? d.toExponential(1) : "0")))));
}

function descend() {
  if (broken.size) return say(`${[...broken].join(", ")} is not a finite number: type one first.`);
  remember();
  before = single(values[key("loss")]);
  for (const name of program.parameters) state.given[key(name)] = clone(rowsOf(values[key(name + ":new")]));
  fields();
  refresh();
  say(`One step of gradient descent: the loss went from ${shown(before)} to ${shown(single(values[key("loss")]))}.`);
}

byId("next").addEventListener("click", () => go(at + 1));
byId("back").addEventListener("click", () => go(at - 1));
byId("descend").addEventListener("click", descend);
byId("undo").addEventListener("click", () => {
  state = history.pop();
  before = null;
  fields();
  refresh();
  say(`Undone. The loss is ${shown(single(values[key("loss")]))}.`);
});
byId("reset").addEventListener("click", () => {
  state = clone(first);
  history = [];
  before = null;
  fields();
  refresh();
  say("The page is as it was opened.");
});
byId("print").addEventListener("click", () => window.print());
byId("worksheet").addEventListener("change", paper);
window.addEventListener("beforeprint", paper);
window.matchMedia("print").addEventListener("change", (event) => event.matches && paper());
window.addEventListener("resize", reachable);
for (const name of ["direct", "matrix"]) {
  byId("tab-" + name).addEventListener("click", () => { way = name; show(); });
  byId("tab-" + name).addEventListener("keydown", (event) => {
    if (event.key !== "ArrowLeft" && event.key !== "ArrowRight") return;
    event.stopPropagation();
    way = name === "direct" ? "matrix" : "direct";
    show();
    byId("tab-" + way).focus();
  });
}
document.addEventListener("keydown", (event) => {
  if (event.target.closest("input, select, textarea, [role=tab]") || event.ctrlKey || event.altKey || event.metaKey) return;
  const moves = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: program.steps.length - 1 };
  if (event.key in moves) {
    event.preventDefault();
    go(moves[event.key]);
  }
});

build();
refresh();
check();
