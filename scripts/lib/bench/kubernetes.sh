# shellcheck shell=bash
# From the request for a Pod to the first reply that it gets, on the Kubernetes lab, with Weft and with another network.

# bench_kubernetes [--pods N] [--update-docs]
bench_kubernetes() {
    local pods=100 commit=false network failed=0
    while (($#)); do
        case $1 in
        --update-docs) commit=true ;;
        --pods)
            if (($# < 2)) || [[ ! $2 =~ ^[1-9][0-9]{0,2}$ ]]; then usage_error "--pods needs a number from 1 to 999"; fi
            pods=$2
            shift
            ;;
        *) usage_error "unknown argument $1; see scripts/bench --help" ;;
        esac
        shift
    done
    bench_kube_begin
    build_weft
    local busy
    busy=$(percent_busy)
    # Twice each, in turn, so that what the machine's disk remembers helps neither.
    for network in bridge weft bridge weft; do
        bench_kube_up --network "$network"
        heading "$pods Pods with $network"
        bench_kube burst "$pods" "$BENCH_WORK/raw.json"
        jq -c --arg network "$network" '{network: $network} + .' "$BENCH_WORK/raw.json" >>"$BENCH_WORK/runs.jsonl"
        bench_kube down
    done
    jq -s --argjson pods "$pods" '{pods: $pods, runs: .}' "$BENCH_WORK/runs.jsonl" >"$BENCH_WORK/figures.json"
    bench_kube_page kubernetes "$commit" "$busy" || failed=$?
    return "$failed"
}
