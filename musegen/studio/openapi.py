"""The description of the interface (OpenAPI 3.1), made from the requests."""

from __future__ import annotations

import dataclasses
import inspect
from functools import cache
from typing import Any

from musegen.studio.requests import REQUESTS, Edit, Open, Save, Stem

__all__ = ["described"]

BOUNDS = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum"}
ERRORS = {
    "400": "what is wrong with the request, in a sentence",
    "401": "the token is missing or wrong",
    "403": "the request comes from a page of another site",
    "404": "there is none",
    "408": "the request did not arrive in time",
    "413": "the request is too large",
    "503": "too much is waiting: try again",
}


@cache
def described() -> dict[str, Any]:
    """The whole description."""
    from importlib.metadata import version

    paths: dict[str, Any] = {
        f"/api/{name}": {"post": _operation(_said(kind), "Job", "202", body=_schema(kind))}
        for name, kind in REQUESTS.items()
    }
    open_ = _operation(_said(Open), "Job", "202", query=_schema(Open))
    open_["requestBody"] = {"content": {"application/octet-stream": {}}, "required": True}
    paths |= {
        "/api/open": {"post": open_},
        "/api/edit": {"post": _operation(_said(Edit), "Piece", body=_schema(Edit))},
        "/api/save": {"post": _operation(_said(Save), "Saved", body=_schema(Save))},
        "/api/runs": {"get": _operation("The training runs that the studio shows.", "Runs")},
        "/api/runs/{name}": {"get": _operation("How far a run is, and its curves.", "Run", place="name")},
        "/api/runs/{name}/samples/{step}": {
            "get": _operation("The picture of samples of a run, a PNG.", "", place=("name", "step"))
        },
        "/api/models": {"get": _operation("The models of the studio.", "Models")},
        "/api/models/{name}": {"get": _operation("What a model can do, and its options.", "Model", place="name")},
        "/api/jobs/{id}": {
            "get": _operation(
                "How far a piece of work is.",
                "Job",
                place="id",
                query={
                    "properties": {"wait": {"type": "number", "description": "until it is over, seconds, at most 30"}}
                },
            ),
            "delete": _operation("Cancel a piece of work.", "Job", place="id"),
        },
        "/api/pieces/{id}": {"get": _operation("A piece, and a drawing of it.", "Piece", place="id")},
        "/api/pieces/{id}/file": {"get": _operation("The file of a piece.", "", place="id")},
        "/api/pieces/{id}/sound": {
            "get": _operation(
                "The sound of a piece; parts of it, too (Range).",
                "",
                place="id",
                query={"properties": {"format": {"enum": ["wav", "flac", "ogg", "mp3"], "description": "of the file"}}},
            )
        },
        "/api/pieces/{id}/picture": {"get": _operation("The picture of a piece, a PNG.", "", place="id")},
        "/api/pieces/{id}/stem": {
            "get": _operation(
                "The sound of notes of a piece, a WAV file of floats: " + _said(Stem),
                "",
                place="id",
                query=_schema(Stem),
            )
        },
        "/api/openapi.json": {"get": _operation("This description.", "Any")},
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": "musegen studio", "version": version("musegen")},
        "security": [{"token": []}, {"query": []}],
        "paths": paths,
        "components": {"schemas": _ANSWERS, "securitySchemes": _SECURITY},
    }


def _said(kind: type) -> str:
    return " ".join((inspect.getdoc(kind) or "").split())


def _schema(kind: type) -> dict[str, Any]:
    """The JSON schema of a class of options."""
    import pydantic

    schema = pydantic.TypeAdapter(kind).json_schema()
    for field in dataclasses.fields(kind):
        found = schema["properties"][field.name]
        found.pop("title", None)
        found["description"] = field.metadata["meaning"]
        for name, bound in field.metadata["bounds"].items():
            found[BOUNDS[name]] = bound
    return {"type": "object", "properties": schema["properties"], "additionalProperties": False}


def _operation(
    summary: str,
    answer: str,
    status: str = "200",
    *,
    body: dict[str, Any] | None = None,
    query: dict[str, Any] | None = None,
    place: str | tuple[str, ...] = (),
) -> dict[str, Any]:
    """One request.

    Args:
        answer: name of its schema; empty: a file.
        place: what stands in the address.
    """
    kind = {"application/json": {"schema": {"$ref": f"#/components/schemas/{answer}"}}}
    found: dict[str, Any] = {
        "summary": summary,
        "responses": {
            status: {
                "description": "done" if status == "200" else "to be done",
                "content": kind if answer else {"*/*": {}},
            },
            **{code: {"description": text} for code, text in ERRORS.items()},
        },
        "parameters": [
            *(
                {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
                for name in ((place,) if isinstance(place, str) else place)
            ),
            *(
                {"name": name, "in": "query", "description": schema.pop("description", ""), "schema": schema}
                for name, schema in (query or {}).get("properties", {}).items()
            ),
        ],
    }
    if body is not None:
        found["requestBody"] = {"content": {"application/json": {"schema": body}}, "required": True}
    return found


def _object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}


_TEXT, _TEXTS = {"type": "string"}, {"type": "array", "items": {"type": "string"}}
_NUMBER, _WHOLE = {"type": "number"}, {"type": "integer"}
_NUMBERS = {"type": "array", "items": _NUMBER}
_SCORE = _object(
    ticks_per_beat=_WHOLE,
    ticks_per_step={**_NUMBER, "description": "of the grid of the model"},
    end={**_WHOLE, "description": "tick at which the piece ends"},
    bars={"type": "array", "items": _WHOLE, "description": "the first tick of each"},
    times={"type": "array", "items": _NUMBERS, "description": "tick and second, in between in proportion"},
    voices={"type": "array", "items": _object(name=_TEXT, colour=_TEXT, is_drum={"type": "boolean"})},
    notes={
        "type": "array",
        "items": {"type": "array", "items": _WHOLE, "minItems": 5, "maxItems": 5},
        "description": "voice, first tick, last tick, pitch, velocity",
    },
)
_ANSWERS: dict[str, Any] = {
    "Any": {"type": "object"},
    "Job": _object(
        id=_TEXT,
        what=_TEXT,
        state={"enum": ["waiting", "running", "done", "failed", "cancelled"]},
        progress=_object(what=_TEXT, done={"type": "integer"}, total={"type": "integer"}, unit=_TEXT),
        error={"type": "string", "description": "why it failed, a sentence"},
        pieces={**_TEXTS, "description": "ids of what came of it"},
        notes={**_TEXTS, "description": "what a user should know of them, a sentence each"},
        codes={"type": "array", "items": _NUMBERS, "description": "answers of the request encode"},
    ),
    "Models": _object(models={"type": "array", "items": _object(name=_TEXT, about=_TEXT)}),
    "Model": _object(
        name=_TEXT,
        family=_TEXT,
        domain=_TEXT,
        can={**_TEXTS, "description": "requests that it answers"},
        tracks=_TEXTS,
        labels=_TEXTS,
        options={
            "type": "array",
            "items": _object(option=_TEXT, type=_TEXT, default=_TEXT, meaning=_TEXT, owner=_TEXT, value={}),
        },
        code={
            "oneOf": [
                _object(
                    start={**_NUMBERS, "description": "a code to begin with"},
                    sliders={"type": "array", "items": _object(coordinate=_WHOLE, low=_NUMBER, high=_NUMBER)},
                ),
                {"type": "null"},
            ]
        },
    ),
    "Piece": _object(
        id=_TEXT,
        name=_TEXT,
        made={"type": "object", "description": "the request that it came of"},
        figure={"type": ["object", "null"], "description": "as of musegen.contracts.figure.Figure"},
        score={"oneOf": [_SCORE, {"type": "null"}], "description": "its notes; null: it has none"},
    ),
    "Runs": _object(runs={"type": "array", "items": _object(name=_TEXT)}),
    "Run": _object(
        name=_TEXT,
        about=_TEXT,
        step=_WHOLE,
        steps={"type": ["integer", "null"]},
        curves={
            "type": "object",
            "additionalProperties": {"type": "array", "items": _NUMBERS},
            "description": "step and value, by kind (train, valid) and name",
        },
        samples={"type": "array", "items": _WHOLE, "description": "steps that there are pictures of"},
    ),
    "Saved": _object(folder=_TEXT, files=_TEXTS),
}
_SECURITY = {
    "token": {"type": "http", "scheme": "bearer"},
    "query": {"type": "apiKey", "in": "query", "name": "token"},
}
