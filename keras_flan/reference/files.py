"""The files that a user writes."""

import enum


class ConfigFile(enum.StrEnum):
    """A file that a user writes, by the name of its command and page."""

    train = "train"
    mixture = "mixture"
    template = "template"
    protocol = "protocol"
