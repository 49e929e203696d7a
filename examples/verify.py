#!/usr/bin/env python3
"""Checks what a vault says about its audit log, with nothing of the vault's: hashlib, and openssl for Ed25519.

    verify.py PUBLIC_KEY checkpoint CHECKPOINT.json
    verify.py PUBLIC_KEY inclusion PROOF.json
    verify.py PUBLIC_KEY consistency KEPT_CHECKPOINT.json PROOF.json

PUBLIC_KEY is the one for `audit` of /.well-known/leasehold-keys.json, in base64, kept from before. The files are answers
of /v1/audit/checkpoints/latest, /v1/audit/proof and /v1/audit/consistency. Exits with 1 where anything does not hold.
"""

import base64
import hashlib
import json
import subprocess
import sys
import tempfile

# What an Ed25519 public key looks like in DER, before its 32 bytes (RFC 8410).
DER_PREFIX = bytes.fromhex("302a300506032b6570032100")


def sha256(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def node(left, right):
    return sha256(b"\x01", left, right)


def split(size):
    """The largest power of two below a size of two or more."""
    return 1 << ((size - 1).bit_length() - 1)


def signed_by(public_key, message, signature):
    with tempfile.NamedTemporaryFile() as key, tempfile.NamedTemporaryFile() as text, tempfile.NamedTemporaryFile() as sig:
        for file, content in ((key, DER_PREFIX + public_key), (text, message), (sig, signature)):
            file.write(content)
            file.flush()
        command = ["openssl", "pkeyutl", "-verify", "-rawin", "-pubin", "-keyform", "DER", "-inkey", key.name,
                   "-in", text.name, "-sigfile", sig.name]
        return subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0


def checkpoint(public_key, note):
    """The size and root that a signed note states (c2sp.org/tlog-checkpoint)."""
    text, signature = note.split("\n\n\u2014 ")
    text += "\n"
    lines = text.split("\n")
    name, encoded = signature.rstrip("\n").split(" ")
    assert name == lines[0] == "leasehold/v1/checkpoint/" + sha256(public_key)[:8].hex(), "of another vault"
    signature = base64.b64decode(encoded)
    assert signature[:4] == sha256(name.encode(), b"\n\x01", public_key)[:4], "of another key"
    assert signed_by(public_key, text.encode(), signature[4:]), "the signature is bad"
    return int(lines[1]), base64.b64decode(lines[2])


def root_of(leaf, index, size, path):
    """The root that a path leads to, by the recursive definition of RFC 9162, section 2.1.3.1."""
    if size == 1:
        assert not path, "the path is too long"
        return leaf
    half, beside = split(size), path[-1]
    if index < half:
        return node(root_of(leaf, index, half, path[:-1]), beside)
    return node(beside, root_of(leaf, index - half, size - half, path[:-1]))


def roots_of(old, new, path, old_root, known=True):
    """Both roots that a path leads to, by the recursive definition of RFC 9162, section 2.1.4.1."""
    if old == new:
        [one] = [old_root] if known and not path else path
        return one, one
    half, beside = split(new), path[-1]
    if old <= half:
        first, second = roots_of(old, half, path[:-1], old_root, known)
        return first, node(second, beside)
    first, second = roots_of(old - half, new - half, path[:-1], old_root, False)
    return node(beside, first), node(beside, second)


def main(public_key, what, *files):
    public_key = base64.b64decode(public_key)
    answers = [json.load(open(file)) for file in files]
    answers = [answer.get("data", answer) for answer in answers]
    path = [bytes.fromhex(step) for step in answers[-1].get("path", [])]
    if what == "checkpoint":
        size, root = checkpoint(public_key, answers[0]["note"])
        print(f"signed: {size} records, root {root.hex()}")
    elif what == "inclusion":
        proof, parts = answers[0], answers[0]["leaf"]
        assert sha256(base64.b64decode(proof["record"])).hex() == parts["content"], "another record"
        leaf = sha256(b"\x00", proof["sequence"].to_bytes(8, "big"), bytes.fromhex(parts["workspace"]),
                      bytes.fromhex(parts["content"]), bytes.fromhex(parts["sealed"]))
        assert 0 < proof["sequence"] <= proof["size"], "not in a tree of that size"
        root = root_of(leaf, proof["sequence"] - 1, proof["size"], path)
        assert checkpoint(public_key, proof["checkpoint"]["note"]) == (proof["size"], root), "another root"
        print(f"record {proof['sequence']} is one of {proof['size']} sealed records")
    elif what == "consistency":
        old, old_root = checkpoint(public_key, answers[0]["note"])
        new, new_root = checkpoint(public_key, answers[1]["checkpoint"]["note"])
        assert 0 < old <= new, "the log is shorter than it was"
        assert roots_of(old, new, path, old_root) == (old_root, new_root), "another log"
        print(f"the log over {new} records begins with the one over {old}")
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
