"""What is counted in Python source. Pure: bytes in, counts out, the same on every run."""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
DEFINITIONS = (*FUNCTIONS, ast.ClassDef)
BRANCHES = (ast.If, ast.IfExp, ast.For, ast.AsyncFor, ast.While, ast.ExceptHandler, ast.comprehension, ast.match_case)


@dataclass(frozen=True)
class Counts:
    """What was found in some source files."""

    files: int = 0
    bytes: int = 0
    lines: int = 0
    comment_lines: int = 0
    functions: int = 0
    async_functions: int = 0
    documented: int = 0
    classes: int = 0
    imports: int = 0
    branches: int = 0
    unparsed: int = 0
    """Files that are no valid Python of this version; the standard library's tests hold some on purpose."""
    max_complexity: int = 0
    most_complex: str = ""
    max_function_lines: int = 0
    largest_function: str = ""

    def plus(self, other: Counts) -> Counts:
        """Return the counts of both together. Equal maxima are decided by name, so the order does not matter."""
        complex_ = max((self.max_complexity, self.most_complex), (other.max_complexity, other.most_complex))
        largest = max(
            (self.max_function_lines, self.largest_function), (other.max_function_lines, other.largest_function)
        )
        sums = {
            field.name: getattr(self, field.name) + getattr(other, field.name)
            for field in fields(Counts)
            if field.name not in {"max_complexity", "most_complex", "max_function_lines", "largest_function"}
        }
        return Counts(
            **sums,
            max_complexity=complex_[0],
            most_complex=complex_[1],
            max_function_lines=largest[0],
            largest_function=largest[1],
        )


def total(counts: Iterable[Counts]) -> Counts:
    """Return the sum."""
    result = Counts()
    for one in counts:
        result = result.plus(one)
    return result


def measure(source: bytes, name: str) -> Counts:
    """Count what one file contains; ``name`` stands before the names of its functions."""
    lines = source.splitlines()
    size = Counts(
        files=1,
        bytes=len(source),
        lines=len(lines),
        comment_lines=sum(line.lstrip().startswith(b"#") for line in lines),
    )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return size.plus(Counts(unparsed=1))
    nodes = list(ast.walk(tree))
    functions = [node for node in nodes if isinstance(node, FUNCTIONS)]
    documented = (*functions, *(node for node in nodes if isinstance(node, ast.ClassDef)))
    complexities = [(complexity(node), f"{name}:{node.name}") for node in functions]
    sizes = [((node.end_lineno or node.lineno) - node.lineno + 1, f"{name}:{node.name}") for node in functions]
    most_complex, largest = max(complexities, default=(0, "")), max(sizes, default=(0, ""))
    return size.plus(
        Counts(
            functions=len(functions),
            async_functions=sum(isinstance(node, ast.AsyncFunctionDef) for node in functions),
            documented=sum(ast.get_docstring(node, clean=False) is not None for node in documented),
            classes=sum(isinstance(node, ast.ClassDef) for node in nodes),
            imports=sum(len(node.names) for node in nodes if isinstance(node, (ast.Import, ast.ImportFrom))),
            branches=sum(isinstance(node, BRANCHES) for node in nodes),
            max_complexity=most_complex[0],
            most_complex=most_complex[1],
            max_function_lines=largest[0],
            largest_function=largest[1],
        )
    )


def complexity(function: ast.AST) -> int:
    """Return McCabe's cyclomatic complexity: ways through the function, without the functions defined inside."""
    ways = 1
    for node in _own_nodes(function):
        if isinstance(node, BRANCHES):
            ways += 1
        elif isinstance(node, ast.BoolOp):
            ways += len(node.values) - 1
    return ways


def _own_nodes(function: ast.AST) -> Iterator[ast.AST]:
    waiting = list(ast.iter_child_nodes(function))
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, DEFINITIONS):
            waiting.extend(ast.iter_child_nodes(node))
