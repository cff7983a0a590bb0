"""A signer's certificate and its issuer's, as C2PA wants them, or with one thing wrong."""

import datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from kinema.studio.making.signing import Certificate

USES = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
        "key_cert_sign", "crl_sign", "encipher_only", "decipher_only")  # fmt: skip


def make_certificate(folder, wrong=""):
    """An ES256 chain in a folder. `wrong`: "expired", "usage", "key" (another's) or "form" (not PKCS #8)."""
    folder.mkdir(parents=True, exist_ok=True)
    root, own, other = (ec.generate_private_key(ec.SECP256R1()) for _ in range(3))
    issuer = _built("Test Authority", "Test Authority", root.public_key()).add_extension(
        x509.BasicConstraints(True, None), critical=True
    ).add_extension(_usage("key_cert_sign", "crl_sign"), critical=True)  # fmt: skip
    signer = _built("Test Studio", "Test Authority", own.public_key(), days=-1 if wrong == "expired" else 30)
    signer = signer.add_extension(x509.BasicConstraints(False, None), critical=True)
    signer = signer.add_extension(_usage("digital_signature"), critical=True)
    signer = signer.add_extension(
        x509.AuthorityKeyIdentifier.from_issuer_public_key(root.public_key()), critical=False
    )
    if wrong != "usage":
        uses = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION])
        signer = signer.add_extension(uses, critical=False)
    pem, form = serialization.Encoding.PEM, serialization.PrivateFormat
    chain = b"".join(each.sign(root, hashes.SHA256()).public_bytes(pem) for each in (signer, issuer))
    key = (other if wrong == "key" else own).private_bytes(
        pem, form.TraditionalOpenSSL if wrong == "form" else form.PKCS8, serialization.NoEncryption()
    )
    (folder / "chain.pem").write_bytes(chain)
    (folder / "key.pem").write_bytes(key)
    return Certificate(folder / "chain.pem", folder / "key.pem")


def _built(subject, issuer, key, days=30):
    names = [
        x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, each),
                   x509.NameAttribute(NameOID.COMMON_NAME, f"{each} 1")]) for each in (subject, issuer)
    ]  # fmt: skip
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder().subject_name(names[0]).issuer_name(names[1]).public_key(key)
    builder = builder.serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(days=2))
    builder = builder.not_valid_after(now + datetime.timedelta(days=days))
    return builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)


def _usage(*allowed):
    return x509.KeyUsage(**{use: use in allowed for use in USES})
