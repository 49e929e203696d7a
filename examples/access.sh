#!/usr/bin/env bash
# Access control in ten minutes, for whoever runs the vault: a workspace, a person who stores secrets, two agents, their
# keys, a token, a production credential for one of the agents, denials and how to read them, and how to stop it all.
# It needs bash, jq, curl, openssl and the `leasehold` command line.
#
#   leasehold dev                                        # prints the address and the administrator's key
#   LEASEHOLD_ADDR=http://127.0.0.1:8200 LEASEHOLD_KEY=lhk_… examples/access.sh
#
#   LEASEHOLD_ADDR  the vault's address; http://127.0.0.1:8200 where it is not set
#   LEASEHOLD_KEY   an API key of an owner or admin that reaches every workspace
#   WORKSPACE       the workspace to make; `payments` where it is not set. A second run needs another name
#
# Read it from top to bottom; each step says what to expect and fails where the vault does otherwise. Keys are written
# to files that nobody else may read and that go with the script. No key or value is an argument, and none is printed.
set -euo pipefail

fail() {
    printf 'access.sh: %s\n' "$1" >&2
    exit 1
}

[[ -n ${LEASEHOLD_KEY:-} ]] || fail 'LEASEHOLD_KEY is not set'
for program in jq curl openssl leasehold; do
    type -P "$program" >/dev/null || fail "\`$program\` is not installed"
done
: "${LEASEHOLD_ADDR:=http://127.0.0.1:8200}" "${WORKSPACE:=payments}"
export LEASEHOLD_ADDR
umask 077
keys=$(mktemp -d)
trap 'rm -rf "$keys"' EXIT

# as WHO COMMAND…: the command line with WHO's key.
as() {
    local who=$1
    shift
    LEASEHOLD_KEY=$(<"$keys/$who") leasehold "$@"
}

# refused CODE [WHO] COMMAND…: runs a command that must be refused so, and leaves the answer in $answer.
refused() {
    local code=$1
    shift
    if answer=$("$@" --json 2>/dev/null); then
        fail "was not refused: $*"
    fi
    [[ $(jq -r .code <<<"$answer") == "$code" ]] || fail "expected $code of $*, got: $answer"
}

# expect TEXT FOUND: the two are the same.
expect() {
    [[ $1 == "$2" ]] || fail "expected $1, got $2"
}

# verify FILE: the signature of the receipt in an answer holds. The public key is the vault's published one, not the one
# in the receipt: whoever forges a receipt would put a key of their own in it. Keep the published one from before.
verify() {
    jq -rj .data.receipt.statement "$1" >"$keys/statement"
    jq -r .data.receipt.signature "$1" | base64 -d >"$keys/signature"
    # An Ed25519 public key as openssl reads it: twelve bytes that say so, and the key.
    {
        printf '\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00'
        base64 -d <<<"$published"
    } >"$keys/public.der"
    openssl pkeyutl -verify -rawin -pubin -keyform DER -inkey "$keys/public.der" \
        -in "$keys/statement" -sigfile "$keys/signature" >/dev/null || fail 'the receipt is not signed by this vault'
}

published=$(curl -sSf --max-time 30 "$LEASEHOLD_ADDR/.well-known/leasehold-keys.json" |
    jq -r '.data.keys[] | select(.usage == "audit") | .public_key')

# 1. A workspace. Nothing in it is seen from another one, and its ceiling of 8 hours holds for every lease.
leasehold workspace create "$WORKSPACE" --description 'card payments' --max-lease-ttl 8h >/dev/null
export LEASEHOLD_WORKSPACE=$WORKSPACE
echo 'workspace made'

# 2. Who works there. The role is the most that an identity may ever do: an operator stores and rotates and takes no
# lease, an agent leases for itself.
leasehold identity create human/olga --role operator --label team=payments >/dev/null
leasehold identity create agent/deployer --role agent --description 'ships releases' >/dev/null
leasehold identity create agent/reviewer --role agent >/dev/null
echo 'identities made: human/olga, agent/deployer, agent/reviewer'

# 3. Keys. An identity does nothing without one. A key is a role, or scopes for less than the role: the deployer's takes
# leases and redeems them, and cannot renew. Each ends by itself; the deployer's may send 500 requests a minute.
leasehold api-key create laptop --identity olga --identity-type human --role operator --expires-in 90d \
    --output "$keys/olga" >/dev/null
deployer=$(leasehold api-key create deploy --identity deployer --scope lease:create --scope handle:redeem \
    --expires-in 30d --rate-limit starter --output "$keys/deployer" --json | jq -r .data.id)
reviewer=$(leasehold api-key create review --identity reviewer --role agent --expires-in 30d \
    --output "$keys/reviewer" --json | jq -r .data.id)
echo 'keys made, each shown once'

# A key never holds more than its identity's role, whoever makes it; the answer says what is too much.
refused INSUFFICIENT_PERMISSIONS leasehold api-key create too-much --identity deployer --scope lease:revoke
expect lease:revoke "$(jq -r .details.missing_scope <<<"$answer")"
echo 'a key over its role: refused'

# 4. A token: for a quarter of an hour, a stand-in for your own key that reads history and does nothing else.
leasehold token create --name report --expires-in 15m --scope audit:read --json >"$keys/made"
jq -rj .data.token "$keys/made" >"$keys/report"
as report audit --json >/dev/null
refused INSUFFICIENT_PERMISSIONS as report api-key list
expect key:read "$(jq -r .details.missing_scope <<<"$answer")"
leasehold token revoke "$(jq -r .data.jti "$keys/made")" >/dev/null
refused UNAUTHORIZED as report audit
echo 'token made, used and revoked'

# 5. Olga stores a production key. The named policy `production` brings short leases that say what they are for, and
# `allowed_identities` says who may hold one: here one agent; `agent/ci-*` would be all whose names begin so.
printf %s "$(openssl rand -hex 24)" | as olga credential create stripe-live --type api-key --extends production \
    --delivery reveal --allow-identity agent/deployer --metadata environment=production >/dev/null
echo 'credential stored: stripe-live'

# 6. The deployer leases it. It asks for four hours and gets the policy's one.
as deployer lease create stripe-live --ttl 4h --purpose 'release 42' --session release-42 --json >"$keys/lease"
expect '1h true' "$(jq -r '.data | "\(.ttl) \(.ttl_capped)"' "$keys/lease")"
jq -r .data.handle "$keys/lease" | as deployer redeem >"$keys/value"
expect 48 "$(wc -c <"$keys/value")"
echo 'leased and redeemed'

# 7. Denials. `code` says what kind it is, `details` what to change. POLICY_DENIED: a policy forbids it, here the
# credential's own list. INSUFFICIENT_PERMISSIONS: key or role lack a scope, which is named.
refused POLICY_DENIED as reviewer lease create stripe-live --purpose curiosity
expect credential:allowed_identities "$(jq -r .details.policy <<<"$answer")"
denied=$(jq -r .request_id <<<"$answer")
refused INSUFFICIENT_PERMISSIONS as olga lease create stripe-live --purpose curiosity
expect lease:create "$(jq -r .details.missing_scope <<<"$answer")"
refused INSUFFICIENT_PERMISSIONS as deployer lease renew "$(jq -r .data.id "$keys/lease")"
expect lease:renew "$(jq -r .details.missing_scope <<<"$answer")"
# Every denial is in history, under the request id that the caller was told.
leasehold audit --outcome refused --json >"$keys/history"
expect 'agent/reviewer POLICY_DENIED credential:allowed_identities' "$(jq -r --arg id "$denied" \
    '.data[] | select(.request_id == $id) | "\(.actor.type)/\(.actor.name) \(.code) \(.decided_by)"' "$keys/history")"
echo 'denied, with code, policy and scope, and kept in history'

# 8. What a key was used for, newest first: the renewal that was denied, and the scope that it lacked.
leasehold api-key usage "$deployer" --json >"$keys/usage"
expect 'POST /v1/leases/{id}/renew 403 lease:renew' \
    "$(jq -r '.data[0] | "\(.method) \(.path) \(.status) \(.missing_scope)"' "$keys/usage")"
# So it gets that scope, and renews with the same key.
leasehold api-key update "$deployer" --scope lease:create --scope lease:renew --scope handle:redeem >/dev/null
as deployer lease renew "$(jq -r .data.id "$keys/lease")" >/dev/null
echo 'usage read, scope added'

# 9. Rotation. For an hour both values work, so that nothing stops while the new one is handed out; without --grace the
# old one stops at once. An hour is far more than this script needs; `pause` takes the key out of use altogether.
cp "$keys/deployer" "$keys/old"
leasehold api-key rotate "$deployer" --grace 1h --output "$keys/deployer" --force >/dev/null
for value in old deployer; do
    as "$value" status --json | jq -e --arg id "$deployer" '.whoami.data.key.id == $id' >/dev/null ||
        fail "the $value value does not work"
done
leasehold api-key pause "$reviewer" >/dev/null
refused KEY_PAUSED as reviewer lease list
leasehold api-key resume "$reviewer" >/dev/null
echo 'key rotated with a grace, another paused and resumed'

# 10. Something is wrong with the deployer. When this is answered its keys are stopped and its leases revoked, and the
# answer holds a signed receipt: who stopped whom, when, why, and how much that was.
leasehold identity suspend agent/deployer --reason 'its log was posted' --json >"$keys/suspended"
expect 1 "$(jq .data.revoked_leases "$keys/suspended")"
verify "$keys/suspended"
expect identity/agent/deployer "$(jq -r .target "$keys/statement")"
for value in old deployer; do
    refused IDENTITY_SUSPENDED as "$value" lease list
done
echo 'agent suspended, receipt verified'

# What the agent has read stays valid at the provider: that value is replaced there, and here.
printf %s "$(openssl rand -hex 24)" | as olga credential rotate stripe-live >/dev/null
leasehold identity resume agent/deployer >/dev/null
as deployer lease create stripe-live --purpose 'release 43' --json >/dev/null
echo 'credential rotated, agent resumed'

# 11. The last resort: all leases of the workspace, and all keys and tokens but the one that asks, for good. Identities
# and credentials stay, and keys that are made from now on work.
leasehold workspace revoke-all "$WORKSPACE" --reason 'laptop stolen' --json >"$keys/stopped"
expect 1 "$(jq .data.revoked_leases "$keys/stopped")"
expect 3 "$(jq .data.stopped_keys "$keys/stopped")"
verify "$keys/stopped"
for who in olga deployer reviewer; do
    refused UNAUTHORIZED as "$who" lease list
done
leasehold api-key create laptop-2 --identity olga --identity-type human --role operator --expires-in 90d \
    --output "$keys/olga" --force >/dev/null
as olga credential list >/dev/null
echo 'workspace stopped, receipt verified, a new key works'
