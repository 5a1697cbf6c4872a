# shellcheck shell=bash
# The daemons of a lab.

# lab_secret: the file with the lab's cluster secret, made on first use. Launches may run side by side: a link is made
# by one of them only.
lab_secret() {
    local file fresh
    file=$(lab_dir)/secret
    if [[ ! -e $file ]]; then
        fresh=$(mktemp "$file.XXXXXX")
        "$WEFT_BIN_DIR/weft" secret new >"$fresh"
        ln -- "$fresh" "$file" 2>/dev/null || true
        rm -f -- "$fresh"
    fi
    printf '%s\n' "$file"
}

# has_flag FLAG ARGS...
has_flag() {
    local flag=$1 argument
    shift
    for argument in "$@"; do
        [[ $argument == "$flag" || $argument == "$flag="* ]] && return 0
    done
    return 1
}

# launch_arguments I ARGS...: sets LAUNCH to the arguments of `weft launch` on host I. What ARGS gives is not given
# twice; hN as a whole argument stands for the address of that host.
launch_arguments() {
    local host=$1 dir argument
    shift
    dir=$(host_dir "$host")
    LAUNCH=()
    has_flag --config "$@" || LAUNCH+=(--config "$dir/weft.toml")
    has_flag --nickname "$@" || LAUNCH+=(--nickname "h$host")
    has_flag --data-dir "$@" || LAUNCH+=(--data-dir "$dir/data")
    has_flag --socket "$@" || LAUNCH+=(--socket "$dir/weft.sock")
    has_flag --status-addr "$@" || LAUNCH+=(--status-addr 127.0.0.1:6782)
    if [[ -z ${WEFT_SECRET:-} ]]; then
        has_flag --secret-file "$@" || LAUNCH+=(--secret-file "$(lab_secret)")
    fi
    for argument in "$@"; do
        if [[ $argument =~ ^h([0-9]+)$ ]]; then argument=$(host_address "${BASH_REMATCH[1]}"); fi
        LAUNCH+=("$argument")
    done
}

# lab_run I ARGS...: `weft launch` on host I in the foreground; its output and its exit code are the result.
lab_run() {
    local host=$1
    shift
    find_binaries
    launch_arguments "$host" "$@"
    on_host "$host" "$WEFT_BIN_DIR/weft" launch "${LAUNCH[@]}"
}

# lab_launch I ARGS...: in the background, until its socket answers. Prints the end of its log if it dies before.
lab_launch() {
    local host=$1 dir pid status=0
    shift
    dir=$(host_dir "$host")
    find_binaries
    ! our_process "$dir/weft.pid" >/dev/null || die "weft runs on host $host already"
    launch_arguments "$host" "$@"
    printf '%s\n' "-- weft launch ${LAUNCH[*]}" >>"$dir/log"
    WEFT_SOCKET=$dir/weft.sock setsid nsenter --net="/run/netns/$(host_ns "$host")" -- \
        "$WEFT_BIN_DIR/weft" launch "${LAUNCH[@]}" </dev/null >>"$dir/log" 2>&1 &
    pid=$!
    remember_process "$dir/weft.pid" "$pid"
    # shellcheck disable=SC2317
    answers_or_died() { on_host "$1" "$WEFT_BIN_DIR/weft" status || ! kill -0 "$2"; }
    if wait_until "${WEFT_LAB_LAUNCH_SECONDS:-20}" answers_or_died "$host" "$pid" && kill -0 "$pid" 2>/dev/null; then
        return 0
    fi
    if kill -0 "$pid" 2>/dev/null; then
        stop_process "$dir/weft.pid" KILL 5 || true
        status=1
        printf 'weft on host %s does not answer; the end of its log:\n' "$host" >&2
    else
        wait "$pid" || status=$?
        rm -f -- "$dir/weft.pid"
        printf 'weft on host %s ended with exit code %s; the end of its log:\n' "$host" "$status" >&2
    fi
    tail -n "${WEFT_LAB_LOG_LINES:-20}" "$dir/log" >&2
    ((status != 0)) || status=1
    return "$status"
}

is_ready() {
    on_host "$1" curl -fsS --max-time 2 http://127.0.0.1:6782/readyz
}

# lab_ready SECONDS I...: waits until each host can serve Pods.
lab_ready() {
    local seconds=$1 host
    shift
    for host in "$@"; do
        if ! wait_until "$seconds" is_ready "$host"; then
            printf 'weft on host %s is not ready after %s s; the end of its log:\n' "$host" "$seconds" >&2
            tail -n "${WEFT_LAB_LOG_LINES:-20}" "$(host_dir "$host")/log" >&2
            return 1
        fi
    done
}

# lab_weft I ARGS...: the command line against the daemon of host I.
lab_weft() {
    local host=$1
    shift
    find_binaries
    on_host "$host" "$WEFT_BIN_DIR/weft" "$@"
}

# lab_kill I [SIGNAL]
lab_kill() {
    local file signal=${2:-TERM}
    file=$(host_dir "$1")/weft.pid
    our_process "$file" >/dev/null || die "no weft runs on host $1"
    stop_process "$file" "${signal#-}" 15 || die "weft on host $1 had to be killed: it did not end by itself within 15 s"
}
