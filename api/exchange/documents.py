"""Documents of connectors: read from YAML or JSON, and written. Pure.

YAML is read as JSON in other clothes: a date stays the text that it is. What JSON has no form for is refused, such as
references within the document, by which a short text becomes a huge one.
"""

from typing import Any

import yaml

from connectors.errors import RequestError


class UnreadableDocumentError(RequestError):
    """The text is no document. The message is a sentence for whoever sent it."""


class _Plain(yaml.SafeLoader):
    """Reads what JSON has a form for."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        """A node; raises for a reference to another one."""
        if self.check_event(yaml.AliasEvent):
            raise UnreadableDocumentError("The document refers to a part of itself (`*name`): write that part out.")
        return super().compose_node(parent, index)


_Plain.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def read(text: str) -> Any:
    """What a document says, as JSON has it.

    Raises:
        UnreadableDocumentError: it is neither YAML nor JSON.
    """
    try:
        return yaml.load(text, Loader=_Plain)  # noqa: S506  # a safe loader, and a plain one
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        place = "" if mark is None else f" at line {mark.line + 1}, column {mark.column + 1}"
        raise UnreadableDocumentError(f"The document is neither YAML nor JSON{place}.") from None


def write(document: Any) -> str:
    """A document as YAML, in the order in which it says things."""
    return str(yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=120))
