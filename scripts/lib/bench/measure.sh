# shellcheck shell=bash
# What the data plane's bench measures. Each `measure_NAME ROUND SYSTEM` appends its figures to $BENCH_WORK/figures.jsonl,
# a line each: {"round", "system", "figure", "value"}, or "error" for a figure that could not be had.

# In the order in which a round takes them. Of each, all systems have their turn before the next one comes, so that what
# is compared was measured within a minute or two.
# shellcheck disable=SC2034
readonly MEASURES=(tcp tcp4 reverse both udp64 paced udp1200 ping loaded)

# 64-byte datagrams at a pace that every system here can keep, with its loss as the figure.
readonly PACED_KPPS=40
readonly PING_INTERVAL=0.002

CLOCK_TICKS=$(getconf CLK_TCK)
readonly CLOCK_TICKS

# record ROUND SYSTEM FIGURE VALUE
record() {
    if [[ ! $4 =~ ^[0-9] ]]; then
        missing "$1" "$2" "$3" "no figure in the report: '$4'"
        return
    fi
    jq -nc --argjson round "$1" --arg system "$2" --arg figure "$3" --argjson value "$4" \
        '{round: $round, system: $system, figure: $figure, value: $value}' >>"$BENCH_WORK/figures.jsonl"
}

# missing ROUND SYSTEM FIGURE WHY
missing() {
    jq -nc --argjson round "$1" --arg system "$2" --arg figure "$3" --arg error "$4" \
        '{round: $round, system: $system, figure: $figure, error: $error}' >>"$BENCH_WORK/figures.jsonl"
    printf '  %s, %s: %s\n' "${LABEL[$2]}" "$3" "$4" >&2
}

# calculate EXPRESSION [NAME VALUE]...: in awk, six significant digits.
calculate() {
    local expression=$1 assignments=()
    shift
    while (($#)); do assignments+=(-v "$1=$2") && shift 2; done
    awk "${assignments[@]}" "BEGIN { printf \"%.6g\", ($expression) }"
}

# machine_busy: ticks that all processors have been busy since the machine started, whoever for. What the hypervisor
# took (steal) is nobody's work here.
machine_busy() { awk '$1 == "cpu" { print $2 + $3 + $4 + $7 + $8 }' /proc/stat; }

# daemons_busy SYSTEM: ticks of its daemons together.
daemons_busy() {
    local pid stat sum=0
    for pid in ${DAEMONS[$1]}; do
        stat=$(cat "/proc/$pid/stat" 2>/dev/null) || continue
        # The second field is the command in parentheses and may contain spaces.
        stat=${stat##*) }
        # shellcheck disable=SC2086
        set -- $stat
        sum=$((sum + ${12} + ${13}))
    done
    printf '%s\n' "$sum"
}

# daemon_memory SYSTEM: MiB resident of the larger of its daemons.
daemon_memory() {
    local pid
    for pid in ${DAEMONS[$1]}; do awk '$1 == "VmRSS:" { print $2 }' "/proc/$pid/status" 2>/dev/null; done |
        sort -n | tail -n 1 | awk '{ printf "%.2f", $1 / 1024 }'
}

iperf_listens() { in_ns "$1" ss -Hltn "sport = :5201" | grep -q LISTEN; }
iperf_is_over() { ! iperf_listens "$1"; }

# iperf SYSTEM SECONDS ARGUMENT...: a client at A against a server at B that serves once. Its report goes to
# $BENCH_WORK/iperf.json; IPERF_ERROR says why there is none.
iperf() {
    local system=$1 seconds=$2 server status=0
    shift 2
    IPERF_ERROR=
    in_ns "${NS_B[$system]}" timeout $((seconds + 20)) iperf3 --server --one-off </dev/null >/dev/null 2>&1 &
    server=$!
    if ! wait_until 5 iperf_listens "${NS_B[$system]}"; then
        IPERF_ERROR="the iperf3 server does not listen"
        status=1
    elif ! in_ns "${NS_A[$system]}" timeout $((seconds + 15)) iperf3 --client "${ADDRESS_B[$system]}" \
        --connect-timeout 5000 --time "$seconds" --json "$@" >"$BENCH_WORK/iperf.json" 2>/dev/null; then
        IPERF_ERROR="iperf3: $(jq -r '.error // "no answer in time"' "$BENCH_WORK/iperf.json" 2>/dev/null)"
        status=1
    fi
    # One that was not reached, or not left properly, would wait for ever.
    wait_until 2 iperf_is_over "${NS_B[$system]}" || kill "$server" 2>/dev/null || true
    wait "$server" 2>/dev/null || true
    return "$status"
}

# from_iperf FILTER: a number out of the report.
from_iperf() { jq -r "$1" "$BENCH_WORK/iperf.json"; }

# tcp_gbps ROUND SYSTEM FIGURE ARGUMENT...
tcp_gbps() {
    local round=$1 system=$2 figure=$3
    shift 3
    if iperf "$system" "$BENCH_SECONDS" "$@"; then
        record "$round" "$system" "$figure" \
            "$(from_iperf '(.end.sum_received.bits_per_second + (.end.sum_received_bidir_reverse.bits_per_second // 0)) / 1e9')"
    else
        missing "$round" "$system" "$figure" "$IPERF_ERROR"
    fi
}

# One stream; with what it costs, which is why this one runs longest.
measure_tcp() {
    local round=$1 system=$2 machine daemons gigabytes
    machine=$(machine_busy) daemons=$(daemons_busy "$system")
    if ! iperf "$system" "$BENCH_TCP_SECONDS"; then
        missing "$round" "$system" tcp_gbps "$IPERF_ERROR"
        return
    fi
    machine=$(($(machine_busy) - machine)) daemons=$(($(daemons_busy "$system") - daemons))
    record "$round" "$system" tcp_gbps "$(from_iperf '.end.sum_received.bits_per_second / 1e9')"
    gigabytes=$(from_iperf '.end.sum_received.bytes / 1e9')
    record "$round" "$system" cpu_s_per_gb "$(calculate 'b / t / g' b "$machine" t "$CLOCK_TICKS" g "$gigabytes")"
    if [[ -n ${DAEMONS[$system]} ]]; then
        record "$round" "$system" daemon_s_per_gb "$(calculate 'b / t / g' b "$daemons" t "$CLOCK_TICKS" g "$gigabytes")"
        record "$round" "$system" rss_mib "$(daemon_memory "$system")"
    fi
}

measure_tcp4() { tcp_gbps "$1" "$2" tcp4_gbps --parallel 4; }
measure_reverse() { tcp_gbps "$1" "$2" reverse_gbps --reverse; }
measure_both() { tcp_gbps "$1" "$2" both_gbps --bidir; }

# Overload: the sender sends what it can, the figure is what arrives.
measure_udp64() {
    if iperf "$2" "$BENCH_SECONDS" --udp --length 64 --bitrate 0; then
        record "$1" "$2" udp64_kpps "$(from_iperf '.end.sum_received | .bytes / 64 / .seconds / 1e3')"
    else
        missing "$1" "$2" udp64_kpps "$IPERF_ERROR"
    fi
}

# Large datagrams that every overlay's MTU takes unfragmented.
measure_udp1200() {
    if iperf "$2" "$BENCH_SECONDS" --udp --length 1200 --bitrate 0; then
        record "$1" "$2" udp1200_gbps "$(from_iperf '.end.sum_received.bits_per_second / 1e9')"
    else
        missing "$1" "$2" udp1200_gbps "$IPERF_ERROR"
    fi
}

measure_paced() {
    if iperf "$2" "$BENCH_SECONDS" --udp --length 64 --bitrate "$((PACED_KPPS * 64 * 8))k"; then
        record "$1" "$2" paced_loss_percent "$(from_iperf '.end.sum | .lost_packets / .packets * 100')"
        record "$1" "$2" paced_sent_kpps "$(from_iperf '.end.sum_sent | .packets / .seconds / 1e3')"
    else
        missing "$1" "$2" paced_loss_percent "$IPERF_ERROR"
    fi
}

# ping_times SYSTEM COUNT SECONDS: the round-trip times in microseconds, sorted, one a line.
ping_times() {
    in_ns "${NS_A[$1]}" ping -n -i "$PING_INTERVAL" -c "$2" -w "$3" "${ADDRESS_B[$1]}" 2>/dev/null |
        awk -F 'time=' 'NF == 2 { printf "%.0f\n", $2 * 1000 }' | sort -n
}

# record_ping ROUND SYSTEM PREFIX: average and 99th percentile (nearest rank) of $BENCH_WORK/ping.
record_ping() {
    local count average p99
    count=$(wc -l <"$BENCH_WORK/ping")
    if ((count < BENCH_PINGS / 2)); then
        missing "$1" "$2" "$3_p99_us" "only $count of $BENCH_PINGS pings came back"
        return
    fi
    read -r average p99 < <(awk -v n="$count" '{ sum += $1 } NR == int(n * 0.99 + 0.999999) { p99 = $1 }
        END { printf "%.1f %s\n", sum / n, p99 }' "$BENCH_WORK/ping")
    record "$1" "$2" "$3_avg_us" "$average"
    record "$1" "$2" "$3_p99_us" "$p99"
}

measure_ping() {
    ping_times "$2" "$BENCH_PINGS" 20 >"$BENCH_WORK/ping"
    record_ping "$1" "$2" ping
}

# Beside a bulk stream that lasts as long as the pings do.
measure_loaded() {
    local seconds pinger
    seconds=$(calculate 'int(p * i) + 2' p "$BENCH_PINGS" i "$PING_INTERVAL")
    : >"$BENCH_WORK/ping"
    ping_when_busy "$2" "$seconds" >"$BENCH_WORK/ping" &
    pinger=$!
    if ! iperf "$2" "$seconds"; then
        wait "$pinger" || true
        missing "$1" "$2" loaded_p99_us "$IPERF_ERROR"
        return
    fi
    wait "$pinger" || true
    record_ping "$1" "$2" loaded
}

stream_runs() { in_ns "$1" ss -Htn "dport = :5201" | grep -q ESTAB; }

ping_when_busy() {
    wait_until 10 stream_runs "${NS_A[$1]}" || return 0
    # The first half second belongs to TCP's slow start.
    sleep 0.5
    ping_times "$1" "$BENCH_PINGS" "$(($2 - 1))"
}

# threads_busy PID: nanoseconds that its threads have run; /proc/PID/stat is too coarse for a daemon that does nothing.
threads_busy() { cat "/proc/$1/task/"*/schedstat 2>/dev/null | awk '{ sum += $1 } END { printf "%.0f\n", sum }'; }

# start_idle: three daemons of weft in one mesh, a Pod behind each, that nobody uses.
start_idle() {
    local host
    LAB_TAG=$(system_tag idle)
    bench_lab "$LAB_TAG" up 3 && bench_lab "$LAB_TAG" launch 1 --ipalloc-init founder &&
        bench_lab "$LAB_TAG" launch 2 h1 && bench_lab "$LAB_TAG" launch 3 h1 && bench_lab "$LAB_TAG" ready 1 2 3 || return 1
    IDLE=()
    for host in 1 2 3; do
        bench_lab "$LAB_TAG" pod "$host" a >/dev/null || return 1
        IDLE+=("$(our_process "$(host_dir "$host")/weft.pid")")
    done
    wait_until 20 idle_mesh_is_full || return 1
}

idle_mesh_is_full() {
    bench_lab "$(system_tag idle)" weft 2 status --json | jq -e '.router.connections.established == 2'
}

# measure_idle ROUND: the busiest of the three, as a percentage of one processor.
measure_idle() {
    local pid before=() after=() i worst=0 percent
    for pid in "${IDLE[@]}"; do before+=("$(threads_busy "$pid")"); done
    sleep "$BENCH_IDLE_SECONDS"
    for pid in "${IDLE[@]}"; do after+=("$(threads_busy "$pid")"); done
    for i in 0 1 2; do
        percent=$(calculate '(b - a) / 1e7 / s' a "${before[i]}" b "${after[i]}" s "$BENCH_IDLE_SECONDS")
        worst=$(calculate 'a > b ? a : b' a "$worst" b "$percent")
    done
    record "$1" weft idle_percent "$worst"
}
