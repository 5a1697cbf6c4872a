# shellcheck shell=bash
# What policies cost: making and loading rules, changing them where many Pods are known, and packets that pass them.

readonly CHANGE_LAB=benchchange TRAFFIC_LAB=benchtraffic
readonly POLICY_RANGES=10.32.0.0/12,fd00:77::/48

# Pods that are known, of which each of both nodes has OWN_PODS; the rest are those of other nodes.
readonly OWN_PODS=100 OTHER_NODES=10 OTHER_PODS=980 KNOWN_PODS=10000 KNOWN_POLICIES=1000 POD_NAMESPACES=100

# How many policies each pair of hosts has, in the order of hosts 1 and 2, 3 and 4, ..; the last pair's daemons are kept
# from enforcing anything.
readonly TRAFFIC_POLICIES=(0 10 1000 none)

# bench_policy [--quick] [--rounds N] [--update-docs]
bench_policy() {
    local rounds=5 changes=50 seconds=2 commit=false out='' busy program
    while (($#)); do
        case $1 in
        --quick) rounds=1 changes=10 seconds=1 ;;
        --update-docs) commit=true ;;
        --rounds)
            (($# >= 2)) || usage_error "--rounds needs a value"
            rounds=$2
            shift
            ;;
        *) usage_error "unknown argument $1; see scripts/bench --help" ;;
        esac
        shift
    done
    [[ $rounds =~ ^[1-9][0-9]?$ ]] || usage_error "--rounds: a number from 1 to 99, not '$rounds'"
    command -v cargo >/dev/null || die "cargo is not in the PATH: install Rust"
    prepare_lab clean_up_policy
    build_weft
    say "Building the benchmark"
    program=$(cd "$WEFT_REPO" && cargo bench --locked --quiet -p weft-policy --bench policy --no-run --message-format json |
        jq -r 'select(.target.name == "policy" and .executable != null) | .executable')
    cp -- "$program" "$BENCH_WORK/policy"
    busy=$(percent_busy)
    if awk "BEGIN { exit !($busy > 5) }"; then
        say "Others keep this machine ${busy%.*} % busy: these figures are noise."
    fi
    heading "Rulesets"
    unshare -n "$BENCH_WORK/policy" rulesets >"$BENCH_WORK/rulesets.json"
    heading "Changes with $KNOWN_PODS Pods known"
    measure_changes "$changes"
    heading "Traffic"
    measure_traffic "$rounds" "$seconds"
    if $commit; then out=$WEFT_REPO/docs/bench; else out=$(mktemp -d /tmp/weft-bench.XXXXXX); fi
    jq -n --slurpfile rulesets "$BENCH_WORK/rulesets.json" --slurpfile changes "$BENCH_WORK/changes.json" \
        --slurpfile traffic "$BENCH_WORK/traffic.jsonl" --argjson memory "$(cat "$BENCH_WORK/memory")" \
        --argjson pods "$KNOWN_PODS" --argjson policies "$KNOWN_POLICIES" --argjson seconds "$seconds" \
        --arg date "$(date -u +%Y-%m-%dT%H:%MZ)" --argjson busy "$busy" --argjson rounds "$rounds" \
        --arg cpu "$(awk -F ': ' '$1 ~ /^model name/ { print $2; exit }' /proc/cpuinfo)" \
        --argjson cores "$(nproc)" --arg kernel "$(uname -r)" --arg nft "$(nft --version | awk '{ print $2 }')" \
        --arg commit "$(git -C "$WEFT_REPO" describe --always --dirty 2>/dev/null || echo unknown)" \
        '{date: $date, cpu: $cpu, cores: $cores, kernel: $kernel, nft: $nft, commit: $commit, busy_before_percent: $busy,
          rounds: $rounds, seconds: $seconds, known_pods: $pods, known_policies: $policies, memory_mib: $memory,
          rulesets: $rulesets[0], changes: $changes[0], traffic: $traffic}' >"$out/policy.json"
    # -B: no byte code is left in the tree.
    python3 -B "$BENCH_SCRIPTS/lib/bench/policy.py" "$out/policy.json" "$out/policy.md"
    cat "$out/policy.md"
    say
    say "Written to $out: policy.json policy.md"
}

clean_up_policy() {
    local status=$?
    trap - EXIT INT TERM
    bench_lab "$CHANGE_LAB" down || status=1
    bench_lab "$TRAFFIC_LAB" down || status=1
    rm -rf -- "$BENCH_WORK"
    exit "$status"
}

# measure_changes TIMES: two nodes that know the Pods of ten others, which have told them and are gone since: on this
# machine they would only take the processors from the two.
measure_changes() {
    local change=$BENCH_SCRIPTS/lib/bench/policy_change.py host other first
    bench_lab "$CHANGE_LAB" up 3
    bench_lab "$CHANGE_LAB" launch 1 --ipalloc-init founder --ipalloc-range "$POLICY_RANGES"
    bench_lab "$CHANGE_LAB" launch 2 h1 --ipalloc-range "$POLICY_RANGES"
    bench_lab "$CHANGE_LAB" ready 1 2
    python3 -B "$change" fill "$(change_socket 1)" 0 "$OWN_PODS"
    python3 -B "$change" fill "$(change_socket 2)" 1000 "$OWN_PODS"
    for ((other = 0; other < OTHER_NODES; other++)); do
        first=$((2000 + other * OTHER_PODS))
        bench_lab "$CHANGE_LAB" launch 3 h1 --ipalloc-range "$POLICY_RANGES"
        bench_lab "$CHANGE_LAB" ready 3
        python3 -B "$change" fill "$(change_socket 3)" "$first" "$OTHER_PODS"
        for host in 1 2; do
            wait_until 60 all_known "$host" "$first" || die "h$host has not heard of all Pods"
        done
        bench_lab "$CHANGE_LAB" kill 3 -9
        rm -rf -- "/run/weft-lab/$CHANGE_LAB/h3/data"
        mkdir -m 0700 "/run/weft-lab/$CHANGE_LAB/h3/data"
        say "  $((2 * OWN_PODS + (other + 1) * OTHER_PODS)) Pods are known"
    done
    python3 -B "$change" objects "$KNOWN_POLICIES" "$POD_NAMESPACES" >"$BENCH_WORK/objects.json"
    bench_lab "$CHANGE_LAB" weft 1 policy apply -f "$BENCH_WORK/objects.json" >/dev/null
    for host in 1 2; do
        wait_until 60 policies_in_force "$CHANGE_LAB" "$host" "$KNOWN_POLICIES" || die "the policies are not in force on h$host"
        # Each Pod is selected by one policy.
        wait_until 60 selected_pods "$host" "$KNOWN_PODS" || die "h$host does not know all Pods"
    done
    python3 -B "$change" measure "$WEFT_BIN_DIR/weft" "$(change_socket 1)" "weft-$CHANGE_LAB-h1" "weft-$CHANGE_LAB-h2" "$1" \
        >"$BENCH_WORK/changes.json"
    awk '$1 == "VmRSS:" { printf "%.1f", $2 / 1024 }' \
        "/proc/$(cut -d' ' -f1 "/run/weft-lab/$CHANGE_LAB/h1/weft.pid")/status" >"$BENCH_WORK/memory"
    bench_lab "$CHANGE_LAB" down
}

change_socket() { printf '/run/weft-lab/%s/h%s/weft.sock\n' "$CHANGE_LAB" "$1"; }

# all_known HOST FIRST: some of the Pods from a number on, the last among them.
all_known() {
    local pod
    for pod in "$2" $(($2 + OTHER_PODS / 2)) $(($2 + OTHER_PODS - 1)); do
        bench_lab "$CHANGE_LAB" weft "$1" policy explain --from "n$((pod % POD_NAMESPACES))/p$pod" --to n0/p0 --port 80/tcp || return 1
    done
}

# selected_pods HOST COUNT
selected_pods() {
    bench_lab "$CHANGE_LAB" weft "$1" status policy --json | jq -e --argjson count "$2" 'map(.pods) | add == $count'
}

# measure_traffic ROUNDS SECONDS: pairs of hosts, each with policies of its own; Pods a and b on the first of a pair, c on
# the second.
measure_traffic() {
    local pair host round wrapper=$BENCH_WORK/unenforced
    bench_lab "$TRAFFIC_LAB" up $((2 * ${#TRAFFIC_POLICIES[@]}))
    for pair in "${!TRAFFIC_POLICIES[@]}"; do
        host=$((2 * pair + 1))
        bench_lab "$TRAFFIC_LAB" launch "$host" --ipalloc-init founder
        bench_lab "$TRAFFIC_LAB" launch $((host + 1)) "h$host"
        bench_lab "$TRAFFIC_LAB" ready "$host" $((host + 1))
        traffic_pod "$host" a && traffic_pod "$host" b && traffic_pod $((host + 1)) c
        load_traffic_policies "$host" "${TRAFFIC_POLICIES[pair]}"
        wait_until 30 traffic_passes "$host" || die "the Pods of hosts $host and $((host + 1)) do not reach each other"
        traffic_serve "$host" b
        traffic_serve $((host + 1)) c
    done
    : >"$BENCH_WORK/traffic.jsonl"
    for ((round = 1; round <= $1; round++)); do
        for where in b c; do
            for measure in tcp connections; do
                for pair in "${!TRAFFIC_POLICIES[@]}"; do "traffic_$measure" "$round" "$pair" "$where" "$2"; done
            done
        done
        say "  round $round of $1"
    done
    bench_lab "$TRAFFIC_LAB" down
}

traffic_pod() { bench_lab "$TRAFFIC_LAB" pod "$1" "$2" >/dev/null; }

# traffic_address HOST POD
traffic_address() {
    bench_lab "$TRAFFIC_LAB" pods | awk -v host="$1" -v pod="$2" '$1 == host && $2 == pod { print $3 }'
}

# load_traffic_policies HOST COUNT: one that selects and allows the Pods, and others elsewhere. With `none`, the daemons are
# started again without the means to enforce anything, and what they had enforced is taken away.
load_traffic_policies() {
    local host=$1 count=$2 number
    case $count in
    0) ;;
    none)
        # The settings that they would switch on are not there for them.
        mkdir -p "$wrapper"
        cat >"$wrapper/weft" <<TEXT
#!/bin/sh
[ "\$1" = launch ] || exec "$WEFT_BIN_DIR/weft" "\$@"
exec unshare -m sh -c 'mount -t tmpfs none /proc/sys/net/bridge && exec "$WEFT_BIN_DIR/weft" "\$@"' weft "\$@"
TEXT
        chmod +x "$wrapper/weft"
        ln -sf "$WEFT_BIN_DIR/weft-net" "$wrapper/weft-net"
        for number in "$host" $((host + 1)); do
            bench_lab "$TRAFFIC_LAB" kill "$number" -9
            bench_lab "$TRAFFIC_LAB" exec "$number" nft flush ruleset
            bench_lab "$TRAFFIC_LAB" exec "$number" sysctl -qw net.bridge.bridge-nf-call-iptables=0 net.bridge.bridge-nf-call-ip6tables=0
        done
        WEFT_BIN_DIR=$wrapper bench_lab "$TRAFFIC_LAB" launch "$host"
        WEFT_BIN_DIR=$wrapper bench_lab "$TRAFFIC_LAB" launch $((host + 1)) "h$host"
        ;;
    *)
        { allowing_policy bench && other_policies $((count - 1)); } | as_list >"$BENCH_WORK/policies.json"
        bench_lab "$TRAFFIC_LAB" weft "$host" policy apply -f "$BENCH_WORK/policies.json" >/dev/null
        for number in "$host" $((host + 1)); do
            wait_until 30 policies_in_force "$TRAFFIC_LAB" "$number" "$count" || die "the policies are not in force on host $number"
        done
        ;;
    esac
}

traffic_passes() {
    local pod
    for pod in "$1 b" "$(($1 + 1)) c"; do
        # shellcheck disable=SC2086
        bench_lab "$TRAFFIC_LAB" podexec "$1" a ping -n -c 1 -W 1 "$(traffic_address $pod)" || return 1
    done
}

# traffic_serve HOST POD: what is measured against. It ends with the lab.
traffic_serve() {
    local ns="weft-$TRAFFIC_LAB-h$1-$2"
    in_ns "$ns" iperf3 --server --daemon >/dev/null
    in_ns "$ns" "$BENCH_WORK/policy" serve 0.0.0.0:5202 </dev/null >/dev/null 2>&1 &
    wait_until 5 iperf_listens "$ns" || die "the iperf3 server does not listen"
}

# traffic_tcp and traffic_connections ROUND PAIR POD SECONDS: from Pod a to one beside it (b) or on the other host (c).
traffic_tcp() {
    local from=$((2 * $2 + 1)) host figure
    host=$from
    if [[ $3 == c ]]; then host=$((from + 1)); fi
    figure=$(in_ns "weft-$TRAFFIC_LAB-h$from-a" iperf3 --json --client "$(traffic_address "$host" "$3")" --time "$4" |
        jq '.end.sum_received.bits_per_second / 1e9')
    record_traffic "$1" "${TRAFFIC_POLICIES[$2]}" "tcp_$3" "$figure"
}

traffic_connections() {
    local from=$((2 * $2 + 1)) host figure
    host=$from
    if [[ $3 == c ]]; then host=$((from + 1)); fi
    figure=$(in_ns "weft-$TRAFFIC_LAB-h$from-a" "$BENCH_WORK/policy" connect "$(traffic_address "$host" "$3"):5202" "$4")
    record_traffic "$1" "${TRAFFIC_POLICIES[$2]}" "connections_$3" "$figure"
}

# record_traffic ROUND POLICIES FIGURE VALUE
record_traffic() {
    [[ $4 =~ ^[0-9] ]] || die "no figure for $3 with $2 policies"
    jq -nc --argjson round "$1" --arg policies "$2" --arg figure "$3" --argjson value "$4" \
        '{round: $round, policies: $policies, figure: $figure, value: $value}' >>"$BENCH_WORK/traffic.jsonl"
}
