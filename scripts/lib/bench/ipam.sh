# shellcheck shell=bash
# What an address costs, on the disk and in the ring.

# bench_ipam [--seconds N] [--dir D] [--update-docs]
bench_ipam() {
    local seconds=3 dir='' out='' commit=false
    while (($#)); do
        case $1 in
        --update-docs) commit=true ;;
        --seconds | --dir)
            (($# >= 2)) || usage_error "$1 needs a value"
            if [[ $1 == --dir ]]; then dir=$2; else seconds=$2; fi
            shift
            ;;
        *) usage_error "unknown argument $1; see scripts/bench --help" ;;
        esac
        shift
    done
    [[ $seconds =~ ^[1-9][0-9]?$ ]] || usage_error "--seconds: a number from 1 to 99, not '$seconds'"
    if [[ -n $dir && ! -d $dir ]]; then usage_error "--dir: no such directory: $dir"; fi
    command -v python3 >/dev/null || die "no python3 to write the report with: apt-get install python3"
    command -v cargo >/dev/null || die "cargo is not in the PATH: install Rust"
    BENCH_WORK=$(mktemp -d -p "${dir:-${TMPDIR:-/tmp}}" weft-bench-ipam.XXXXXX)
    trap 'rm -rf -- "$BENCH_WORK"' EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    say "Building the benchmark"
    (cd "$WEFT_REPO" && cargo bench --locked --quiet -p weft-router --bench ipam --no-run)
    (cd "$WEFT_REPO" && cargo bench --locked --quiet -p weft-router --bench ipam -- "$BENCH_WORK" "$seconds") >"$BENCH_WORK/raw.json"
    if $commit; then out=$WEFT_REPO/docs/bench; else out=$(mktemp -d /tmp/weft-bench.XXXXXX); fi
    jq -n --slurpfile raw "$BENCH_WORK/raw.json" --arg date "$(date -u +%Y-%m-%dT%H:%MZ)" \
        --arg cpu "$(awk -F ': ' '$1 ~ /^model name/ { print $2; exit }' /proc/cpuinfo)" \
        --arg disk "$(stat -f -c %T -- "$BENCH_WORK")" --argjson cores "$(nproc)" --arg kernel "$(uname -r)" \
        --arg commit "$(git -C "$WEFT_REPO" describe --always --dirty 2>/dev/null || echo unknown)" \
        '{date: $date, cpu: $cpu, cores: $cores, kernel: $kernel, disk: $disk, commit: $commit} + $raw[0]' >"$out/ipam.json"
    # -B: no byte code is left in the tree.
    python3 -B "$BENCH_SCRIPTS/lib/bench/ipam.py" "$out/ipam.json" "$out/ipam.md"
    cat "$out/ipam.md"
    say
    say "Written to $out: ipam.json ipam.md"
}
