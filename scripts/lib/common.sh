# shellcheck shell=bash
# What every script here shares: where things are, how to say things, how to wait.

WEFT_REPO=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.." && pwd)
export WEFT_REPO

say() { printf '%s\n' "$*"; }

die() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 1
}

usage_error() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 2
}

# heading TEXT: a title that stands out in a long output.
heading() { printf '\n== %s\n' "$*"; }

# wait_until SECONDS COMMAND...: polls until COMMAND succeeds, fails after SECONDS.
wait_until() {
    local deadline=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        if ((SECONDS >= deadline)); then return 1; fi
        sleep 0.05
    done
}

# target_dir: where cargo puts what it builds, whatever the environment says.
target_dir() {
    if [[ -n ${CARGO_TARGET_DIR:-} ]]; then
        # Relative to where cargo is started, which for these scripts is the root of the project.
        (cd "$WEFT_REPO" && realpath -m -- "$CARGO_TARGET_DIR")
    else
        (cd "$WEFT_REPO" && cargo metadata --format-version 1 --no-deps --offline 2>/dev/null |
            jq -er .target_directory) || printf '%s\n' "$WEFT_REPO/target"
    fi
}

# find_binaries: sets WEFT_BIN_DIR to the folder with `weft` and `weft-net`, unless it is set: the one built last.
find_binaries() {
    local target profile
    if [[ -z ${WEFT_BIN_DIR:-} ]]; then
        target=$(target_dir)
        for profile in release debug; do
            [[ -x $target/$profile/weft && -x $target/$profile/weft-net ]] || continue
            if [[ -z ${WEFT_BIN_DIR:-} || $target/$profile/weft -nt $WEFT_BIN_DIR/weft ]]; then WEFT_BIN_DIR=$target/$profile; fi
        done
    fi
    [[ -n ${WEFT_BIN_DIR:-} ]] ||
        die "no weft and weft-net found: run 'cargo build -p weft-router -p weft-cni-shim', or set WEFT_BIN_DIR"
    [[ -x $WEFT_BIN_DIR/weft && -x $WEFT_BIN_DIR/weft-net ]] || die "no weft or no weft-net in WEFT_BIN_DIR=$WEFT_BIN_DIR"
    export WEFT_BIN_DIR
}

# require_root PURPOSE
require_root() {
    [[ $(id -u) == 0 ]] || die "$1 needs root: run it with sudo"
}

# process_start PID: when a process started, in ticks; with the PID it names one process for ever.
process_start() {
    local stat
    stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
    # The second field is the command in parentheses and may contain spaces.
    stat=${stat##*) }
    # shellcheck disable=SC2086
    set -- $stat
    printf '%s\n' "${20}"
}

# remember_process FILE PID: writes down a process so that `our_process` can tell it from a later one.
remember_process() {
    printf '%s %s\n' "$2" "$(process_start "$2" || echo gone)" >"$1"
}

# our_process FILE: prints the PID written down in FILE if that very process still runs.
our_process() {
    local pid start
    [[ -r $1 ]] || return 1
    read -r pid start <"$1" || return 1
    [[ $(process_start "$pid") == "$start" ]] || return 1
    # A zombie is over: it only waits for its parent. But the main thread of a process that was
    # killed is one while its other threads still end, and its files close with the last of them.
    if [[ $(sed 's/.*) //' "/proc/$pid/stat" 2>/dev/null) == Z* ]]; then
        local threads=("/proc/$pid/task/"*)
        ((${#threads[@]} > 1)) || return 1
    fi
    printf '%s\n' "$pid"
}

# stop_process FILE [SIGNAL [SECONDS]]: ends a remembered process, by force after SECONDS.
stop_process() {
    local pid
    pid=$(our_process "$1") || { rm -f -- "$1"; return 0; }
    kill "-${2:-TERM}" "$pid" 2>/dev/null || true
    # shellcheck disable=SC2317
    is_gone() { ! our_process "$1"; }
    if ! wait_until "${3:-10}" is_gone "$1"; then
        kill -KILL "$pid" 2>/dev/null || true
        wait_until 5 is_gone "$1" || true
        rm -f -- "$1"
        return 1
    fi
    rm -f -- "$1"
}
