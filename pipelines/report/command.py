"""What `cmcl report` does."""

from __future__ import annotations

import argparse
import os
import sys

from pipelines.report.build import PAIRS, ReportSettings, write_report
from pipelines.report.serve import server_for
from pipelines.run import corpus_of
from schemas.errors import ConfigError
from schemas.text import quoted


def report(args: argparse.Namespace) -> int:
    """Writes a report, and serves it if asked to."""
    corpus, index = corpus_of(args.corpus)
    settings = ReportSettings(args.pairs or PAIRS, args.seed, not args.no_images, args.run, os.cpu_count() or 1)
    for text in write_report(corpus, index, args.out, settings):
        print(f"- {quoted(text, 1000)}")
    page = os.path.join(args.out, "index.html")
    print(page)
    return _serve(args) if args.serve else 0


def _serve(args: argparse.Namespace) -> int:
    try:
        server = server_for(args.out, args.host, args.port)
    except (OSError, OverflowError) as error:
        raise ConfigError(f"--serve: cannot listen on {args.host}:{args.port} ({error})") from None
    print(f"http://{args.host}:{server.server_address[1]}/ (Ctrl+C ends it)", flush=True)
    with server:
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print("stopped", file=sys.stderr)
    return 0
