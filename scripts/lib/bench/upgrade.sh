# shellcheck shell=bash
# What a rolling update of the DaemonSet costs the traffic, on the Kubernetes lab.

# bench_upgrade [--rounds N] [--stall SECONDS] [--update-docs]
bench_upgrade() {
    local rounds=3 stall=2 commit=false failed=0
    while (($#)); do
        case $1 in
        --update-docs) commit=true ;;
        --rounds | --stall)
            (($# >= 2)) || usage_error "$1 needs a value"
            if [[ $1 == --rounds ]]; then
                [[ $2 =~ ^[1-9][0-9]?$ ]] || usage_error "--rounds: a number from 1 to 99, not '$2'"
                rounds=$2
            else
                [[ $2 =~ ^[0-9]+(\.[0-9]+)?$ ]] || usage_error "--stall: a number of seconds"
                stall=$2
            fi
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
    bench_kube_up
    heading "Rolling updates under traffic"
    bench_kube rollout "$rounds" "$BENCH_WORK/raw.json"
    jq -n --slurpfile raw "$BENCH_WORK/raw.json" --argjson stall "$stall" '{stall_s: $stall, rounds: $raw[0]}' >"$BENCH_WORK/figures.json"
    bench_kube_page upgrade "$commit" "$busy" || failed=$?
    return "$failed"
}
