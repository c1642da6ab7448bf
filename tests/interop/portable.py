"""What providers take as a tool, checked over what the scripted model received.

The rules are those on which the documentation of OpenAI, Anthropic and Gemini agree. A list of faults, each with its place.
"""

import re

NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
COMBINED = ("anyOf", "oneOf", "allOf", "enum", "not")
# Whose members are named by the author, not by JSON Schema.
NAMED = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
# What holds data, not schemas.
DATA = ("default", "const", "enum", "examples", "example")


def faults(tools):
    """All that is wrong with a list of offered tools."""
    names = [tool["function"]["name"] for tool in tools]
    found = [f"{name}: twice" for name in set(names) if names.count(name) > 1]
    for tool in tools:
        found += [f"{tool['function']['name']}: {fault}" for fault in function_faults(tool)]
    return found


def function_faults(tool):
    function = tool["function"]
    if tool["type"] != "function":
        yield f"type {tool['type']!r}"
    if not NAME.fullmatch(function["name"]):
        yield "its name"
    if len(function.get("description", "").encode()) > 1024:
        yield "its description is too long"
    root = function["parameters"]
    if root.get("type") != "object":
        yield f"its root is of type {root.get('type')!r}"
    yield from (f"{name} at the root" for name in (*COMBINED, "$schema") if name in root)
    yield from schema_faults(root, root, "")


def schema_faults(schema, root, at):
    if isinstance(schema, list):
        for index, item in enumerate(schema):
            yield from schema_faults(item, root, f"{at}/{index}")
    if not isinstance(schema, dict):
        return
    kinds = schema.get("type")
    if ("array" in kinds if isinstance(kinds, list) else kinds == "array") and "items" not in schema:
        yield f"{at}: an array without items"
    if "" in schema.get("enum", ()):
        yield f"{at}: an empty text in an enum"
    if isinstance(reference := schema.get("$ref"), str) and not resolves(reference, root):
        yield f"{at}: {reference} leads nowhere"
    for name, value in schema.items():
        if name in NAMED and isinstance(value, dict):
            for member, below in value.items():
                yield from schema_faults(below, root, f"{at}/{name}/{member}")
        elif name not in DATA:
            yield from schema_faults(value, root, f"{at}/{name}")


def resolves(reference, root):
    found = root
    for step in reference.removeprefix("#").split("/")[1:]:
        step = step.replace("~1", "/").replace("~0", "~")
        if not isinstance(found, dict) or step not in found:
            return False
        found = found[step]
    return reference.startswith("#")
