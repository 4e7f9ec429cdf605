"""What `cmcl report` does."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable

from pipelines.card import stated_of, write_card
from pipelines.card_settings import CardSettings
from pipelines.report.build import PAIRS, ReportSettings, write_report
from pipelines.report.serve import server_for
from pipelines.run import corpus_of
from schemas import files
from schemas.attention_maps import AttentionSource
from schemas.corpus import CARD
from schemas.errors import CmclError, ConfigError, text_of
from schemas.text import quoted


def report(args: argparse.Namespace, attention: Callable[[str, str], AttentionSource]) -> int:
    """Writes a report and, where it can be, the dataset card; serves the report if asked to. attention: opens a checkpoint."""
    corpus, index = corpus_of(args.corpus)
    settings = ReportSettings(args.pairs or PAIRS, args.seed, not args.no_images, args.run, os.cpu_count() or 1)
    source = attention(args.checkpoint, corpus.url) if args.checkpoint else None
    for text in write_report(corpus, index, args.out, settings, source):
        print(f"- {quoted(text, 1000)}")
    print(f"- {quoted(_card(args.corpus), 1000)}")
    page = os.path.join(args.out, "index.html")
    print(page)
    return _serve(args) if args.serve else 0


def _card(given: str) -> str:
    """Writes the dataset card; says what became of it. A card whose configuration is not known is kept, for it may say more."""
    corpus, index = corpus_of(given)
    stated = stated_of(given)
    if stated is None and CARD in files.listing(corpus.url):
        return f"the dataset card {CARD} is kept as it is: name the configuration file instead of the corpus, or run `cmcl card`"
    try:
        missing = write_card(corpus, index, stated or CardSettings())
    except (CmclError, OSError, NotImplementedError) as error:  # the last by stores that are only read
        return f"no dataset card was written: {text_of(error) if isinstance(error, OSError) else error}"
    return f"the dataset card is {CARD} in the corpus's folder{'; missing from it: ' + '; '.join(missing) if missing else ''}"


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
