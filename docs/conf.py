"""The settings of Sphinx: ``python -m sphinx -W docs build/docs`` builds the site.

With ``JAXBP_REPOSITORY=https://github.com/OWNER/NAME``, a public copy of the repository, its pages link to
their source, and the notebook has a button that opens it on Colab.
"""

import os
import re
import sys
from pathlib import Path

DOCS = Path(__file__).parent
sys.path[:0] = [str(DOCS), str(DOCS.parent)]

project = "jaxbp"
copyright = "The jaxbp authors"
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
html_theme = "sphinx_book_theme"
html_title = "jaxbp"
html_theme_options = {"show_toc_level": 2}
if repository := os.environ.get("JAXBP_REPOSITORY"):
    html_theme_options |= {
        "repository_url": repository,
        "path_to_docs": "docs",
        "use_source_button": True,
        "launch_buttons": {"colab_url": "https://colab.research.google.com"},
    }
exclude_patterns = []
default_role = "code"
autodoc_member_order = "bysource"
autodoc_typehints = "none"
autodoc_preserve_defaults = True
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
suppress_warnings = ["myst.header"]
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 600

_CODE = re.compile(r"(``.+?``|`.+?`_?)")
_FIELD = re.compile(r"(\s*:(?:param|type|returns?|rtype|raises|ivar|var)[^:]*:)(.*)", re.DOTALL)


def _escaped(app, what, name, obj, options, lines):
    """Mark what a docstring means as plain text: its ``*n``, ``|a|`` and ``delta_`` are no markup."""
    in_code = False
    for i, line in enumerate(lines):
        text = line.strip()
        in_code = text.startswith(">>>") or (in_code and bool(text))
        if in_code or text.startswith(".. "):
            continue
        field = _FIELD.match(line)
        head, rest = field.groups() if field else ("", line)
        parts = _CODE.split(rest)
        parts[::2] = [re.sub(r"([*|_])", r"\\\1", part) for part in parts[::2]]
        lines[i] = head + "".join(parts)


def _skipped(app, what, name, obj, skip, options):
    """Leave out the fields of a NamedTuple that say nothing but their number."""
    return True if (getattr(obj, "__doc__", "") or "").startswith("Alias for field number") else None


def _generate(app, config):
    """Write the pages that come from the source."""
    import generated

    folder = DOCS / "generated"
    folder.mkdir(exist_ok=True)
    for name, text in generated.pages().items():
        page = folder / f"{name}.md"
        if not page.exists() or page.read_text(encoding="utf-8") != text:
            page.write_text(text, encoding="utf-8")


def setup(app):
    """Connect them."""
    app.connect("config-inited", _generate)
    app.connect("autodoc-process-docstring", _escaped, priority=600)
    app.connect("autodoc-skip-member", _skipped)
