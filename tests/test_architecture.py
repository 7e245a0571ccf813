"""The table of the house (docs/developing.md) holds: rows import only from rows above, files stay small."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "jaxbp"
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def rows() -> dict[str, tuple[int, int]]:
    """The row of each place and its position there: {"layers": (2, 0), "losses": (2, 1), ...}."""
    table = re.findall(r"^\| (\d+) \| (.+?) \|", (ROOT / "docs" / "developing.md").read_text(), re.MULTILINE)
    return {
        place.removesuffix("/").removesuffix(".py"): (int(row), position)
        for row, places in table
        for position, place in enumerate(re.findall(r"`([^`]+)`", places))
    }


def place(module: list[str]) -> str:
    return module[1] if len(module) > 1 else "jaxbp"


def imports(path: Path) -> set[str]:
    """The places that a module imports when it is imported."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {place(alias.name.split(".")) for alias in node.names if alias.name.startswith("jaxbp")}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "jaxbp":
            module = node.module.split(".")
            found |= {place(module if len(module) > 1 else [*module, alias.name]) for alias in node.names}
    return found


def test_every_place_has_a_row():
    places = {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in MODULES}
    assert places == set(rows())


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_upwards(path):
    row, own = rows(), path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    for imported in imports(path) - {own}:
        if own == "cli" and imported == "jaxbp":
            continue  # the command line is written in the public names
        assert row[imported] < row[own], f"{own} (row {row[own]}) imports {imported} (row {row[imported]})"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_private_jax(path):
    assert not re.search(r"jax\._src|from jax import _|jaxlib\.", path.read_text())


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_files_stay_one_room(path):
    assert len(path.read_text().splitlines()) <= 320


ROOMS = sorted(path.parent for path in PACKAGE.rglob("*/__init__.py") if "| row |" in path.read_text())


def name_of(folder: Path) -> str:
    return ".".join(folder.relative_to(ROOT).parts)


def floors(folder: Path) -> dict[str, int]:
    """The row of each file and room in a folder, from the table in its docstring."""
    doc = ast.get_docstring(ast.parse((folder / "__init__.py").read_text())) or ""
    table = re.findall(r"^\| (\d+) \| (.+?) \|", doc, re.MULTILINE)
    return {name.rstrip("/"): int(row) for row, names in table for name in re.findall(r"`([^`]+)`", names)}


def inner_imports(path: Path, folder: Path) -> set[str]:
    """The files and rooms of a folder that one of its modules imports."""
    package = name_of(folder)
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == package:
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith(package + "."):
            found.add((node.module or "").removeprefix(package + ".").split(".")[0])
    return found


def test_there_are_rooms_within_rooms():
    assert {"jaxbp.verify", "jaxbp.observe.explanation", "jaxbp.observe.explanation.steps"} <= set(
        map(name_of, ROOMS)
    )


@pytest.mark.parametrize("folder", ROOMS, ids=name_of)
def test_a_folder_with_rows_stays_small(folder):
    assert len(list(folder.glob("*.py"))) <= 14


@pytest.mark.parametrize("folder", ROOMS, ids=name_of)
def test_every_room_has_a_row(folder):
    assert {path.stem for path in folder.iterdir() if path.stem[0] != "_"} == set(floors(folder))


@pytest.mark.parametrize("folder", ROOMS, ids=name_of)
def test_imports_in_a_folder_go_upwards(folder):
    row = floors(folder)
    for path in folder.rglob("*.py"):
        own = path.relative_to(folder).parts[0].removesuffix(".py")
        if own in ("__init__", "__main__"):  # above all rows
            continue
        for imported in inner_imports(path, folder) - {own}:
            assert row[imported] < row[own], f"{path}: {own} (row {row[own]}) imports {imported}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_stand_at_the_top(path):
    """But for packages that are extras, and the files of `cli` that need them."""
    if path.is_relative_to(PACKAGE / "cli"):
        return
    tree = ast.parse(path.read_text())
    inside = [
        node for function in ast.walk(tree) if isinstance(function, ast.FunctionDef)
        for node in ast.walk(function) if isinstance(node, ast.ImportFrom)
    ]  # fmt: skip
    assert not [node.module for node in inside if (node.module or "").split(".")[0] == "jaxbp"]


def test_the_checker_of_rules_knows_no_networks():
    """It judges any JAX function; what it imports is below everything that knows layers."""
    found = set().union(*(imports(path) for path in (PACKAGE / "verify").rglob("*.py")))
    assert found <= {"verify", "jaxprs", "arguments", "errors"}


def test_ci_runs_the_readme_s_test_command():
    readme = (ROOT / "README.md").read_text()
    command = next(line for line in readme.splitlines() if "pytest" in line and "pip install" in line)
    script = (ROOT / ".ci" / "run").read_text()
    assert command in script.replace("pip install -q", "pip install")
