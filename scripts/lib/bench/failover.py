"""Traffic between two Pods, and its longest pause.

serve SECONDS: sends back what comes by TCP and UDP on port 5005.
measure ADDRESS SECONDS: sends a word 20 times a second by UDP (as ping would) and on one TCP connection, and prints the longest
pause between two answers of each, in seconds.
"""

import socket
import sys
import threading
import time

PORT = 5005
EVERY = 0.05


def serve(seconds):
    end = time.monotonic() + seconds
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind(("", PORT))
    listener = socket.create_server(("", PORT))

    def echo_udp():
        while True:
            word, peer = udp.recvfrom(100)
            udp.sendto(word, peer)

    def echo_tcp(connection):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            while word := connection.recv(1000):
                connection.sendall(word)
        except OSError:
            pass  # The other end has seen enough.

    def accept():
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=echo_tcp, args=(connection,), daemon=True).start()

    for work in (echo_udp, accept):
        threading.Thread(target=work, daemon=True).start()
    time.sleep(max(0, end - time.monotonic()))


def longest_pause(sock, seconds):
    """The longest time without an answer until `seconds` from now."""
    sock.settimeout(0.01)
    now = last = time.monotonic()
    end, due, longest = now + seconds, now, 0.0
    while now < end:
        if now >= due:
            due = now + EVERY
            try:
                sock.send(b"weft")
            except OSError:
                pass  # Unreachable for now, or a full buffer: a pause.
        try:
            if sock.recv(1000):
                now = time.monotonic()
                longest, last = max(longest, now - last), now
        except OSError:
            now = time.monotonic()
    return max(longest, now - last)


def measure(address, seconds):
    deadline = time.monotonic() + 3
    while True:
        try:
            tcp = socket.create_connection((address, PORT), timeout=1)
            break
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
    tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.connect((address, PORT))
    pauses = {}

    def take(kind, sock):
        pauses[kind] = longest_pause(sock, seconds)

    threads = [threading.Thread(target=take, args=item) for item in {"udp": udp, "tcp": tcp}.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(f"{pauses['udp']:.3f} {pauses['tcp']:.3f}")


if sys.argv[1] == "serve":
    serve(float(sys.argv[2]))
else:
    measure(sys.argv[2], float(sys.argv[3]))
