# shellcheck shell=bash
# TCP through the tunnel and beside it, on an underlay that loses packets.

# One lab for each cipher; the bare underlay is that of the first, beside its tunnel.
readonly LOSS_CIPHERS=(chacha20-poly1305 aes-256-gcm)

# bench_loss [--percent P] [--delay MS] [--rounds N] [--seconds S] [--least RATIO] [--update-docs]
bench_loss() {
    local percent=1 delay=10 rounds=5 seconds=8 least=0.8 commit=false round system out cipher own
    while (($#)); do
        case $1 in
        --update-docs) commit=true ;;
        --percent | --delay | --rounds | --seconds)
            (($# >= 2)) || usage_error "$1 needs a value"
            [[ $2 =~ ^[1-9][0-9]?$ ]] || usage_error "$1: a number from 1 to 99, not '$2'"
            printf -v "${1#--}" '%s' "$2"
            shift
            ;;
        --least)
            (($# >= 2)) || usage_error "$1 needs a value"
            [[ $2 =~ ^[0-9]+(\.[0-9]+)?$ ]] || usage_error "--least: a ratio, not '$2'"
            least=$2
            shift
            ;;
        *) usage_error "unknown argument $1; see scripts/bench --help" ;;
        esac
        shift
    done
    prepare_lab clean_up_loss
    build_weft
    busy=$(percent_busy)
    : >"$BENCH_WORK/figures.jsonl"
    heading "Starting"
    RUNNING=(bare)
    for cipher in "${LOSS_CIPHERS[@]}"; do
        loss_start "$cipher"
        RUNNING+=("$cipher")
        say "  weft, $(weft_cipher "$(system_tag "${cipher%%-*}")")"
    done
    # A sender that takes loss for congestion is slowed by it the more, the longer the round trip is. One that does not
    # (BBR) would find the wire below at its limit.
    own=$(sysctl -n net.ipv4.tcp_congestion_control)
    loss_measure 0 cubic
    [[ $own == cubic ]] || loss_measure 0 "$own"
    loss_measure "$delay" cubic
    if $commit; then out=$WEFT_REPO/docs/bench; else out=$(mktemp -d /tmp/weft-bench.XXXXXX); fi
    jq -n --slurpfile figures "$BENCH_WORK/figures.jsonl" --arg date "$(date -u +%Y-%m-%dT%H:%MZ)" \
        --arg cpu "$(awk -F ': ' '$1 ~ /^model name/ { print $2; exit }' /proc/cpuinfo)" \
        --argjson cores "$(nproc)" --arg kernel "$(uname -r)" \
        --arg commit "$(git -C "$WEFT_REPO" describe --always --dirty 2>/dev/null || echo unknown)" \
        --argjson busy "$busy" \
        --argjson percent "$percent" --argjson rounds "$rounds" --argjson seconds "$seconds" --argjson least "$least" \
        '{date: $date, cpu: $cpu, cores: $cores, kernel: $kernel, commit: $commit, busy_before_percent: $busy,
          percent: $percent, rounds: $rounds, seconds: $seconds, least: $least, figures: $figures}' >"$out/loss.json"
    # -B: no byte code is left in the tree.
    python3 -B "$BENCH_SCRIPTS/lib/bench/loss.py" report "$out/loss.json" "$out/loss.md" || status=1
    cat "$out/loss.md"
    say
    say "Written to $out: loss.json loss.md"
    ((${status:-0} == 0)) || die "a ratio is below $least"
}

# loss_start CIPHER: two daemons on the lab's switch, and a Pod behind each.
loss_start() {
    local cipher=$1 host a b pids=()
    LAB_TAG=$(system_tag "${cipher%%-*}")
    started+=("$LAB_TAG")
    mkdir -p "$(system_dir "$cipher")"
    bench_lab "$LAB_TAG" up 2
    bench_lab "$LAB_TAG" launch 1 --ipalloc-init founder --cipher "$cipher"
    bench_lab "$LAB_TAG" launch 2 h1 --cipher "$cipher"
    bench_lab "$LAB_TAG" ready 1 2
    a=$(bench_lab "$LAB_TAG" pod 1 a)
    b=$(bench_lab "$LAB_TAG" pod 2 b)
    for host in 1 2; do
        # What is lost is to be a packet as on a wire, not a train of fifty.
        in_ns "$(host_ns "$host")" ethtool --offload eth0 tx off gso off tso off gro off tx-udp-segmentation off >/dev/null
        pids+=("$(our_process "$(host_dir "$host")/weft.pid")")
    done
    endpoints "$cipher" "weft-$LAB_TAG-h1-a" "weft-$LAB_TAG-h2-b" "$a" "$b" "${pids[@]}"
    if [[ -z ${NS_A[bare]:-} ]]; then
        endpoints bare "$(host_ns 1)" "$(host_ns 2)" "$(host_address 1)" "$(host_address 2)"
    fi
    wait_until 20 answers "$cipher" || die "no ping came through the tunnel"
}

# loss_wires PERCENT MS: from here on the underlay of each lab loses as many packets, and a round trip takes so much longer.
loss_wires() {
    local percent=$1 delay=$2 port
    for LAB_TAG in "${started[@]}"; do
        if ((delay == 0)); then
            bench_lab "$LAB_TAG" shape "lossy=$percent"
            continue
        fi
        # The kernel's netem is not everywhere; at the rates that loss and delay leave, this does as well.
        bench_lab "$LAB_TAG" shape mesh
        for port in h1 h2; do ip -n "$(switch_ns)" link set "$port" nomaster promisc on; done
        daemon bare "$(switch_ns)" "wire$LAB_TAG" python3 -B "$BENCH_SCRIPTS/lib/bench/loss.py" wire h1 h2 "$delay" "$percent"
    done
    for system in "${RUNNING[@]}"; do
        wait_until 20 answers "$system" || die "$system: no ping came through with $delay ms"
    done
}

# loss_measure MS CONGESTION: rounds in which all have their turn.
loss_measure() {
    local delay=$1 congestion=$2 round system
    heading "Measuring: $percent % loss, $delay ms more a round trip, TCP $congestion"
    mkdir -p "$(system_dir bare)"
    loss_wires "$percent" "$delay"
    for ((round = 1; round <= rounds; round++)); do
        for system in "${RUNNING[@]}"; do
            # The first second is TCP's slow start.
            iperf "$system" "$seconds" --omit 1 --congestion "$congestion" || die "$system: $IPERF_ERROR"
            jq -nc --argjson round "$round" --argjson delay "$delay" --arg congestion "$congestion" --arg system "$system" \
                --argjson mbps "$(from_iperf '.end.sum_received.bits_per_second / 1e6')" \
                '{delay_ms: $delay, congestion: $congestion, round: $round, system: $system, mbps: $mbps}' >>"$BENCH_WORK/figures.jsonl"
        done
        say "  round $round of $rounds: $(tail -n "${#RUNNING[@]}" "$BENCH_WORK/figures.jsonl" |
            jq -r '"\(.system) \(.mbps * 10 | round / 10)"' | paste -sd,) Mbit/s"
    done
}

clean_up_loss() {
    local status=$? tag
    trap - EXIT INT TERM
    for tag in "${started[@]}"; do bench_lab "$tag" down || status=1; done
    if [[ -n $BENCH_WORK ]]; then rm -rf -- "$BENCH_WORK"; fi
    exit "$status"
}
