# shellcheck shell=bash
# Debian packages this project needs, and a function that installs those which are missing. To be sourced.

# What a build and a mount take. (cmocka, because configuring looks at the tests, too.)
# shellcheck disable=SC2034 # for whoever sources this
packages_build=(gcc libc6-dev meson ninja-build pkg-config libfuse3-dev fuse3 libxxhash-dev libzstd-dev libjansson-dev
    libsystemd-dev libcmocka-dev)
# What the tests take besides.
# shellcheck disable=SC2034
packages_test=(python3 python3-pytest clang-format clang-tidy cppcheck shellcheck mandoc valgrind attr
    e2fsprogs inotify-tools rsync less vim-tiny strace gnuplot-nox jq pv file procps util-linux acl bsdextrautils xz-utils
    zstd faketime)

# packages_progress LOG: apt-get's lines go to LOG, its progress to a terminal.
packages_progress() {
    local line kind percent
    while IFS= read -r line; do
        IFS=: read -r kind _ percent _ <<<"$line"
        case $kind in
        pmstatus | dlstatus) [[ ! -t 2 ]] || printf '\r\033[K%s packages: %d %% ...' \
            "$([[ $kind == dlstatus ]] && echo fetching || echo installing)" "${percent%.*}" >&2 ;;
        *) printf '%s\n' "$line" >>"$1" ;;
        esac
    done
    [[ ! -t 2 ]] || printf '\r\033[K' >&2
}

# packages_install PROGRAM NAME...: installs what is missing, as root or by sudo. 1 when it could not; it has said
# why, in the name of PROGRAM.
packages_install() {
    local program=$1 missing=() as_root=() package
    shift
    if ! command -v dpkg-query >/dev/null; then
        echo "$program: this is not Debian; needed are what Debian calls: $*" >&2
        return 1
    fi
    for package; do
        [[ $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) == installed ]] || missing+=("$package")
    done
    ((${#missing[@]})) || return 0
    if ((EUID != 0)); then
        as_root=(sudo)
        [[ -t 0 ]] || as_root=(sudo -n)
        if ! command -v sudo >/dev/null || ! "${as_root[@]}" true 2>/dev/null; then
            echo "$program: packages are missing and there is neither root nor sudo; have somebody run:" >&2
            echo "    apt-get install ${missing[*]}" >&2
            return 1
        fi
    fi
    local log status
    log=$(mktemp) || return 1
    [[ -t 2 ]] && printf '\r\033[K' >&2
    echo "installing ${missing[*]}" >&2
    # A machine's package lists may be old or, in a fresh container, absent. Progress goes to standard output, because
    # sudo closes all that is beyond standard error.
    { "${as_root[@]}" apt-get -q update && "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get -q install -y --no-install-recommends -o APT::Status-Fd=1 "${missing[@]}"; } </dev/null 2>&1 |
        packages_progress "$log"
    status=$((PIPESTATUS[0] != 0))
    ((status)) && tail -n 20 "$log" >&2 && echo "$program: apt-get could not install ${missing[*]}" >&2
    rm -f "$log"
    return $status
}
