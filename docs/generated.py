"""The pages that are written from the source: public names, error messages, causes of wrong rules."""

import inspect
import re
from types import ModuleType

from messages import GAP, messages

import jaxbp
from jaxbp.verify.causes.table import CAUSES
from jaxbp.verify.report import VERDICTS


def pages() -> dict[str, str]:
    """Every page by its name."""
    return {"errors": errors_page(), "causes": causes_page(), **api_pages()}


# The public names, in the groups of the package's docstring.


def groups() -> dict[str, tuple[str, list[str]]]:
    """Each group of names by its title: what it says of itself, and the names."""
    listed = re.findall(r"^(\w.*?): (.+)\n((?:    .+\n)+)", jaxbp.__doc__ or "", re.MULTILINE)
    return {title: (about, re.findall(r"\w+", names)) for title, about, names in listed}


def api_pages() -> dict[str, str]:
    """A page for each group."""
    return {
        f"api_{title.lower().replace(' ', '_').replace('-', '_')}": _api_page(title, about, names)
        for title, (about, names) in groups().items()
    }


def _api_page(title: str, about: str, names: list[str]) -> str:
    lines = [f"# {title}", "", f"{about[0].upper()}{about[1:]}.", ""]
    for name in names:
        thing = getattr(jaxbp, name)
        lines += _room(name, thing) if inspect.ismodule(thing) else _entry(name, thing)
    return "\n".join(lines)


def _entry(name: str, thing: object) -> list[str]:
    """The directive that shows a function, a class, or a layer or loss with its own words."""
    kind, option = "autodata", "   :no-value:"
    if inspect.isclass(thing):
        kind, option = "autoclass", "   :members:"
    elif inspect.isroutine(thing):
        kind, option = "autofunction", ""
    return ["```{eval-rst}", f".. {kind}:: jaxbp.{name}", *([option] if option else []), "```", ""]


def _room(name: str, room: ModuleType) -> list[str]:
    """The first line of a room, and of what it has besides the names of the package."""
    lines = [f"## jaxbp.{name}", "", _first_line(room), ""]
    for inner, thing in sorted(vars(room).items()):
        own = callable(thing) and str(getattr(thing, "__module__", "")).startswith("jaxbp.")
        if own and not inner.startswith("_") and inner not in jaxbp.__all__:
            lines.append(f"- `jaxbp.{name}.{inner}`: {_first_line(thing)}")
    return [*lines, ""]


def _first_line(thing: object) -> str:
    """The first line of a docstring, as Markdown."""
    parts = re.split("(`[^`]*`)", (inspect.getdoc(thing) or "").partition("\n")[0])
    parts[::2] = [re.sub(r"([*_|<])", r"\\\1", part) for part in parts[::2]]
    return "".join(parts)


# What the library says.


def errors_page() -> str:
    """All error messages, by the file that has them."""
    lines = [
        "# Every error message",
        "",
        "A message says where, what was expected, what came, and what to try.",
        f"Here `{GAP}` stands for what depends on the call.",
        "Look for words of yours that are no name or number, with the search of the site or of the browser.",
        "What a layer of calls puts before the message of another is not repeated.",
        "A wrong type is a TypeError, a wrong value of the right type a ValueError.",
        "",
    ]
    file = ""
    for message in messages():
        if message.file != file:
            file = message.file
            lines += ["", f"## {file}", ""]
        quote = "`` " if "`" in message.text else "`"
        kind = f" ({message.kind})" if message.kind else ""
        lines.append(f"- {quote}{message.text}{quote[::-1]}{kind}")
    return "\n".join([*lines, ""])


def causes_page() -> str:
    """The verdicts, and every cause with a minimal rule that has it."""
    lines = ["# Verdicts and causes", "", "| verdict | | what it means |", "|---|---|---|"]
    lines += [f"| {verdict} | {about.mark} | {about.meaning} |" for verdict, about in VERDICTS.items()]
    lines += ["", "`jaxbp check --explain WORD` prints what follows of one word.", ""]
    for word, cause in CAUSES.items():
        lines += [f"## {word}", "", f"Meaning: {cause.meaning}.", "", f"Usual mistake: {cause.usual}.", ""]
        lines += [f"Remedy: {cause.remedy}.", "", "```python", cause.example.strip(), "```", ""]
    return "\n".join(lines)
