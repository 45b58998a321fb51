"""What the tables tell: views by name with parameters, what to show next, which products to put forward."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import pyarrow as pa
import pyarrow.ipc
from fastapi import APIRouter, Header, HTTPException, Path, Query, Request, Response
from pydantic_core import to_json

from risa_ray.analytics import advice, named
from risa_ray.analytics.query import ENCODERS
from risa_ray.errors import InputError
from risa_ray.serving import models
from risa_ray.serving.problems import responses
from risa_ray.serving.tables import Scope, Snapshot, Tables

router = APIRouter(prefix="/v1", tags=["tables"], responses=responses(404, 422, 503, 504))

Format = Literal["json", "csv", "parquet", "arrow"]
MEDIA: dict[Format, str] = {
    "json": "application/json",
    "csv": "text/csv",
    "parquet": "application/vnd.apache.parquet",
    "arrow": "application/vnd.apache.arrow.stream",
}

_AT_A_TIME = 1000

ViewName = Annotated[str, Path(max_length=64, json_schema_extra={"enum": list(named.NAMES)})]
StoreId = Annotated[str | None, Query(alias="store", max_length=64, description="only of this store; it is sooner")]
CameraId = Annotated[str | None, Query(alias="camera", max_length=64, description="only of this camera")]
ZoneId = Annotated[str | None, Query(alias="zone", max_length=64, description="only of this zone")]
From = Annotated[
    str | None,
    Query(
        alias="from",
        max_length=40,
        description="first local day (2026-11-01), or first time, with zone",
    ),
]
To = Annotated[
    str | None,
    Query(alias="to", max_length=40, description="last local day, included; or the time to stop before, with zone"),
]
Names = Annotated[str | None, Query(max_length=1000, description="names of columns, with commas between")]
OneStore = Annotated[str, Query(alias="store", max_length=64)]
OneZone = Annotated[str, Query(alias="zone", max_length=64)]
At = Annotated[str | None, Query(max_length=40, description="a time with zone; now where there is none")]
Since = Annotated[str | None, Query(alias="from", max_length=40, description="the first local day that tells")]


class Column(models.Answer):
    name: str
    type: str


class View(models.Answer):
    """A view that may be asked. `text`: what a row is and what its columns mean; `dated`: what dates a row."""

    name: str
    text: str
    dated: Literal["minute", "hour", "day"] | None
    columns: list[Column]
    parameters: list[str]


class Rows(models.Answer):
    """Rows of a view. `as_of`: what was written later does not show; `truncated`: there are more rows than `limit`."""

    view: str
    as_of: datetime
    truncated: bool
    rows: list[dict[str, Any]]


def _tables(request: Request) -> Tables:
    tables: Tables = request.app.state.tables
    return tables


@router.get("/views")
async def views() -> list[View]:
    """The views that may be asked, with what their rows and columns mean."""
    return [View.model_validate(view) for view in (await asyncio.to_thread(named.catalogue)).values()]


@router.get(
    "/query/{view}",
    response_model=Rows,
    responses={200: {"content": {media: {} for media in MEDIA.values()}}, **responses(406)},
)
async def query(
    request: Request,
    view: ViewName,
    store: StoreId = None,
    camera: CameraId = None,
    zone: ZoneId = None,
    since: From = None,
    until: To = None,
    order: Annotated[Names, Query(description="columns to sort by, `-` before those that fall")] = None,
    columns: Names = None,
    limit: Annotated[int, Query(ge=1, le=named.MOST_ROWS)] = 1000,
    format: Annotated[Format | None, Query(description="goes before the header Accept")] = None,
    accept: Annotated[str | None, Header(max_length=1000, include_in_schema=False)] = None,
) -> Response:
    """Rows of a view: JSON, CSV, Parquet or Arrow, by `format` or by the header Accept.

    The headers X-As-Of and X-Truncated say for every format what `as_of` and `truncated` say in JSON.
    """
    if view not in named.NAMES:
        raise HTTPException(404, f"there is no view {view!r}; /v1/views lists them")
    chosen = format or _accepted(accept or "*/*")
    question = named.Question(view, store, camera, zone, since, until, _split(order), _split(columns), limit)
    with _refused():
        # The first time it reads the dictionary, which takes a second.
        await asyncio.to_thread(named.check, question)

    def answer(tables: Snapshot) -> Response:
        found = named.ask(tables.connection, question)
        as_of = tables.at.isoformat(timespec="seconds").replace("+00:00", "Z")
        headers = {"X-As-Of": as_of, "X-Truncated": str(found.cut).lower(), "Vary": "Accept"}
        body = _encoded(found.rows, chosen, {"view": view, "as_of": as_of, "truncated": found.cut})
        return Response(body, media_type=MEDIA[chosen], headers=headers)

    return await _tables(request).ask(answer, Scope(store))


@router.get("/content/next")
async def next_content(
    request: Request,
    store: OneStore,
    zone: OneZone,
    camera: CameraId = None,
    at: At = None,
    measure: Annotated[advice.Measure, Query(description="what is to be high")] = "attention",
    since: Since = None,
) -> advice.NextContent:
    """What to show next on a screen, where the figures tell; else no clear winner, and the evidence."""
    moment = _moment(at)
    return await _tables(request).ask(
        lambda tables: advice.next_content(tables.connection, store, zone, moment, camera, measure, since), Scope(store)
    )


@router.get("/products/next")
async def next_products(
    request: Request,
    store: OneStore,
    zone: OneZone,
    camera: CameraId = None,
    at: At = None,
    since: Since = None,
) -> advice.NextProducts:
    """Which products to put forward beside a shelf: an association of who stayed at both, and no cause."""
    moment = _moment(at)
    return await _tables(request).ask(
        lambda tables: advice.next_products(tables.connection, store, zone, moment, camera, since), Scope(store)
    )


def _moment(at: str | None) -> datetime:
    with _refused():
        return datetime.now(UTC) if at is None else named.moment("at", at)


@contextmanager
def _refused() -> Iterator[None]:
    """What needs no dataset is refused before one is opened."""
    try:
        yield
    except InputError as error:
        raise HTTPException(422, str(error)) from None


def _split(names: str | None) -> list[str]:
    return [name.strip() for name in names.split(",")] if names else []


def _accepted(accept: str) -> Format:
    """The format that a header Accept likes best.

    Raises:
        HTTPException: 406, it takes none of ours.
    """
    ranges = []
    for text in accept.lower().split(","):
        media, *parameters = (part.strip() for part in text.split(";"))
        weights = [p.removeprefix("q=") for p in parameters if p.startswith("q=")]
        try:
            ranges.append((float(weights[0]) if weights else 1.0, media))
        except ValueError:
            continue
    for weight, media in sorted(ranges, key=lambda r: -r[0]):
        for format, ours in MEDIA.items():
            if weight > 0 and media in (ours, "*/*", f"{ours.split('/')[0]}/*"):
                return format
    raise HTTPException(406, f"Accept: none of the formats there are: {', '.join(MEDIA.values())}")


def _encoded(rows: pa.Table, format: Format, about: dict[str, Any]) -> bytes:
    if format == "json":
        return _as_json(rows, about)
    if format == "arrow":
        sink = pa.BufferOutputStream()
        with pyarrow.ipc.new_stream(sink, rows.schema) as stream:
            stream.write_table(rows)
        return sink.getvalue().to_pybytes()
    return ENCODERS[format](rows)


def _as_json(rows: pa.Table, about: dict[str, Any]) -> bytes:
    # A bit at a time: meanwhile the event loop gets no turn.
    lists = (to_json(batch.to_pylist(), inf_nan_mode="null") for batch in rows.to_batches(max_chunksize=_AT_A_TIME))
    listed = b",".join(rows_of[1:-1] for rows_of in lists)
    return to_json(about)[:-1] + b',"rows":[' + listed + b"]}"
