# shellcheck shell=bash
# What a real API server has to send to many nodes.

# bench_herd [--nodes N] [--update-docs]
bench_herd() {
    local nodes=100 commit=false failed=0
    while (($#)); do
        case $1 in
        --update-docs) commit=true ;;
        --nodes)
            if (($# < 2)) || [[ ! $2 =~ ^[1-9][0-9]{1,3}$ ]]; then usage_error "--nodes needs a number from 10 to 9999"; fi
            nodes=$2
            shift
            ;;
        *) usage_error "unknown argument $1; see scripts/bench --help" ;;
        esac
        shift
    done
    bench_kube_begin
    local busy
    busy=$(percent_busy)
    say "Building the nodes"
    (cd "$WEFT_REPO" && cargo build --release --locked --quiet -p weft-kubernetes --example herd)
    heading "Measuring"
    bench_kube herd "$nodes" "$BENCH_WORK/figures.json" "$(target_dir)/release/examples/herd"
    bench_kube_page herd "$commit" "$busy" || failed=$?
    return "$failed"
}
