#!/usr/bin/env python3
"""Prints the Mbit/s of one TCP connection to another host, by the receiver's count.

usage, in a host: throughput.py HOSTS_SCRIPT RECEIVER     (throughput.py - in the receiver)
"""
import socket
import subprocess
import sys
import time

PORT = 5001
SECONDS = 2.0


def receive():
    """Counts from a second after the first byte on, when TCP has found its pace."""
    listener = socket.create_server(("", PORT))
    print("ready", flush=True)
    connection, _ = listener.accept()
    begin = time.monotonic() + 0.5
    count = 0
    while time.monotonic() < begin + SECONDS:
        data = connection.recv(1 << 20)
        if not data:
            break
        if time.monotonic() >= begin:
            count += len(data)
    print(count * 8 / SECONDS / 1e6, flush=True)


def send(hosts, receiver):
    with subprocess.Popen([hosts, "exec", receiver, sys.executable, __file__, "-"],
                          stdout=subprocess.PIPE, text=True) as process:
        process.stdout.readline()
        connection = socket.create_connection((f"10.77.0.{int(receiver) + 1}", PORT))
        try:
            while process.poll() is None:
                connection.sendall(bytes(1 << 16))
        except OSError:
            pass
        print(process.stdout.readline().strip())


if sys.argv[1] == "-":
    receive()
else:
    send(sys.argv[1], sys.argv[2])
