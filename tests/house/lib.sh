# shellcheck shell=bash
# What the tests of README and quickstart share: a home directory of their own, unmounted and removed at the end.
# To be sourced; uses $TOPICFS_BUILD.
set -u -o pipefail

checkout=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
TOPICFS_BUILD=${TOPICFS_BUILD:-$checkout/build}
HOME=$(mktemp -d /var/tmp/topicfs-house-XXXXXX) || exit 1
export HOME TOPICFS_BUILD
unset XDG_DATA_HOME TOPICFS_STORE
export status=0

clean_up() {
    local mountpoint
    cd / || return
    findmnt -rn -o TARGET | grep -F "$HOME/" | while IFS= read -r mountpoint; do
        fusermount3 -u "$mountpoint" 2>/dev/null || fusermount3 -uz "$mountpoint"
    done
    # A daemon writes its checkpoint after the unmount has returned.
    local deadline=$((SECONDS + 20))
    until rm -rf "$HOME" 2>/dev/null || ((SECONDS > deadline)); do
        sleep 0.1
    done
}
trap clean_up EXIT

# check WHAT COMMAND...: the command must succeed.
check() {
    local what=$1
    shift
    if "$@"; then
        echo "ok: $what"
    else
        echo "FAILED: $what"
        status=1
    fi
}

# until_true WHAT COMMAND...: the command must succeed within ten seconds.
until_true() {
    local what=$1 deadline=$((SECONDS + 10))
    shift
    while ! "$@"; do
        if ((SECONDS > deadline)); then
            echo "FAILED: $what: not within ten seconds"
            status=1
            return 1
        fi
        sleep 0.05
    done
    echo "ok: $what"
}
