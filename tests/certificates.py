"""Makes certificates for tests: their own authority, valid, expired or not valid yet."""

from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from tests.vsphere_simulator.certificates import begun


def certificate(name: str = "our own authority", *, days_from: int = -1, days_until: int = 365) -> str:
    """A self-signed certificate in PEM, valid between these days from now."""
    return _made(name, days_from, days_until)[0]


def private_key() -> str:
    """A private key in PEM."""
    return _made("x", -1, 1)[1]


def _made(name: str, days_from: int, days_until: int) -> tuple[str, str]:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = (
        begun(subject, subject, key, now + timedelta(days=days_from), now + timedelta(days=days_until))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = made.public_bytes(Encoding.PEM).decode()
    return pem, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
