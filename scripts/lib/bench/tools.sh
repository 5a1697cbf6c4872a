# shellcheck shell=bash
# The peers that the bench compares with: Debian's packages, and what is built from source into a cache of its own.

# Each line: a command that proves the package, and the Debian package.
readonly PEER_PACKAGES='
wireguard-go wireguard-go
wg wireguard-tools
tincd tinc
nebula nebula
'
readonly WIREGUARD_MODULE=golang.zx2c4.com/wireguard@latest
readonly VPNCLOUD_VERSION=2.3.0

declare -gA TOOL_REASON=()

bench_cache() { printf '%s\n' "${WEFT_BENCH_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/weft-bench}"; }
tool_reason() { printf '%s\n' "${TOOL_REASON[$1]:-it is not installed}"; }

# tool_wireguard_current, tool_vpncloud: print the path of the program; fail where there is none.
tool_wireguard_current() {
    local binary
    binary=$(bench_cache)/bin/wireguard
    [[ -x $binary ]] && printf '%s\n' "$binary"
}

tool_vpncloud() {
    local binary
    binary=$(bench_cache)/vpncloud/bin/vpncloud
    if [[ -x $binary ]]; then printf '%s\n' "$binary"; else command -v vpncloud; fi
}

# install_peers: installs and builds what is missing, and notes why where that fails. Nothing here is fatal: a peer that
# is not to be had is absent from the tables.
install_peers() {
    local command package packages=() log
    log=$BENCH_WORK/install.log
    while read -r command package; do
        [[ -n $command ]] || continue
        if ! command -v "$command" >/dev/null && apt-cache show "$package" >/dev/null 2>&1; then packages+=("$package"); fi
    done <<<"$PEER_PACKAGES"
    if ((${#packages[@]})); then
        say "Installing the peers ${packages[*]}"
        DEBIAN_FRONTEND=noninteractive apt-get install -yq --no-install-recommends "${packages[@]}" >>"$log" 2>&1 ||
            say "  apt-get could not: $(tail -n 1 "$log")"
    fi
    if ! tool_wireguard_current >/dev/null; then
        if command -v go >/dev/null; then
            say "Building $WIREGUARD_MODULE"
            GOBIN=$(bench_cache)/bin go install "$WIREGUARD_MODULE" >>"$log" 2>&1 ||
                TOOL_REASON[wireguard]="go could not build $WIREGUARD_MODULE: $(tail -n 1 "$log")"
        else
            TOOL_REASON[wireguard]="there is no Go here to build $WIREGUARD_MODULE with"
        fi
    fi
    # Debian has no package of it. It is a program to measure, no part of Weft.
    if ! tool_vpncloud >/dev/null; then
        say "Building vpncloud $VPNCLOUD_VERSION"
        cargo install --quiet --locked --root "$(bench_cache)/vpncloud" --version "$VPNCLOUD_VERSION" vpncloud >>"$log" 2>&1 ||
            TOOL_REASON[vpncloud]="Debian has no package, and cargo could not build it: $(tail -n 1 "$log")"
    fi
}
