#!/usr/bin/env bash
# The worst day: a key leaked. Who could have used it, how is that ended, and how is it proven to somebody else? A walk
# for whoever answers for the secrets. It needs bash, jq, curl, openssl and the `leasehold` command line.
#
#   leasehold dev                                        # prints the address and the administrator's key
#   LEASEHOLD_ADDR=http://127.0.0.1:8200 LEASEHOLD_KEY=lhk_… examples/exposure.sh
#
#   LEASEHOLD_ADDR  the vault's address; http://127.0.0.1:8200 where it is not set
#   LEASEHOLD_KEY   an API key of an owner or admin that reaches every workspace
#   WORKSPACE       the workspace to make; `incident` where it is not set. A second run needs another name
#
# Read it from top to bottom; each step says what to expect and fails where the vault does otherwise. Keys are written
# to files that nobody else may read and that go with the script. No key or value is an argument, and none is printed.
set -euo pipefail

fail() {
    printf 'exposure.sh: %s\n' "$1" >&2
    exit 1
}

[[ -n ${LEASEHOLD_KEY:-} ]] || fail 'LEASEHOLD_KEY is not set'
for program in jq curl openssl leasehold; do
    type -P "$program" >/dev/null || fail "\`$program\` is not installed"
done
: "${LEASEHOLD_ADDR:=http://127.0.0.1:8200}" "${WORKSPACE:=incident}"
export LEASEHOLD_ADDR
umask 077
files=$(mktemp -d)
trap 'rm -rf "$files"' EXIT

# as WHO COMMAND…: the command line with WHO's key.
as() {
    local who=$1
    shift
    LEASEHOLD_KEY=$(<"$files/$who") leasehold "$@"
}

# expect TEXT FOUND: the two are the same.
expect() {
    [[ $1 == "$2" ]] || fail "expected $1, got $2"
}

value() {
    openssl rand -hex 24 | tr -d '\n'
}

# The vault's public key, kept from before: a report that somebody forges would bring a key of their own.
curl -sSf --max-time 30 "$LEASEHOLD_ADDR/.well-known/leasehold-keys.json" >"$files/vault-keys.json"

# Before: two agents and a key that both use. `rotate_after_reveal` says that a value which was read is due for rotation
# once that lease is over.
leasehold workspace create "$WORKSPACE" >/dev/null
export LEASEHOLD_WORKSPACE=$WORKSPACE
for agent in deployer reviewer; do
    leasehold identity create "agent/$agent" --role agent >/dev/null
    leasehold api-key create work --identity "$agent" --role agent --expires-in 30d --output "$files/$agent" >/dev/null
done
value | leasehold credential create stripe-live --type api-key --rotate-after-reveal true >/dev/null
# A canary looks like any other credential. Nobody has a reason to touch it: whoever does raises the alarm and is stopped.
value | leasehold credential create aws-root --type api-key --canary --canary-suspends true >/dev/null
echo 'before: two agents, a key, a canary'

# A day's work. The deployer reads the value and gives the lease back; the reviewer's lease stays open; the key is
# rotated in between, and the deployer comes again.
as deployer lease create stripe-live --ttl 1h --purpose 'release 42' --session release-42 --json >"$files/first"
jq -r .data.handle "$files/first" | as deployer redeem >"$files/value"
as reviewer lease create stripe-live --ttl 1h --purpose 'check the | invoices' --session review-7 --reveal --json >"$files/second"
value | leasehold credential rotate stripe-live --on-open-leases drain >/dev/null
as deployer lease release "$(jq -r .data.id "$files/first")" >/dev/null
as deployer lease create stripe-live --ttl 1h --purpose 'release 43' --session release-43 --json >"$files/third"
echo 'a day of work: three leases, one rotation'

# 1. "Version 1 leaked." Who held it, who read it, what is open still? The page is for people.
leasehold report exposure --credential stripe-live --version 1 >"$files/report.md"
grep -q '^# Exposure report$' "$files/report.md"
grep -q 'Tainted: stripe-live version 1' "$files/report.md"
leasehold report exposure --credential stripe-live --version 1 --json >"$files/report.json"
expect '2 agents, 2 leases, 1 open, 2 revealed' "$(jq -r '.data.summary |
    "\(.agents) agents, \(.leases) leases, \(.open_leases) open, \(.revealing_leases) revealed"' "$files/report.json")"
jq -r '.data.leases[] | "  \(.holder.name) for “\(.purpose)” in \(.session_id): \(.handed), \(.state)"' "$files/report.json"

# By time as well: a lease counts that was open at any moment from --from to --to. When the second lease was taken, the
# first was open; a moment before the first nobody held anything.
taken=$(jq -r .data.issued_at "$files/first")
leasehold report exposure --credential stripe-live --to "$taken" --json >"$files/earlier.json"
expect 0 "$(jq .data.summary.leases "$files/earlier.json")"

# 2. Evidence: the same signed, for somebody who has the vault's public key and nothing else.
leasehold report exposure --credential stripe-live --version 1 --signed >"$files/signed.json"
leasehold report verify "$files/signed.json" --public-key "$files/vault-keys.json" >/dev/null
# With openssl alone: the bytes of the statement, the signature, the key.
jq -rj .statement "$files/signed.json" >"$files/statement"
jq -r .signature "$files/signed.json" | base64 -d >"$files/signature"
{
    printf '\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00'
    jq -r '.data.keys[] | select(.usage == "audit") | .public_key' "$files/vault-keys.json" | base64 -d
} >"$files/public.der"
openssl pkeyutl -verify -rawin -pubin -keyform DER -inkey "$files/public.der" \
    -in "$files/statement" -sigfile "$files/signature" >/dev/null || fail 'the report is not signed by this vault'
# One changed byte, and it no longer holds.
jq -c '.statement |= sub("reviewer"; "somebody")' "$files/signed.json" >"$files/forged.json"
if leasehold report verify "$files/forged.json" --public-key "$files/vault-keys.json" >/dev/null 2>&1; then
    fail 'a forged report was taken for a true one'
fi
echo 'report signed, verified with openssl, a forgery noticed'

# 3. End it: the report says how, as a command and as a request.
jq -r '.data.actions[].command' "$files/report.json" >"$files/commands"
while read -r command; do
    bash -c "$command" >/dev/null </dev/null
    printf '  %s\n' "$command"
done <"$files/commands"
leasehold report exposure --credential stripe-live --version 1 --json >"$files/after.json"
expect 'open: 0, to do: 0' "$(jq -r '.data | "open: \(.summary.open_leases), to do: \(.actions | length)"' "$files/after.json")"
expect revoked "$(leasehold credential versions stripe-live --json | jq -r '.data[1].state')"
echo 'ended: nothing of version 1 is open'

# 4. What else? The deployer reads version 2 and gives it back: due for rotation from then on.
jq -r .data.handle "$files/third" | as deployer redeem >"$files/value"
as deployer lease release "$(jq -r .data.id "$files/third")" >/dev/null
expect 'stripe-live revealed' "$(leasehold report rotation-due --json | jq -r '.data[] | "\(.name) \(.reasons[0].why)"')"
value | leasehold credential rotate stripe-live >/dev/null
expect '' "$(leasehold report rotation-due --json | jq -r '.data[].name')"
echo 'what was read is rotated'

# 5. The thief comes back with the reviewer's key and finds something better. It gets an answer that looks real, and is
# suspended before that; the alarm is in history, in the metrics and in the log.
as reviewer lease create aws-root --json >"$files/bait"
expect active "$(jq -r .data.state "$files/bait")"
if as reviewer lease list >/dev/null 2>&1; then
    fail 'the reviewer is not suspended'
fi
expect 'high agent/reviewer' "$(leasehold audit --event canary.touched --json |
    jq -r '.data[] | "\(.severity) \(.actor.type)/\(.actor.name)"')"
leasehold report exposure --identity agent/reviewer --json >"$files/reviewer.json"
expect '2 leases, 0 open, 1 alarm' "$(jq -r '.data.summary |
    "\(.leases) leases, \(.open_leases) open, \(.canary_alarms) alarm"' "$files/reviewer.json")"
echo 'canary touched: the reviewer is stopped'
