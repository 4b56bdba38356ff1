"""A WebSocket client (RFC 6455) written by hand on Python's standard library: a second opinion on the frames.

usage: ws_client.py URL [--token TOKEN] [--origin ORIGIN] [--ping] [--stop-after N]

Prints one JSON object a line: {"status": 101}, then {"text": ...} for each text frame and {"close": CODE} at the end.
Sends no Origin unless told to. A refused handshake prints its status and its body, and ends with exit code 3.
"""

import argparse
import base64
import hashlib
import json
import os
import socket
import struct
import sys
from urllib.parse import urlsplit

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
TEXT, CLOSE, PING, PONG = 0x1, 0x8, 0x9, 0xA


def tell(**event):
    print(json.dumps(event), flush=True)


def shake_hands(stream, sock, target, host, key, options):
    lines = [
        f"GET {target} HTTP/1.1",
        f"Host: {host}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Key: {key.decode()}",
        "Sec-WebSocket-Version: 13",
    ]
    if options.token:
        lines.append(f"Authorization: Bearer {options.token}")
    if options.origin:
        lines.append(f"Origin: {options.origin}")
    sock.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
    status = int(stream.readline().split()[1])
    headers = {}
    while (line := stream.readline().strip()) != b"":
        name, _, value = line.partition(b":")
        headers[name.strip().lower()] = value.strip()
    if status != 101:
        tell(status=status, body=read_body(stream, headers))
        sys.exit(3)
    accept = base64.b64encode(hashlib.sha1(key + GUID).digest())
    if headers.get(b"sec-websocket-accept") != accept:
        sys.exit("the server did not prove that it read the key")
    tell(status=101)


def read_body(stream, headers):
    if headers.get(b"transfer-encoding", b"").lower() == b"chunked":
        body = b""
        while (size := int(stream.readline().split(b";")[0], 16)) > 0:
            body += stream.read(size)
            stream.readline()
        return body.decode()
    return stream.read(int(headers.get(b"content-length", b"0"))).decode()


def send_frame(sock, opcode, payload):
    """Clients mask (section 5.3); ours are short (section 5.2)."""
    mask = os.urandom(4)
    masked = bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))
    sock.sendall(bytes([0x80 | opcode, 0x80 | len(payload)]) + mask + masked)


def read_frame(stream):
    head = stream.read(2)
    if len(head) < 2:
        return None, b""
    if not head[0] & 0x80 or head[0] & 0x70 or head[1] & 0x80:
        sys.exit("a frame that is fragmented, extended or masked")
    length = head[1] & 0x7F
    if length == 126:
        (length,) = struct.unpack("!H", stream.read(2))
    elif length == 127:
        (length,) = struct.unpack("!Q", stream.read(8))
    return head[0] & 0x0F, stream.read(length)


def watch(stream, sock, options):
    if options.ping:
        send_frame(sock, TEXT, b"ping")
    seen = 0
    while True:
        opcode, payload = read_frame(stream)
        if opcode is None:
            tell(close=1006)
            return
        if opcode == TEXT:
            tell(text=payload.decode())
            seen += 1
            if options.stop_after and seen >= options.stop_after:
                send_frame(sock, CLOSE, struct.pack("!H", 1000))
                return
        elif opcode == PING:
            send_frame(sock, PONG, payload)
        elif opcode == CLOSE:
            send_frame(sock, CLOSE, payload[:2])
            tell(close=struct.unpack("!H", payload[:2])[0] if len(payload) >= 2 else 1005)
            return


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("--token")
    parser.add_argument("--origin")
    parser.add_argument("--ping", action="store_true")
    parser.add_argument("--stop-after", type=int, default=0)
    options = parser.parse_args()
    url = urlsplit(options.url)
    target = url.path + (f"?{url.query}" if url.query else "")
    with socket.create_connection((url.hostname, url.port or 80), timeout=60) as sock:
        stream = sock.makefile("rb")
        key = base64.b64encode(os.urandom(16))
        shake_hands(stream, sock, target, url.netloc, key, options)
        watch(stream, sock, options)


main()
