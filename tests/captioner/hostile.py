"""A folder of videos, salted with every kind of broken and hostile file that folders of videos hold.

    python tests/captioner/hostile.py FOLDER VIDEO.mp4

The files are made from one sound video, of which some good copies with difficult names lie between the bad ones.
"""

import json
import os
import struct
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image

CENC = {
    "encryption_scheme": "cenc-aes-ctr",
    "encryption_key": "76a6c65c5ea762046bd749a2e632ccbb",
    "encryption_kid": "a7e61c373e219033c21091fa607bf3b8",
}
HARD_NAMES = (
    "plain.mp4", "with space .mp4", "new\nline.mp4", "quote'\".mp4", "-dash.mp4", "hash#percent%20?.mp4",
    "日本 é😀.mp4", "colon:name.mp4", "[bracket]*.mp4", "UPPER.MP4", "deep/er/still.mp4", "$(touch x).mp4",
    "back\\slash.mp4",
)  # fmt: skip


@dataclass
class Salted:
    """What lies in a salted folder; names are relative to it."""

    folder: Path
    good: list[str] = field(default_factory=list)
    bad: dict[str, str] = field(default_factory=dict)  # a pattern of the reason that names what is wrong
    unlisted: list[str] = field(default_factory=list)  # hidden and unfinished files


def salt(folder: Path, video: Path) -> Salted:
    """Make the folder from a sound MP4 file of some seconds."""
    folder.mkdir(parents=True)
    made = Salted(folder)
    for maker in (_good, _cut_off, _other_kinds, _lying, _encrypted, _special, _links, _beside):
        maker(made, video)
    return made


def remux(video: Path, to: Path, *, sound: bool = False, options: dict[str, str] | None = None) -> Path:
    """The video stream of a file in another container."""
    to.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(video)) as source, av.open(f"file:{to}", "w", options=options or {}) as target:
        stream = source.streams.video[0]
        copy = target.add_stream_from_template(stream)
        if sound:
            tone = target.add_stream("aac", rate=44100)
            _tone(target, tone)
        for packet in source.demux(stream):
            if packet.dts is not None:
                packet.stream = copy
                target.mux(packet)
    return to


def claim_hours(path: Path, hours: float) -> None:
    """Write another duration into the headers of an MP4 file (ISO/IEC 14496-12: mvhd, tkhd, mdhd; version 0)."""
    data = bytearray(path.read_bytes())
    scales: list[int] = []

    def walk(begin: int, end: int) -> None:
        at = begin
        while at + 8 <= end:
            size, kind = struct.unpack(">I4s", data[at : at + 8])
            if kind in (b"moov", b"trak", b"mdia"):
                walk(at + 8, at + size)
            if kind in (b"mvhd", b"mdhd"):
                scales.append(struct.unpack(">I", data[at + 20 : at + 24])[0])
                data[at + 24 : at + 28] = struct.pack(">I", int(hours * 3600 * scales[-1]))
            if kind == b"tkhd":  # in units of the movie's header, which comes first
                data[at + 28 : at + 32] = struct.pack(">I", int(hours * 3600 * scales[0]))
            at += size

    walk(0, len(data))
    path.write_bytes(data)


def _good(made: Salted, video: Path) -> None:
    for name in HARD_NAMES:
        path = made.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(video.read_bytes())
        made.good.append(name)
    remux(video, made.folder / "matroska.mkv")
    remux(video, made.folder / "pieces.mp4", options={"movflags": "frag_keyframe+empty_moov"})
    remux(video, made.folder / "with_sound.mp4", sound=True)
    made.good += ["matroska.mkv", "pieces.mp4", "with_sound.mp4"]
    for name in (".hidden.mp4", "unfinished.mp4.part", ".cache/old.mp4"):
        path = made.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(video.read_bytes())
        made.unlisted.append(name)


def _cut_off(made: Salted, video: Path) -> None:
    """Downloads and recordings that ended early."""
    cuts = {
        "cut_data.mp4": ({"movflags": "faststart"}, 0.6, r"cut off.*ends at \d"),
        "cut_index.mp4": ({}, 0.9, r"cut off.*missing"),
        "cut_pieces.mp4": ({"movflags": "frag_keyframe+empty_moov"}, 0.95, r"cut off"),
        "cut.mkv": ({}, 0.5, r"cut off.*ends at \d"),
        "cut_head.mp4": ({}, 0.0005, r"cut off"),
    }
    for name, (options, share, reason) in cuts.items():
        path = remux(video, made.folder / name, options=options)
        os.truncate(path, max(20, int(path.stat().st_size * share)))
        made.bad[name] = reason
    path = remux(video, made.folder / "holes.mp4", options={"movflags": "faststart"})
    size = path.stat().st_size
    with path.open("rb+") as file:  # as a download in pieces leaves it: the space is there, the data is not
        file.seek(int(size * 0.3))
        file.write(bytes(size - file.tell()))
    made.bad["holes.mp4"] = r"damaged.*zeros"
    (made.folder / "empty.mp4").touch()
    made.bad["empty.mp4"] = "empty.*0 bytes"


def _other_kinds(made: Salted, video: Path) -> None:
    """Files that are no videos, whatever they are called."""
    Image.fromarray(np.zeros((48, 64, 3), np.uint8)).save(made.folder / "picture.mp4", format="PNG")
    Image.fromarray(np.zeros((48, 64, 3), np.uint8)).save(made.folder / "photo.mp4", format="JPEG")
    made.bad |= {"picture.mp4": r"a png picture.*named \.mp4", "photo.mp4": r"jpeg picture.*named \.mp4"}
    texts = {
        "page.mp4": "<!DOCTYPE html><html><body>404 Not Found</body></html>\n" * 20,
        "notes.mp4": "these are only my notes\n" * 50,
        "script.mp4": "ffconcat version 1.0\nfile '/etc/passwd'\n",
        "playlist.mp4": "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nhttp://127.0.0.1:1/a.ts\n#EXT-X-ENDLIST\n",
        "drawing.mp4": '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><rect/></svg>',
    }
    for name, text in texts.items():
        (made.folder / name).write_text(text)
        made.bad[name] = "not a video|picture|playlist"
    (made.folder / "noise.mp4").write_bytes(np.random.default_rng(0).bytes(20_000))
    (made.folder / "zeros.mp4").write_bytes(bytes(20_000))
    made.bad |= {"noise.mp4": "not a video|damaged|decoded", "zeros.mp4": "not a video|picture"}
    with av.open(str(made.folder / "sound.mp4"), "w") as target:
        _tone(target, target.add_stream("aac", rate=44100))
    made.bad["sound.mp4"] = "no video.*audio"


def _lying(made: Salted, video: Path) -> None:
    """Headers that do not tell the truth: of how long the movie is, and of how long each frame."""
    for name, hours in (("hundred_hours.mp4", 100.0), ("one_hour.mp4", 1.0)):
        claim_hours(remux(video, made.folder / name, options={"video_track_timescale": "1000"}), hours)
    path = remux(video, made.folder / "slow.mp4", options={"video_track_timescale": "1000", "use_editlist": "0"})
    data = bytearray(path.read_bytes())
    at = data.index(b"stts") + 8
    for entry in range(struct.unpack(">I", data[at : at + 4])[0]):  # (frames, time of each)
        data[at + 8 + 8 * entry : at + 12 + 8 * entry] = struct.pack(">I", 360_000_000 // 60)
    path.write_bytes(data)
    made.good.append("one_hour.mp4")
    made.bad |= {"hundred_hours.mp4": r"claims 100\.0 hours", "slow.mp4": r"\d+\.\d hours of video"}


def _encrypted(made: Salted, video: Path) -> None:
    remux(video, made.folder / "encrypted.mp4", options=CENC)
    made.bad["encrypted.mp4"] = "encrypted"


def _special(made: Salted, video: Path) -> None:
    """What is no regular file, or may not be read."""
    os.mkfifo(made.folder / "pipe.mp4")
    (made.folder / "folder.mp4").mkdir()
    made.bad |= {"pipe.mp4": "pipe", "folder.mp4": "folder"}
    with suppress(OSError):  # not every file system has such names
        name = os.fsdecode(b"not-utf8-\xff.mp4")
        (made.folder / name).write_bytes(video.read_bytes())
        made.bad[name] = "UTF-8"
    if os.geteuid():  # root reads everything
        locked = made.folder / "locked.mp4"
        locked.write_bytes(video.read_bytes())
        locked.chmod(0)
        (made.folder / "locked").mkdir(mode=0)
        made.bad |= {"locked.mp4": "Permission denied", "locked": "Permission denied"}


def _links(made: Salted, video: Path) -> None:
    (made.folder / "link.mp4").symlink_to("plain.mp4")
    made.good.append("link.mp4")
    (made.folder / "self.mp4").symlink_to("self.mp4")
    (made.folder / "nowhere.mp4").symlink_to("gone/away.mp4")
    (made.folder / "device.mp4").symlink_to("/dev/zero")
    (made.folder / "deep" / "er" / "up").symlink_to(made.folder, target_is_directory=True)
    made.bad |= {
        "self.mp4": "loop",
        "nowhere.mp4": "does not exist",
        "device.mp4": "device",
        "deep/er/up": "symlink loop",
    }


def _beside(made: Salted, video: Path) -> None:
    """Captions, some of which cannot be read; their videos can."""
    (made.folder / "plain.txt").write_text("a man in a car talks\n")
    (made.folder / "matroska.json").write_text(json.dumps({"captions": ["one", "two"], "license": "CC-BY-4.0"}))
    (made.folder / "UPPER.json").write_text('{"caption": "broken')
    (made.folder / "-dash.txt").write_bytes(b"\xff\xfe\x00not text")
    (made.folder / "deep" / "er" / "still.txt").write_bytes(b"x" * (2 << 20))
    made.bad |= {
        "UPPER.json": "captions that cannot be read",
        "-dash.txt": "not UTF-8",
        "deep/er/still.txt": "too much",
    }


def _tone(target: Any, stream: Any) -> None:
    wave = np.sin(np.arange(44100) * 0.06, dtype=np.float32)[None]
    for begin in range(0, wave.shape[1] - 1023, 1024):
        frame = av.AudioFrame.from_ndarray(wave[:, begin : begin + 1024], format="fltp", layout="mono")
        frame.sample_rate, frame.pts = 44100, begin
        target.mux(stream.encode(frame))
    target.mux(stream.encode(None))


if __name__ == "__main__":
    done = salt(Path(sys.argv[1]), Path(sys.argv[2]))
    sys.stdout.write(f"{len(done.good)} good files and {len(done.bad)} bad ones in {done.folder}\n")
