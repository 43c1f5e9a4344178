"""Join the mesh by hand: a member that is no sidecar, to be refused by the gates it knocks at."""

from __future__ import annotations

import base64
import http.client
import json
import ssl
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from bench.certs import pem


def authorities_pem(bundle: dict[str, Any]) -> str:
    """The X.509 authorities of a SPIFFE bundle document, as PEM."""
    found = [
        ssl.DER_cert_to_PEM_cert(base64.b64decode(key["x5c"][0]))
        for key in bundle["keys"]
        if key.get("use") == "x509-svid"
    ]
    return "".join(found)


def enrol(home: Path, port: int, token: str, svid: Path) -> None:
    """Exchange a join token for an SVID, written to `svid` with its key beside it.

    Also writes the trust bundle as `bundle.pem`, from `bundle.json` in `home`.

    Raises:
        RuntimeError: the authority refused.
    """
    bundle = home / "bundle.pem"
    bundle.write_text(authorities_pem(json.loads((home / "bundle.json").read_text())))
    key = ec.generate_private_key(ec.SECP256R1())
    hop_key = ec.generate_private_key(ec.SECP256R1()).public_key()
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    csr = request.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    body = {
        "attestor": "join_token",
        "evidence": {"token": token},
        "csr": csr.decode(),
        "hop_key": ECAlgorithm.to_jwk(hop_key, as_dict=True),
    }
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False  # the authority's certificate names a workload, not a host
    context.load_verify_locations(bundle)
    connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=10, context=context)
    headers = {"Content-Type": "application/json"}
    connection.request("POST", "/v1/attest", json.dumps(body), headers)
    response = connection.getresponse()
    answer = response.read()
    connection.close()
    if response.status != http.HTTPStatus.OK:
        raise RuntimeError(f"the authority answered {response.status}: {answer[:300]!r}")
    svid.write_text(json.loads(answer)["svid"])
    svid.with_suffix(".key").write_bytes(pem(key))
