#!/usr/bin/env bash
# An agent in shell: leases a credential, redeems it, calls an upstream with it, renews the lease and gives it back.
# It needs bash, curl and sed.
#
#   LEASEHOLD_KEY=lhk_… CREDENTIAL=sample-api-key UPSTREAM=http://127.0.0.1:9000/ examples/agent.sh
#
#   LEASEHOLD_ADDR  the vault's address; http://127.0.0.1:8200 where it is not set
#   LEASEHOLD_KEY   the agent's API key
#   CREDENTIAL      the credential to lease; its policy must allow `reveal`
#   UPSTREAM        the URL to call with `Authorization: Bearer <value>`
#
# What to take from it:
# - Key, handle and value never are arguments of a command, so they are in no process list: curl reads them from
#   pipes that the shell's own printf fills. They are never printed.
# - The lease is released however the script ends; a trap sees to that.
# - curl does not follow redirects unless told to, so the value goes to UPSTREAM and nowhere else.
# sed is no JSON parser: the patterns below fit the vault's answers as they are, and a value that JSON has to escape
# is refused. Take jq, or the Python example, for anything longer than this.
set -euo pipefail

fail() {
    printf 'agent.sh: %s\n' "$1" >&2
    exit 1
}

: "${LEASEHOLD_ADDR:=http://127.0.0.1:8200}"
[[ -n ${LEASEHOLD_KEY:-} ]] || fail 'LEASEHOLD_KEY is not set'
[[ -n ${CREDENTIAL:-} ]] || fail 'CREDENTIAL is not set'
[[ -n ${UPSTREAM:-} ]] || fail 'UPSTREAM is not set'
# A credential's name needs no escaping in JSON; anything else is not a name.
[[ $CREDENTIAL =~ ^[a-z0-9][a-z0-9._-]*$ ]] || fail 'CREDENTIAL is not the name of a credential'

# post PATH BODY: what the vault answers, or the end of the script with its message.
post() {
    local answer status
    answer=$(curl -sS --max-time 30 -X POST "$LEASEHOLD_ADDR$1" -w '\n%{http_code}' \
        -H @<(printf 'Authorization: Bearer %s\n' "$LEASEHOLD_KEY") \
        -H 'Content-Type: application/json' --data-binary @<(printf '%s' "$2")) ||
        fail "the vault at $LEASEHOLD_ADDR did not answer"
    status=${answer##*$'\n'}
    answer=${answer%$'\n'*}
    # An error's message holds no secret.
    [[ $status == 2?? ]] ||
        fail "the vault refused $1: $status $(sed -n 's/.*"code":"\([A-Z_]*\)","message":"\([^"]*\).*/\1: \2/p' <<<"$answer")"
    printf '%s' "$answer"
}

lease=
release() {
    local id=$lease
    lease=
    [[ -z $id ]] || post "/v1/leases/$id/release" '{}' >/dev/null
}
trap release EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

answer=$(post /v1/leases "{\"credential_name\":\"$CREDENTIAL\",\"ttl\":\"5m\",\"delivery\":\"reveal\",\"purpose\":\"the shell example\"}")
lease=$(sed -n 's/.*"data":{"id":"\(lse_[0-9a-f]*\)".*/\1/p' <<<"$answer")
[[ -n $lease ]] || fail 'the answer names no lease'
handle=$(sed -n 's/.*"handle":"\(lhh_[0-9A-Za-z]*\)".*/\1/p' <<<"$answer")

answer=$(post /v1/handles/redeem "{\"handle\":\"$handle\"}")
value=$(sed -n 's/.*"version":[0-9]*,"value":"\([^"\\]*\)".*/\1/p' <<<"$answer")
unset answer handle
[[ -n $value ]] || fail 'the value is not one that sed can read out of JSON'

status=$(curl -sS --max-time 30 -o /dev/null -w '%{http_code}' "$UPSTREAM" \
    -H @<(printf 'Authorization: Bearer %s\n' "$value")) || fail "the upstream did not answer"
unset value
[[ $status == 2?? ]] || fail "upstream said $status"

# Work that takes longer than the TTL renews in time: here once, to show it.
post "/v1/leases/$lease/renew" '{"ttl":"5m"}' >/dev/null
release
echo "upstream said $status, lease released"
