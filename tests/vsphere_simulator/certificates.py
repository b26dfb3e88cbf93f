"""A certificate authority and what it signs, for servers on this computer.

The names are 127.0.0.1 and localhost, the keys elliptic (P-256). Nothing here is for any other use: the authority's key
is thrown away once it has signed.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID


@dataclass(frozen=True)
class Certificates:
    """PEM files: `authority` is what clients are to trust, `certificate` and `key` are the server's."""

    authority: Path
    certificate: Path
    key: Path

    def authority_pem(self) -> str:
        """The authority's certificate as text, as an endpoint's `ca_certificate` takes it."""
        return self.authority.read_text(encoding="ascii")


def make_certificates(
    folder: Path, *, names: tuple[str, ...] = ("127.0.0.1", "localhost"), expired: bool = False
) -> Certificates:
    """Write a new authority and a server certificate signed by it into `folder`. `expired` ones ended yesterday."""
    now = datetime.now(UTC)
    begin, end = now - timedelta(days=30), now + (timedelta(days=-1) if expired else timedelta(days=3650))
    authority_key, server_key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    authority_name = _name("VMSnap simulator authority")
    authority = (
        begun(authority_name, authority_name, authority_key, begin, now + timedelta(days=3650))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(authority_key.public_key()), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    server = (
        begun(_name(names[0]), authority_name, server_key, begin, end)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName([_alternative(name) for name in names]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    written = Certificates(folder / "authority.pem", folder / "server.pem", folder / "server.key")
    _write(written, authority, server, server_key)
    return written


def self_signed(folder: Path) -> Certificates:
    """A server certificate that signs itself, as hypervisors make one when they are installed: it is its own authority."""
    now = datetime.now(UTC)
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name("localhost")
    certificate = (
        begun(name, name, key, now - timedelta(days=1), now + timedelta(days=365))
        .add_extension(
            x509.SubjectAlternativeName([_alternative("localhost"), _alternative("127.0.0.1")]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    written = Certificates(folder / "self.pem", folder / "self.pem", folder / "self.key")
    _write(written, certificate, certificate, key)
    return written


def _write(
    files: Certificates, authority: x509.Certificate, server: x509.Certificate, key: ec.EllipticCurvePrivateKey
) -> None:
    files.key.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    files.authority.write_bytes(authority.public_bytes(serialization.Encoding.PEM))
    files.certificate.write_bytes(server.public_bytes(serialization.Encoding.PEM))
    files.key.touch(mode=0o600)
    files.key.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def begun(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, begin: datetime, end: datetime
) -> x509.CertificateBuilder:
    """A certificate for this key and time, to be extended and signed."""
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(end)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )
