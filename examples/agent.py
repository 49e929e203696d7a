#!/usr/bin/env python3
"""An agent in Python: leases a credential, calls an upstream with it, renews the lease and gives it back.

It needs Python 3.9 or newer and its standard library.

    LEASEHOLD_KEY=lhk_… CREDENTIAL=sample-api-key UPSTREAM=http://127.0.0.1:9000/ python3 examples/agent.py

    LEASEHOLD_ADDR  the vault's address; http://127.0.0.1:8200 where it is not set
    LEASEHOLD_KEY   the agent's API key
    CREDENTIAL      the credential to lease; its policy must allow `reveal`
    UPSTREAM        the URL to call with `Authorization: Bearer <value>`

What to take from it: a `Lease` is a context manager, so the lease is released however the block is left; the value
is fetched where it is used and kept nowhere; neither it nor the handle is ever printed; a redirect is not followed,
since urllib would send the Authorization header along to whatever host it names.
"""

import json
import os
import signal
import sys
import urllib.error
import urllib.request
import uuid

TIMEOUT_SECONDS = 30


class Failure(Exception):
    """Something that the user is told in one line."""


class NoRedirect(urllib.request.HTTPRedirectHandler):
    """Answers a redirect as what it is: not a success."""

    def redirect_request(self, *_):
        return None


HTTP = urllib.request.build_opener(NoRedirect)


class Vault:
    """A vault and the key of the caller."""

    def __init__(self, address, key):
        self._address = address.rstrip("/")
        self._key = key

    def post(self, path, body, idempotency_key=None):
        """The `data` of the answer. A refusal becomes a `Failure` with the vault's code and message."""
        request = urllib.request.Request(
            self._address + path, data=json.dumps(body).encode(), method="POST"
        )
        request.add_header("Authorization", f"Bearer {self._key}")
        request.add_header("Content-Type", "application/json")
        if idempotency_key:
            request.add_header("Idempotency-Key", idempotency_key)
        try:
            with HTTP.open(request, timeout=TIMEOUT_SECONDS) as response:
                return json.load(response)["data"]
        except urllib.error.HTTPError as error:
            raise Failure(f"the vault refused {path}: {explain(error)}") from None
        except (OSError, ValueError, KeyError) as error:
            raise Failure(f"no answer from the vault at {self._address}: {type(error).__name__}") from None


def explain(error):
    """The code and message of a refusal; they hold no secret."""
    try:
        body = json.load(error)
        return f"{error.code} {body['code']}: {body['message']}"
    except (OSError, ValueError, KeyError, TypeError):
        return str(error.code)


class Lease:
    """A lease that is open inside a `with` block."""

    def __init__(self, vault, credential, ttl="5m", purpose=None):
        self._vault = vault
        self._wanted = {"credential_name": credential, "ttl": ttl, "delivery": "reveal"}
        if purpose:
            self._wanted["purpose"] = purpose
        self._handle = None
        self.id = None

    def __enter__(self):
        # With the idempotency key a request whose answer was lost can be sent again: it gives the same lease.
        issued = self._vault.post("/v1/leases", self._wanted, idempotency_key=str(uuid.uuid4()))
        self.id, self._handle = issued["id"], issued["handle"]
        return self

    def value(self):
        """The credential's value. Each call is one use, and one record in the audit log."""
        return self._vault.post("/v1/handles/redeem", {"handle": self._handle})["value"]

    def renew(self, ttl):
        """Moves the expiry to `ttl` from now, or to the maximum lifetime where that is sooner."""
        return self._vault.post(f"/v1/leases/{self.id}/renew", {"ttl": ttl})["expires_at"]

    def __exit__(self, *_):
        self._handle = None
        self._vault.post(f"/v1/leases/{self.id}/release", {})


def call_upstream(url, value):
    """The status of a call with the value as its bearer token."""
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {value}"})
    try:
        with HTTP.open(request, timeout=TIMEOUT_SECONDS) as response:
            return response.status
    except urllib.error.HTTPError as error:
        raise Failure(f"upstream said {error.code}") from None
    except (OSError, ValueError) as error:
        # Only the type: the text of an error about a header would repeat the header.
        raise Failure(f"the upstream did not answer: {type(error).__name__}") from None


def setting(name, default=None):
    """An environment variable that must be there."""
    value = os.environ.get(name) or default
    if not value:
        raise Failure(f"{name} is not set")
    return value


def main():
    vault = Vault(setting("LEASEHOLD_ADDR", "http://127.0.0.1:8200"), setting("LEASEHOLD_KEY"))
    credential, upstream = setting("CREDENTIAL"), setting("UPSTREAM")
    with Lease(vault, credential, purpose="the Python example") as lease:
        status = call_upstream(upstream, lease.value())
        # Work that takes longer than the TTL renews in time: here once, to show it.
        lease.renew("5m")
    print(f"upstream said {status}, lease released")


if __name__ == "__main__":
    # A SIGTERM leaves the `with` block too, and so releases the lease.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        main()
    except Failure as failure:
        sys.exit(f"agent.py: {failure}")
    except KeyboardInterrupt:
        sys.exit(130)
