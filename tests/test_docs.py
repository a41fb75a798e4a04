"""The documentation is true: commands exist, recipes parse, keys and findings are described, links resolve.

Nothing here trains or loads a model, and torch is not imported.
"""

import ast
import json
import re
import runpy
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any, get_args

import pytest
import typer
import yaml
from pydantic import BaseModel

import luthier
from luthier.cli.data import app as data_app
from luthier.config import Layer, read_layers
from luthier.data.checks import check_files, habits
from luthier.data.formats import FORMATS, read_example
from luthier.errors import LuthierError
from luthier.evaluation.graders.families import FAMILIES
from luthier.evaluation.graders.rules import RULES_BY_NAME
from luthier.evaluation.task import load_items
from luthier.evaluation.tasks.definition import load_task
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


CHECKS = PACKAGE / "data" / "checks"
SPLITS = {"earlier": ("train", "valid"), "later": ("valid", "test"), "split": ("valid", "test")}
FILLINGS: dict[str, tuple[str, ...]] = {**SPLITS, "kind": tuple(habits._WORDS)}


class FindingNames:
    """The names of the findings that one file of checks can give, read from its source.

    A finding is made by `Finding(...)` or `tally.finding(...)`. Where the name is a parameter of the function that
    makes it, the calls of that function say it; where it runs through a table, the table's keys do.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.tree = ast.parse(path.read_text(encoding="utf-8"))
        self.inside: dict[ast.AST, ast.AST] = {
            below: node for node in ast.walk(self.tree) for below in ast.iter_child_nodes(node)
        }
        self.calls = [node for node in ast.walk(self.tree) if isinstance(node, ast.Call)]

    def all(self) -> set[str]:
        makers = [call for call in self.calls if self.called(call) in ("Finding", "finding")]
        return {name for call in makers for name in self.named(self.argument(call, 0, "name"), call)}

    @staticmethod
    def called(call: ast.Call) -> str:
        return call.func.id if isinstance(call.func, ast.Name) else getattr(call.func, "attr", "")

    @staticmethod
    def argument(call: ast.Call, place: int, name: str) -> ast.expr:
        return next((one.value for one in call.keywords if one.arg == name), None) or call.args[place]

    def named(self, value: ast.expr, place: ast.AST) -> set[str]:
        if isinstance(value, ast.Constant):
            return {str(value.value)}
        if isinstance(value, ast.JoinedStr):
            return set(self.filled(value))
        assert isinstance(value, ast.Name), f"{self.path.name}: the name of a finding is {ast.unparse(value)}"
        while place in self.inside:
            place = self.inside[place]
            if isinstance(place, ast.For) and value.id in names_stored(place.target):
                return self.keys(place.iter)
            if isinstance(place, ast.FunctionDef):
                parameters = [one.arg for one in place.args.args if one.arg != "self"]
                if value.id in parameters:
                    return self.passed(place.name, parameters.index(value.id), value.id)
        raise AssertionError(f"{self.path.name}: nothing says what {value.id} is")

    def passed(self, function: str, place: int, name: str) -> set[str]:
        calls = [call for call in self.calls if self.called(call) == function]
        return {one for call in calls for one in self.named(self.argument(call, place, name), call)}

    def keys(self, items: ast.expr) -> set[str]:
        """Of `TABLE.items()`, where TABLE stands in the file as a dict of constants."""
        table = ast.unparse(items).removesuffix(".items()")
        for node in self.tree.body:
            if isinstance(node, ast.AnnAssign | ast.Assign) and isinstance(node.value, ast.Dict):
                targets = [node.target] if isinstance(node, ast.AnnAssign) else node.targets
                if table in {ast.unparse(target) for target in targets}:
                    return {ast.literal_eval(key) for key in node.value.keys if key is not None}
        raise AssertionError(f"{self.path.name}: {table} is no table of names")

    def filled(self, text: ast.JoinedStr) -> Iterator[str]:
        gaps = [ast.unparse(part.value) for part in text.values if isinstance(part, ast.FormattedValue)]
        assert set(gaps) <= FILLINGS.keys(), f"{self.path.name}: {ast.unparse(text)}"
        for fillings in product(*(FILLINGS[gap] for gap in gaps)):
            if len(set(fillings)) == len(fillings):  # no split is held against itself
                yield ast.unparse(text)[2:-1].format(**dict(zip(gaps, fillings, strict=True)))


def names_stored(target: ast.expr) -> set[str]:
    return {node.id for node in ast.walk(target) if isinstance(node, ast.Name)}


def finding_names() -> set[str]:
    # check.py holds `Tally.finding` itself, which passes on the name that a check gives it.
    return {
        name for path in CHECKS.glob("*.py") if path.name != "check.py" for name in FindingNames(path).all()
    }


def documented_findings(text: str) -> set[str]:
    """The first cells of the tables whose first column is `name` and whose second is `severity`."""
    names: set[str] = set()
    for block in text.split("\n\n"):
        if block.startswith("| name | severity |"):
            for line in block.splitlines()[2:]:
                names |= set(re.findall(r"`(\w+)`", line.split("|")[1]))
    return names


def test_the_documented_findings_are_those_of_the_code() -> None:
    names, documented = finding_names(), documented_findings(read("data-check.md"))
    assert {"broken_json", "duplicate_rows", "mojibake", "thumbs_imbalance", "missing_images"} <= names
    assert {"test_rows_in_train", "valid_suffix_unseen_in_train", "test_near_duplicates_in_valid"} <= names
    assert len(names) > 50
    assert not names - documented, "docs/data-check.md says nothing of these"
    assert not documented - names, "docs/data-check.md names what no check finds"


def test_real_findings_have_documented_names() -> None:
    """What the source says is held against what checks give: rows with many troubles, no name unknown."""
    rows = [
        {"messages": [{"role": "user", "content": "Hi {{name}}"}, {"role": "assistant", "content": ""}]},
        {"messages": [{"role": "assistant", "content": "mail jo@uni-mainz.de, cafÃ© <|im_end|>"}]},
        {"messages": [{"role": "human", "content": "a"}]},
        {"nothing": 1},
    ]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.jsonl"
        path.write_text("\n".join(map(json.dumps, rows * 2)) + "\n{broken", encoding="utf-8")
        found = {finding.name for finding in check_files(path, path).findings}
    assert len(found) >= 10
    assert found <= documented_findings(read("data-check.md"))


def verbs_of_data() -> dict[str, Any]:
    root: Any = typer.main.get_command(data_app)
    return dict(root.commands)


def test_every_verb_of_data_is_documented() -> None:
    text = "\n".join(page.read_text(encoding="utf-8") for page in DOCS if page.name.startswith("data"))
    verbs = verbs_of_data()
    assert len(verbs) >= 13
    headings = "\n".join(re.findall(r"^#+ .*$", text, re.M))
    assert not [verb for verb in verbs if f"`luthier data {verb}`" not in headings]
    assert not [verb for verb in verbs if f"`{verb}`" not in read("data.md").split("\n## ")[0]]


@pytest.mark.parametrize("verb", sorted(verbs_of_data()))
def test_every_flag_of_a_verb_of_data_is_documented(verb: str) -> None:
    """In the section of the verb, or, for flags that mean the same everywhere, at the top of its page."""
    page, section = section_of(verb)
    flags = [flag for one in verbs_of_data()[verb].params for flag in (*one.opts, *one.secondary_opts)]
    for flag in flags:
        negative = any(f"--no-{flag[2:]}" == other for other in flags)  # the negative one tells of both
        if flag.startswith("-") and flag != "--help" and not negative:
            assert re.search(rf"{flag}(?![\w-])", section), f"docs/{page} says nothing of {verb} {flag}"


def section_of(verb: str) -> tuple[str, str]:
    """(page, what it says of the verb and of all verbs) by the heading that names the verb."""
    for page in DOCS:
        if page.name.startswith("data"):
            top, *sections = re.split(r"^## ", page.read_text(encoding="utf-8"), flags=re.M)
            if top.startswith(f"# `luthier data {verb}`"):
                return page.name, "".join([top, *sections])
            for section in sections:
                if section.startswith(f"`luthier data {verb}`"):
                    return page.name, top + section
    raise AssertionError(f"no page has a heading for {verb}")


def test_every_format_is_documented() -> None:
    rows = [line for line in read("data.md").splitlines() if line.startswith("| `")]
    assert not [name for name in FORMATS if not any(row.startswith(f"| `{name}` |") for row in rows)]


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
    seen = set()
    for number, line in enumerate(rows.splitlines(), start=1):
        name, example = read_example(json.loads(line), where=f"docs/data.md, example {number}")
        seen.add(name)
        assert example.text or example.answer or example.chosen, line
    assert {"messages", "sharegpt", "alpaca", "retrieval", "extraction", "classification", "text"} <= seen


def test_items_in_the_evaluation_guide_prove_themselves(tmp_path: Path) -> None:
    path = tmp_path / "items.jsonl"
    path.write_text("".join(blocks(read("evaluation.md"), "json")), encoding="utf-8")
    graders = [item.grader for item in load_items(path)]
    assert graders == ["contains", "contains", "numeric", "exact", "rules"]


def test_the_task_in_the_evaluation_guide_loads(tmp_path: Path) -> None:
    (task,) = blocks(read("evaluation.md"), "yaml")
    (tmp_path / "task.yaml").write_text(task, encoding="utf-8")
    row = {"id": "1", "question": "Where is my card?", "answer": "card_arrival"}
    (tmp_path / "intents.jsonl").write_text(json.dumps(row), encoding="utf-8")
    loaded = load_task(tmp_path / "task.yaml")
    assert [grader.name for grader in loaded.graders] == ["classification", "exact"]
    assert loaded.items[0].messages[0].content == "Which intent? Where is my card?"


def test_the_grader_of_ones_own_in_the_evaluation_guide_proves_itself(tmp_path: Path) -> None:
    (code,) = [block for block in blocks(read("evaluation.md"), "python") if "def grade" in block]
    (tmp_path / "mine.py").write_text(code, encoding="utf-8")
    (tmp_path / "task.yaml").write_text(
        "items: items.jsonl\ngraders: [{kind: custom, file: mine.py, keys: [unit]}]", encoding="utf-8"
    )
    row = {"id": "1", "question": "How wide?", "answer": "68 metres", "unit": "metres"}
    (tmp_path / "items.jsonl").write_text(json.dumps(row), encoding="utf-8")
    assert load_task(tmp_path / "task.yaml").items[0].fields == {"unit": "metres"}


def test_every_kind_of_grader_is_described() -> None:
    text = read("evaluation.md")
    for kind, family in FAMILIES.items():
        assert f"| `{kind}` |" in text
        for setting in family.settings.model_fields:
            assert f"`{setting}`" in text, f"docs/evaluation.md says nothing of {kind}'s {setting}"
    for rule in RULES_BY_NAME:
        assert f"`{rule}`" in text


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
