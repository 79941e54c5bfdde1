"""Certificates from an authority of the tests."""

from dataclasses import dataclass
from pathlib import Path

import trustme


@dataclass(frozen=True)
class Certificate:
    """Two files: the chain, which includes the authority's certificate, and the key."""

    chain: Path
    key: Path


def make_certificate(folder: Path, *names: str) -> Certificate:
    """Make a certificate for loopback and these names."""
    authority = trustme.CA()
    issued = authority.issue_cert("localhost", "127.0.0.1", "::1", *names)
    certificate = Certificate(folder / "chain.pem", folder / "key.pem")
    issued.private_key_pem.write_to_path(certificate.key)
    parts = [*issued.cert_chain_pems, authority.cert_pem]
    certificate.chain.write_bytes(b"".join(part.bytes() for part in parts))
    return certificate
