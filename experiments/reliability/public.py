"""Every public function of the library with a good value for each of its arguments, found by looking.

A new public function is in the table by being public. Its arguments get their roles by their names, see
`roles`; `entries` names what has no role.
"""

import importlib
import inspect
import pkgutil
import typing
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, NamedTuple

import jaxbp
from experiments.reliability import world
from experiments.reliability.roles import ALWAYS, BESIDE, ONLY, OWN, ROLES, VARIANTS, Role, of_loss

# Jacobians as operators are parts of the chain's result; errors and tables print; the command is no function;
# the doors (arguments) are what every other function here is tried through. Recipes are behind `register`,
# `save_run` and `load_run`; the command's optimizers are behind the estimators.
LEFT_OUT = {
    "arguments", "operators", "cli", "errors", "tables", "typing", "trace", "jaxprs", "quantities",
    "recipes", "optimizers",
}  # fmt: skip
# Records that the library makes and hands out; nobody calls these.
RESULTS = {
    "Added", "Stacked",
    "Backprop", "Deltas", "Trace", "Result", "Sweep", "DivergenceError", "Report", "Finding", "NetworkReport",
    "Row",
    "Factor", "JacobianChain", "ParameterJacobian", "PerExample", "Plan", "LinearUnitFit", "PerceptronFit",
    "ValueAndGrad", "Cotangents", "Diagnosis", "Nonfinite", "Scaling", "Explanation", "Evaluation", "Schema",
    "Flow", "Statistics", "Update", "Watch", "Printed", "Evaluator",
    "Outer", "Rows", "Summed", "Entrywise",
}  # fmt: skip
LAYER_METHODS = ("init", "apply", "forward", "backward", "jacobian")  # fields that a user calls


class Entry(NamedTuple):
    """One public function.

    Args:
        name: as it is written behind ``jaxbp.``.
        make: gives what is called; a method's object is made anew.
        roles: of its arguments.
        kinds: how each argument is given, `inspect.Parameter.kind`.
        required: the arguments of its plain call.
        beside: more that are given beside an argument on trial.
    """

    name: str
    make: Callable[[], Callable[..., Any]]
    roles: dict[str, Role]
    how: dict[str, Any]
    required: tuple[str, ...]
    beside: dict[str, tuple[str, ...]]
    tried: tuple[str, ...]

    def goods(self, argument: str | None = None) -> dict[str, Any]:
        """Good values of the required arguments and of this one."""
        names = {*self.required, *self.beside.get(argument or "", ()), *([argument] if argument else [])}
        return {name: self.roles[name].good() for name in self.roles if name in names}

    def call(self, given: dict[str, Any]) -> Any:
        args: list[Any] = []
        by_name: dict[str, Any] = {}
        for name, how in self.how.items():
            if name not in given:
                continue
            if how is inspect.Parameter.VAR_POSITIONAL:
                args += given[name]
            elif how is inspect.Parameter.POSITIONAL_ONLY or (
                how is inspect.Parameter.POSITIONAL_OR_KEYWORD and len(args) == list(self.how).index(name)
            ):
                args.append(given[name])
            else:
                by_name[name] = given[name]
        return self.make()(*args, **by_name)


def modules() -> Iterator[tuple[str, Any]]:
    """The public modules and packages of the library."""
    yield "", jaxbp
    for found in pkgutil.iter_modules(jaxbp.__path__):
        if not found.name.startswith("_") and found.name not in LEFT_OUT:
            yield f"{found.name}.", importlib.import_module(f"jaxbp.{found.name}")


def public() -> dict[str, Any]:
    """Every public function, class and loss, each once, by the shortest name."""
    found: dict[str, Any] = {}
    seen: set[int] = set()
    for prefix, module in modules():
        package = hasattr(module, "__path__")
        for name, value in sorted(vars(module).items()):
            home = getattr(value, "__module__", "") or ""
            own = home.startswith("jaxbp") if package else home == module.__name__
            called = inspect.isfunction(value) or isinstance(value, type | jaxbp.Loss)
            if name.startswith("_") or not called or not own or id(value) in seen:
                continue
            seen.add(id(value))
            found[prefix + name] = value
    return found


def _entry(
    name: str, key: str, make: Callable[[], Any], parameters: list[inspect.Parameter], own: dict[str, Role]
) -> Entry | str:
    """The entry, or the arguments without a role."""
    roles, how, required, missing = {}, {}, [], []
    always = (*ALWAYS.get(key, ()), *BESIDE.get(key, ()))
    for parameter in parameters:
        argument, needed = parameter.name, parameter.default is inspect.Parameter.empty
        if parameter.kind is inspect.Parameter.VAR_KEYWORD or argument.startswith("_"):
            continue
        role = own.get(argument) or OWN.get(f"{key}.{argument}") or ROLES.get(argument)
        if role is not None:
            if parameter.default is None:  # None is a good value of it
                role = role._replace(kinds=[k._replace(any=k.any or k.name == "None") for k in role.kinds])
            roles[argument], how[argument] = role, parameter.kind
            if needed or argument in always:
                required.append(argument)
        elif needed and parameter.kind is not inspect.Parameter.VAR_POSITIONAL:
            missing.append(argument)
    if missing:
        return ", ".join(missing)
    beside = {argument: BESIDE.get(f"{key}.{argument}", ()) for argument in roles}
    tried = tuple(a for a in (ONLY.get(name) or own or roles) if roles[a].kinds)
    return Entry(name, make, roles, how, tuple(required), beside, tried)


def entries() -> tuple[dict[str, Entry], dict[str, str]]:
    """All entries by name, and what is public and has an argument of no known role, with that argument."""
    found: dict[str, Entry] = {}
    lost: dict[str, str] = {}

    def add(
        name: str, key: str, make: Callable[[], Any], of: Any, own: dict[str, Role], skip: int = 0
    ) -> None:
        entry = _entry(name, key, make, list(inspect.signature(of).parameters.values())[skip:], own)
        if isinstance(entry, str):
            lost[name] = f"no role for {entry}"
        elif entry.tried:
            found[name] = entry

    seen: set[type] = set()
    for name, value in public().items():
        short = name.rpartition(".")[2]
        if isinstance(value, jaxbp.Loss):
            add(name, name, lambda v=value: v, value.__call__, of_loss(short))
            add(f"{name}.delta", name, lambda v=value: v.delta, value.delta, of_loss(short))
            continue
        if short in RESULTS:
            continue
        add(name, short, lambda v=value: v, value, {})
        for variant, own in VARIANTS.items():
            if variant.split(" ")[0] == name:
                add(variant, short, lambda v=value: v, value, own)
        for label, method, of, skip in _methods(short, value, found[name], seen) if name in found else ():
            add(label, label, _of_result(found[name], method), of, {}, skip)
    return found, lost


def _of_result(entry: Entry, method: str) -> Callable[[], Any]:
    """What gives the method of what the function returns; of checkpoints, of a new folder with epochs."""
    if entry.name == "Checkpoints":
        return lambda: getattr(world.kept(), method)
    return cache(lambda: getattr(entry.call(entry.goods()), method))


def _methods(
    short: str, value: Any, entry: Entry, seen: set[type]
) -> Iterator[tuple[str, str, Callable[..., Any], int]]:
    """Label, name, function and arguments to pass over (self) of the methods of what a function returns.

    Each type once, by the first function that returns it; layers by those of `mlp`. Of records that a user
    makes, those that do something; and of functions that make a function, that function.
    """
    returned = value if isinstance(value, type) else _returned(value)
    if typing.get_origin(returned) is not None and short.startswith(("make_", "with_")):
        yield f"{short}()", "__call__", entry.call(entry.goods()), 0
    if not isinstance(returned, type) or not returned.__module__.startswith("jaxbp") or returned in seen:
        return
    if returned is jaxbp.Layer:
        if short == "mlp":
            seen.add(returned)
            yield from ((f"mlp().{m}", m, getattr(world.NET, m), 0) for m in LAYER_METHODS)
        return
    if returned is jaxbp.Loss or (isinstance(value, type) and short != "Checkpoints"):
        return
    seen.add(returned)
    for method in dir(returned):
        of = inspect.getattr_static(returned, method)
        if inspect.isfunction(of) and len(inspect.signature(of).parameters) > 1:
            if method == "__call__":
                yield f"{returned.__name__}()", method, of, 1
            elif not method.startswith("_"):
                yield f"{returned.__name__}.{method}", method, of, 1


def _returned(value: Any) -> Any:
    """The annotation of the result, None where it cannot be told."""
    try:
        return typing.get_type_hints(value).get("return")
    except (NameError, TypeError):
        return None
