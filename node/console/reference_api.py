"""The HTTP API as Markdown, made of its OpenAPI document."""

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from swarmd.node.console.schema_text import meaning, rows, table, type_text

_SCHEMAS = "#/components/schemas/"
_JSON = "application/json"
_HEAD = """\
# HTTP API

Every request that a node of this version answers, with its schemas. The same as OpenAPI 3.1, for generators of clients:
[openapi.json](openapi.json), which each node serves at `/openapi.json` too. How to use it, tokens and their scopes:
[api.md](../api.md).

Errors are `application/problem+json` with a stable `code`: [Problem](#schema-problem). Each request may be answered with
{common}; what else it may be answered with stands with it. "?" marks what may be absent.
"""
# What each request may be answered with, so that it is said once.
_COMMON = (401, 403, 422, 429)


def api(document: Mapping[str, Any]) -> str:
    """`document`: OpenAPI 3.1."""
    by_tag: dict[str, list[tuple[str, str, Mapping[str, Any]]]] = defaultdict(list)
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            by_tag[operation["tags"][0]].append((method.upper(), path, operation))
    lines = [_HEAD.format(common=_common(document))]
    for tag, operations in by_tag.items():
        lines += [f"## {tag}", ""]
        for method, path, operation in operations:
            lines += _operation(method, path, operation)
    lines += ["## Schemas", ""]
    for name, schema in sorted(document["components"]["schemas"].items()):
        lines += [f"### {name} {{#{_anchor(name)}}}", ""]
        if text := meaning(schema):
            lines += [text, ""]
        if schema.get("properties"):
            lines += table(
                ("property", "type", "meaning"), [(f"`{at}`", *rest) for at, *rest in rows(schema, _link)]
            )
        else:
            lines += [type_text(schema, _link), ""]
    return "\n".join(lines)


def _operation(method: str, path: str, operation: Mapping[str, Any]) -> list[str]:
    lines = [
        f"### {method} {path}",
        "",
        *(operation.get("description") or operation["summary"]).splitlines(),
        "",
    ]
    good, bad = [], []
    for status, answer in operation["responses"].items():
        if int(status) < 400:
            what = _content(answer)
            good.append(f"{status} with {what}" if what else status)
        elif int(status) not in _COMMON:
            bad.append((int(status), answer["description"]))
    lines += [f"Scope `{operation['x-scope']}`. Answers {'; '.join(good)}.", ""]
    found = [
        (
            f"`{each['name']}`",
            each["in"],
            type_text(each["schema"], _link),
            "; ".join(
                filter(
                    None,
                    (
                        meaning({"description": each.get("description", ""), **each["schema"]}),
                        _required(each),
                    ),
                )
            ),
        )
        for each in operation.get("parameters", ())
    ]
    lines += table(("parameter", "in", "type", "meaning"), found)
    if "requestBody" in operation:
        lines += [f"The body is {_content(operation['requestBody'])}.", ""]
    if bad:
        lines += ["Problems: " + ", ".join(f"{status} {text}" for status, text in sorted(bad)) + ".", ""]
    return lines


def _common(document: Mapping[str, Any]) -> str:
    """`401 no valid token, ...`, in the words of the document."""
    answers = next(iter(next(iter(document["paths"].values())).values()))["responses"]
    return ", ".join(f"{status} {answers[str(status)]['description']}" for status in _COMMON)


def _required(parameter: Mapping[str, Any]) -> str:
    return "required" if parameter.get("required") and parameter["in"] != "path" else ""


def _content(answer: Mapping[str, Any]) -> str:
    """`[Need](...)`; the media type of what is no JSON; "" of nothing."""
    found = []
    for media, content in answer.get("content", {}).items():
        schema = content.get("schema") or {}
        found.append(type_text(schema, _link) if media == _JSON and schema else f"`{media}`")
    return " or ".join(found)


def _anchor(name: str) -> str:
    return f"schema-{name.lower()}"


def _link(ref: str) -> str:
    name = ref.removeprefix(_SCHEMAS)
    return f"[{name}](#{_anchor(name)})"
