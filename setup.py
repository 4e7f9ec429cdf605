"""Packaging. Dataflow workers install the project from here (`--setup_file`)."""

from setuptools import find_packages, setup

TESTS = ["pytest>=8,<10", "pytest-timeout>=2.3,<3", "hypothesis>=6.100,<7", "datasets>=4,<6", "webdataset>=1,<2"]

setup(
    name="cmcl",
    version="0.1.0",
    description="Augmented image-text corpora for cross-modal contrastive learning (UNIMO), made with Apache Beam",
    long_description=open("README.md", encoding="utf-8").read(),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11,<3.13",
    packages=find_packages(include=[room + suffix for room in ("schemas", "transforms", "pipelines", "model")
                                    for suffix in ("", ".*")]),
    install_requires=[
        "apache-beam>=2.77,<2.78",
        "pyarrow>=25,<26",
        "numpy>=2.1,<2.5",
        "scipy>=1.14,<2",
        "scikit-learn>=1.9,<1.10",
        "sparse-dot-topn>=1.2,<1.3",
        "pillow>=11,<13",
        "sentencex>=1,<2",
        "markdown-it-py>=3,<5",
        "fsspec>=2024.6",
        "pydantic>=2.8,<3",
        "pyyaml>=6,<7",
        "tqdm>=4.66,<5",
        "psutil>=6,<8",
    ],
    extras_require={
        "gcp": ["apache-beam[gcp]>=2.77,<2.78", "gcsfs>=2024.6"],
        "s3": ["s3fs>=2024.6"],
        "http": ["aiohttp>=3.9,<4"],
        "test": TESTS,
        "dev": [*TESTS, "ruff>=0.8", "mypy>=1.13", "types-PyYAML", "types-psutil", "types-tqdm"],
    },
    entry_points={"console_scripts": ["cmcl = pipelines.cli:main"]},
)
