"""A page from its template: one file, everything in it escaped but what is said to be text of ours."""

import json
from importlib.resources import files
from typing import Any

from jaxbp import errors


def rendered(template: str, **values: Any) -> str:
    """A template of this folder with these values, which autoescape makes text.

    Raises:
        ImportError: without jinja2.
    """
    with errors.needs("jinja2", "report", "page"):
        import jinja2
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    return environment.from_string(read(template)).render(**values)


def read(name: str) -> str:
    """A file of this folder."""
    return (files(__package__) / name).read_text(encoding="utf-8")


def verbatim(text: str) -> Any:
    """Text that belongs in a script or a style element as it is."""
    import markupsafe

    return markupsafe.Markup(text)


def as_json(value: Any) -> str:
    r"""JSON that may stand in a script element: no `<` in it ends the element or begins a comment.

    Example:
        >>> as_json({"name": "</script>"})
        '{"name":"\\u003c/script>"}'
    """
    return json.dumps(value, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
