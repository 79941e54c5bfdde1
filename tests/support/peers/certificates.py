"""Certificates of the tests' own authority."""

from dataclasses import dataclass
from pathlib import Path

import trustme


@dataclass(frozen=True)
class Certificate:
    """Files: the chain with the authority's own certificate in it, and the key."""

    chain: Path
    key: Path


def make_certificate(folder: Path, *names: str) -> Certificate:
    """For loopback and these names."""
    authority = trustme.CA()
    issued = authority.issue_cert("localhost", "127.0.0.1", "::1", *names)
    certificate = Certificate(folder / "chain.pem", folder / "key.pem")
    issued.private_key_pem.write_to_path(certificate.key)
    parts = [*issued.cert_chain_pems, authority.cert_pem]
    certificate.chain.write_bytes(b"".join(part.bytes() for part in parts))
    return certificate
