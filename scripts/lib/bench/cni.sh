# shellcheck shell=bash
# CNI ADD and DEL beside Debian's bridge and host-local, on one host of a lab.

# bench_cni [--rounds N] [--parallel N] [--update-docs]
bench_cni() {
    local rounds=300 parallel=100 out='' commit=false failed=0
    while (($#)); do
        case $1 in
        --update-docs) commit=true ;;
        --rounds | --parallel)
            if (($# < 2)) || [[ ! $2 =~ ^[1-9][0-9]{0,3}$ ]]; then usage_error "$1 needs a number from 1 to 9999"; fi
            if [[ $1 == --rounds ]]; then rounds=$2; else parallel=$2; fi
            shift
            ;;
        *) usage_error "unknown argument $1; see scripts/bench --help" ;;
        esac
        shift
    done
    prepare_lab clean_up_cni
    build_weft
    local busy tag=benchcni
    busy=$(percent_busy)
    bench_lab "$tag" up 1
    bench_lab "$tag" launch 1 --ipalloc-init founder
    bench_lab "$tag" ready 1
    if awk "BEGIN { exit !($busy > 5) }"; then
        say "Others keep this machine ${busy%.*} % busy: these figures are noise."
    fi
    bench_lab "$tag" exec 1 python3 -B "$BENCH_SCRIPTS/lib/bench/cni.py" --bin-dir "$WEFT_BIN_DIR" \
        --socket "/run/weft-lab/$tag/h1/weft.sock" --prefix "weft-$tag-h1-p" --state "$BENCH_WORK/host-local" \
        --rounds "$rounds" --parallel "$parallel" --out "$BENCH_WORK/raw.json" || failed=$?
    [[ -s $BENCH_WORK/raw.json ]] || die "the measurement failed"
    if $commit; then out=$WEFT_REPO/docs/bench; else out=$(mktemp -d /tmp/weft-bench.XXXXXX); fi
    jq -n --slurpfile raw "$BENCH_WORK/raw.json" --arg date "$(date -u +%Y-%m-%dT%H:%MZ)" --argjson busy "$busy" \
        --arg cpu "$(awk -F ': ' '$1 ~ /^model name/ { print $2; exit }' /proc/cpuinfo)" \
        --argjson cores "$(nproc)" --arg kernel "$(uname -r)" --arg scheduling "$(chrt -p $$ | sed -n 's/.*policy: //p')" \
        --arg commit "$(git -C "$WEFT_REPO" describe --always --dirty 2>/dev/null || echo unknown)" \
        '{date: $date, cpu: $cpu, cores: $cores, kernel: $kernel, commit: $commit, busy: $busy, scheduling: $scheduling} + $raw[0]' >"$out/cni.json"
    # -B: no byte code is left in the tree.
    python3 -B "$BENCH_SCRIPTS/lib/bench/cni_page.py" "$out/cni.json" "$out/cni.md"
    cat "$out/cni.md"
    say
    say "Written to $out: cni.json cni.md"
    return "$failed"
}

clean_up_cni() {
    local status=$?
    trap - EXIT INT TERM
    bench_lab benchcni down || status=1
    rm -rf -- "$BENCH_WORK"
    exit "$status"
}
