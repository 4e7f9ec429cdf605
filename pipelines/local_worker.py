"""A worker process of the local runner: quiet, with single-threaded kernels; it exits when its driver does."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from contextlib import nullcontext

from pipelines.process_state import no_worker_tracebacks

DRIVER = "CMCL_DRIVER"  # process id of the driver, in the environment
_INTERVAL_S = 0.2


def main() -> None:
    """Runs Beam's worker loop, configured by environment variables that the runner sets."""
    handler = logging.StreamHandler()
    handler.setLevel(logging.ERROR if os.environ.get("CMCL_DEBUG") else logging.CRITICAL)
    logging.getLogger().addHandler(handler)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the driver decides
    _die_with(int(os.environ[DRIVER]))
    from apache_beam.runners.worker import sdk_worker_main

    with nullcontext() if os.environ.get("CMCL_DEBUG") else no_worker_tracebacks():
        sdk_worker_main.main(sys.argv)


def _die_with(driver: int) -> None:
    """Exits when the driver is gone (killed), so that this process cannot write to a corpus that another run has taken over."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            try:
                os.kill(driver, 0)
            except ProcessLookupError:
                break
            time.sleep(_INTERVAL_S)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    main()
