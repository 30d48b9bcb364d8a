"""The description of the API as a plain page, without scripts: OpenAPI's own pages load some."""

from typing import Any

import jinja2


def write_api_page(openapi: dict[str, Any]) -> str:
    """Return an HTML page with the routes and shapes of an OpenAPI document."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("clsa_search.desk", "."), autoescape=True, trim_blocks=True
    )
    return environment.get_template("api.html").render(
        paths=openapi["paths"],
        shapes=openapi["components"]["schemas"],
        version=openapi["info"]["version"],
        show=describe_type,
    )


def describe_type(schema: dict[str, Any]) -> str:
    """Return a short text for a type of JSON, such as "list of number" or "Subject, or null"."""
    if "$ref" in schema:
        return schema["$ref"].rsplit("/", 1)[-1]
    if "anyOf" in schema:
        return ", or ".join(dict.fromkeys(describe_type(one) for one in schema["anyOf"]))
    if "enum" in schema:
        return " | ".join(map(repr, schema["enum"]))
    if schema.get("type") == "array":
        parts = schema.get("prefixItems")
        if parts:
            return f"[{', '.join(describe_type(one) for one in parts)}]"
        return f"list of {describe_type(schema.get('items', {}))}"
    return str(
        schema.get("format") or schema.get("title" if "properties" in schema else "type", "")
    )
