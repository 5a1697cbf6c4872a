# shellcheck shell=bash
# CNI ADD and DEL beside Debian's bridge and host-local, on one host of a lab.

# bench_cni [--rounds N] [--parallel N]
bench_cni() {
    local rounds=300 parallel=100
    while (($#)); do
        case $1 in
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
    say "$(awk -F ': ' '$1 ~ /^model name/ { print $2; exit }' /proc/cpuinfo), $(nproc) processors, kernel $(uname -r)"
    bench_lab "$tag" exec 1 python3 -B "$BENCH_SCRIPTS/lib/bench/cni.py" --bin-dir "$WEFT_BIN_DIR" \
        --socket "/run/weft-lab/$tag/h1/weft.sock" --prefix "weft-$tag-h1-p" --state "$BENCH_WORK/host-local" \
        --rounds "$rounds" --parallel "$parallel"
}

clean_up_cni() {
    local status=$?
    trap - EXIT INT TERM
    bench_lab benchcni down || status=1
    rm -rf -- "$BENCH_WORK"
    exit "$status"
}
