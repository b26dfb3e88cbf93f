"""The simulator's own certificate authority and server certificate, made once in its data folder."""

import ipaddress
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

CA = "ca.pem"
SERVER = "server.pem"
LIFE = timedelta(days=3650)


def ensure(folder: Path, host: str) -> None:
    """Make `ca.pem` (to be given to clients) and `server.pem` (key and certificate) where they are missing. The
    certificate is for this computer as it calls itself, and for `host`, a name or an address.

    The authority's key is kept nowhere: it signs this one certificate.
    """
    if (folder / CA).exists() and (folder / SERVER).exists():
        return
    authority_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    authority = _name("VMSnap XenAPI simulator, certificate authority")
    root = _builder(authority, authority, authority_key.public_key(), authority_key)
    root = root.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    root = root.add_extension(_usage(signs=True), critical=True)
    names = [_general_name(text) for text in dict.fromkeys(("localhost", "127.0.0.1", "::1", host))]
    leaf = _builder(_name("VMSnap XenAPI simulator"), authority, key.public_key(), authority_key)
    leaf = leaf.add_extension(x509.SubjectAlternativeName(names), critical=False)
    leaf = leaf.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    leaf = leaf.add_extension(_usage(signs=False), critical=True)
    leaf = leaf.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    written_key = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    root_pem = root.sign(authority_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    leaf_pem = leaf.sign(authority_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    write_private(folder / SERVER, written_key + leaf_pem)
    write_private(folder / CA, root_pem)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _general_name(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, signer: ec.EllipticCurvePrivateKey
) -> x509.CertificateBuilder:
    since = datetime.now(UTC) - timedelta(hours=1)  # clocks differ
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key)
    builder = builder.serial_number(x509.random_serial_number()).not_valid_before(since).not_valid_after(since + LIFE)
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key())
    builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    return builder.add_extension(identifier, critical=False)


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs,
        crl_sign=signs,
        encipher_only=False,
        decipher_only=False,
    )


def write_private(path: Path, content: bytes) -> None:
    """Write a file that only its owner may read, whole or not at all."""
    unfinished = path.with_suffix(path.suffix + ".new")
    with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)
    os.replace(unfinished, path)
