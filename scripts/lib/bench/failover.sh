# shellcheck shell=bash
# How long traffic stands still when a node dies: each of five is killed in turn.

readonly FAILOVER_TAG=benchfailover FAILOVER_HOSTS=5

# bench_failover [--shape mesh|ring]... [--limit SECONDS] [--update-docs]
bench_failover() {
    local shapes=() limit=3 shape worst=0 failed=false commit=false
    while (($#)); do
        case $1 in
        --update-docs) commit=true ;;
        --shape | --limit)
            (($# >= 2)) || usage_error "$1 needs a value"
            if [[ $1 == --shape ]]; then
                [[ $2 == mesh || $2 == ring ]] || usage_error "--shape: mesh or ring"
                shapes+=("$2")
            else
                [[ $2 =~ ^[0-9]+(\.[0-9]+)?$ ]] || usage_error "--limit: a number of seconds"
                limit=$2
            fi
            shift
            ;;
        *) usage_error "unknown argument $1; see scripts/bench --help" ;;
        esac
        shift
    done
    ((${#shapes[@]})) || shapes=(mesh ring)
    prepare_lab clean_up_failover
    build_weft
    busy=$(percent_busy)
    : >"$BENCH_WORK/figures.jsonl"
    for shape in "${shapes[@]}"; do
        failover_in "$shape"
        if awk "BEGIN { exit !($worst > $limit) }"; then failed=true; fi
    done
    failover_report "$commit"
    if $failed; then die "traffic stood still for more than $limit s"; fi
}

# failover_in SHAPE: prints a line for each node that is killed, and sets `worst`.
failover_in() {
    local shape=$1 host longest
    worst=0
    bench_lab "$FAILOVER_TAG" up "$FAILOVER_HOSTS"
    bench_lab "$FAILOVER_TAG" shape "$shape"
    bench_lab "$FAILOVER_TAG" launch 1 --ipalloc-init founder
    for ((host = 2; host <= FAILOVER_HOSTS; host++)); do bench_lab "$FAILOVER_TAG" launch "$host" "h$((host - 1))"; done
    failover_ready
    for ((host = 1; host <= FAILOVER_HOSTS; host++)); do bench_lab "$FAILOVER_TAG" pod "$host" a >/dev/null; done
    wait_until 60 failover_pings || die "the Pods of a $shape do not all reach each other"
    heading "$shape of $FAILOVER_HOSTS nodes: the longest pause, in seconds, between the Pods of the others"
    for ((host = 1; host <= FAILOVER_HOSTS; host++)); do
        longest=$(failover_kill "$host")
        say "  h$host killed: $longest"
        jq -nc --arg shape "$shape" --arg host "h$host" --arg line "$longest" '
            ($line | capture("ping (?<ping>[0-9.]+), TCP (?<tcp>[0-9.]+)")) as $pause |
            {shape: $shape, killed: $host, ping_s: ($pause.ping | tonumber), tcp_s: ($pause.tcp | tonumber)}' >>"$BENCH_WORK/figures.jsonl"
        worst=$(awk -v a="$worst" -v b="${longest##*worst }" 'BEGIN { print (a > b ? a : b) }')
        bench_lab "$FAILOVER_TAG" launch "$host" "h$((host % FAILOVER_HOSTS + 1))"
        failover_ready
        wait_until 60 failover_pings || die "the Pods of a $shape do not all reach each other again"
    done
    say "  worst: $worst s"
    bench_lab "$FAILOVER_TAG" down
}

failover_pings() { [[ $(bench_lab "$FAILOVER_TAG" pingall 1) == "20 of 20 pings" ]]; }

# failover_ready: waits until every node has a path to every other.
failover_ready() {
    local host
    for ((host = 1; host <= FAILOVER_HOSTS; host++)); do
        wait_until 90 failover_meshed "$host" || die "h$host is not connected to all others"
    done
}

failover_meshed() {
    local established
    established=$(bench_lab "$FAILOVER_TAG" weft "$1" status --json | jq .router.connections.established)
    ((established == FAILOVER_HOSTS - 1))
}

# failover_kill I: kills a node under traffic between the Pods of the others; prints the longest pause of each kind.
failover_kill() {
    local victim=$1 host other address pids=() pid
    rm -f -- "$BENCH_WORK"/pause.*
    for ((host = 1; host <= FAILOVER_HOSTS; host++)); do
        ((host != victim)) || continue
        address=$(bench_lab "$FAILOVER_TAG" pods | awk -v host="$host" '$1 == host && $2 == "a" { print $3 }')
        printf '%s\n' "$address" >"$BENCH_WORK/address.$host"
        bench_lab "$FAILOVER_TAG" podexec "$host" a python3 -B "$BENCH_SCRIPTS/lib/bench/failover.py" serve 12 &
        pids+=("$!")
    done
    for ((host = 1; host <= FAILOVER_HOSTS; host++)); do
        for ((other = host + 1; other <= FAILOVER_HOSTS; other++)); do
            ((host != victim && other != victim)) || continue
            bench_lab "$FAILOVER_TAG" podexec "$host" a python3 -B "$BENCH_SCRIPTS/lib/bench/failover.py" \
                measure "$(cat "$BENCH_WORK/address.$other")" 10 >"$BENCH_WORK/pause.$host.$other" &
            pids+=("$!")
        done
    done
    # In the middle of what is measured.
    sleep 4
    bench_lab "$FAILOVER_TAG" kill "$victim" -9
    for pid in "${pids[@]}"; do wait "$pid" || die "the traffic under h$victim's death could not be measured"; done
    cat -- "$BENCH_WORK"/pause.* | awk '
        { if ($1 > ping) ping = $1; if ($2 > tcp) tcp = $2 }
        END { printf "ping %.2f, TCP %.2f, worst %.2f\n", ping, tcp, (ping > tcp ? ping : tcp) }'
}

# failover_report COMMIT: failover.json and failover.md, into docs/bench if COMMIT is true.
failover_report() {
    local out
    if $1; then out=$WEFT_REPO/docs/bench; else out=$(mktemp -d /tmp/weft-bench.XXXXXX); fi
    jq -n --slurpfile figures "$BENCH_WORK/figures.jsonl" --arg date "$(date -u +%Y-%m-%dT%H:%MZ)" \
        --arg cpu "$(awk -F ': ' '$1 ~ /^model name/ { print $2; exit }' /proc/cpuinfo)" --argjson cores "$(nproc)" \
        --arg kernel "$(uname -r)" --argjson busy "$busy" --argjson limit "$limit" \
        --arg commit "$(git -C "$WEFT_REPO" describe --always --dirty 2>/dev/null || echo unknown)" \
        '{date: $date, cpu: $cpu, cores: $cores, kernel: $kernel, commit: $commit, busy_before_percent: $busy, limit_s: $limit, figures: $figures}' \
        >"$out/failover.json"
    jq -r '"# Pauses when a node dies\n\n`scripts/bench failover`, \(.date), \(.cpu), \(.cores) processors, Linux \(.kernel), commit \(.commit); others kept " +
        "\(.busy_before_percent | round) % of the machine busy before. Each of five nodes is killed (SIGKILL) in turn, under traffic between all Pods of the others; " +
        "the longest time without an answer, in seconds, over all pairs. Asked for: at most \(.limit_s) s.\n\n" +
        "| shape | killed | ping | TCP |\n| --- | --- | --: | --: |\n" +
        ([.figures[] | "| \(.shape) | \(.killed) | \(.ping_s) | \(.tcp_s) |"] | join("\n"))' "$out/failover.json" >"$out/failover.md"
    say "Written to $out: failover.json failover.md"
}

clean_up_failover() {
    local status=$?
    trap - EXIT INT TERM
    bench_lab "$FAILOVER_TAG" down || status=1
    rm -rf -- "$BENCH_WORK"
    exit "$status"
}
