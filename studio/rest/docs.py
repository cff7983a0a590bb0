"""The page that shows the contract: plain HTML that needs no script, and so nothing from elsewhere."""

from html import escape
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

docs = APIRouter(include_in_schema=False)

PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Kinema: API</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><style>
:root {{color-scheme: light dark; --line: #78716c55}}
body {{font: 1rem/1.5 system-ui, sans-serif; max-width: 56rem; margin: 2rem auto; padding: 0 1rem}}
code {{font: .9em ui-monospace, monospace; overflow-wrap: anywhere}} h2 {{margin-top: 2.5rem}}
details {{border: 1px solid var(--line); border-radius: .4rem; margin: .5rem 0; padding: .4rem .8rem}}
th code {{overflow-wrap: normal}} summary {{cursor: pointer}} .wide {{overflow-x: auto}}
table {{border-collapse: collapse; width: 100%}} caption {{text-align: left; font-weight: 600; padding: .6rem 0}}
th, td {{text-align: left; vertical-align: top; border-top: 1px solid var(--line); padding: .3rem .6rem .3rem 0}}
</style></head><body><main><h1>Kinema {version}: API</h1>{about}
<p>The same for programs: <a href="openapi.json">openapi.json</a>.</p>{routes}<h2>Objects</h2>{objects}
</main></body></html>"""


@docs.get("/docs")
def show(request: Request) -> HTMLResponse:
    """The contract, for people."""
    told = request.app.openapi()
    parts = told["components"]["schemas"]
    groups: dict[str, str] = {}
    for path, methods in told["paths"].items():
        for method, operation in methods.items():
            group = operation["tags"][0]
            groups[group] = groups.get(group, "") + _route(path, method, operation, parts)
    routes = "".join(f"<h2>{escape(group.capitalize())}</h2>{text}" for group, text in groups.items())
    objects = "".join(
        f'<details id="{name}"><summary><code>{name}</code>: {_text(part.get("description", ""))}</summary>'
        f"{_fields(part, 'Fields')}</details>"
        for name, part in parts.items()
    )
    about = "".join(f"<p>{_text(each)}</p>" for each in told["info"]["description"].split("\n\n"))
    return HTMLResponse(PAGE.format(version=told["info"]["version"], about=about, routes=routes, objects=objects))


def _route(path: str, method: str, operation: dict[str, Any], parts: dict[str, Any]) -> str:
    about = operation.get("description", "")
    text = f"<details><summary><code>{method.upper()} {escape(path)}</code><br>{_text(about)}</summary>"
    if given := operation.get("parameters"):
        rows = [
            (each["name"], each["schema"], each.get("description", ""), each.get("required")) for each in given
        ]
        text += _table("Parameters", rows)
    if body := operation.get("requestBody"):
        for kind, content in body["content"].items():
            text += _fields(parts[_named(content["schema"])], f"Body, as {kind}")
    rows = []
    for status, answer in operation["responses"].items():
        kinds = [(kind, each.get("schema", {})) for kind, each in answer.get("content", {}).items()]
        for kind, schema in kinds or [("", {})]:
            rows.append((status, schema, f"{answer['description']} {kind}", False))
    return text + _table("Answers", rows) + "</details>"


def _fields(part: dict[str, Any], title: str) -> str:
    needed = part.get("required", [])
    rows = [
        (name, schema, schema.get("description", ""), name in needed)
        for name, schema in part.get("properties", {}).items()
    ]
    return _table(title, rows)


def _table(title: str, rows: list[tuple[str, dict[str, Any], str, Any]]) -> str:
    lines = "".join(
        f"<tr><th scope=row><code>{escape(name)}</code>{' (needed)' if needed else ''}</th>"
        f"<td>{_type(schema)}</td><td>{_text(about)}</td></tr>"
        for name, schema, about, needed in rows
    )
    heads = "".join(f"<th scope=col>{head}</th>" for head in ("Name", "Type", "Meaning"))
    return f"<div class=wide tabindex=0><table><caption>{title}</caption><tr>{heads}</tr>{lines}</table></div>"


def _type(schema: dict[str, Any]) -> str:
    if name := _named(schema):
        return f'<a href="#{name}"><code>{name}</code></a>'
    if choice := schema.get("anyOf"):
        return " or ".join(_type(each) for each in choice)
    if values := schema.get("enum") or ([schema["const"]] if "const" in schema else []):
        return " or ".join(f"<code>{escape(str(value))}</code>" for value in values)
    if schema.get("type") == "array" and "items" in schema:
        return f"list of {_type(schema['items'])}"
    if schema.get("format") == "binary":
        return "file"
    bounds = [
        f"{sign} {schema[name]}"
        for name, sign in (("minimum", "≥"), ("exclusiveMinimum", "&gt;"), ("maximum", "≤"),
                           ("exclusiveMaximum", "&lt;"))
        if name in schema
    ]  # fmt: skip
    return " ".join([escape(schema.get("type", "")), *bounds])


def _named(schema: dict[str, Any]) -> str:
    return escape(schema.get("$ref", "").rpartition("/")[2])


def _text(words: str) -> str:
    """Words with `code` in them."""
    parts = escape(words).split("`")
    return "".join(f"<code>{part}</code>" if number % 2 else part for number, part in enumerate(parts))
