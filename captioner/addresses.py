"""What addresses say before anything is opened: what must not be written down, and what is on this machine.

An fsspec address may be a chain, "zip://member.mp4::https://host/archive.zip", whose last link is where it lies.
"""

import re
from collections.abc import Iterator
from importlib.util import find_spec
from urllib.parse import unquote

WEB = ("http://", "https://")
# Protocols of what lies elsewhere, with the package that fsspec needs for them.
ELSEWHERE = {
    "http": None, "https": None, "hf": "huggingface_hub", "s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs",
    "gcs": "gcsfs", "az": "adlfs", "abfs": "adlfs", "abfss": "adlfs", "adl": "adlfs", "oci": "ocifs",
    "oss": "ossfs",
}  # fmt: skip
WRAPPERS = ("zip", "tar", "libarchive", "simplecache", "filecache", "blockcache")  # of another link
_LOGIN = (
    r"(?:https?|ftps?|sftp|ssh|smb|webdavs?)://"  # elsewhere what is before an @ may be a name, as of a container
)
_QUERY = r"(?:https?|ftps?|s3a?|gs|gcs|az|abfss?|adl|hf|oss|oci)://"
_SECRET = re.compile(
    r"x-(amz|goog|oss|cos|ms)-.*|.*(sig|signature|token|secret|passw(or)?d|pwd|credentials?|api[-_]?key)"
    r"|.*access[-_]?key([-_]?id)?|key|key-pair-id|policy|auth|authorization|jwt|hmac|hdnt[ls]|googleaccessid",
    re.IGNORECASE,
)


def links(url: str) -> list[str]:
    """The links of a chain."""
    return url.split("::")


def without_secrets(url: str) -> str:
    """An address without what opens it: a login, and the parts of a query that sign it."""
    return _hidden(url, r"\n")


def secrets_hidden(text: str, url: str) -> str:
    """A text in which an address may stand, without the address's secrets and those of others."""
    for link in links(url):
        text = text.replace(link, without_secrets(link))
    return _hidden(text, r"\s")


def _hidden(text: str, end: str) -> str:
    if "://" not in text:
        return text
    text = re.sub(rf"(?i)({_LOGIN})(?:(?!::)[^/?#{end}])*@", r"\1", text)
    return re.sub(rf"(?i)({_QUERY}(?:(?!::)[^?#{end}])*)\?((?:(?!::)[^#{end}])*)", _unsigned, text)


def _unsigned(found: "re.Match[str]") -> str:
    parts = [part for part in found[2].split("&") if not _SECRET.fullmatch(unquote(part.partition("=")[0]))]
    return found[1] + (f"?{'&'.join(parts)}" if parts and parts != [""] else "")


def opens_by_itself(url: str) -> bool:
    """Whether the address of a service has what may be a key in it: a login, a query or a fragment."""
    host = url.partition("://")[2] or url
    return "@" in re.split(r"[/?#\\]", host, maxsplit=1)[0] or "?" in url or "#" in url


def is_local(url: str) -> bool:
    """Whether it lies on this machine."""
    scheme, found, _ = links(url)[-1].partition("://")
    return not found or scheme.lower() in ("file", "local")


def strange_link(url: str) -> str | None:
    """The link of an address that somebody else's list may not have: only what lies elsewhere, wrapped or not."""
    *wrapping, last = links(url)
    for link in wrapping:
        if link.partition("://")[0].lower() not in WRAPPERS:
            return link
    return None if last.partition("://")[0].lower() in ELSEWHERE and "://" in last else last


def missing_package(url: str) -> tuple[str, str] | None:
    """(protocol, package) of a link that cannot be opened as long as the package is not installed."""
    for protocol in _protocols(url):
        package = ELSEWHERE.get(protocol)
        if package is not None and find_spec(package) is None:
            return protocol, package
    return None


def _protocols(url: str) -> Iterator[str]:
    for link in links(url):
        yield link.partition("://")[0].lower()
