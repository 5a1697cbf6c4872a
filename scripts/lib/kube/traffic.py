"""Traffic without a pause, and what became of it; it is run in the network namespace of a Pod.

serve PORT
    sends back what comes by TCP.
send FILE PROBE...
    sends until SIGTERM, then writes to FILE what became of each probe, in JSON. Makes FILE.ready when each probe that may
    be answered has been answered once. A probe is one of
        ping=ADDRESS           an echo request every 20 ms
        stream=ADDRESS:PORT    one TCP connection, a word on it every 20 ms
        connect=ADDRESS:PORT   a new TCP connection every 50 ms; one that takes longer than half a second has failed
        denied=ADDRESS:PORT    the same every 10 ms, where no connection may come about
collect PORT FILE
    answers HTTP, and keeps in FILE when each path was asked for first, in seconds since 1970, in JSON.
"""

import http.server
import json
import os
import pathlib
import select
import signal
import socket
import struct
import sys
import threading
import time

EVERY = {"ping": 0.02, "stream": 0.02, "connect": 0.05, "denied": 0.01}
PATIENCE = 0.5
ended = threading.Event()


class Probe:
    """Counts what is sent and what is answered, and keeps the longest time without an answer."""

    def __init__(self, kind, target):
        self.kind, self.target = kind, target
        # What came before number `first` does not count.
        self.first = self.sent = self.answered = 0
        self.longest = 0.0
        self.last = None
        self.error = None

    def start(self):
        """From here on it counts."""
        self.first, self.answered, self.longest, self.error = self.sent, 0, 0.0, None

    def hear(self, number):
        """Number `number` was answered."""
        now = time.monotonic()
        if self.last is not None:
            self.longest = max(self.longest, now - self.last)
        self.last = now
        if number >= self.first:
            self.answered += 1

    def stop(self, at):
        """The end, from which on nothing is missed any more."""
        if self.last is not None:
            self.longest = max(self.longest, at - self.last)

    def figures(self):
        return {"kind": self.kind, "target": self.target, "sent": self.sent - self.first, "answered": self.answered,
                "longest_pause_s": round(self.longest, 3), "error": self.error}

    def endpoint(self):
        address, port = self.target.rsplit(":", 1)
        return address.strip("[]"), int(port)

    def ticks(self):
        """Yields when it is time to send; gives up what is overdue."""
        due = time.monotonic()
        while not ended.is_set():
            yield
            due = max(due + EVERY[self.kind], time.monotonic())
            ended.wait(due - time.monotonic())


def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF


def ping(probe):
    """Echo requests by ICMP. What is not answered until the end counts as lost; so the last second is only listened to."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    sock.settimeout(0.2)
    # All probes of a process hear all replies; each knows its own by its number.
    identity = (os.getpid() ^ (id(probe) >> 4)) & 0xFFFF
    seen = set()

    def listen():
        end = None
        while end is None or time.monotonic() < end:
            if ended.is_set() and end is None:
                end = time.monotonic() + 1
            try:
                packet, peer = sock.recvfrom(2000)
            except OSError:
                continue
            body = packet[(packet[0] & 15) * 4:]
            kind, _, _, about, _, number = struct.unpack("!BBHHHI", body[:12])
            if kind == 0 and about == identity and peer[0] == probe.target and number not in seen:
                seen.add(number)
                probe.hear(number)

    listener = threading.Thread(target=listen)
    listener.start()
    for _ in probe.ticks():
        body = struct.pack("!BBHHHI", 8, 0, 0, identity, probe.sent & 0xFFFF, probe.sent)
        body = body[:2] + struct.pack("!H", checksum(body)) + body[4:]
        try:
            sock.sendto(body, (probe.target, 0))
        except OSError as error:
            probe.error = str(error)
        probe.sent += 1
    listener.join()


def stream(probe):
    """Every word comes back in the end, unless the connection breaks; then it is over and `error` says why."""
    for _ in probe.ticks():
        try:
            sock = socket.create_connection(probe.endpoint(), timeout=1)
            break
        except OSError:
            continue
    else:
        return
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def listen():
        size = 0
        try:
            while data := sock.recv(1000):
                for number in range(size // 4, (size + len(data)) // 4):
                    probe.hear(number)
                size += len(data)
            probe.error = probe.error or (None if ended.is_set() else "closed by the other end")
        except OSError as error:
            probe.error = str(error)

    sock.settimeout(None)
    listener = threading.Thread(target=listen)
    listener.start()
    for _ in probe.ticks():
        if probe.error:
            break
        try:
            sock.sendall(b"weft")
            probe.sent += 1
        except OSError as error:
            probe.error = str(error)
    # What is on the way may come back yet.
    end = time.monotonic() + 2
    while probe.answered < probe.sent - probe.first and not probe.error and time.monotonic() < end:
        time.sleep(0.01)
    try:
        sock.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass  # Broken before.
    listener.join()


def connect(probe):
    for _ in probe.ticks():
        number = probe.sent
        probe.sent += 1
        try:
            with socket.create_connection(probe.endpoint(), timeout=PATIENCE) as sock:
                # Closed at once by a reset: ports do not run out.
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                probe.hear(number)
        except OSError as error:
            probe.error = str(error)


def denied(probe):
    """Many attempts at a time, since each of them has to be given up."""
    waiting = []
    for _ in probe.ticks():
        sock = socket.socket(socket.AF_INET6 if ":" in probe.endpoint()[0] else socket.AF_INET)
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.connect_ex(probe.endpoint())
        probe.sent += 1
        waiting.append((time.monotonic(), sock))
        poller = select.poll()
        for _, one in waiting:
            poller.register(one, select.POLLOUT)
        ready = {number for number, _ in poller.poll(0)}
        left = []
        for begun, one in waiting:
            if one.fileno() in ready and one.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0:
                probe.hear(probe.sent)
                one.close()
            elif one.fileno() in ready or time.monotonic() - begun > PATIENCE:
                one.close()
            else:
                left.append((begun, one))
        waiting = left


def send(file, probes):
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    found = [Probe(*probe.split("=", 1)) for probe in probes]
    run = {"ping": ping, "stream": stream, "connect": connect, "denied": denied}
    threads = [threading.Thread(target=run[probe.kind], args=(probe,)) for probe in found]
    for thread in threads:
        thread.start()
    ready = False
    while not ended.wait(0.05):
        if not ready and all(probe.answered or probe.kind == "denied" for probe in found):
            for probe in found:
                if probe.kind != "denied":
                    probe.start()
            pathlib.Path(file + ".ready").touch()
            ready = True
    now = time.monotonic()
    for thread in threads:
        thread.join()
    for probe in found:
        probe.stop(now)
    pathlib.Path(file).write_text(json.dumps([probe.figures() for probe in found]), encoding="utf-8")


def serve(port):
    def echo(connection):
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while data := connection.recv(1000):
                connection.sendall(data)
        except OSError:
            pass  # The other end has seen enough.
        finally:
            connection.close()

    family = {"family": socket.AF_INET6, "dualstack_ipv6": True} if socket.has_dualstack_ipv6() else {}
    with socket.create_server(("", port), backlog=1000, **family) as listener:
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=echo, args=(connection,), daemon=True).start()


def collect(port, file):
    seen, lock = {}, threading.Lock()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            with lock:
                if self.path[1:] not in seen:
                    seen[self.path[1:]] = time.time()
                    keep()
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_):
            pass

    class Server(http.server.ThreadingHTTPServer):
        request_queue_size = 1000

    def keep():
        beside = pathlib.Path(file + ".new")
        beside.write_text(json.dumps(seen), encoding="utf-8")
        beside.replace(file)

    keep()
    server = Server(("", port), Handler)
    pathlib.Path(file + ".ready").touch()
    server.serve_forever()


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(int(sys.argv[2]))
    elif sys.argv[1] == "collect":
        collect(int(sys.argv[2]), sys.argv[3])
    else:
        send(sys.argv[2], sys.argv[3:])
