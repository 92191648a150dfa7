"""What every command begins with."""

import os

import uvloop

from gateway import settings as settings_module
from gateway import telemetry
from gateway.settings import Settings

run = uvloop.run


def settings() -> Settings:
    """The settings of this environment, with logging set up by them. Raises SettingRefused."""
    loaded = settings_module.load(os.environ)
    telemetry.configure(loaded.log_level)
    return loaded
