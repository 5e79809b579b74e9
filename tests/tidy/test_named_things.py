"""What a docstring or comment names in backticks exists: modules, files, classes, functions, fields.

A name that was moved or renamed away misleads more than no name. Judged are dotted names, files, names of several words
(two_words, TwoWords), and whatever stands behind "Left out:", which names modules. A name exists if a module, or
anything in code or in a string, is called so.
"""

from __future__ import annotations

import ast
import io
import re
import subprocess
import tokenize
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("business_chain", "cli", "common", "crosslink", "custody_chain", "tests", "tools")
TICKED = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
DOTTED = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+")
SEVERAL_WORDS = re.compile(r"_?[a-z][a-z0-9]*(?:_[a-z0-9]+)+|(?:[A-Z][a-z0-9]+){2,}")
LEFT_OUT = re.compile(r"(?:Left out|Leaves out)[:;].*?(?:\.\s*$|\.\s*\n\n|\Z)", re.S)
FOREIGN = {"UpdateState", "UpdateStateOnMisbehaviour", "VerifyClientMessage"}
"""Functions of ICS-002, which references name."""
WORDS = re.compile(r"[A-Za-z_]\w*")


@cache
def sources() -> dict[str, str]:
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "*.py"], cwd=ROOT, capture_output=True)
    names = [name for name in listed.stdout.decode().split() if (ROOT / name).is_file()]
    return {name: (ROOT / name).read_text(encoding="utf-8") for name in names}


@cache
def trees() -> dict[str, ast.Module]:
    return {name: ast.parse(text) for name, text in sources().items()}


def docstrings(tree: ast.Module) -> Iterator[ast.Constant]:
    """Strings that stand alone: of modules, classes, functions, and behind attributes."""
    for node in ast.walk(tree):
        for statement in getattr(node, "body", []) if not isinstance(node, ast.Lambda | ast.IfExp) else []:
            value = statement.value if isinstance(statement, ast.Expr) else None
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                yield value


@cache
def modules() -> frozenset[str]:
    """Dotted names of all our modules and packages."""
    dotted = {name.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for name in sources()}
    return frozenset(dotted | {part.rpartition(".")[0] for part in dotted})


@cache
def known() -> frozenset[str]:
    """Every word that stands in code, in a string that is no docstring, in a file's name, or in data beside code."""
    words: set[str] = {part for module in modules() for part in module.split(".")}
    for tree in trees().values():
        alone = {id(item) for item in docstrings(tree)}
        for node in ast.walk(tree):
            for field in ("id", "attr", "name", "arg", "asname"):
                value = getattr(node, field, None)
                if isinstance(value, str):
                    words.update(value.split("."))
            if isinstance(node, ast.ImportFrom) and node.module:
                words.update(node.module.split("."))
            if isinstance(node, ast.Constant) and isinstance(node.value, str | bytes) and id(node) not in alone:
                text = node.value if isinstance(node.value, str) else node.value.decode("latin-1")
                words.update([text, *WORDS.findall(text)])
    listed = subprocess.run(["git", "ls-files", "*.toml", "*.json", "*.yml", "tools"], cwd=ROOT, capture_output=True)
    for name in listed.stdout.decode().split():
        words.update(WORDS.findall((ROOT / name).read_text(encoding="utf-8", errors="ignore")))
    return frozenset(words)


@cache
def stems() -> frozenset[str]:
    return frozenset(module.rpartition(".")[2] for module in modules())


def exists(name: str, *, module_meant: bool) -> bool:
    """Whether a backticked name is one of something. Names that are not ours to judge exist."""
    name = re.sub(r"\(.*\)$", "", name)
    if name in known() | FOREIGN:
        return True
    if re.fullmatch(r"[\w/.-]+\.(?:py|md|toml)", name):
        return any(file.endswith(f"/{name}") or file == name for file in files())
    if DOTTED.fullmatch(name):
        first, *rest = name.split(".")
        if first not in PACKAGES:
            return all(part in known() for part in (first, *rest)) if SEVERAL_WORDS.fullmatch(first) else True
        while name not in modules() and "." in name:
            name, _, last = name.rpartition(".")
        path = name.replace(".", "/")
        source = sources().get(f"{path}.py", "") + sources().get(f"{path}/__init__.py", "")
        return not rest or name.endswith(rest[-1]) or re.search(rf"\b{last}\b", source) is not None
    if module_meant and re.fullmatch(r"[a-z_]+", name):
        return name in stems() or name in known()
    return not SEVERAL_WORDS.fullmatch(name) or name in known()


@cache
def files() -> tuple[str, ...]:
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True)
    return tuple(listed.stdout.decode().split("\n"))


def texts(file: str) -> Iterator[str]:
    """The docstrings and comments of a file."""
    yield from (str(item.value) for item in docstrings(trees()[file]))
    for token in tokenize.generate_tokens(io.StringIO(sources()[file]).readline):
        if token.type == tokenize.COMMENT:
            yield token.string


def test_what_is_named_in_backticks_exists() -> None:
    missing = set()
    for file in sources():
        for text in texts(file):
            left_out = {name for clause in LEFT_OUT.findall(text) for name in TICKED.findall(clause)}
            for name in TICKED.findall(text):
                if not exists(name, module_meant=name in left_out):
                    missing.add(f"{file}: {name}")
    assert sorted(missing) == []


@pytest.mark.parametrize(
    ("name", "there"),
    [
        ("node_effects", True),
        ("common.node.logic.node_effects", True),
        ("EffectPorts", True),
        ("node_" + "gone", False),
        ("Effect" + "Gone", False),
        ("common.node." + "gone", False),
        ("http/" + "gone.py", False),
        ("a + b", True),
    ],
)
def test_a_name_is_judged(name: str, there: bool) -> None:
    assert exists(name, module_meant=False) is there
