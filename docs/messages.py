"""Every error message of the library, read from its source."""

import ast
import importlib
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import jaxbp
from jaxbp import arguments

PACKAGE = Path(jaxbp.__file__).parent
GAP = "…"  # what stands where a message has a name or a number
MOST = 6  # texts that one part of a message is taken to have
DOORS = ("array", "flag", "function", "instance", "key", "number", "option", "params", "path", "whole")
PARTS = ("where", "expected", "got", "hint")

Values = dict[str, list[ast.expr]]


class Message(NamedTuple):
    """An error message: its text with gaps, the exception that it comes with, and its file."""

    text: str
    kind: str
    file: str

    def pattern(self) -> re.Pattern[str]:
        """What matches the message as it is printed, whatever stands in its gaps."""
        return re.compile(".*".join(map(re.escape, self.text.split(GAP))), re.DOTALL)


@cache
def messages() -> tuple[Message, ...]:
    """Every message that `errors.message` puts together, and every one of the doors of `arguments`."""
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in sorted(PACKAGE.rglob("*.py"))}
    given = _given(trees.values())
    found: set[Message] = set()
    for path, tree in trees.items():
        file = path.relative_to(PACKAGE.parent).as_posix()
        of_module = _assigned(tree)
        functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
        for scope in (tree, *functions):
            names = of_module | _parameters(scope, given) | _assigned(scope)
            for call, kind in _calls(scope):
                found |= {Message(text, kind, file) for text in _texts_of(call, names)}
        if "arguments" not in path.parts:
            found |= {Message(text, kind, file) for text, kind in _of_doors(file, tree)}
    return tuple(sorted(found, key=lambda message: (message.file, message.text)))


def _own(scope: ast.AST) -> Iterator[ast.AST]:
    """The nodes of a function, without those of the functions in it."""
    for node in ast.iter_child_nodes(scope):
        if not isinstance(node, ast.FunctionDef):
            yield node
            yield from _own(node)


def _calls(scope: ast.AST) -> Iterator[tuple[ast.Call, str]]:
    """The calls of `errors.message` in a function, each with the exception that it is for."""
    kinds: dict[int, str] = {}
    for node in _own(scope):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            kind = ast.unparse(node.exc.func)
            kinds |= {id(part): kind for part in ast.walk(node.exc) if kind.endswith("Error")}
    for node in _own(scope):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("message", "errors.message"):
            yield node, kinds.get(id(node), "")


def _assigned(scope: ast.AST) -> Values:
    """What is assigned to each name in a function."""
    found: Values = {}
    for node in _own(scope):
        pairs = []
        if isinstance(node, ast.NamedExpr):
            pairs = [(node.target, node.value)]
        elif isinstance(node, ast.Assign):
            for target in node.targets:
                value = node.value
                both = isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple)
                alike = both and len(target.elts) == len(value.elts)  # no a, b = *x, y
                pairs += zip(target.elts, value.elts, strict=True) if alike else [(target, value)]
        for name, given in pairs:
            if isinstance(name, ast.Name):
                found.setdefault(name.id, []).append(given)
    return found


def _given(trees: Any) -> dict[str, list[ast.Call]]:
    """The calls of each function in the package, by its last name."""
    found: dict[str, list[ast.Call]] = {}
    for tree in trees:
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                found.setdefault(ast.unparse(node.func).rpartition(".")[2], []).append(node)
    return found


def _parameters(scope: ast.AST, given: dict[str, list[ast.Call]]) -> Values:
    """What the package gives for each parameter of a function."""
    if not isinstance(scope, ast.FunctionDef):
        return {}
    names = [argument.arg for argument in scope.args.args if argument.arg != "self"]
    found: Values = {}
    for call in given.get(scope.name, ()):
        pairs = [*zip(names, call.args, strict=False), *((k.arg, k.value) for k in call.keywords if k.arg)]
        for name, value in pairs:
            of_the_caller = isinstance(value, ast.Name)  # which is not looked into
            found.setdefault(str(name), []).append(ast.Constant(GAP) if of_the_caller else value)
    return found


def _texts_of(call: ast.Call, names: Values) -> Iterator[str]:
    values = dict(zip(PARTS, call.args, strict=False)) | {str(k.arg): k.value for k in call.keywords}
    texts = {"where": [GAP], "expected": [GAP], "got": [GAP], "hint": [""]}
    texts |= {part: _texts(value, names) for part, value in values.items()}
    where = texts["where"][0] if len(texts["where"]) == 1 else GAP
    for expected in texts["expected"]:
        for got in texts["got"]:
            for hint in texts["hint"]:
                yield _tidy(f"{where}: expected {expected}, got {got}" + (f"; {hint}" if hint else ""))


def _texts(node: ast.expr, names: Values) -> list[str]:
    """What an expression may say, with gaps for what is known only when it is run."""
    found = [GAP]
    if isinstance(node, ast.Constant):
        found = [str(node.value)]
    elif isinstance(node, ast.JoinedStr):
        found = ["".join(str(p.value) if isinstance(p, ast.Constant) else GAP for p in node.values)]
    elif isinstance(node, ast.Name) and node.id in names:
        others = {name: values for name, values in names.items() if name != node.id}
        found = [text for value in names[node.id] for text in _texts(value, others)]
    elif isinstance(node, ast.IfExp):
        found = _texts(node.body, names) + _texts(node.orelse, names)
    elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        found = [a + b for a in _texts(node.left, names) for b in _texts(node.right, names)]
    return list(dict.fromkeys(found))[:MOST]


def _tidy(text: str) -> str:
    return re.sub(f"{GAP}(?:{GAP})+", GAP, " ".join(text.split()))


class _Stranger:
    """What no door takes."""


def _of_doors(file: str, tree: ast.Module) -> Iterator[tuple[str, str]]:
    """What the doors say that a module calls, by knocking at each with a stranger."""
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    calls = [node for node in calls if ast.unparse(node.func) in {f"arguments.{door}" for door in DOORS}]
    if not calls:
        return
    module = importlib.import_module(file.removesuffix(".py").removesuffix("/__init__").replace("/", "."))
    for call in calls:
        door = getattr(arguments, ast.unparse(call.func).rpartition(".")[2])
        values = [_value(argument, vars(module)) for argument in call.args]
        place = 1 if call.args[1:] and door.__name__ in ("key", "params") else 2
        values[place:] = [_Stranger(), *values[place + 1 :]]
        rest = {str(k.arg): _value(k.value, vars(module)) for k in call.keywords}
        try:
            door(*values, **{name: value for name, value in rest.items() if value != GAP})
        except (TypeError, ValueError) as error:
            said, got, _ = str(error).partition(", got ")
            if got:
                yield _tidy(f"{said}{got}{GAP}"), type(error).__name__


def _value(node: ast.expr, module: dict[str, Any]) -> Any:
    """What an argument is, where the module alone tells; text with gaps where it is text; else a gap."""
    if isinstance(node, ast.JoinedStr):
        return _texts(node, {})[0]
    try:
        return eval(compile(ast.Expression(node), "<argument>", "eval"), module)
    except Exception:
        return GAP
