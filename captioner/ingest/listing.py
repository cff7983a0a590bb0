"""What a captioning run starts from: every file that SOURCE names, with the captions that came with it.

SOURCE is a folder, a file, a glob, a list of files (.txt), a table of files (.parquet, .csv, .jsonl), an archive
(.zip, .tar), or any of these behind an fsspec URL. What cannot be taken is listed with its reason; nothing stops a
listing but a SOURCE that is not there. The order is always the same, and memory holds one folder at a time, with
the tables of captions that folders have.
"""

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Any

from ...data.fetch import MAX_BYTES as MAX_TABLE
from ...data.fetch import FetchError, fetch
from ...data.manifest import SUFFIXES, ManifestError, iter_table
from ..addresses import WEB, is_local, links, secrets_hidden, strange_link, without_secrets
from ..engine.commits import CaptionError
from ..settings import IngestSettings
from ..tables import Row, digest
from .remote import RemoteTree, copy_file, is_url
from .sidecars import SIDECARS, captions_of, clean, file_of, license_of, part_of, read_sidecar
from .walking import Folder, LocalTree, State, Tree, leads_out, printable

VIDEO_SUFFIXES = (
    ".mp4", ".m4v", ".mov", ".qt", ".mkv", ".webm", ".avi", ".gif", ".mpg", ".mpeg", ".m2v", ".m2ts", ".mts",
    ".vob", ".wmv", ".asf", ".flv", ".f4v", ".ogv", ".ogm", ".3gp", ".3g2", ".mxf", ".y4m", ".divx",
)  # fmt: skip  # not .ts, which names programs and translations more often than video
KINDS = (
    "a folder, a video, a glob such as 'videos/**/*.mp4', a .txt list of files, a .parquet, .csv or .jsonl table, "
    "a .zip or .tar archive, or a URL of these"
)
OUTSIDE = (
    "a link, or behind one, that leads out of the source's folder, and so not read; put a copy there, or give the "
    "folder that it leads to as a source of its own"
)
UNREAD = "captions that cannot be read"
_MAGIC = frozenset("*?[")


def list_sources(source: str, settings: IngestSettings, dataset: Path | None = None) -> Iterator[Row]:
    """A row for every file, or asked-for part of one, and for everything that cannot be taken.

    Args:
        source: what to list.
        settings: the license of files that name none, and the column of captions.
        dataset: a folder that is no part of the source, though it may lie in it.

    Yields:
        {"source_key", "source_uri", "address" (the same with the secrets that open it: for no table), "path" (""
        if it has to be fetched), "bytes", "license", "start_s", "end_s", "captions", "reason" ("" if nothing is
        wrong so far)}.

    Raises:
        CaptionError: there is no such source, it cannot be read, or it holds no video.
    """
    found = False
    for row in _rows(source, settings, dataset):
        found = True
        yield row
    if not found:
        raise CaptionError(f"{without_secrets(source)} holds no video ({', '.join(VIDEO_SUFFIXES)}); give {KINDS}")


def _rows(source: str, settings: IngestSettings, dataset: Path | None) -> Iterator[Row]:
    """The rows of any kind of source."""
    if source.startswith(WEB):
        if _suffix(source) in (".txt", *SUFFIXES):
            return _from_web_list(source, settings)
        return iter([_row(settings, source, "", State())])
    if is_url(source):
        try:
            tree = RemoteTree(source)
        except ValueError as error:
            raise CaptionError(secrets_hidden(str(error), source)) from None
        return _from_url(tree, source, settings)
    path = Path(source)
    if path.is_dir():
        if dataset is not None and dataset.exists() and path.samefile(dataset):
            raise CaptionError(f"--out is the folder of the videos, {source}; give a folder of its own")
        if (path / "stages" / "ingest").is_dir():
            raise CaptionError(
                f"{source} is a dataset that was made by `kinema caption`; give the videos themselves"
            )
        return _from_folders(LocalTree(dataset), source, settings)
    if path.exists():
        if path.is_file() and path.suffix.lower() in (".txt", *SUFFIXES):
            return _from_list(path, str(path.absolute()), str(path.parent), settings)
        if path.is_file() and path.suffix.lower() in (".zip", ".tar"):
            return _rows(f"{path.suffix[1:].lower()}://::{path.absolute()}", settings, dataset)
        return _of_file(LocalTree(), source, None, [], settings, str(path.parent))
    if _MAGIC & set(source) and "://" not in source:
        return _from_glob(LocalTree(dataset), source, settings)
    raise CaptionError(f"{without_secrets(source)} does not exist; give {KINDS}")


def _from_url(tree: RemoteTree, source: str, settings: IngestSettings) -> Iterator[Row]:
    root = tree.root
    if _MAGIC & set(root):
        return _from_glob(tree, root, settings)
    try:
        if tree.files.isdir(root):
            return _from_folders(tree, root, settings)
        there = tree.files.exists(root)
    except Exception as error:  # each file system has errors of its own
        said = f"{source} cannot be read: {type(error).__name__}: {error}"
        raise CaptionError(secrets_hidden(said, source)) from None
    if not there:
        raise CaptionError(f"{without_secrets(source)} does not exist; give {KINDS}")
    if _suffix(root) in (".txt", *SUFFIXES):
        return _from_copied_list(tree, root, settings)
    return _of_file(tree, root, None, [], settings, tree.split(root)[0])


def _from_web_list(source: str, settings: IngestSettings) -> Iterator[Row]:
    try:
        download = fetch(source)  # its file is there as long as this name
    except FetchError as error:
        raise CaptionError(secrets_hidden(str(error), source)) from None
    yield from _from_list(download.path, source, source.rpartition("/")[0], settings)


def _from_copied_list(tree: RemoteTree, path: str, settings: IngestSettings) -> Iterator[Row]:
    with _copied(tree, path) as copy:
        yield from _from_list(copy, tree.uri(path), tree.uri(tree.split(path)[0]), settings)


def _from_glob(tree: Tree, pattern: str, settings: IngestSettings) -> Iterator[Row]:
    """Files that a pattern fits; "**" stands for any number of folders."""
    parts = PurePosixPath(pattern).parts
    fixed = next(number for number, part in enumerate(parts) if _MAGIC & set(part))
    root, wanted = str(PurePosixPath(*parts[:fixed])), parts[fixed:]
    if isinstance(tree, RemoteTree):
        root = "" if root == "." else root
    elif not Path(root).is_dir():
        raise CaptionError(f"{root}, of the pattern {pattern}, is no folder; give {KINDS}")
    suffix = PurePosixPath(wanted[-1]).suffix
    any_kind = bool(suffix) and not _MAGIC & set(suffix)  # what is asked for by its suffix is taken for a video
    depth = None if "**" in wanted else len(wanted) - 1

    def chosen(path: str) -> bool:
        inner = PurePosixPath(path).relative_to(root).parts if root else PurePosixPath(path).parts
        return _fits(inner, wanted) and (any_kind or _suffix(path) in VIDEO_SUFFIXES)

    return _from_folders(tree, root, settings, chosen, depth)


def _fits(parts: tuple[str, ...], pattern: tuple[str, ...]) -> bool:
    if not pattern:
        return not parts
    if pattern[0] == "**":
        return any(_fits(parts[skip:], pattern[1:] or ("*",)) for skip in range(len(parts) + 1))
    return bool(parts) and fnmatchcase(parts[0], pattern[0]) and _fits(parts[1:], pattern[1:])


def _from_folders(
    tree: Tree,
    root: str,
    settings: IngestSettings,
    chosen: Callable[[str], bool] | None = None,
    depth: int | None = None,
) -> Iterator[Row]:
    """The videos of a folder and those in it; of `chosen` ones, or of all and whatever their tables name."""
    named: dict[str, list[Row]] = {}  # what tables say of files that have not come yet
    for folder in tree.walk(root, depth):
        for path, reason in folder.problems:
            yield _row(settings, tree.uri(path), path, State(problem=reason))
        yield from _read_tables(tree, folder, named, chosen is None, settings, root)
        present = set(folder.names)
        for name in folder.names:
            path = tree.join(folder.path, name)
            if chosen(path) if chosen is not None else _suffix(name) in VIDEO_SUFFIXES:
                yield from _of_file(tree, path, present, named.pop(path, []), settings, root)
        if not folder.names and folder.path != root and _suffix(folder.path) in VIDEO_SUFFIXES:
            yield _row(
                settings, tree.uri(folder.path), folder.path, State(problem="a folder, though named as a video")
            )
    if chosen is None:
        for path, rows in named.items():
            yield from _of_file(tree, path, None, rows, settings, root)


def _read_tables(
    tree: Tree, folder: Folder, named: dict[str, list[Row]], whole: bool, settings: IngestSettings, root: str
) -> Iterator[Row]:
    """Note what the tables in a folder say of files, and give rows for what cannot be read of them.

    Args:
        named: where it is noted, by the files' paths.
        whole: give rows for the files elsewhere that they name, too.
    """
    tables = [name for name in folder.names if _suffix(name) in SUFFIXES]
    for name in ["manifest.parquet"] if "manifest.parquet" in tables else tables:
        path = tree.join(folder.path, name)
        state = tree.look(path)
        if isinstance(tree, RemoteTree) and (state.size or 0) > MAX_TABLE:
            state = State(problem=f"a table of {state.size:,} bytes; at most {MAX_TABLE:,} are fetched")
        if not state.problem and leads_out(tree, path, root):
            state = State(problem=f"a table of captions that is {OUTSIDE}")
        if state.problem:
            yield _row(settings, tree.uri(path), path, state)
            continue
        with _copied(tree, path) as copy:
            for row in _table_rows(copy, settings):
                if "reason" in row:
                    reason = f"of this table of captions: {row['reason']}"
                    yield _row(settings, f"{tree.uri(path)}#{row['number']}", "", State(problem=reason))
                elif is_url(row["file"]) and whole:
                    yield _listed_row(settings, tree.uri(path), row["file"], row)
                elif not is_url(row["file"]):
                    named.setdefault(tree.join(folder.path, row["file"]), []).append(row)


def _from_list(path: Path, uri: str, folder: str, settings: IngestSettings) -> Iterator[Row]:
    """The files that a list or table names, which `uri` names; their relative names are taken from `folder`."""
    tree = LocalTree()
    lines = _text_rows(path) if path.suffix.lower() == ".txt" else _merged(_table_rows(path, settings))
    for row in lines:
        if "reason" in row:
            yield _row(settings, f"{uri}#{row['number']}", "", State(problem=row["reason"]))
        elif is_url(row["file"]):
            yield _listed_row(settings, uri, row["file"], row)
        elif is_url(folder):
            inner, _, chain = folder.partition("::")  # of an archive, whose members the list names
            name = f"{inner.rstrip('/')}/{row['file'].removeprefix('./')}"
            yield _listed_row(settings, uri, f"{name}::{chain}" if chain else name, row)
        else:
            path_named = tree.join(folder, row["file"])
            inside = Path(os.path.normpath(path_named)).is_relative_to(folder)
            root = folder if inside else tree.split(path_named)[0]
            yield from _of_file(tree, path_named, None, [row], settings, root)


def _listed_row(settings: IngestSettings, by: str, url: str, said: Row) -> Row:
    """The row of a URL that the list `by` names. One from the web is a stranger's, and may name nothing here."""
    problem = ""
    if is_url(by) and not is_local(by) and (link := strange_link(url)) is not None:
        elsewhere = links(by)[-1].partition("://")[0] == links(url)[-1].partition("://")[0]  # as the list itself
        if not elsewhere or link is not links(url)[-1]:
            problem = f"a list from the web may not name {link}, which may be of this machine; download the list"
    return _row(settings, url, "", State(problem=problem), said)


def _text_rows(path: Path) -> Iterator[Row]:
    with path.open(encoding="utf-8", errors="surrogateescape", newline="\n") as file:
        for line in file:
            if line.strip():
                yield {"file": line.removeprefix("\ufeff").rstrip("\r\n")}


def _table_rows(path: Path, settings: IngestSettings) -> Iterator[Row]:
    """{"file", "start_s", "end_s", "captions", "license"} of a table's rows, or {"number", "reason"}."""
    for number, row in enumerate(iter_table(path), 1):
        try:
            if isinstance(row, ManifestError):
                raise row
            file, (start, end) = file_of(row), part_of(row)
            if number == 1 and settings.caption_column and settings.caption_column not in row:
                raise CaptionError(
                    f"{path} has the columns {', '.join(map(str, row))}, and none that is called "
                    f"{settings.caption_column!r} (settings ingest.caption_column)"
                )
            captions = captions_of(row, settings.caption_column)
            yield {"file": file, "start_s": start, "end_s": end, "captions": captions, "license": license_of(row)}
        except ValueError as error:
            yield {"number": number, "reason": f"row {number}: {error}"}


def _merged(rows: Iterable[Row]) -> Iterator[Row]:
    """Rows of which several in turn that name the same part of the same file, as with a caption a row, are one."""
    last: Row | None = None
    for row in rows:
        if last is not None and "file" in row and _part(row) == _part(last):
            last["captions"] = list(dict.fromkeys(last["captions"] + row["captions"]))
            continue
        if last is not None:
            yield last
        last = row
    if last is not None:
        yield last


def _part(row: Row) -> tuple[Any, ...]:
    return row.get("file"), row.get("start_s"), row.get("end_s")


def _of_file(
    tree: Tree, path: str, present: set[str] | None, rows: list[Row], settings: IngestSettings, root: str
) -> Iterator[Row]:
    """The row of a file, or one for each part that tables name; captions beside it where those have none.

    Args:
        root: folder that captions must lie in. A link out of it may lead to somebody's letters, which would be
            published; a video that is one is taken.
    """
    state, uri = tree.look(path), tree.uri(path)
    beside: Row = {}
    if not all(row.get("captions") for row in rows) or not rows:
        folder, name = tree.split(path)
        for suffix in SIDECARS:
            sidecar = PurePosixPath(name).stem + suffix
            at = tree.join(folder, sidecar)
            if sidecar == name or (present is not None and sidecar not in present) or not tree.look(at).size:
                continue
            try:
                if leads_out(tree, at, root):
                    raise ValueError(OUTSIDE)
                beside = read_sidecar(tree, at, settings.caption_column)
            except ValueError as error:
                reason = f"{UNREAD} ({error}); the video is taken without them"
                yield _row(settings, tree.uri(at), at, State(problem=reason))
            break
    for row in _merged(sorted(rows, key=lambda row: [part or 0.0 for part in _part(row)[1:]])) if rows else [{}]:
        local = path if isinstance(tree, LocalTree) else ""
        both = beside | {name: value for name, value in row.items() if value}
        yield _row(settings, uri, local, state, both)


def _row(settings: IngestSettings, uri: str, path: str, state: State, said: Row | None = None) -> Row:
    said = said or {}
    part, captions = [said.get("start_s"), said.get("end_s")], said.get("captions") or []
    license = said.get("license") or settings.license
    known = without_secrets(uri), state.size, state.stamp, state.problem, part, captions, license
    return {
        "source_key": digest("source", *known),
        "source_uri": printable(without_secrets(uri)),
        "address": printable(uri),
        "path": path and printable(str(Path(path).absolute())),
        "bytes": state.size,
        "license": clean(license),
        "start_s": part[0],
        "end_s": part[1],
        "captions": captions,
        "reason": printable(secrets_hidden(state.problem, uri)),
    }


@contextlib.contextmanager
def _copied(tree: Tree, path: str) -> Iterator[Path]:
    """A file of any tree as a local one."""
    if not isinstance(tree, RemoteTree):
        yield Path(path)
        return
    with tempfile.TemporaryDirectory(prefix="kinema-") as folder:
        copy = Path(folder) / f"table{_suffix(path)}"
        try:
            copy_file(tree.files, path, copy, MAX_TABLE)
        except Exception as error:  # each file system has errors of its own
            said = f"{tree.uri(path)} cannot be read: {type(error).__name__}: {error}"
            raise CaptionError(secrets_hidden(said, tree.uri(path))) from None
        yield copy


def _suffix(path: str) -> str:
    name = PurePosixPath(path.partition("?")[0] if path.startswith(WEB) else path).name
    return PurePosixPath(name).suffix.lower()
