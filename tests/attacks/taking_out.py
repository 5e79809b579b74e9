"""Takes one check out of the product, in this process, in one of the ways of `table`.

A function is changed in place, by exchanging its code object, so that everybody who holds the function, under whatever
name, runs the changed code.
"""

from __future__ import annotations
import __future__

import ast
import functools
import importlib
import inspect
import textwrap
from collections.abc import Callable
from types import FunctionType
from typing import Any

from tests.attacks import faults_consensus, faults_processes  # noqa: F401 - they enter their faults
from tests.attacks.fault import FAULTS
from tests.sim.planted.substitutes import answering


def named_function(check: str) -> FunctionType:
    """The function behind `module:Class.function`: methods, properties, class and static methods unwrapped."""
    module, _, path = check.partition(":")
    found: Any = importlib.import_module(module)
    for name in path.split("."):
        found = inspect.getattr_static(found, name)
    if isinstance(found, property):
        found = found.fget
    if isinstance(found, functools.cached_property):
        found = found.func
    found = inspect.unwrap(getattr(found, "__func__", found))
    if not isinstance(found, FunctionType):
        raise TypeError(f"{check} is no function")
    return found


def is_constant(check: str) -> bool:
    """Whether `module:NAME` names a value of a module instead of a function."""
    name = check.partition(":")[2]
    return name.isupper() and "." not in name


def without_refusal(function: FunctionType, code: str) -> ast.Module:
    """The function's syntax without its refusals of this code. Raises ValueError if it has none."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    found = 0

    class Passing(ast.NodeTransformer):
        def visit_Raise(self, node: ast.Raise) -> ast.stmt:
            nonlocal found
            first = node.exc.args[:1] if isinstance(node.exc, ast.Call) else []
            if not (first and isinstance(first[0], ast.Constant) and first[0].value == code):
                return node
            found += 1
            return ast.copy_location(ast.Pass(), node)

    Passing().visit(tree)
    if not found:
        raise ValueError(f"{function.__qualname__} does not refuse with {code}")
    return ast.fix_missing_locations(tree)


def _exchange_code(function: FunctionType, tree: ast.Module) -> None:
    """Give the function the code of the one function in `tree`."""
    definition = tree.body[0]
    assert isinstance(definition, ast.FunctionDef | ast.AsyncFunctionDef)
    definition.decorator_list = []
    if function.__code__.co_freevars:
        # A method that uses super() closes over its class: compile it inside a function that has such a variable.
        outer = ast.parse("def outer():\n" + "".join(f"    {name} = None\n" for name in function.__code__.co_freevars))
        shell = outer.body[0]
        assert isinstance(shell, ast.FunctionDef)
        shell.body += [definition, ast.Return(ast.Name(definition.name, ast.Load()))]
        tree = ast.fix_missing_locations(ast.Module([shell], []))
    names: dict[str, Any] = {}
    code = compile(tree, inspect.getfile(function), "exec", __future__.annotations.compiler_flag, dont_inherit=True)
    exec(code, function.__globals__, names)
    made = names["outer"]() if "outer" in names else names[definition.name]
    function.__code__ = made.__code__


def substitute(function: FunctionType, make: Callable[[Any], Any]) -> None:
    """Have everybody who holds the function run what `make` makes of it."""
    original = FunctionType(
        function.__code__, function.__globals__, function.__name__, function.__defaults__, function.__closure__
    )
    original.__kwdefaults__ = function.__kwdefaults__
    place = f"_substitute_{id(original)}"
    function.__globals__[place] = make(original)
    uses = "".join(f"    {name}\n" for name in function.__code__.co_freevars)
    if inspect.iscoroutinefunction(original):
        source = f"async def stand_in(*given, **named):\n{uses}    return await {place}(*given, **named)"
    else:
        source = f"def stand_in(*given, **named):\n{uses}    return {place}(*given, **named)"
    _exchange_code(function, ast.parse(source))
    function.__defaults__ = function.__kwdefaults__ = None


def _while_running(caller: str, make: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """The substitute stands in only while `caller` runs."""
    depth = 0

    def noticing(original: Any) -> Any:
        def noticed(*given: Any, **named: Any) -> Any:
            nonlocal depth
            depth += 1
            try:
                return original(*given, **named)
            finally:
                depth -= 1

        return noticed

    def choosing(original: Any) -> Any:
        substituted = make(original)
        return lambda *given, **named: (substituted if depth else original)(*given, **named)

    substitute(named_function(caller), noticing)
    return choosing


def take_out(change: dict[str, Any]) -> None:
    """Change the product in place."""
    if "fault" in change:
        for target, make in FAULTS[change["fault"]]:
            _take_out_at(target, make)
        return
    check = change["check"]
    if "refusal" in change:
        function = named_function(check)
        _exchange_code(function, without_refusal(function, change["refusal"]))
    elif change.get("silent") or "answer" in change:
        make = functools.partial(answering, answer=change.get("answer"))
        substitute(named_function(check), _while_running(change["within"], make) if "within" in change else make)


def _take_out_at(target: str, make: Callable[[Any], Any]) -> None:
    if is_constant(target):
        module_name, _, name = target.partition(":")
        module = importlib.import_module(module_name)
        setattr(module, name, make(getattr(module, name)))
    else:
        substitute(named_function(target), make)
