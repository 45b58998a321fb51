"""`risa zones`: a camera's zones over one still of it, to see whether they lie where they should."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from zoneinfo import ZoneInfo

from PIL import Image as Pictures

from risa_ray.config import CameraConfig, load_config
from risa_ray.errors import BrokenSourceError, InputError, SourceError
from risa_ray.frames import Image
from risa_ray.inputs import camera_of
from risa_ray.outputs import check_output
from risa_ray.sources import create_source
from risa_ray.sources.base import Missed
from risa_ray.vision.detectors import create_detector
from risa_ray.vision.draw import blur_faces, draw_zones
from risa_ray.vision.zones import Zones

_SMALLEST_FACE = 20  # whoever could be known by it is blurred, also where the camera looks for larger faces only


@dataclass(frozen=True)
class Drawn:
    """What a zone picture shows: its size in pixels, its zones, and how many faces were blurred."""

    width: int
    height: int
    zones: int
    blurred: int


def draw_camera(config: Path, camera_id: str | None, out: Path, at: float) -> Drawn:
    """Write a picture of a camera with its zones.

    Faces that MTCNN finds are blurred beyond recovery and masks are black. A face that it does not find, one turned far
    away or smaller than 20 pixels, stays as it is.

    Args:
        camera_id: may be None where the config has one camera.
        out: a .png or .jpg.
        at: seconds from the beginning of a file, or from the first picture of a live camera.

    Raises:
        InputError: there is no such camera, its source gives no picture then, or the output cannot be written.
    """
    unit = camera_of(load_config(config), camera_id)
    store, camera = unit.store, unit.camera
    check_output(out, (".png", ".jpg", ".jpeg"), Path(camera.source))
    still = Zones(camera.zones).mask(_still(camera, store.tzinfo, at))
    faces = create_detector("mtcnn", min_face_size=_SMALLEST_FACE).detect([still])[0]
    picture = draw_zones(blur_faces(still, faces.boxes), camera.zones)
    try:
        Pictures.fromarray(picture).save(out, quality=92)
    except OSError as error:
        raise InputError(f"{out}: cannot be written ({error.strerror or error}); give another output") from None
    return Drawn(picture.shape[1], picture.shape[0], len(camera.zones), len(faces))


def _still(camera: CameraConfig, timezone: ZoneInfo, at: float) -> Image:
    """The first whole picture at `at` seconds or later."""
    try:
        source = create_source(camera.model_copy(update={"realtime": False}), timezone)
        source.check()
        try:
            for picture in source.pictures(lambda pts: pts >= at, None):
                if not isinstance(picture, Missed):
                    return picture.image
        finally:
            source.close()
    except SourceError as error:
        raise InputError(str(error)) from None
    except BrokenSourceError as error:
        raise InputError(f"camera {camera.id}: {error}; check its source, or try another --at") from None
    raise InputError(f"camera {camera.id}: no picture {at:g} s after its first; give an earlier --at")
