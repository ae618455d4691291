"""FHIRPath expressions of views: looked at when they are saved, so that what is saved can be run. Pure.

The library that evaluates them, fhirpathpy, parses what it can of an expression and leaves out the rest; here a rest is
a fault, and so is a function that it does not have. It is imported by a connector that has views alone.
"""

from functools import lru_cache
from typing import Any

OF_VIEWS = {"getResourceKey": (0,), "getReferenceKey": (0, 1)}
"""Functions that SQL on FHIR adds to FHIRPath, with the numbers of what they take."""


class PathError(ValueError):
    """An expression is none, or needs what is not there; as a sentence's end."""


@lru_cache(maxsize=4096)
def check_path(path: str) -> None:
    """Look at an expression.

    Raises:
        PathError: it is none, or has a function that can't be run.
    """
    from antlr4 import CommonTokenStream, InputStream  # type: ignore[import-untyped]  # noqa: PLC0415  # with views alone
    from antlr4.error.ErrorListener import ErrorListener  # type: ignore[import-untyped]  # noqa: PLC0415
    from fhirpathpy.parser.generated.FHIRPathLexer import FHIRPathLexer  # noqa: PLC0415
    from fhirpathpy.parser.generated.FHIRPathParser import FHIRPathParser  # noqa: PLC0415

    class Strict(ErrorListener):  # type: ignore[misc]
        def syntaxError(self, _recognizer: Any, symbol: Any, _line: int, column: int, *_: Any) -> None:  # noqa: N802
            text = getattr(symbol, "text", None)
            at = "its end" if text in {None, "<EOF>"} else f"'{text}'"
            raise PathError(f"at character {column + 1}, before {at}, it can't be read")

    lexer = FHIRPathLexer(InputStream(path))
    parser: Any = FHIRPathParser(CommonTokenStream(lexer))
    for each in (lexer, parser):
        each.removeErrorListeners()
        each.addErrorListener(Strict())
    _check_functions(parser.entireExpression(), FHIRPathParser)


def _check_functions(tree: Any, kinds: Any) -> None:
    from fhirpathpy.engine.invocations import invocation_registry  # noqa: PLC0415  # as above

    functions: Any = invocation_registry
    if isinstance(tree, kinds.FunctnContext):
        name = tree.identifier().getText()
        listed = tree.paramList()
        given = 0 if listed is None else len(listed.expression())
        known = functions.get(name)
        if name in OF_VIEWS:
            takes: tuple[int, ...] | None = OF_VIEWS[name]
        elif known is None:
            raise PathError(f"there is no function {name}()")
        else:
            takes = None if "variadic" in known else tuple(known.get("arity", {0: []}))
        if takes is not None and given not in takes:
            raise PathError(f"{name}() takes {' or '.join(map(str, takes))} and was given {given}")
    for child in getattr(tree, "children", None) or ():
        _check_functions(child, kinds)
