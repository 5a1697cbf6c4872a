# shellcheck shell=bash
# Where the processors' time goes while packets pass between two Pods: samples of the whole machine, by timer.

readonly PROFILE_TAG=benchprofile PROFILE_SECONDS=5

# bench_profile [--update-docs]
bench_profile() {
    local commit=false target load
    while (($#)); do
        case $1 in
        --update-docs) commit=true ;;
        *) usage_error "unknown argument $1; see scripts/bench --help" ;;
        esac
        shift
    done
    prepare_lab clean_up_profile
    command -v perf >/dev/null || DEBIAN_FRONTEND=noninteractive apt-get install -yq --no-install-recommends linux-perf >/dev/null ||
        die "perf is not there and could not be installed: apt-get install linux-perf"
    build_weft
    busy=$(percent_busy)
    bench_lab "$PROFILE_TAG" up 2
    bench_lab "$PROFILE_TAG" launch 1 --ipalloc-init founder
    bench_lab "$PROFILE_TAG" launch 2 h1
    bench_lab "$PROFILE_TAG" ready 1 2
    bench_lab "$PROFILE_TAG" pod 1 a >/dev/null
    target=$(bench_lab "$PROFILE_TAG" pod 2 a)
    load_policies "$PROFILE_TAG" "$TABLE_POLICIES"
    wait_until 20 bench_lab "$PROFILE_TAG" podexec 1 a ping -c 1 -W 1 "$target" || die "the two Pods do not reach each other"
    for load in tcp udp64 paced ping; do
        say "  $load"
        profile_one "$load" "$target"
    done
    profile_report "$commit"
}

# profile_one LOAD TARGET: samples while it runs; perf's own summaries by thread and by symbol go to the work folder.
profile_one() {
    local load=$1 target=$2 by client=() pids=()
    case $load in
    tcp) client=(iperf3 -c "$target" -t $((PROFILE_SECONDS + 2))) ;;
    udp64) client=(iperf3 -c "$target" -t $((PROFILE_SECONDS + 2)) -u -l 64 -b 0) ;;
    paced) client=(iperf3 -c "$target" -t $((PROFILE_SECONDS + 2)) -u -l 64 -b 20480k) ;;
    # Sparse enough that ping sleeps between two instead of spinning.
    ping) client=(ping -q -n -i 0.02 -c $((50 * (PROFILE_SECONDS + 1))) "$target") ;;
    esac
    if [[ $load != ping ]]; then
        bench_lab "$PROFILE_TAG" podexec 2 a iperf3 -s -1 >/dev/null &
        pids+=("$!")
        wait_until 5 profile_listens || die "iperf3 does not listen"
    fi
    bench_lab "$PROFILE_TAG" podexec 1 a "${client[@]}" >"$BENCH_WORK/$load.said" &
    pids+=("$!")
    # Beyond the start of the connection.
    sleep 1
    perf record --quiet --event cpu-clock --freq 2000 --all-cpus --output "$BENCH_WORK/perf.data" -- sleep "$PROFILE_SECONDS" 2>/dev/null ||
        die "perf cannot take samples here"
    wait "${pids[@]}"
    for by in comm symbol; do
        perf report --input "$BENCH_WORK/perf.data" --no-children --sort "$by" --field-separator '|' 2>/dev/null |
            grep -v '^#' | grep '|' >"$BENCH_WORK/$load.$by"
    done
}

profile_listens() { [[ -n $(bench_lab "$PROFILE_TAG" podexec 2 a ss -Hltn 'sport = :5201') ]]; }

# profile_report COMMIT: profile.json and profile.md, into docs/bench if COMMIT is true.
profile_report() {
    local out
    if $1; then out=$WEFT_REPO/docs/bench; else out=$(mktemp -d /tmp/weft-bench.XXXXXX); fi
    jq -n --arg date "$(date -u +%Y-%m-%dT%H:%MZ)" \
        --arg cpu "$(awk -F ': ' '$1 ~ /^model name/ { print $2; exit }' /proc/cpuinfo)" --argjson cores "$(nproc)" \
        --arg kernel "$(uname -r)" --argjson busy "$busy" --argjson seconds "$PROFILE_SECONDS" \
        --arg commit "$(git -C "$WEFT_REPO" describe --always --dirty 2>/dev/null || echo unknown)" \
        '{date: $date, cpu: $cpu, cores: $cores, kernel: $kernel, commit: $commit, busy_before_percent: $busy, seconds: $seconds}' \
        >"$BENCH_WORK/head.json"
    python3 -B "$BENCH_SCRIPTS/lib/bench/profile.py" "$BENCH_WORK" >"$out/profile.json"
    python3 -B "$BENCH_SCRIPTS/lib/bench/profile_page.py" "$out/profile.json" "$out/profile.md"
    cat "$out/profile.md"
    say "Written to $out: profile.json profile.md"
}

clean_up_profile() {
    local status=$?
    trap - EXIT INT TERM
    bench_lab "$PROFILE_TAG" down || status=1
    rm -rf -- "$BENCH_WORK"
    exit "$status"
}
