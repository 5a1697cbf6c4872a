# shellcheck shell=bash
# The hosts of a lab: network namespaces on one underlay.
#
# A lab is named by its tag. Everything of it carries the tag or lies in its namespaces, so that labs stand side by
# side: namespaces weft-TAG-net (the underlay's switch), weft-TAG-hI and, behind a
# NAT, weft-TAG-rI (its router), state in /run/weft-lab/TAG.

readonly LAB_ROOT=/run/weft-lab
readonly LAB_SWITCH=underlay

lab_dir() { printf '%s/%s\n' "$LAB_ROOT" "$LAB_TAG"; }
host_dir() { printf '%s/h%s\n' "$(lab_dir)" "$1"; }
host_ns() { printf 'weft-%s-h%s\n' "$LAB_TAG" "$1"; }
switch_ns() { printf 'weft-%s-net\n' "$LAB_TAG"; }
host_address() { printf '10.99.0.%s\n' "$1"; }
host_address6() { printf 'fd99::%x\n' "$1"; }

# host_number TEXT: accepts 2 and h2, checks that the lab has that host.
host_number() {
    local number=${1#h}
    [[ $number =~ ^[0-9]+$ ]] || usage_error "'$1' is not a host; hosts are 1, 2, .. or h1, h2, .."
    [[ -d $(host_dir "$number") ]] || die "lab '$LAB_TAG' has no host $number; start one with: scripts/lab up N --tag $LAB_TAG"
    printf '%s\n' "$number"
}

lab_hosts() {
    local dir
    for dir in "$(lab_dir)"/h[0-9]*; do
        [[ -d $dir ]] && printf '%s\n' "${dir##*/h}"
    done | sort -n
}

# in_ns NAMESPACE COMMAND...
in_ns() {
    local ns=$1
    shift
    nsenter --net="/run/netns/$ns" -- "$@"
}

# on_host I COMMAND...: with the address of the host's daemon in the environment.
on_host() {
    local host=$1
    shift
    WEFT_SOCKET=$(host_dir "$host")/weft.sock in_ns "$(host_ns "$host")" "$@"
}

# lab_up N
lab_up() {
    local count=$1 host
    [[ $count =~ ^[1-9][0-9]?[0-9]?$ && $count -le 250 ]] || usage_error "up: a number of hosts from 1 to 250"
    require_root "a lab"
    [[ ! -e $(lab_dir) ]] || die "lab '$LAB_TAG' is up already; 'scripts/lab down --tag $LAB_TAG' removes it"
    mkdir -p "$LAB_ROOT"
    chmod 0700 "$LAB_ROOT"
    mkdir "$(lab_dir)"
    # A half-built lab is of no use to anyone.
    trap 'lab_down' ERR
    if [[ -n ${WEFT_LAB_OWNER:-} ]]; then
        remember_process "$(lab_dir)/owner" "$WEFT_LAB_OWNER"
    fi
    ip netns add "$(switch_ns)"
    ip -n "$(switch_ns)" link set lo up
    ip -n "$(switch_ns)" link add "$LAB_SWITCH" type bridge mcast_snooping 0
    ip -n "$(switch_ns)" address add 10.99.0.254/24 dev "$LAB_SWITCH"
    ip -n "$(switch_ns)" address add fd99::fe/64 dev "$LAB_SWITCH" nodad
    ip -n "$(switch_ns)" link set "$LAB_SWITCH" up
    for ((host = 1; host <= count; host++)); do host_up "$host"; done
    trap - ERR
}

host_up() {
    local host=$1 ns
    ns=$(host_ns "$host")
    mkdir -p "$(host_dir "$host")/data" "$(host_dir "$host")/pods"
    chmod 0700 "$(host_dir "$host")/data"
    : >"$(host_dir "$host")/weft.toml"
    ip netns add "$ns"
    ip -n "$ns" link set lo up
    host_plug "$host"
}

# host_plug I: connects a host with the switch.
host_plug() {
    local host=$1 ns
    ns=$(host_ns "$host")
    # Both ends are born in their namespaces, so their names need not be unique on the machine.
    ip link add eth0 netns "$ns" type veth peer name "h$host" netns "$(switch_ns)"
    ip -n "$(switch_ns)" link set "h$host" master "$LAB_SWITCH" up
    ip -n "$ns" address add "$(host_address "$host")/24" dev eth0
    ip -n "$ns" address add "$(host_address6 "$host")/64" dev eth0 nodad
    ip -n "$ns" link set eth0 mtu 1500 up
    # As on a real host: a default route, which no range of addresses may be said to overlap.
    ip -n "$ns" route add default via 10.99.0.254
    ip -n "$ns" -6 route add default via fd99::fe
}

# lab_namespaces: all of this lab, Pods first.
lab_namespaces() {
    ip netns list | awk -v prefix="weft-$LAB_TAG-" '
        index($1, prefix) == 1 && substr($1, length(prefix) + 1) ~ /^(net$|r[0-9]+$|h[0-9]+(-|$))/ { print length($1), $1 }' |
        sort -rn | cut -d' ' -f2
}

# lab_down: removes the lab whatever state it is in; succeeds where there is none.
lab_down() {
    local host ns pid
    trap - ERR
    for host in $(lab_hosts); do
        containerd_stop "$host" || true
        podman_stop "$host" || true
        if pid=$(our_process "$(host_dir "$host")/weft.pid"); then kill -TERM "$pid" 2>/dev/null || true; fi
    done
    for host in $(lab_hosts); do
        stop_process "$(host_dir "$host")/weft.pid" TERM 5 || true
    done
    for ns in $(lab_namespaces); do
        # What still runs in the lab's own namespaces was started through the lab.
        for pid in $(ip netns pids "$ns" 2>/dev/null); do kill -KILL "$pid" 2>/dev/null || true; done
        ip netns del "$ns" 2>/dev/null || true
    done
    rm -rf -- "$(lab_dir)"
    rmdir "$LAB_ROOT" 2>/dev/null || true
}

# lab_reap: removes the labs whose owner is gone (a test that was killed).
lab_reap() {
    local dir
    for dir in "$LAB_ROOT"/*/; do
        [[ -e $dir/owner ]] || continue
        if ! our_process "$dir/owner" >/dev/null; then
            LAB_TAG=$(basename "$dir")
            lab_down
        fi
    done
}

# lab_list: the tags of all labs on this machine.
lab_list() {
    local dir
    for dir in "$LAB_ROOT"/*/; do [[ -d $dir ]] && basename "$dir"; done
    return 0
}

# lab_status: what runs where.
lab_status() {
    local host pid pod
    [[ -d $(lab_dir) ]] || die "there is no lab '$LAB_TAG'; labs here: $(lab_list | paste -sd' ')"
    for host in $(lab_hosts); do
        pid=$(our_process "$(host_dir "$host")/weft.pid" || echo -)
        printf 'h%-4s namespace=%s address=%s weft=%s\n' "$host" "$(host_ns "$host")" "$(host_address "$host")" "$pid"
        for pod in $(host_pods "$host"); do
            printf '  %-8s namespace=%s address=%s\n' "$pod" "$(pod_ns "$host" "$pod")" "$(pod_address "$host" "$pod")"
        done
    done
    if in_ns "$(switch_ns)" nft list table bridge weft_lab >/dev/null 2>&1; then say "partitioned: $(cat "$(lab_dir)/partition")"; fi
}

# lab_cut A B [--one-way] [--data | --over N]: what A and B send to each other is dropped without a word; one way: what
# A sends to B; data: all UDP that is not QUIC, as by a firewall that knows QUIC by its fixed bit (RFC 9000, section 17);
# over: IP packets longer than N bytes.
lab_cut() {
    local from to both=true what='' all="$*"
    from=$(host_number "$1")
    to=$(host_number "$2")
    [[ $from != "$to" ]] || usage_error "cut: two different hosts"
    shift 2
    while (($#)); do
        case $1 in
        --one-way) both=false ;;
        --data) what='meta l4proto udp @th,64,8 & 0x40 == 0 ' ;;
        --over)
            [[ ${2:-} =~ ^[0-9]+$ ]] || usage_error 'cut: --over takes a number of bytes'
            what="meta length > $2 "
            shift
            ;;
        *) usage_error "cut: unknown flag $1" ;;
        esac
        shift
    done
    {
        printf 'add table bridge weft_lab\n'
        printf 'add chain bridge weft_lab forward { type filter hook forward priority 0; policy accept; }\n'
        printf 'add rule bridge weft_lab forward iifname h%s oifname h%s %sdrop\n' "$from" "$to" "$what"
        ! $both || printf 'add rule bridge weft_lab forward iifname h%s oifname h%s %sdrop\n' "$to" "$from" "$what"
    } | in_ns "$(switch_ns)" nft -f -
    printf '%s\n' "$all" >>"$(lab_dir)/partition"
}

# lab_shape SHAPE: who can reach whom from here on, whatever is cut and healed later.
lab_shape() {
    local shape=$1 host other pairs=() rule hosts kinds
    hosts=$(lab_hosts | wc -l)
    for host in $(lab_hosts); do
        if has_router "$host"; then lab_nat "$host" none; fi
    done
    case $shape in
    mesh) ;;
    two-sites-nat | two-sites-nat=*)
        kinds=${shape#two-sites-nat}
        kinds=${kinds#=}
        kinds=${kinds:-restricted,restricted}
        [[ $kinds =~ ^[a-z]+,[a-z]+$ ]] || usage_error "two-sites-nat: two kinds of NAT, such as restricted,symmetric"
        ((hosts >= 3)) || usage_error "two-sites-nat: three hosts, of which h2 and h3 are behind NATs"
        lab_nat 2 "${kinds%,*}"
        lab_nat 3 "${kinds#*,}"
        shape=mesh
        ;;
    line | ring | star)
        for host in $(lab_hosts); do
            for other in $(lab_hosts); do
                case $shape in
                line) ((host - other > 1 || other - host > 1)) || continue ;;
                ring) (((host - other + hosts) % hosts != 1 && (other - host + hosts) % hosts != 1 && host != other)) || continue ;;
                star) ((host != other && host != 1 && other != 1)) || continue ;;
                esac
                pairs+=("\"h$host\" . \"h$other\"")
            done
        done
        ((${#pairs[@]})) || usage_error "a $shape needs more hosts: each reaches every other"
        rule="iifname . oifname { $(IFS=,; printf '%s' "${pairs[*]}") } drop"
        ;;
    lossy | lossy=*)
        local percent=${shape#lossy}
        percent=${percent#=}
        percent=${percent:-5}
        [[ $percent =~ ^[0-9]{1,2}$ ]] || usage_error "lossy: a loss from 0 to 99 per cent"
        rule="numgen random mod 100 < $percent drop"
        ;;
    *) usage_error "no shape '$shape': mesh, line, ring, star, lossy[=PERCENT], two-sites-nat[=KIND,KIND]" ;;
    esac
    in_ns "$(switch_ns)" nft delete table bridge weft_shape 2>/dev/null || true
    [[ $shape != mesh ]] || return 0
    in_ns "$(switch_ns)" nft -f - <<RULES
table bridge weft_shape {
    chain forward {
        type filter hook forward priority 1; policy accept;
        $rule
    }
}
RULES
}

# lab_partition GROUP...: GROUP is a list of hosts with commas. Hosts that no group names form one more group.
lab_partition() {
    local group number host other pairs=() named=' ' rest=''
    declare -A group_of=()
    local index=0
    (($# >= 1)) || usage_error "partition: groups of hosts, such as 1,2 3"
    for group in "$@"; do
        index=$((index + 1))
        for host in ${group//,/ }; do
            number=$(host_number "$host")
            [[ -z ${group_of[$number]:-} ]] || usage_error "partition: host $number is in two groups"
            group_of[$number]=$index
            named+="$number "
        done
    done
    for host in $(lab_hosts); do
        [[ $named == *" $host "* ]] || rest+=" $host"
        : "${group_of[$host]:=0}"
    done
    for host in $(lab_hosts); do
        for other in $(lab_hosts); do
            if [[ ${group_of[$host]} != "${group_of[$other]}" ]]; then pairs+=("\"h$host\" . \"h$other\""); fi
        done
    done
    ((${#pairs[@]})) || usage_error "partition: these groups separate nobody"
    lab_heal
    # In the switch, not in the hosts: nothing that weft does on a host can touch it.
    in_ns "$(switch_ns)" nft -f - <<RULES
table bridge weft_lab {
    chain forward {
        type filter hook forward priority 0; policy accept;
        iifname . oifname { $(IFS=,; printf '%s' "${pairs[*]}") } drop
    }
}
RULES
    printf '%s%s\n' "$*" "$rest" >"$(lab_dir)/partition"
}

lab_heal() {
    in_ns "$(switch_ns)" nft delete table bridge weft_lab 2>/dev/null || true
    rm -f -- "$(lab_dir)/partition"
}
