"""Content Credentials (C2PA): a file says, signed with a certificate, that a model made it.

https://c2pa.org/specifications; the library is `c2pa-python`, the extra `c2pa`. Nothing is fetched to read one.
"""

import importlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

INSTALL = "pip install 'kinema[c2pa]'"
SOURCES = "http://cv.iptc.org/newscodes/digitalsourcetype/"
MADE, MIXED = (
    "trainedAlgorithmicMedia",
    "compositeWithTrainedAlgorithmicMedia",
)  # of text alone, of given files too
QUIET = {
    "builder": {"thumbnail": {"enabled": False}},
    "verify": {"remote_manifest_fetch": False, "ocsp_fetch": False},
}
CURVES = {"secp256r1": "es256", "secp384r1": "es384", "secp521r1": "es512"}


class SigningError(RuntimeError):
    """A file cannot be signed; the message says why, and what is needed."""


@dataclass(frozen=True)
class Certificate:
    """What files are signed with.

    Attributes:
        chain: PEM file: the signer's certificate, then those between it and the root.
        key: PEM file of its private key, as PKCS #8 without a password.
        timestamps: address of a time-stamping authority, asked for every file; None: none.
    """

    chain: Path
    key: Path
    timestamps: str | None = None


def check_certificate(certificate: Certificate) -> str:
    """Sign a tiny picture in memory, as every result will be; returns what `read_signature` says of it.

    Raises:
        SigningError: the library is missing, or the certificate or its key cannot be used.
    """
    from PIL import Image

    source, signed = io.BytesIO(), io.BytesIO()
    Image.new("RGB", (8, 8)).save(source, format="PNG")
    source.seek(0)
    _sign(certificate, source, signed, "image/png", "check.png", MADE, "")
    signed.seek(0)
    return _read("image/png", signed) or ""


def sign(path: Path, certificate: Certificate, *, mixed: bool = False, mark: str | None = None) -> None:
    """Sign a file in its place.

    Args:
        path: .mp4 or .png.
        certificate: to sign with.
        mixed: whether it was made from given pictures or videos, too.
        mark: what was written onto the frames.

    Raises:
        SigningError: as above, or the time-stamping authority did not answer; the file is as it was.
    """
    kind = {".mp4": "video/mp4", ".png": "image/png"}[path.suffix]
    signed = path.with_name(f".signed{path.suffix}")
    try:
        with path.open("rb") as source, signed.open("w+b") as target:
            _sign(certificate, source, target, kind, path.name, MIXED if mixed else MADE, mark or "")
        signed.replace(path)
    finally:
        signed.unlink(missing_ok=True)


def read_signature(path: Path) -> str | None:
    """Who signed a file, such as "Example Studio (signing key 2)"; None: nobody, or it was changed since.

    Whether the signer is to be trusted is for who looks at it: that takes a list of authorities.

    Raises:
        SigningError: the library is missing.
    """
    kind = {".mp4": "video/mp4", ".png": "image/png"}.get(path.suffix)
    if kind is None:
        return None
    with path.open("rb") as file:
        return _read(kind, file)


def _library() -> Any:
    try:
        return importlib.import_module("c2pa")
    except ImportError:
        raise SigningError(f"signing with C2PA needs c2pa-python, which is not installed: {INSTALL}") from None


def _sign(certificate: Certificate, source: Any, target: Any, kind: str, title: str, made: str, mark: str) -> None:
    from kinema import __version__

    c2pa = _library()
    agent = {"name": "Kinema", "version": __version__}
    actions: list[dict[str, Any]] = [
        {"action": "c2pa.created", "digitalSourceType": SOURCES + made, "softwareAgent": agent}
    ]
    if mark:
        said = f"a visible mark was written onto every frame: {mark}"
        actions.append({"action": "c2pa.edited", "description": said, "softwareAgent": agent})
    manifest = {
        "claim_generator_info": [agent],
        "title": title,
        "assertions": [{"label": "c2pa.actions", "data": {"actions": actions}, "created": True}],
    }
    chain, key = (_read_pem(path) for path in (certificate.chain, certificate.key))
    try:
        info = c2pa.C2paSignerInfo(_algorithm(chain, certificate.chain), chain, key, certificate.timestamps)
        settings, signer = c2pa.Settings.from_dict(QUIET), c2pa.Signer.from_info(info)
        with settings, c2pa.Context(settings, signer) as context, c2pa.Builder(manifest, context) as builder:
            builder.sign(kind, source, target)
    except c2pa.C2paError as error:
        if "http resolver" in str(error):
            raise SigningError(f"{certificate.timestamps} did not stamp the time: {_words(error)}") from None
        raise SigningError(
            f"{certificate.chain} with {certificate.key} cannot sign: {_words(error)}. C2PA needs a certificate "
            "that is valid now, is not its own issuer, and has the extended key usage emailProtection or "
            "documentSigning; and its private key as PKCS #8 without a password (openssl pkcs8 -topk8 -nocrypt)"
        ) from None


def _read(kind: str, file: Any) -> str | None:
    c2pa = _library()
    try:
        settings = c2pa.Settings.from_dict(QUIET)
        with settings, c2pa.Context(settings) as context, c2pa.Reader(kind, file, context=context) as reader:
            if reader.get_validation_state() not in ("Valid", "Trusted"):
                return None
            signer = (reader.get_active_manifest() or {}).get("signature_info", {})
    except c2pa.C2paError:
        return None
    names = [signer[name] for name in ("issuer", "common_name") if signer.get(name)]
    return f"{names[0]} ({names[1]})" if len(set(names)) > 1 else (names or ["a signer without a name"])[0]


def _algorithm(chain: bytes, path: Path) -> str:
    """What the certificate's key signs with."""
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    try:
        key = x509.load_pem_x509_certificates(chain)[0].public_key()
    except ValueError as error:
        raise SigningError(f"{path} holds no PEM certificate ({_words(error)})") from None
    if isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name in CURVES:
        return CURVES[key.curve.name]
    if isinstance(key, rsa.RSAPublicKey):
        return "ps256"
    if isinstance(key, ed25519.Ed25519PublicKey):
        return "ed25519"
    raise SigningError(
        f"{path} is for a kind of key that C2PA does not sign with; it takes ES256, PS256 or Ed25519"
    )


def _read_pem(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SigningError(f"{path} cannot be read ({error.strerror}); it is to be a PEM file") from None


def _words(error: Exception) -> str:
    return " ".join(str(error).split())
