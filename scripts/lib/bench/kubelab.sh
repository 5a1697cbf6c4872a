# shellcheck shell=bash
# What the benches on the Kubernetes lab share.

bench_kube() { "$BENCH_SCRIPTS/kube-lab" "$@"; }

# bench_kube_begin: what each of them needs before it starts. A lab that stands is somebody's.
bench_kube_begin() {
    require_root "the bench (it starts a Kubernetes of its own)"
    command -v python3 >/dev/null || die "no python3 to make traffic and reports with: apt-get install python3"
    install_tools
    [[ ! -e $BENCH_KUBE_DIR ]] || die "the Kubernetes lab is up: scripts/kube-lab down"
    BENCH_WORK=$(mktemp -d)
    trap clean_up_kube EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
}

# bench_kube_up [ARGUMENT...]: the lab, with the programs that are measured.
bench_kube_up() {
    heading "Starting the lab"
    bench_kube up "$@" >"$BENCH_WORK/up.log" 2>&1 || { tail -n 20 "$BENCH_WORK/up.log" >&2 && die "the lab does not come up"; }
}

# bench_kube_page NAME COMMIT BUSY: NAME.json and NAME.md, of $BENCH_WORK/figures.json, into docs/bench if COMMIT is true.
bench_kube_page() {
    local name=$1 out failed=0
    if $2; then out=$WEFT_REPO/docs/bench; else out=$(mktemp -d /tmp/weft-bench.XXXXXX); fi
    jq -n --slurpfile figures "$BENCH_WORK/figures.json" --arg date "$(date -u +%Y-%m-%dT%H:%MZ)" --argjson busy "$3" \
        --arg cpu "$(awk -F ': ' '$1 ~ /^model name/ { print $2; exit }' /proc/cpuinfo)" \
        --argjson cores "$(nproc)" --arg kernel "$(uname -r)" \
        --arg kubernetes "$(sed -n 's/^readonly KUBE_VERSION=//p' "$BENCH_SCRIPTS/lib/kube/build.sh")" \
        --arg commit "$(git -C "$WEFT_REPO" describe --always --dirty 2>/dev/null || echo unknown)" \
        '{date: $date, cpu: $cpu, cores: $cores, kernel: $kernel, kubernetes: $kubernetes, commit: $commit, busy: $busy} + $figures[0]' >"$out/$name.json"
    # -B: no byte code is left in the tree.
    python3 -B "$BENCH_SCRIPTS/lib/bench/$name.py" "$out/$name.json" "$out/$name.md" || failed=1
    cat "$out/$name.md"
    say
    say "Written to $out: $name.json $name.md"
    return "$failed"
}

clean_up_kube() {
    local status=$?
    trap - EXIT INT TERM
    bench_kube down || status=1
    rm -rf -- "$BENCH_WORK"
    exit "$status"
}

readonly BENCH_KUBE_DIR=/var/tmp/weft-kube
