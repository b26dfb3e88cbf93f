"""Which certificates of a server are believed. The drivers that speak TLS by themselves enter."""

import ssl


def trusting(ca_certificate: str, insecure: bool) -> ssl.SSLContext:
    """The rules for a server's certificate: the system's authorities, and what was entered with the endpoint (PEM); with
    `insecure` any is taken. Raises `ssl.SSLError` or `ValueError` for certificates that are none.

    What was entered is trusted as it is, be it an authority, one in between or the host's own self-signed certificate, and
    without the strictness of newer Pythons, which certificates made by hypervisors themselves fail.
    """
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if ca_certificate.strip():
        context.load_verify_locations(cadata=ca_certificate)
    if insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
