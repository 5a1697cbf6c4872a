# Two Pods' namespaces and a node between them: a on the node's interface "weft", b behind "uplink".
# Loads the file "ruleset" on the node and prints, for each line "CLIENT ADDRESS PORT" of the file
# "questions", what became of a TCP connection; nobody listens, so that what passes is refused at once.
mkdir -p /run/netns
mount -t tmpfs tmpfs /run/netns
for pod in a b; do
    ip netns add "$pod"
    case $pod in a) link=weft last=1 ;; b) link=uplink last=2 ;; esac
    ip link add "$link" type veth peer name eth0 netns "$pod"
    ip address add 10.0.0.254/32 dev "$link"
    ip -6 address add fd00::fe/128 dev "$link" nodad
    ip link set "$link" up
    ip route add "10.0.0.$last" dev "$link"
    ip -6 route add "fd00::$last" dev "$link"
    ip -n "$pod" link set lo up
    ip -n "$pod" address add "10.0.0.$last/32" dev eth0
    ip -n "$pod" -6 address add "fd00::$last/128" dev eth0 nodad
    ip -n "$pod" link set eth0 up
    ip -n "$pod" route add 10.0.0.254 dev eth0
    ip -n "$pod" route add default via 10.0.0.254
    ip -n "$pod" -6 route add fd00::fe dev eth0
    ip -n "$pod" -6 route add default via fd00::fe
done
echo 1 >/proc/sys/net/ipv4/ip_forward
echo 1 >/proc/sys/net/ipv6/conf/all/forwarding
# Both families work before the first question: addresses are no longer tentative, neighbours known.
for address in 10.0.0.2 fd00::2; do
    tries=100
    until ip netns exec a ping -q -c 1 -W 1 "$address" >/dev/null 2>&1; do
        tries=$((tries - 1))
        [ "$tries" -gt 0 ] || { echo "no way from a to $address" >&2 && exit 1; }
    done
done
nft -j -f ruleset

# ask CLIENT ADDRESS PORT: what becomes of a connection.
ask() {
    case $2 in *:*) target="TCP6:[$2]:$3" ;; *) target="TCP4:$2:$3" ;; esac
    answer=$(ip netns exec "$1" socat -u OPEN:/dev/null "$target,connect-timeout=3" 2>&1 || true)
    case $answer in
    *refused*) echo passed ;;
    *"timed out"*) echo dropped ;;
    *) echo "$answer" ;;
    esac
}
number=100
while read -r client address port; do
    ask "$client" "$address" "$port" >"answer-$number" &
    number=$((number + 1))
done <questions
wait
cat answer-*
