# shellcheck shell=bash
# The checks of scripts/test that are more than one command.

# Licences that a dependency may have, as SPDX names them. All are permissive.
readonly ALLOWED_LICENCES='["MIT", "MIT-0", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "BSD-2-Clause", "BSD-3-Clause",
    "ISC", "Zlib", "0BSD", "Unlicense", "Unicode-3.0", "Unicode-DFS-2016", "CC0-1.0", "BSL-1.0", "OpenSSL", "CDLA-Permissive-2.0"]'

# Crates that a pure crate must not reach: sockets, clocks behind an executor, the kernel's tables.
readonly IMPURE='tokio|mio|async-std|smol|socket2|quinn-udp|rtnetlink|netlink-[a-z-]+|nix|rustix|hyper'

check_shell() {
    local files
    mapfile -t files < <(git ls-files -co --exclude-standard scripts .ci |
        while read -r file; do head -n 1 -- "$file" | grep -Eq '^#!.*(ba)?sh|shellcheck shell=' && printf '%s\n' "$file"; done)
    shellcheck --external-sources --source-path=SCRIPTDIR -- "${files[@]}"
    say "${#files[@]} shell scripts are clean"
}

check_purity() {
    local crate tree found bad=0
    for crate in weft-crypto weft-gossip weft-policy; do
        tree=$(cargo tree --locked -p "$crate" -e normal,build --prefix none --format '{p}')
        if found=$(grep -E "^($IMPURE) v" <<<"$tree" | sort -u); then
            printf '%s is pure and must not depend on:\n%s\n' "$crate" "$found" >&2
            bad=1
        fi
    done
    ((bad == 0)) || return 1
    # What the architecture promises to be in use is in use.
    tree=$(cargo tree --locked --workspace -e normal --prefix none --format '{p}')
    for crate in tokio quinn rustls chacha20poly1305 bincode rtnetlink tracing; do
        grep -q "^$crate v" <<<"$tree" || { printf 'the workspace does not depend on %s\n' "$crate" >&2 && bad=1; }
    done
    ((bad == 0)) || return 1
    say "weft-crypto, weft-gossip and weft-policy are free of sockets and executors"
}

# A licence expression is allowed if one of its alternatives (OR, and the older /) has only allowed parts (AND).
check_licences() {
    local offenders
    offenders=$(cargo metadata --locked --format-version 1 | jq -r --argjson allowed "$ALLOWED_LICENCES" '
        def parts(separator): [splits(separator) | gsub("^[ (]+|[ )]+$"; "")];
        # The innermost parentheses first; what they hold is replaced by a verdict, until none are left.
        def verdict: parts(" +OR +|/") | any(.[]; parts(" +AND +") | all(.[]; . == "yes" or (. as $one | $allowed | index([$one]) != null)));
        def decide: if test("\\([^()]*\\)")
            then capture("^(?<before>.*)\\((?<inner>[^()]*)\\)(?<after>.*)$")
                | .before + (if (.inner | verdict) then "yes" else "no" end) + .after | decide
            else verdict end;
        .packages[] | select(.source != null)
            | select((.license // "") | decide | not)
            | "\(.name) \(.version): \(.license // "no licence named")"')
    if [[ -n $offenders ]]; then
        printf 'dependencies whose licence is not on the list in scripts/lib/checks.sh:\n%s\n' "$offenders" >&2
        return 1
    fi
    say "the licences of all dependencies are permissive"
}

# run_kubernetes: Weft as the network of a real cluster. The lab goes whatever comes of it.
run_kubernetes() {
    local result=0 lab=$WEFT_REPO/scripts/kube-lab
    cargo build --locked --quiet -p weft-router -p weft-cni-shim
    WEFT_BIN_DIR=$(target_dir)/debug
    export WEFT_BIN_DIR
    if "$lab" up; then
        heading 'the Pod network that Kubernetes expects' && "$lab" check || result=1
        heading "a customer's policy" && "$lab" example || result=1
        "$lab" e2e netpol || result=1
    else
        result=1
    fi
    "$lab" down || result=1
    return "$result"
}

# run_tests: all tests of the workspace; sets TEST_SUMMARY to the sum of cargo's result lines.
run_tests() {
    local log status=0
    # Apart from the tests, whose time is bounded: on a new machine this takes minutes.
    cargo test --workspace --locked --no-run --quiet
    log=$(mktemp)
    # A failing binary must not hide what the others say.
    timeout --foreground "${WEFT_TEST_SECONDS:-1200}" cargo test --workspace --locked --no-fail-fast 2>&1 |
        tee "$log" || status=$?
    TEST_SUMMARY=$(awk '/^test result:/ { passed += $4; failed += $6; ignored += $8 }
        END { printf "%d passed, %d failed, %d ignored", passed, failed, ignored }' "$log")
    if ((status == 124)); then say "the tests did not end within ${WEFT_TEST_SECONDS:-1200} s" >&2; fi
    if ((status != 0)); then
        awk '/^test .* \.\.\. FAILED$/ { print "failed: " $2 }' "$log" | sort -u >&2
        printf '\n%s\n' "$TEST_SUMMARY"
        rm -f -- "$log"
        return "$status"
    fi
    rm -f -- "$log"
    if [[ $TEST_SUMMARY != *" 0 ignored" ]]; then
        say "tests are ignored; nothing may be skipped in silence" >&2
        return 1
    fi
}

# run_long: histories with seeds that nobody has played yet, and the model check as far as it goes.
run_long() {
    local base=${WEFT_SIM_SEED:-} status=0
    [[ -n $base ]] || base=$(od -An -N4 -tu4 /dev/urandom | tr -d ' ')
    say "1000 histories, seeds from $base on (WEFT_SIM_SEED=$base plays the same again)"
    cargo run --quiet --locked -p weft-sim -- --seeds 1000 --seed "$base" || status=$?
    WEFT_MODEL_LONG=1 cargo test --quiet --locked -p weft-model --test check -- --nocapture || status=$?
    WEFT_BULK_LONG=1 cargo test --quiet --locked -p weft-dataplane --test bulk --test frames -- --test-threads 1 _byte ||
        status=$?
    "$WEFT_REPO/scripts/fuzz" --seconds 60 || status=$?
    return "$status"
}
