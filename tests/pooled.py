"""What processes of a pool do in its tests: answer, hang, die."""

import json
import os
import time


def work(pipe, mode="good", starts=None, hanging=()):
    """Work; starts: a file of a byte for each start; hanging: the starts that never end."""
    if starts is not None:
        with open(starts, "ab") as file:
            file.write(b".")
        if os.path.getsize(starts) in hanging:
            time.sleep(1000)
    if mode == "refused":
        pipe.send_bytes(b'{"error": "no such bundle", "code": 3}')
        pipe.send_bytes(b"")
        return
    if mode == "dies":
        os._exit(1)
    pipe.send_bytes(b"{}")
    pipe.send_bytes(b"")
    while True:
        try:
            job, data = json.loads(pipe.recv_bytes()), pipe.recv_bytes()
        except EOFError:
            return
        if job["do"] == "die":
            os._exit(1)
        if job["do"] == "hang":
            time.sleep(1000)
        if job["do"] == "wait":
            time.sleep(job["seconds"])
        if job["do"] == "half":
            pipe.send_bytes(b"{}")
            time.sleep(1000)
        pipe.send_bytes(json.dumps({"pid": os.getpid(), "bytes": len(data)}).encode())
        pipe.send_bytes(data[::-1])
