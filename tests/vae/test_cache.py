"""Latent shards: exact, resumable, refused when they are somebody else's."""

import re

import pytest
import torch
from torch.utils.data import DataLoader

from kinema import AutoencoderKLKinema, load_config
from kinema.data.diorama import DioramaDataset
from kinema.data.pixels import to_pixels
from kinema.vae.cache import LatentCacheError, LatentDataset, cache_latents
from kinema.vae.context import encode_contexts
from kinema.vae.latents import encode_latents

DATA = load_config("tiny").data


def build(seed: int = 0) -> AutoencoderKLKinema:
    torch.manual_seed(seed)
    return AutoencoderKLKinema(4, 2, (8, 12), 1, 4, [0.1] * 4, [2.0] * 4)


class Clips:
    """Noise clips of two shapes; fails on one index, as a killed process would, and counts what it gave."""

    def __init__(self, count: int = 11, fails_at: int | None = None) -> None:
        self.count, self.fails_at, self.given = count, fails_at, []

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> dict:
        if index == self.fails_at:
            raise KeyboardInterrupt
        self.given.append(index)
        frames = 5 if index % 3 else 9
        shape = (3, frames, 8, 8)
        values = torch.randint(256, shape, generator=torch.Generator().manual_seed(index), dtype=torch.uint8)
        captions = {"short": f"clip {index}", "medium": "…", "dense": 'with "quotes"\n'}
        return {
            "id": f"clip-{index}",
            "index": index,
            "pixel_values": values,
            "captions": captions,
            "fps": 8.0 + index,
            "scene": '{"a": 1}' if index else "",
        }


def cache(out, dataset, vae=None, **changes):
    settings = {"data": DATA, "shard_size": 4, "batch_size": 3, "progress": False, "dtype": torch.float32}
    return cache_latents(vae or build(), dataset, out, **(settings | changes))


def test_captions_of_the_built_in_world_are_those_of_now(tmp_path):
    shape = {"difficulty": (0, 0), "height": 8, "width": 8, "num_frames": 5, "num_clips": 3}
    cache(tmp_path, DioramaDataset(**shape))
    now = DioramaDataset(**shape, typed=True)
    found = LatentDataset(tmp_path, data=DATA, clips=now)
    assert [item["captions"] for item in found] == [now.describe(index)["captions"] for index in range(3)]
    assert "typed" in found[2]["captions"] and "typed" not in LatentDataset(tmp_path)[2]["captions"]


def test_asked_to_stop_it_keeps_its_shards_and_goes_on(tmp_path):
    assert cache(tmp_path, Clips(), stop=lambda: True) is False
    with pytest.raises(LatentCacheError, match="unfinished"):
        LatentDataset(tmp_path)
    first = (tmp_path / "latents-00000.safetensors").stat().st_mtime_ns
    assert cache(tmp_path, Clips()) is True
    assert len(LatentDataset(tmp_path)) == len(Clips())
    assert (tmp_path / "latents-00000.safetensors").stat().st_mtime_ns == first


def test_cached_latents_are_the_encoded_ones(tmp_path):
    vae, clips = build(), Clips()
    cache(tmp_path, clips, vae)
    stored = LatentDataset(tmp_path, vae=build(), data=DATA)
    assert len(stored) == len(clips)
    for index in (0, 3, 4, 10):
        item, clip = stored[index], clips[index]
        expected = encode_latents(vae, clip["pixel_values"][None] / 127.5 - 1)[0].detach()
        torch.testing.assert_close(item.pop("latents"), expected, rtol=1e-4, atol=1e-5)
        kept = {key: value for key, value in clip.items() if key != "pixel_values"}
        assert item == kept | {"timed_captions": []}
    with pytest.raises(IndexError, match="holds clips 0 to 10"):
        stored[11]


def test_workers_read_the_same(tmp_path):
    cache(tmp_path, Clips(4))
    stored = LatentDataset(tmp_path)
    _ = stored[0]  # an open file must not travel to the workers
    loader = DataLoader(stored, batch_size=None, num_workers=1)
    for mine, theirs in zip((stored[i] for i in range(4)), loader):
        assert torch.equal(mine["latents"], theirs["latents"]) and mine["id"] == theirs["id"]


def test_half_precision_is_the_default_and_close(tmp_path):
    settings = {"shard_size": 4, "progress": False}
    cache_latents(build(), Clips(3), tmp_path / "default", **settings)
    cache(tmp_path / "exact", Clips(3))
    default, exact = LatentDataset(tmp_path / "default"), LatentDataset(tmp_path / "exact")
    assert default.record["dtype"] == "float16"
    torch.testing.assert_close(default[1]["latents"], exact[1]["latents"], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("fails_at", range(0, 11, 2))
def test_a_killed_run_goes_on_and_repeats_no_finished_shard(tmp_path, fails_at):
    with pytest.raises(KeyboardInterrupt):
        cache(tmp_path / "killed", Clips(fails_at=fails_at))
    with pytest.raises(LatentCacheError, match=r"unfinished.*Repeat the command"):
        LatentDataset(tmp_path / "killed")
    again = Clips()
    cache(tmp_path / "killed", again)
    assert again.given == list(range(fails_at // 4 * 4, 11))
    cache(tmp_path / "whole", Clips())
    killed, whole = LatentDataset(tmp_path / "killed"), LatentDataset(tmp_path / "whole")
    for index in range(11):
        mine, theirs = killed[index], whole[index]
        assert torch.equal(mine.pop("latents"), theirs.pop("latents")) and mine == theirs


def test_a_shard_without_its_index_is_made_again(tmp_path):
    cache(tmp_path, Clips())
    (tmp_path / "latents-00001.parquet").unlink()
    (tmp_path / ".latents-00001.abc.part.safetensors").touch()
    again = Clips()
    cache(tmp_path, again)
    assert again.given == [4, 5, 6, 7] and not list(tmp_path.glob(".*"))


def test_another_autoencoder_is_refused(tmp_path):
    cache(tmp_path, Clips(3))
    for attempt in (lambda: cache(tmp_path, Clips(3), build(1)), lambda: LatentDataset(tmp_path, vae=build(1))):
        with pytest.raises(
            LatentCacheError, match=r"another autoencoder: weights .* there, .* now.*another folder"
        ):
            attempt()
    other = build()
    other.register_to_config(latents_std=[3.0] * 4)
    with pytest.raises(LatentCacheError, match="another autoencoder"):
        LatentDataset(tmp_path, vae=other)
    build().save_pretrained(tmp_path / "saved")
    assert len(LatentDataset(tmp_path, vae=AutoencoderKLKinema.from_pretrained(tmp_path / "saved"))) == 3


def test_other_data_is_refused(tmp_path):
    cache(tmp_path, Clips(3))
    other = DATA.model_copy(update={"fps": 12.0})
    for attempt in (lambda: cache(tmp_path, Clips(3), data=other), lambda: LatentDataset(tmp_path, data=other)):
        with pytest.raises(LatentCacheError, match=re.escape("data.fps: 8.0 there, 12.0 now")):
            attempt()
    with pytest.raises(LatentCacheError, match="num_clips: 3 there, 4 now"):
        cache(tmp_path, Clips(4))
    assert LatentDataset(tmp_path, data=DATA.model_copy(update={"num_workers": 3}))


def test_values_that_are_not_finite_are_refused(tmp_path):
    vae = build()
    vae.encoder.proj_out.bias.data[0] = float("nan")
    with pytest.raises(LatentCacheError, match=r"'clip-0' .* not finite"):
        cache(tmp_path, Clips(3), vae)


def test_no_cache_there(tmp_path):
    with pytest.raises(LatentCacheError, match="holds no latent cache"):
        LatentDataset(tmp_path)


def test_contexts_are_kept_beside_their_clips(tmp_path):
    cache(tmp_path, Clips(), contexts=True)
    stored, vae = LatentDataset(tmp_path), build()
    for index, item in enumerate(stored):
        assert item["index"] == index
        pixels = to_pixels(Clips()[index]["pixel_values"])
        parts = encode_contexts(vae, pixels, item["latents"], index)
        assert item["suffix_start"] == parts.suffix_start and tuple(item["still_frames"]) == parts.still_frames
        torch.testing.assert_close(item["suffix"], parts.suffix)
        torch.testing.assert_close(item["stills"], parts.stills)
        assert item["timed_captions"] == []
    with pytest.raises(LatentCacheError, match="contexts"):
        cache(tmp_path, Clips())
