"""The documentation is true: commands exist, recipes parse, keys and findings are described, links resolve.

Nothing here trains or loads a model, and torch is not imported.
"""

import ast
import json
import re
import runpy
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from pydantic import BaseModel

import luthier
from luthier.config import Layer, read_layers
from luthier.data.checks import leakage, shape
from luthier.data.formats import to_conversation
from luthier.errors import LuthierError
from luthier.evaluation.task import load_items
from luthier.training.recipe import Recipe, resolve

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = Path(luthier.__file__).parent
DOCS = sorted((ROOT / "docs").glob("*.md"))
SKIPPED_FOLDERS = {"node_modules", "runs", "demo", "build", "dist"}
PAGES = [
    path
    for path in sorted(ROOT.rglob("*.md"))
    if not any(part.startswith(".") or part in SKIPPED_FOLDERS for part in path.relative_to(ROOT).parts)
]


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def read(name: str) -> str:
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


def blocks(text: str, language: str) -> list[str]:
    """The fenced blocks whose info string is exactly `language`."""
    return re.findall(rf"^```{re.escape(language)}\n(.*?)^```", text, re.S | re.M)


def anchors(path: Path) -> set[str]:
    """The headings of a page as GitHub makes links of them."""
    headings = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_page_of_commands_is_current() -> None:
    program = runpy.run_path(str(ROOT / "docs" / "generate_cli.py"))
    assert program["page"]() == read("cli.md"), "run: python docs/generate_cli.py"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_relative_links_resolve(page: Path) -> None:
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.S | re.M)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        place, _, anchor = target.partition("#")
        linked = (page.parent / place).resolve() if place else page
        assert linked.exists(), f"{name_of(page)}: {target} does not exist"
        if anchor and linked.suffix == ".md":
            assert anchor in anchors(linked), f"{name_of(page)}: {target} names no heading"


def test_recipe_blocks_parse() -> None:
    recipes = blocks(read("training.md"), "yaml recipe")
    assert recipes
    for recipe in recipes:
        assert resolve([Layer("docs/training.md", yaml.safe_load(recipe))]).recipe.method.name == "lora"


@pytest.mark.parametrize("path", sorted((ROOT / "recipes").rglob("*.yaml")), ids=name_of)
def test_recipes_to_copy_parse(path: Path) -> None:
    layers = read_layers(path)
    if any("vocab_size" in layer.values for layer in layers):  # a tokenizer's, not a run's
        return
    resolve(layers, where=str(path))


def keys_of(kind: type[BaseModel], prefix: str) -> Iterator[tuple[str, str]]:
    """(dotted key, key) of every leaf below `kind`."""
    for key, field in kind.model_fields.items():
        kinds = list(models_in(field.annotation))
        for below in kinds:
            yield from keys_of(below, f"{prefix}{key}.")
        if not kinds:
            yield f"{prefix}{key}", key


def models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from models_in(argument)


def test_every_key_of_a_recipe_is_documented() -> None:
    text = read("training.md")
    for dotted, key in sorted(set(keys_of(Recipe, ""))):
        named = f"`{key}`" in text if dotted.startswith("model.new.") else f"`{dotted}`" in text
        assert named or dotted == "objective", f"docs/training.md says nothing of {dotted}"
    assert "### objective" in text


def verbs_in(text: str) -> set[str]:
    """What follows `luthier` in shell blocks and in inline code."""
    code = "\n".join([*blocks(text, "sh"), *re.findall(r"`([^`\n]+)`", text)])
    return set(re.findall(r"(?:^|[\s/])luthier ((?:data )?[a-z]+)", code, re.M))


@pytest.mark.parametrize("page", [ROOT / "README.md", *DOCS], ids=name_of)
def test_every_command_that_is_named_exists(page: Path) -> None:
    sections = set(re.findall(r"^## luthier (.+)$", read("cli.md"), re.M))
    assert {"train", "data check"} <= sections
    unknown = verbs_in(page.read_text(encoding="utf-8")) - sections
    assert not unknown, f"{name_of(page)} names commands that do not exist: {unknown}"


def finding_names() -> set[str]:
    """The first argument of every call of `finding`, its parts filled in."""
    fillings = [{"earlier": earlier, "later": later, "name": later} for earlier, later in leakage._PAIRS]
    names = set(shape._ADVICE)
    for path in (PACKAGE / "data" / "checks").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "finding":
                first = node.args[0]
                if isinstance(first, ast.Constant):
                    names.add(first.value)
                elif isinstance(first, ast.JoinedStr):
                    names |= {ast.unparse(first)[2:-1].format(**filling) for filling in fillings}
    return names


def test_every_finding_is_documented() -> None:
    names, text = finding_names(), read("data.md")
    assert {"duplicate_rows", "test_rows_in_train", "valid_suffix_unseen_in_train"} <= names
    assert not [name for name in sorted(names) if f"`{name}`" not in text]


def test_every_error_is_documented() -> None:
    text = read("errors.md")

    def below(kind: type[LuthierError]) -> Iterator[type[LuthierError]]:
        for child in kind.__subclasses__():
            yield child
            yield from below(child)

    for kind in below(LuthierError):
        if kind.__module__ == "luthier.errors":
            row = next((line for line in text.splitlines() if line.startswith(f"| `{kind.__name__}`")), "")
            assert row.endswith(f"| {kind.exit_code} |"), f"docs/errors.md is wrong about {kind.__name__}"


def names_in(module: str) -> set[str]:
    """What can be imported from one of our modules, without importing it."""
    path = PACKAGE.parent / Path(*module.split("."))
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    names: set[str] = set()
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.ImportFrom | ast.Import):
            names |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.Assign):
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return names


@pytest.mark.parametrize("page", [ROOT / "README.md", *DOCS], ids=name_of)
def test_python_examples_compile_and_import_what_exists(page: Path) -> None:
    for block in blocks(page.read_text(encoding="utf-8"), "python"):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("luthier"):
                missing = {alias.name for alias in node.names} - names_in(str(node.module))
                assert not missing, f"{name_of(page)}: {node.module} has no {missing}"


def test_rows_in_the_data_guide_are_read() -> None:
    (rows,) = blocks(read("data.md"), "json")
    for number, line in enumerate(rows.splitlines(), start=1):
        value = json.loads(line)
        if "text" not in value:
            to_conversation(value, where=f"docs/data.md, example {number}")


def test_items_in_the_evaluation_guide_prove_themselves(tmp_path: Path) -> None:
    (items,) = blocks(read("evaluation.md"), "json")
    path = tmp_path / "items.jsonl"
    path.write_text(items, encoding="utf-8")
    assert [item.grader for item in load_items(path)] == ["contains", "contains", "numeric", "exact"]


def test_help_imports_nothing_heavy() -> None:
    program = (
        "import sys\nsys.argv = ['luthier', '--help']\nfrom luthier.cli.main import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'transformers', 'peft', 'scipy', 'numpy'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Commands" in done.stdout
