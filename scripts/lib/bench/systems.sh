# shellcheck shell=bash
# Read by the scripts that source this one:
# shellcheck disable=SC2034
#
# The systems that the data plane's bench compares, each on two hosts of a lab of its own.
#
# `start_SYSTEM` brings one up and sets, by `endpoints`, where traffic goes from and to. It fails with a reason in the
# file $BENCH_WORK/SYSTEM/reason where the system is not to be had; the bench then goes on without it and says so.

# The order of every table and plot. References carry no encryption; wggo is the one that ratios are taken to.
readonly SYSTEMS=(veth vxlan wggo wgdeb tinc nebula vpncloud weft weftchacha weftaes)

declare -gA LABEL=(
    [veth]='raw veth' [vxlan]='kernel VXLAN' [wggo]='wireguard-go, current' [wgdeb]='wireguard-go, Debian'
    [tinc]='tinc' [nebula]='nebula' [vpncloud]='vpncloud' [weft]='weft'
    [weftchacha]='weft, ChaCha20-Poly1305' [weftaes]='weft, AES-256-GCM')
declare -gA KIND=(
    [veth]=reference [vxlan]=reference [wggo]=peer [wgdeb]=peer [tinc]=peer [nebula]=peer [vpncloud]=peer
    [weft]=weft [weftchacha]=weft [weftaes]=weft)
declare -gA LAYER=([veth]=- [vxlan]=L2 [wggo]=L3 [wgdeb]=L3 [tinc]=L2 [nebula]=L3 [vpncloud]=L2 [weft]=L2 [weftchacha]=L2 [weftaes]=L2)

# Of the systems that run: namespaces of both ends, their addresses, the daemons (empty where the kernel does it).
declare -gA NS_A=() NS_B=() ADDRESS_A=() ADDRESS_B=() DAEMONS=() VERSION=() NOTE=()

system_dir() { printf '%s/%s\n' "$BENCH_WORK" "$1"; }
system_tag() { printf 'b%s%s\n' "$$" "$1"; }
bench_lab() { "$BENCH_SCRIPTS/lab" --tag "$1" "${@:2}"; }

# absent SYSTEM REASON: says why a system is not there, and fails.
absent() {
    printf '%s\n' "$2" >"$(system_dir "$1")/reason"
    return 1
}

# endpoints SYSTEM NAMESPACE_A NAMESPACE_B ADDRESS_A ADDRESS_B [PID...]
endpoints() {
    NS_A[$1]=$2
    NS_B[$1]=$3
    ADDRESS_A[$1]=$4
    ADDRESS_B[$1]=$5
    DAEMONS[$1]="${*:6}"
}

# two_hosts SYSTEM: a lab of two hosts, joined by one veth pair rather than by the lab's switch: what is measured is the
# system, not a bridge on the underlay. Sets A and B to their namespaces.
two_hosts() {
    LAB_TAG=$(system_tag "$1")
    bench_lab "$LAB_TAG" up 2
    A=$(host_ns 1) B=$(host_ns 2)
    ip -n "$A" link delete eth0
    ip -n "$B" link delete eth0
    ip link add eth0 netns "$A" type veth peer name eth0 netns "$B"
    ip -n "$A" address add "$(host_address 1)/24" dev eth0
    ip -n "$B" address add "$(host_address 2)/24" dev eth0
    ip -n "$A" link set eth0 mtu 1500 up
    ip -n "$B" link set eth0 mtu 1500 up
    # Some of the peers do not start on a host without one.
    ip -n "$A" route add default via "$(host_address 2)"
    ip -n "$B" route add default via "$(host_address 1)"
}

# daemon SYSTEM NAMESPACE NAME COMMAND...: in the background; sets DAEMON to its process. `lab down` ends it with its namespace.
daemon() {
    local system=$1 ns=$2 name=$3
    shift 3
    setsid nsenter --net="/run/netns/$ns" -- "$@" </dev/null >"$(system_dir "$system")/$name.log" 2>&1 &
    DAEMON=$!
    disown "$DAEMON"
}

# answers SYSTEM: the other end can be reached.
answers() { in_ns "${NS_A[$1]}" ping -n -q -c 1 -W 1 "${ADDRESS_B[$1]}"; }

has_link() { ip -n "$1" link show dev "$2"; }
is_over() { ! kill -0 "$1"; }

# last_words SYSTEM: what its daemons said last, on one line.
last_words() { tail -q -n 1 "$(system_dir "$1")"/*.log 2>/dev/null | paste -sd' ' | cut -c -200; }

# start_system SYSTEM: fails, with the reason in NOTE, where there is none.
start_system() {
    local system=$1 dir
    dir=$(system_dir "$system")
    mkdir -p "$dir"
    if ! "start_$system"; then
        NOTE[$system]=$(cat "$dir/reason" 2>/dev/null || echo "it could not be started: $(last_words "$system")")
    elif ! wait_until 20 answers "$system"; then
        NOTE[$system]="no ping came through within 20 s: $(last_words "$system")"
    else
        return 0
    fi
    stop_system "$system"
    return 1
}

# stop_system SYSTEM: whatever state it is in.
stop_system() {
    local pid
    for pid in ${DAEMONS[$1]:-}; do kill -TERM "$pid" 2>/dev/null || true; done
    for pid in ${DAEMONS[$1]:-}; do wait_until 3 is_over "$pid" || true; done
    bench_lab "$(system_tag "$1")" down
    # wireguard-go removes them unless it is killed.
    rm -f -- "/run/wireguard/$1$$h1.sock" "/run/wireguard/$1$$h2.sock"
    unset "DAEMONS[$1]" "NS_A[$1]"
}

debian_version() { dpkg-query --show --showformat '${Version}' "$1" 2>/dev/null || echo unknown; }

start_veth() {
    two_hosts veth
    endpoints veth "$A" "$B" 10.99.0.1 10.99.0.2
    VERSION[veth]=$(uname -r)
}

start_vxlan() {
    local host
    two_hosts vxlan
    for host in 1 2; do
        ip -n "$(host_ns "$host")" link add vx0 type vxlan id 42 dev eth0 dstport 4789 \
            local "$(host_address "$host")" remote "$(host_address $((3 - host)))" ||
            { absent vxlan "the kernel has no VXLAN"; return 1; }
        ip -n "$(host_ns "$host")" address add "10.80.0.$host/24" dev vx0
        ip -n "$(host_ns "$host")" link set vx0 up
    done
    endpoints vxlan "$A" "$B" 10.80.0.1 10.80.0.2
    VERSION[vxlan]=$(uname -r)
}

# start_wireguard SYSTEM BINARY NET
start_wireguard() {
    local system=$1 binary=$2 net=$3 dir host ns link pids=()
    dir=$(system_dir "$system")
    command -v wg >/dev/null || { absent "$system" "no wg to configure it with (Debian: wireguard-tools)"; return 1; }
    two_hosts "$system"
    for host in 1 2; do
        (umask 077 && wg genkey >"$dir/$host.key")
        wg pubkey <"$dir/$host.key" >"$dir/$host.pub"
    done
    for host in 1 2; do
        ns=$(host_ns "$host")
        # Its control sockets lie in one folder for all namespaces: the names must differ.
        link=$system$$h$host
        # In the foreground, or the process would not be this one.
        daemon "$system" "$ns" "$host" "$binary" -f "$link"
        pids+=("$DAEMON")
        wait_until 10 test -S "/run/wireguard/$link.sock" || return 1
        in_ns "$ns" wg set "$link" listen-port 51820 private-key "$dir/$host.key" \
            peer "$(cat "$dir/$((3 - host)).pub")" allowed-ips "10.$net.0.0/24" endpoint "$(host_address $((3 - host))):51820"
        ip -n "$ns" address add "10.$net.0.$host/24" dev "$link"
        ip -n "$ns" link set "$link" mtu 1420 up
    done
    endpoints "$system" "$A" "$B" "10.$net.0.1" "10.$net.0.2" "${pids[@]}"
}

start_wggo() {
    local binary
    binary=$(tool_wireguard_current) || { absent wggo "$(tool_reason wireguard)"; return 1; }
    start_wireguard wggo "$binary" 81 || return 1
    VERSION[wggo]=$("$binary" --version | awk 'NR == 1 { print $2 }')
    if command -v go >/dev/null; then
        VERSION[wggo]+=" ($(go version -m "$binary" | awk '$1 == "mod" { print $3 } NR == 1 { print $2 }' | paste -sd' '))"
    fi
}

start_wgdeb() {
    [[ -x /usr/bin/wireguard-go ]] || { absent wgdeb "the package wireguard-go is not installed"; return 1; }
    start_wireguard wgdeb /usr/bin/wireguard-go 82 || return 1
    VERSION[wgdeb]=$(debian_version wireguard-go)
}

start_tinc() {
    local dir host ns pids=()
    dir=$(system_dir tinc)
    command -v tincd >/dev/null || { absent tinc "the package tinc is not installed"; return 1; }
    two_hosts tinc
    for host in 1 2; do
        mkdir -p "$dir/$host/hosts"
        printf 'Name = h%s\nMode = switch\nDeviceType = tap\nInterface = tinc0\nAddressFamily = ipv4\n' "$host" >"$dir/$host/tinc.conf"
        if ((host == 2)); then printf 'ConnectTo = h1\n' >>"$dir/$host/tinc.conf"; fi
        # shellcheck disable=SC2016
        printf '#!/bin/sh\nip address add 10.83.0.%s/24 dev "$INTERFACE" && ip link set "$INTERFACE" up\n' "$host" >"$dir/$host/tinc-up"
        chmod +x "$dir/$host/tinc-up"
        printf 'Address = %s\n' "$(host_address "$host")" >"$dir/$host/hosts/h$host"
        tincd --config="$dir/$host" --generate-keys=2048 </dev/null >"$dir/keys.log" 2>&1 || return 1
    done
    for host in 1 2; do cp "$dir/$((3 - host))/hosts/h$((3 - host))" "$dir/$host/hosts/"; done
    for host in 1 2; do
        ns=$(host_ns "$host")
        daemon tinc "$ns" "$host" tincd --config="$dir/$host" --pidfile="$dir/$host/pid" --no-detach
        pids+=("$DAEMON")
    done
    endpoints tinc "$A" "$B" 10.83.0.1 10.83.0.2 "${pids[@]}"
    VERSION[tinc]=$(debian_version tinc)
}

start_nebula() {
    local dir host ns pids=()
    dir=$(system_dir nebula)
    command -v nebula-cert >/dev/null || { absent nebula "the package nebula is not installed"; return 1; }
    two_hosts nebula
    nebula-cert ca -name bench -out-crt "$dir/ca.crt" -out-key "$dir/ca.key"
    for host in 1 2; do
        nebula-cert sign -ca-crt "$dir/ca.crt" -ca-key "$dir/ca.key" -name "h$host" -ip "10.84.0.$host/24" \
            -out-crt "$dir/$host.crt" -out-key "$dir/$host.key"
        cat >"$dir/$host.yml" <<YAML
pki: { ca: "$dir/ca.crt", cert: "$dir/$host.crt", key: "$dir/$host.key" }
static_host_map: { "10.84.0.$((3 - host))": ["$(host_address $((3 - host))):4242"] }
lighthouse: { am_lighthouse: false, hosts: [] }
listen: { host: 0.0.0.0, port: 4242 }
tun: { dev: nebula0 }
firewall:
  outbound: [{ port: any, proto: any, host: any }]
  inbound: [{ port: any, proto: any, host: any }]
YAML
        ns=$(host_ns "$host")
        daemon nebula "$ns" "$host" nebula -config "$dir/$host.yml"
        pids+=("$DAEMON")
    done
    endpoints nebula "$A" "$B" 10.84.0.1 10.84.0.2 "${pids[@]}"
    VERSION[nebula]=$(debian_version nebula)
}

start_vpncloud() {
    local host ns binary pids=()
    binary=$(tool_vpncloud) || { absent vpncloud "$(tool_reason vpncloud)"; return 1; }
    two_hosts vpncloud
    for host in 1 2; do
        ns=$(host_ns "$host")
        daemon vpncloud "$ns" "$host" "$binary" --type tap --mode switch --device vpncloud0 --listen 3210 \
            --no-port-forwarding --password bench --algorithm aes256 --peer "$(host_address $((3 - host))):3210"
        pids+=("$DAEMON")
        # Its own --ip sets a wrong address when built by a current compiler.
        wait_until 10 has_link "$ns" vpncloud0 || return 1
        ip -n "$ns" address add "10.85.0.$host/24" dev vpncloud0
        ip -n "$ns" link set vpncloud0 up
    done
    endpoints vpncloud "$A" "$B" 10.85.0.1 10.85.0.2 "${pids[@]}"
    VERSION[vpncloud]="$("$binary" --version | awk '{ print $2 }'), AES-256"
}

# start_weft_with SYSTEM ARGUMENT...: two daemons and a Pod behind each, wired by the CNI plugin, with policies in force.
start_weft_with() {
    local system=$1 dir host a b pids=() line
    shift
    dir=$(system_dir "$system")
    two_hosts "$system"
    if ! bench_lab "$LAB_TAG" launch 1 --ipalloc-init founder "$@" >"$dir/launch.log" 2>&1 ||
        ! bench_lab "$LAB_TAG" launch 2 h1 "$@" >"$dir/launch.log" 2>&1 ||
        ! bench_lab "$LAB_TAG" ready 1 2 >"$dir/ready.log" 2>&1; then
        return 1
    fi
    a=$(bench_lab "$LAB_TAG" pod 1 a 2>"$dir/pod.log") || return 1
    b=$(bench_lab "$LAB_TAG" pod 2 b 2>"$dir/pod.log") || return 1
    load_policies "$LAB_TAG" "$TABLE_POLICIES" 2>"$dir/policy.log" || return 1
    for host in 1 2; do pids+=("$(our_process "$(host_dir "$host")/weft.pid")"); done
    endpoints "$system" "weft-$LAB_TAG-h1-a" "weft-$LAB_TAG-h2-b" "$a" "$b" "${pids[@]}"
    line=$(bench_lab "$LAB_TAG" weft 1 status --json |
        jq -r '"policy \(if .policy.enforcing then "enforced" else "not enforced" end), \(.policy.policies // 0) policies"') || line=
    VERSION[$system]="$("$WEFT_BIN_DIR/weft" version | awk '{ print $2 }'), $(weft_cipher "$LAB_TAG")${line:+, $line}"
}

# weft_cipher TAG: the cipher that a lab's first host negotiated.
weft_cipher() {
    bench_lab "$1" weft 1 status connections --json | jq -r '[.[].cipher // empty] | unique | join(", ")'
}

start_weft() { start_weft_with weft; }
start_weftchacha() { start_weft_with weftchacha --cipher chacha20-poly1305; }
start_weftaes() { start_weft_with weftaes --cipher aes-256-gcm; }
