"""JSON Schemas as Markdown: what a property may be, and tables of the properties of objects."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

Schema = Mapping[str, Any]
# What a $ref is shown as: its name, as a link.
Link = Callable[[str], str]
_MAX_DEPTH = 6
_KEPT = ("$ref", "type", "enum", "const", "items", "properties", "additionalProperties")


def type_text(schema: Schema, link: Link) -> str:
    """`string`, `list of [Need](#...)`, `integer or null`: in words."""
    if "$ref" in schema:
        return link(str(schema["$ref"]))
    if "const" in schema:
        return f"`{schema['const']}`"
    if "enum" in schema:
        return " or ".join("null" if value is None else f"`{value}`" for value in schema["enum"])
    for key in ("anyOf", "oneOf"):
        if key in schema:
            return " or ".join(dict.fromkeys(type_text(each, link) for each in schema[key]))
    kinds = schema.get("type", "anything")
    return " or ".join(
        _of(kind, schema, link)
        for kind in sorted([kinds] if isinstance(kinds, str) else kinds, key="null".__eq__)
    )


def _of(kind: str, schema: Schema, link: Link) -> str:
    if kind == "array" and "prefixItems" in schema:
        return "list (" + ", ".join(type_text(each, link) for each in schema["prefixItems"]) + ")"
    if kind == "array":
        return f"list of {type_text(schema.get('items', {}), link)}"
    values = schema.get("additionalProperties")
    if kind == "object" and isinstance(values, Mapping) and values and not schema.get("properties"):
        return f"object: name to {type_text(values, link)}"
    return kind


def rows(schema: Schema, link: Link, path: str = "", depth: int = 0) -> Iterator[tuple[str, str, str]]:
    """(path, type, meaning) of every property, `tasks[].state` for those within lists; "?" marks what may be absent."""
    required = schema.get("required", ())
    for name, each in schema.get("properties", {}).items():
        mark = "" if name in required else "?"
        at = f"{path}{name}"
        yield f"{at}{mark}", type_text(each, link), meaning(each) or meaning(each.get("items") or {})
        yield from _within(each, link, at, depth)


def _within(schema: Schema, link: Link, path: str, depth: int) -> Iterator[tuple[str, str, str]]:
    if depth >= _MAX_DEPTH:
        return
    yield from rows(schema, link, f"{path}.", depth + 1)
    for each in (*schema.get("anyOf", ()), *schema.get("oneOf", ())):
        yield from _within(each, link, path, depth + 1)
    if isinstance(items := schema.get("items"), Mapping):
        yield from _within(items, link, f"{path}[]", depth + 1)
    if isinstance(values := schema.get("additionalProperties"), Mapping):
        yield from _within(values, link, f"{path}.*", depth + 1)


def meaning(schema: Schema) -> str:
    text = [str(schema.get("description", ""))] if schema.get("description") else []
    if "default" in schema and schema["default"] not in (None, "", [], {}):
        text.append(f"default {schema['default']}")
    for least, most, unit in (("minimum", "maximum", ""), ("minLength", "maxLength", " characters")):
        bounds = [
            f"{word} {schema[key]:g}"
            for word, key in (("at least", least), ("at most", most))
            if schema.get(key, 0 if word == "at least" else None) not in (None, 0)
        ]
        if bounds:
            text.append(" and ".join(bounds) + unit)
    return "; ".join(text)


def cell(text: str) -> str:
    """What stands in a cell of a table."""
    return " ".join(text.replace("|", "\\|").replace("<", "&lt;").split())


def table(head: tuple[str, ...], found: Sequence[tuple[str, ...]]) -> list[str]:
    """A Markdown table; nothing of nothing."""
    if not found:
        return []
    return [
        f"| {' | '.join(head)} |",
        f"| {' | '.join('---' for _ in head)} |",
        *(f"| {' | '.join(map(cell, row))} |" for row in found),
        "",
    ]
