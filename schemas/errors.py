"""Errors that name what is wrong, for people: the command prints their text without a traceback."""


class CmclError(Exception):
    """Base of every error that this project raises on purpose."""


class ConfigError(CmclError):
    """A configuration is wrong; the text names the key, the value and what is allowed."""


class SchemaError(CmclError):
    """A file is not the table, or not the version of it, that was asked for."""


class CorpusError(CmclError):
    """A corpus is damaged, incomplete or in use."""


class SourceError(CmclError):
    """An input cannot be read as a whole (a missing file, a missing column); single bad rows become rejects instead."""


class RejectLimitError(CmclError):
    """More rows of a stage were rejected than the configured share allows. `report`: what the run did all the same."""

    def __init__(self, text: str, report: object = None):
        super().__init__(text)
        self.report = report
