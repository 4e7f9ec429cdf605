"""Synthetic scenes with known ground truth: drawn pictures, their captions, and an exact judge of whether a caption is true."""

from transforms.scenes.draw import encode, render
from transforms.scenes.graph import CaptionGraph, GraphError, Mention
from transforms.scenes.language import Caption, LanguageError, captions, parse
from transforms.scenes.layout import Scene, SceneError, SceneObject, sample_scene
from transforms.scenes.truth import facts, is_true, judge

__all__ = [
    "Caption", "CaptionGraph", "GraphError", "LanguageError", "Mention", "Scene", "SceneError", "SceneObject", "captions",
        "encode",
    "facts", "is_true", "judge", "parse", "render", "sample_scene",
]  # fmt: skip
