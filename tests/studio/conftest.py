import gc
import sys
import time
import warnings
from pathlib import Path

import pytest
import torch

from kinema.configs import load_config
from kinema.data.diorama import VOCABULARY
from kinema.pipeline.build import build_pipeline
from kinema.studio.jobs.shelf import Shelf
from kinema.studio.jobs.store import JobStore
from kinema.vae.preview import fit_preview

sys.path.insert(0, str(Path(__file__).parent))  # of `browsing` and `served`, wherever the tests are begun


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory):
    """A model of random weights, saved."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    pipe = build_pipeline(load_config("tiny"))
    pipe.text_encoder.register_to_config(vocabulary=VOCABULARY)
    pixels = torch.rand(2, 3, 9, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    fit_preview(pipe.vae, [pixels])
    pipe.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def server(tmp_path_factory, tiny_model):
    """`kinema serve` in a process of its own."""
    from served import serving

    with serving(tmp_path_factory.mktemp("served") / "studio", model=tiny_model) as server:
        yield server


@pytest.fixture(scope="module")
def browser():
    """Chromium; tests that use it skip where there is none."""
    from browsing import browsing

    with browsing() as browser:
        yield browser


@pytest.fixture
def context(browser):
    """A person's browser, with cookies and a window of its own."""
    context = browser.new_context(accept_downloads=True)
    yield context
    context.close()


@pytest.fixture(autouse=True, scope="module")
def pages_are_collected():
    """Gradio leaves event loops to the garbage collector, and a later module's test would be blamed."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.fixture
def studio(tmp_path):
    """(store, shelf) of an empty studio."""
    shelf = Shelf(tmp_path / "studio")
    store = JobStore(shelf.database)
    yield store, shelf
    store.close()
    gc.collect()


@pytest.fixture
def wait_until(waiting):
    """Wait for something that another process does."""
    return waiting


@pytest.fixture(scope="session")
def waiting():
    """`wait_until`, for fixtures that outlive a test."""

    def wait(there, seconds=120.0, every=0.02):
        end = time.monotonic() + seconds
        while not (found := there()):
            assert time.monotonic() < end, "it never happened"
            time.sleep(every)
        return found

    return wait
