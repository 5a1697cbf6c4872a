# shellcheck shell=bash
# Hosts of a lab behind routers that translate addresses (RFC 4787).

router_ns() { printf 'weft-%s-r%s\n' "$LAB_TAG" "$1"; }
has_router() { [[ -e /run/netns/$(router_ns "$1") ]]; }

# lab_nat I KIND: puts host I behind a router of its own, at whose outside the host's address is from then on. What it
# sends from its port 6783 has outside
#   cone        always the same port, and whoever sends to that is let in;
#   restricted  the same port, but only who was sent to is let in (Linux' masquerading, and most homes);
#   symmetric   another port for each destination, and only that one is let in (many offices and mobile networks).
# To be done before anything runs on the host. KIND `none` takes the router away.
lab_nat() {
    local host kind=$2 ns router inside outside mapping
    host=$(host_number "$1")
    ns=$(host_ns "$host") router=$(router_ns "$host")
    inside=192.168.$host outside=$(host_address "$host")
    case $kind in
    cone) mapping="udp sport 6783 snat to $outside:6783" ;;
    restricted) mapping='masquerade' ;;
    symmetric) mapping='masquerade fully-random' ;;
    none) ;;
    *) usage_error "no NAT is '$kind': cone, restricted, symmetric, none" ;;
    esac
    if has_router "$host"; then ip netns del "$router"; fi
    ip -n "$ns" link del eth0 2>/dev/null || true
    wait_until 5 port_is_gone "h$host"
    if [[ $kind == none ]]; then
        host_plug "$host"
        return
    fi
    ip netns add "$router"
    ip -n "$router" link set lo up
    # The router stands at the host's place on the switch, so that cuts and partitions go on to mean it.
    ip link add eth0 netns "$router" type veth peer name "h$host" netns "$(switch_ns)"
    ip -n "$(switch_ns)" link set "h$host" master "$LAB_SWITCH" up
    ip link add lan netns "$router" type veth peer name eth0 netns "$ns"
    ip -n "$router" address add "$outside/24" dev eth0
    ip -n "$router" address add "$inside.1/24" dev lan
    ip -n "$ns" address add "$inside.2/24" dev eth0
    ip -n "$router" link set eth0 up
    ip -n "$router" link set lan up
    ip -n "$ns" link set eth0 up
    ip -n "$ns" route add default via "$inside.1"
    in_ns "$router" sysctl -qw net.ipv4.ip_forward=1
    {
        printf 'table ip nat {\n'
        printf 'chain out { type nat hook postrouting priority srcnat; oifname eth0 %s; }\n' "$mapping"
        [[ $kind != cone ]] || printf 'chain in { type nat hook prerouting priority dstnat; iifname eth0 udp dport 6783 dnat to %s.2:6783; }\n' "$inside"
        # What nobody asked for is dropped without a word, as by any router that is sold.
        printf 'chain input { type filter hook input priority 0; iifname eth0 ct state new drop; }\n'
        printf 'chain forward { type filter hook forward priority 0; iifname eth0 ct state new ct status & dnat == 0 drop; }\n'
        printf '}\n'
    } | in_ns "$router" nft -f -
}

port_is_gone() { ! ip -n "$(switch_ns)" link show dev "$1" >/dev/null 2>&1; }

# lab_renumber I: the router of host I gets another address outside and forgets what it translated.
lab_renumber() {
    local host router old new
    host=$(host_number "$1")
    has_router "$host" || usage_error "renumber: host $host is behind no router; 'scripts/lab nat $host restricted' makes one"
    router=$(router_ns "$host") old=$(host_address "$host") new=$(host_address $((host + 100)))
    if [[ $(ip -n "$router" -o address show dev eth0) == *" $new/"* ]]; then
        local swap=$old
        old=$new new=$swap
    fi
    # The kernel forgets what was masqueraded as an address that goes (nf_nat_masquerade).
    ip -n "$router" address del "$old/24" dev eth0
    ip -n "$router" address add "$new/24" dev eth0
    printf '%s\n' "$new"
}
