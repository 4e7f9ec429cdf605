"""Object stores by protocol: how to start one, and the environment variables that point URLs to it."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fsspec

from tests.stores.servers import SECRET, USER, fake_gcs, minio


def settings(inputs: str) -> dict[str, Any]:
    """The settings of a corpus built from the scenes below a URL."""
    return {
        "partitions": 3,
        "tfidf": {"k": 10},
        "pairs": [
            {"format": "coco", "name": "scenes", "captions": f"{inputs}/scenes/captions-*.json", "images": f"{inputs}/scenes/images"}
        ],
        "texts": [{"format": "text", "name": "stories", "files": f"{inputs}/scenes/texts-*.txt"}],
    }


def s3_environment(endpoint: str) -> dict[str, str]:
    """Environment variables that point s3:// to this MinIO."""
    return {
        "FSSPEC_S3_ENDPOINT_URL": endpoint,
        "FSSPEC_S3_KEY": USER,
        "FSSPEC_S3_SECRET": SECRET,
        "FSSPEC_S3": json.dumps({"config_kwargs": {"read_timeout": 2, "connect_timeout": 5}}),
    }


def gcs_environment(endpoint: str) -> dict[str, str]:
    """Environment variables that point gs:// to this fake-gcs-server."""
    return {
        "STORAGE_EMULATOR_HOST": endpoint,
        "FSSPEC_GS": json.dumps({"token": "anon", "requests_timeout": 2}),
        "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",
    }


@contextmanager
def s3(folder: Path) -> Iterator[str]:
    """A MinIO with a bucket `corpora`; yields its endpoint."""
    with minio(folder) as endpoint:
        fsspec.filesystem("s3", key=USER, secret=SECRET, endpoint_url=endpoint).mkdir("corpora")
        yield endpoint


@contextmanager
def gcs(folder: Path) -> Iterator[str]:
    """A fake-gcs-server with a bucket `corpora`; yields its endpoint."""
    with fake_gcs(folder) as endpoint:
        urllib.request.urlopen(
            urllib.request.Request(
                f"{endpoint}/storage/v1/b?project=p", json.dumps({"name": "corpora"}).encode(), {"Content-Type": "application/json"}
            ),
            timeout=30,
        ).close()
        yield endpoint


STORES = {"s3": (s3, s3_environment), "gs": (gcs, gcs_environment)}
