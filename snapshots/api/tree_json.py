"""Writes a tree of VM snapshots as nested JSON without recursion: a chain can be longer than any encoder nests."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

Node = tuple[int, Mapping[str, Any]]


def nested_json(head: Mapping[str, Any], nodes: Iterable[Node]) -> str:
    """The object `head` with `nodes` added. Each node comes as (depth from 1, plain values), parents before children, and
    gets its `children`."""
    parts = [_opened(head, "nodes")]
    depth = 0
    closed = False
    for level, values in nodes:
        while depth >= level:
            parts.append("]}")
            depth -= 1
            closed = True
        parts.append("," if closed else "")
        parts.append(_opened(values, "children"))
        depth, closed = level, False
    parts.append("]}" * (depth + 1))
    return "".join(parts)


def _opened(values: Mapping[str, Any], name: str) -> str:
    """The JSON object of these values, left open inside a list of this name."""
    text = json.dumps(values, ensure_ascii=False, separators=(",", ":"))
    return f'{text[:-1]},"{name}":['
