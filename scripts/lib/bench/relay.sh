# shellcheck shell=bash
# TCP through one relay: three hosts, of which the first and the last cannot talk to each other, so that the one between
# them relays. Beside it, in the same lab, TCP between neighbours, which is what it is held against.

# start_relay: h1 and h3 with h2 between them, a Pod behind each. Two pairs of endpoints: `relay` from h1 to h3 and `direct` from
# h1 to h2.
start_relay() {
    local tag host address=()
    tag=$(system_tag relay)
    bench_lab "$tag" up 3 line && bench_lab "$tag" launch 1 --ipalloc-init founder &&
        bench_lab "$tag" launch 2 h1 && bench_lab "$tag" launch 3 h2 && bench_lab "$tag" ready 1 2 3 || return 1
    for host in 1 2 3; do address[host]=$(bench_lab "$tag" pod "$host" a) || return 1; done
    load_policies "$tag" "$TABLE_POLICIES" || return 1
    endpoints relay "weft-$tag-h1-a" "weft-$tag-h3-a" "${address[1]}" "${address[3]}"
    endpoints direct "weft-$tag-h1-a" "weft-$tag-h2-a" "${address[1]}" "${address[2]}"
    wait_until 20 answers direct && wait_until 30 answers relay
}

# measure_relay ROUND: both, one after the other.
measure_relay() {
    local way
    for way in direct relay; do
        if iperf "$way" "$BENCH_TCP_SECONDS"; then
            record "$1" weft "${way}_gbps" "$(from_iperf '.end.sum_received.bits_per_second / 1e9')"
        else
            missing "$1" weft "${way}_gbps" "$IPERF_ERROR"
        fi
    done
}
