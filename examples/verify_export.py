#!/usr/bin/env python3
"""Verifies an export of history (`leasehold audit export`) without Leasehold: hashlib, and openssl for Ed25519.

    python3 verify_export.py EXPORT PUBLIC_KEY

EXPORT is NDJSON, or CSV or OCSF that was exported with `--proofs`: these carry the lines of NDJSON, in the column `proof` and
in the attribute `raw_data`. The cells of a table are held to them; of an event, its record's id and number are.

PUBLIC_KEY is the key for the log from /.well-known/leasehold-keys.json, in base64. Keep it from the day the vault was made.

Shown: every byte is what the vault signed, the records fold with the hashes of what is not shown into the Merkle tree
(RFC 6962) that the checkpoint signs, and each part goes on where the one before it ended. `leasehold audit verify --export`
shows one thing more: that what people read of a record is what its encoded bytes say, whoever holds the signing key.
"""

import base64
import csv
import hashlib
import io
import json
import subprocess
import sys
import tempfile

TAG_BYTES = 8
# Records of a range, of which retention removes some, or all.
RANGE = 4096


class Bad(Exception):
    pass


def sha256(*parts):
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.digest()


def decoded(text):
    return base64.b64decode(text, validate=True)


class Key:
    """An Ed25519 public key, as openssl takes it."""

    def __init__(self, raw):
        self.raw = raw
        self.log = "leasehold/v1/checkpoint/" + sha256(raw)[:8].hex()
        self.der = self._file(bytes.fromhex("302a300506032b6570032100") + raw)

    @staticmethod
    def _file(content):
        file = tempfile.NamedTemporaryFile()
        file.write(content)
        file.flush()
        return file

    def verify(self, message, signature):
        with self._file(message) as text, self._file(signature) as sig:
            command = ["openssl", "pkeyutl", "-verify", "-rawin", "-pubin", "-keyform", "DER", "-inkey", self.der.name]
            command += ["-in", text.name, "-sigfile", sig.name]
            return subprocess.run(command, capture_output=True, check=False).returncode == 0

    def checkpoint(self, note):
        """The size and root that a checkpoint signs (https://c2sp.org/tlog-checkpoint)."""
        text, _, signature = note.partition("\n\n\u2014 ")
        origin, size, root = (text + "\n").split("\n")[:3]
        name, _, encoded = signature.rstrip("\n").partition(" ")
        if origin != self.log or name != self.log:
            raise Bad("the checkpoint is of another vault")
        # Four bytes name the key.
        if not self.verify((text + "\n").encode(), decoded(encoded)[4:]):
            raise Bad("the checkpoint is not signed by this key")
        return int(size), decoded(root)


class Tree:
    """The right edge of a Merkle tree: the hashes of its perfect subtrees, the largest first."""

    def __init__(self):
        self.size, self.parts = 0, []

    def add(self, size, hash_):
        if size & (size - 1) or self.size % size:
            raise Bad(f"no subtree of {size} records begins behind record {self.size}")
        self.parts.append((size, hash_))
        self.size += size
        while len(self.parts) > 1 and self.parts[-1][0] == self.parts[-2][0]:
            (half, right), (_, left) = self.parts.pop(), self.parts.pop()
            self.parts.append((2 * half, sha256(b"\x01", left, right)))

    def root(self):
        if not self.parts:
            return sha256()
        root = self.parts[-1][1]
        for _, left in reversed(self.parts[:-1]):
            root = sha256(b"\x01", left, root)
        return root


class Part:
    """What one answer of the vault holds."""

    def __init__(self, key, header, before):
        self.key, self.header, self.tree, self.records = key, header, Tree(), 0
        self.hidden, self.removed, self.front, self.thinned = 0, 0, 0, (0, 0)
        if header["format"] != 1:
            raise Bad(f"the format {header['format']} is not known here")
        self.size, self.root = key.checkpoint(header["checkpoint"]["note"])
        self.workspace = bytes.fromhex(header["workspace"].removeprefix("wsp_"))
        self.digest, self.unsigned, self.ended, self.before = hashlib.sha256(), [], False, before
        if before:
            same = all(before.header[name] == header[name] for name in ("workspace", "filter"))
            if before.ended or before.unsigned or not same or header["after"] != before.tree.size:
                raise Bad(f"the part behind record {before.tree.size} does not go on with the one before it")

    def is_next(self, first):
        if first != self.tree.size + 1:
            raise Bad(f"record {self.tree.size + 1} is missing: record {first} stands in its place")

    def record(self, line):
        self.is_next(line["sequence"])
        if line["sequence"] <= self.header["after"] or line["record"]["sequence"] != line["sequence"]:
            raise Bad(f"record {line['sequence']} is not where it belongs")
        place = line["sequence"].to_bytes(8, "big")
        leaf = sha256(b"\x00", place, self.workspace, sha256(decoded(line["encoded"])), decoded(line["sealed"]))
        self.tree.add(1, leaf)
        self.records += 1

    def gap(self, line):
        self.is_next(line["first"])
        self.tree.add(line["size"], decoded(line["hash"]))
        if line["first"] > self.header["after"]:
            self.hidden += line["size"]
            self.removed += min(max(self.front + 1 - line["first"], 0), line["size"])

    def gone(self, line):
        """What retention removed of the records that follow: all that the log began with, or some of a range."""
        first, last, records = line["first"], line["last"], line["records"]
        front = first == 1 and records == last
        if last <= self.tree.size or last % RANGE or not (front or first == last - RANGE + 1 and 0 < records <= RANGE):
            raise Bad(f"records {first} to {last} are not what retention removes here")
        if front:
            self.front = last
        else:
            self.removed += max(records - (self.thinned[1] if self.thinned[0] == first else 0), 0)
            self.thinned = (first, records)

    def mark(self, line, raw):
        head = raw[: raw.rindex(b',"signature":"')]
        digest = self.digest.copy()
        digest.update(head)
        message = b"leasehold/v1/export\n" + base64.b64encode(digest.digest()) + b"\n"
        if not self.key.verify(message, decoded(line["signature"])):
            tags = decoded(line["tags"])
            signed = [tags[at : at + TAG_BYTES] for at in range(0, len(tags), TAG_BYTES)]
            for number, ((what, tag), other) in enumerate(zip(self.unsigned, signed)):
                if tag != other:
                    raise Bad(f"{what} is not what the vault signed")
            raise Bad(f"the mark behind record {self.tree.size} is not the vault's")
        if (line["through"], line["records"]) != (self.tree.size, self.records):
            raise Bad("a mark does not fit what stands before it")
        self.unsigned = []

    def end(self, line, raw):
        self.mark(line, raw)
        if (self.tree.size, self.tree.root()) != (self.size, self.root):
            raise Bad("the records are not those that the checkpoint is over")
        self.ended = True

    def line(self, line, raw):
        if self.ended:
            raise Bad("something follows the end")
        kind = line["type"]
        if kind in ("mark", "end"):
            getattr(self, kind)(line, raw)
        elif kind in ("header", "record", "gap", "removed"):
            if kind != "header":
                getattr(self, "gone" if kind == "removed" else kind)(line)
            what = f"{kind} {line.get('sequence', line.get('first', ''))}".strip()
            self.unsigned.append((what, sha256(raw.rstrip(b"\n"))[:TAG_BYTES]))
        else:
            raise Bad(f"`{kind}` is no line of an export")
        self.digest.update(raw)
        if self.before and self.tree.size == self.header["after"]:
            if self.before.tree.parts != self.tree.parts:
                raise Bad(f"records up to {self.tree.size} are not those of the part before")
            self.before = None


# The columns of a table; what begins with the prefix is a field of the actor.
COLUMNS = (
    "sequence id time event severity outcome code actor_type actor_name actor_identity_id actor_key_id actor_token_id "
    "credential_id credential_name version lease_id holder session_id object decided_by purpose reason changes request_id "
    "source_ip user_agent requests proof"
).split()
ACTOR = "actor_"
# What is white in Unicode, what a spreadsheet may divide cells by, and what it takes for the beginning of a formula.
WHITE = "\t\n\x0b\x0c\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000"
DIVIDING, BLANKS, SIGNS = ";\t\r\n", "\t\r\n", "=+-@\uff1d\uff0b\uff0d\uff20'"


def escaped(text):
    """A cell's text, with a `'` where a spreadsheet could take it for a formula."""
    cell, begins = "'" if text[:1] and text[0] in BLANKS else "", True
    for sign in text:
        cell += ("'" if begins and sign in SIGNS else "") + sign
        begins = sign in DIVIDING
    return cell


def unescaped(cell):
    text, begins = "", True
    for sign in cell:
        text += "" if begins and sign == "'" else sign
        begins = sign in DIVIDING
    return text


def cell(value):
    """How a table shows what a record has."""
    if value is None:
        return ""
    if isinstance(value, str):
        return escaped(value)
    return escaped(json.dumps(value, separators=(",", ":"), ensure_ascii=False))


def row_of(cells):
    """A row, as RFC 4180 has it."""
    def quoted(text):
        plain = not any(sign in text for sign in '",;\t\r\n') and text.strip(WHITE) == text
        return text if plain else '"' + text.replace('"', '""') + '"'

    return (",".join(map(quoted, cells)) + "\r\n").encode()


def rows(file):
    """The rows of a table: they end with a line where no quote is open."""
    row = b""
    for line in file:
        row += line
        if row.count(b'"') % 2 == 0:
            yield row
            row = b""
    if row:
        yield row


def table(file):
    """The lines that a table carries, each held to the row that it stands in."""
    csv.field_size_limit(1 << 26)
    for number, row in enumerate(rows(file)):
        if number == 0:
            if row != row_of(COLUMNS):
                raise Bad("the table carries no proofs: export it with --proofs")
            continue
        proof = unescaped(next(csv.reader(io.StringIO(row.decode(), newline="")))[-1])
        record = json.loads(proof).get("record", {})
        actor = record.get("actor", {})
        names = COLUMNS[:-1]
        values = [actor.get(name[len(ACTOR):]) if name.startswith(ACTOR) else record.get(name) for name in names]
        if row != row_of([cell(value) for value in values] + [escaped(proof)]):
            raise Bad(f"the row of record {record.get('sequence')} is not what its proof says")
        yield proof.encode() + b"\n"


def events(file):
    """The lines that events carry."""
    for raw in file:
        event = json.loads(raw)
        if "raw_data" not in event:
            raise Bad("the events carry no proofs: export them with --proofs")
        record = json.loads(event["raw_data"]).get("record", {})
        metadata = event["metadata"]
        if (metadata.get("uid"), metadata.get("sequence")) != (record.get("id"), record.get("sequence")):
            raise Bad(f"the event of record {record.get('sequence')} is not of that record")
        yield event["raw_data"].encode() + b"\n"


def lines(file):
    """The lines of an export in whichever form."""
    begin = file.peek(16)[:16]
    if begin.startswith(b"sequence,"):
        return table(file)
    if begin.startswith(b"{") and not begin.startswith(b'{"type":"'):
        return events(file)
    return file


def carried(file):
    try:
        yield from lines(file)
    except (KeyError, ValueError, TypeError, AttributeError, csv.Error) as error:
        raise Bad(f"the file breaks off, or is no export: {error}") from error


def verify(file, key):
    part, records, hidden, removed, number = None, 0, 0, 0, 0
    for number, raw in enumerate(file, 1):
        try:
            if not raw.endswith(b"\n"):
                raise Bad("the file breaks off here")
            line = json.loads(raw)
            if line["type"] == "header":
                if part:
                    hidden, removed = hidden + part.hidden, removed + part.removed
                part = Part(key, line, part)
            elif part is None:
                raise Bad("the file does not begin with the header of an export")
            part.line(line, raw)
            records += line["type"] == "record"
        except (Bad, KeyError, ValueError, TypeError) as error:
            raise Bad(f"line {number}: {error}") from error
    if part is None or not part.ended:
        raise Bad(f"the file breaks off behind line {number}: it has no end")
    # A part may begin within a range, of which the whole is told: no more was removed than is not shown.
    return part, records, min(removed + part.removed, hidden + part.hidden)


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    key = Key(decoded(sys.argv[2]))
    try:
        with open(sys.argv[1], "rb") as file:
            part, records, removed = verify(carried(file), key)
    except Bad as error:
        print(f"not intact: {error}")
        sys.exit(1)
    print(f"intact: {records} records, under a checkpoint over {part.size}")
    if removed:
        print(f"removed by retention: {removed} records, of this and of other workspaces")


if __name__ == "__main__":
    main()
