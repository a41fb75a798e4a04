"""The table of rooms: who may import whom, no circles, no torch where a command must answer at once."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "src" / "luthier"
GROUND = {"errors", "hashing", "files", "config", "page", "private", "chunks"}
ALLOWED: dict[str, set[str]] = {
    "": set(),
    "__main__": {"cli"},
    "errors": set(),
    "hashing": {"errors"},
    "files": {"errors", "hashing"},
    "config": {"errors", "hashing", "files"},
    "page": set(),
    "private": set(),
    "chunks": {"errors"},
    "chat": set(),
    "sandbox": set(),
    "registry": set(),
    "models": {"chat"},
    "data": {"chat", "registry"},
    "evaluation": {"chat", "models", "sandbox", "registry"},
    "export": {"chat", "models", "registry"},
    "training": {"chat", "data", "models", "registry"},
    "serving": {"chat", "models", "registry"},
    "demo": set(),
    "pipeline": {"chat", "registry", "models", "data", "evaluation", "export", "training", "demo"},
    "cli": {
        *{"pipeline", "chat", "sandbox", "registry", "models", "data"},
        *{"evaluation", "export", "training", "serving", "demo"},
    },
}
LIGHT = {"", "chat", "registry", "cli"} | GROUND
FILES = sorted(SOURCE.rglob("*.py"))
MODULES = {
    ".".join(p.relative_to(SOURCE.parent).with_suffix("").parts).removesuffix(".__init__") for p in FILES
}


@cache
def trees() -> dict[Path, ast.Module]:
    """Every file of the house."""
    return {path: ast.parse(path.read_text(encoding="utf-8")) for path in FILES}


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(SOURCE.parent).with_suffix("").parts).removesuffix(".__init__")


def room(module: str) -> str:
    return [*module.split("."), ""][1]


def imports(tree: ast.AST) -> Iterator[str]:
    """Every module that is named, inside functions and under TYPE_CHECKING too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name if name in MODULES else str(node.module) for name in inner)


def test_every_room_imports_only_what_the_table_allows() -> None:
    for path, tree in trees().items():
        own = room(name_of(path))
        assert own in ALLOWED, f"{path}: the room {own!r} is not in the table"
        allowed = ALLOWED[own] | {own} | (set() if own in GROUND else GROUND)
        for module in imports(tree):
            if module.split(".")[0] == "luthier" and module != "luthier":
                assert room(module) in allowed, f"{path} imports {module}"


def test_no_circle_between_modules() -> None:
    edges = {name_of(path): {m for m in imports(tree) if m in MODULES} for path, tree in trees().items()}
    done: set[str] = set()

    def visit(module: str, trail: tuple[str, ...]) -> None:
        assert module not in trail, f"a circle: {' -> '.join((*trail, module))}"
        if module not in done:
            for other in edges[module] - {module}:
                visit(other, (*trail, module))
            done.add(module)

    for module in edges:
        visit(module, ())


def test_light_rooms_do_not_import_torch_at_the_top() -> None:
    for path, tree in trees().items():
        if room(name_of(path)) not in LIGHT:
            continue
        assert isinstance(tree, ast.Module)
        top = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
        heavy = {m.split(".")[0] for node in top for m in imports(node)} & {"torch", "transformers", "peft"}
        assert not heavy, f"{path} imports {heavy} at its top"


def test_nothing_reads_a_pickle() -> None:
    for path, tree in trees().items():
        assert not {"pickle", "dill", "joblib", "shelve"} & {m.split(".")[0] for m in imports(tree)}, path
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                assert (node.value.id, node.attr) != ("torch", "load"), f"{path}:{node.lineno}"
