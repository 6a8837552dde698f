"""Whose run a directory holds: that of a search, or that of an audit."""

from search_spaces.strict_yaml import read_yaml

from ..run_directory import RunDirectory


def holds_audit(directory: RunDirectory) -> bool:
    """Whether a directory's configuration is that of an audit.

    Raises:
        ValueError: If it cannot be read.
    """
    return directory.config_file.exists() and {"search", "target"} <= read_yaml(directory.config_file).keys()
