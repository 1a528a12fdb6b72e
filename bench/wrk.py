"""The closed loop by `wrk`, as a second opinion on our own generator.

wrk leaves with requests in flight and does not read what was accepted, so the growth of the topic can only be checked
within the size of those requests. Our own generator is the default because its account is exact.
"""

import json
import subprocess
import tempfile
from pathlib import Path
from typing import Final

from bench.load import ACCEPTED, Tally
from bench.workload import Workload

SCRIPT: Final = Path(__file__).with_name("wrk.lua")
TIMEOUT_MARGIN_S: Final = 30.0


def wrk_loop(port: int, load: Workload, *, connections: int, seconds: float, stores: bool) -> Tally:
    """Run wrk for `seconds`, rounded up to whole ones; `stores` says whether the server keeps what it accepts.

    `Tally.accepted` takes every 202 for a whole batch.
    """
    whole_s = max(1, round(seconds))
    with tempfile.NamedTemporaryFile(suffix=".requests") as file:
        for request in load.requests:
            file.write(b"%d\n" % len(request) + request)
        file.flush()
        url = f"http://127.0.0.1:{port}/events"
        options = ["-t1", f"-c{connections}", f"-d{whole_s}s", "--timeout", "15s", "-s", str(SCRIPT)]
        finished = subprocess.run(
            ["wrk", *options, url, "--", file.name],
            capture_output=True,
            text=True,
            check=True,
            timeout=whole_s + TIMEOUT_MARGIN_S,
        )
    result = json.loads(finished.stdout.rpartition("RESULT ")[2])
    tally = Tally(seconds=result["seconds"])
    refused = result["refused"] + result["broken"]
    tally.statuses.update({ACCEPTED: result["requests"] - refused, 0: refused})
    tally.accepted = tally.statuses[ACCEPTED] * load.events if stores else 0
    return tally
