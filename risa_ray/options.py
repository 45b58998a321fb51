"""Options that several commands have."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

Data = Annotated[str | None, typer.Option("--data", help="Folder or URL of the tables; overrides the config's.")]
Events = Annotated[str | None, typer.Option("--events", help="JSON lines of figures and alerts: a file, or - .")]
DetectorName = Annotated[str, typer.Option("--detector", help="mtcnn, haar or dlib.")]
Device = Annotated[str, typer.Option(help="cpu, auto or cuda.")]
DetectEvery = Annotated[
    int, typer.Option(help="Frames from one full detection to the next at most; faces are followed between.", min=1)
]
MinFace = Annotated[int, typer.Option("--min-face-size", help="Smallest face looked for, in pixels.")]
Fps = Annotated[float | None, typer.Option("--sampling-fps", help="Frames per second analysed; default: all.")]
ModelName = Annotated[str, typer.Option("--model", help="Name under models/, or path, of the expression model.")]
Format = Literal["table", "csv", "json", "parquet"]
Address = Annotated[str | None, typer.Option("--address", help="Ray cluster to join; default: a local one.")]
