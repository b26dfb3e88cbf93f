"""What may be written down about an endpoint: its address, the certificates it is trusted by, the hosts it may send the
login on to. `endpoints` enters; nothing here connects to anything. Each function raises `Invalid`, beside its field, with
what is wrong and the way out.
"""

import ipaddress
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from hypervisors.registry import KINDS
from snapshots.refusals import Invalid

ADDRESS_LENGTH = 1024
CERTIFICATES_LENGTH = 200_000
REDIRECT_HOSTS_MOST = 64
HOST_LENGTH = 253
# Labels of host names: RFC 1123, section 2.1.
LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", re.IGNORECASE)
BEGIN = "-----BEGIN CERTIFICATE-----"


def clean_address(kind: str, address: str) -> str:
    """The address as it is kept, in the form that this kind of hypervisor has."""
    cleaned = address.strip()
    if not cleaned or not cleaned.isprintable():
        raise _invalid("address", "Give an address.", "Give the address of the hypervisor.")
    if len(cleaned) > ADDRESS_LENGTH:
        raise _invalid("address", f"At most {ADDRESS_LENGTH} characters are possible.")
    entry = KINDS.get(kind)
    if entry is None:
        return cleaned
    if entry.speaks_tls:
        if wrong := _wrong_with_server(cleaned):
            raise _invalid("address", f"{wrong} It has the form {entry.address_hint}.")
    elif not re.fullmatch(entry.address_form, cleaned):
        raise _invalid("address", entry.address_rule)
    return cleaned


def _wrong_with_server(address: str) -> str:
    """What is wrong with `host`, `host:port` or `https://host:port`; empty when nothing is."""
    scheme, mark, _ = address.partition("://")
    if mark and scheme.lower() != "https":
        return "The password goes only over TLS: the address begins with https:// or has no scheme."
    try:
        parts = urlsplit(address if mark else f"https://{address}")
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return "This is no host name with a port."
    if parts.username is not None or parts.password is not None:
        return "User name and password have fields of their own."
    if parts.path.strip("/") or parts.query or parts.fragment:
        return "Only the host and its port are given, no path."
    if port == 0:
        return "Port 0 cannot be connected to."
    return "" if is_host(host) else f"“{host}” is no host name and no IP address."


def is_host(text: str) -> bool:
    """Whether this is a host name or an IP address."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        labels = text.removesuffix(".").split(".")
        # Four numbers that are no IPv4 address are a mistake, not a name.
        numbers = labels[-1].isdecimal()
        return len(text) <= HOST_LENGTH and not numbers and all(LABEL.fullmatch(label) for label in labels)
    return True


def clean_redirect_hosts(hosts: Iterable[str]) -> list[str]:
    """The hosts in lower case, each once, in their order. Empty lines are passed over."""
    cleaned = list(dict.fromkeys(host.strip().lower() for host in hosts if host.strip()))
    if wrong := [host for host in cleaned if not is_host(host)]:
        raise _invalid("redirect_hosts", f"“{wrong[0]}” is no host name and no IP address. Give one host on each line.")
    if len(cleaned) > REDIRECT_HOSTS_MOST:
        raise _invalid(
            "redirect_hosts", f"{len(cleaned)} hosts are too many; a pool has at most {REDIRECT_HOSTS_MOST}."
        )
    return cleaned


def clean_certificates(text: str) -> str:
    """The certificates in PEM, one after the other, without whatever else stood between them; empty for none."""
    text = text.strip()
    if not text:
        return ""
    if len(text) > CERTIFICATES_LENGTH:
        raise _certificate(
            f"This is longer than {CERTIFICATES_LENGTH:,} characters. Give only the certificates needed."
        )
    if "PRIVATE KEY-----" in text:
        raise _certificate(
            "This holds a private key, which belongs nowhere but on its server. Give the certificate only."
        )
    if BEGIN not in text:
        raise _certificate(f"This is no certificate in PEM form: such a one begins with the line {BEGIN}.")
    try:
        found = x509.load_pem_x509_certificates(text.encode())
    except ValueError as error:
        raise _certificate(f"This cannot be read as a certificate: {error}.") from None
    now = datetime.now(UTC)
    for certificate in found:
        name = certificate.subject.rfc4514_string() or "without a name"
        if certificate.not_valid_after_utc < now:
            raise _certificate(f"The certificate {name} expired on {certificate.not_valid_after_utc:%d %b %Y}.")
        if certificate.not_valid_before_utc > now:
            raise _certificate(
                f"The certificate {name} is valid from {certificate.not_valid_before_utc:%d %b %Y} on, which is not yet. "
                "Look at the clock of this computer, too."
            )
    return "".join(certificate.public_bytes(Encoding.PEM).decode() for certificate in found)


def names_of_certificates(text: str) -> list[str]:
    """Whom the stored certificates name, with the day until which each is valid."""
    if not text:
        return []
    return [
        f"{certificate.subject.rfc4514_string()}, until {certificate.not_valid_after_utc:%d %b %Y}"
        for certificate in x509.load_pem_x509_certificates(text.encode())
    ]


def _certificate(sentence: str) -> Invalid:
    return _invalid("ca_certificate", sentence)


def _invalid(field: str, sentence: str, detail: str = "") -> Invalid:
    return Invalid(detail or sentence, fields={field: [sentence]})
