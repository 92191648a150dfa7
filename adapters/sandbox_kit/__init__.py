"""What all agency sandboxes share: a real server that keeps the agency contract to the letter, or breaks it.

A sandbox stands in for an agency that we cannot call while developing. It runs in its own process, is reached
over HTTP alone, verifies every signature and token with the kit that agencies are given, asks the gateway for
the documents it needs, answers at once or later, and decides by the law that its own module holds. It can be
told to misbehave. All persons and registers in it are made up.

Production code never imports this package; the command line loads it by name.
"""

from adapters.sandbox_kit.app import create_app, server_config
from adapters.sandbox_kit.config import SandboxConfig, agency_names, write_deployment
from adapters.sandbox_kit.faults import Fault, load_faults
from adapters.sandbox_kit.instance import Facts, Instance, Rules
from adapters.sandbox_kit.law import LawBook, months_after
from adapters.sandbox_kit.pages import page
from adapters.sandbox_kit.problems import Problem

__all__ = [
    "Facts",
    "Fault",
    "Instance",
    "LawBook",
    "Problem",
    "Rules",
    "SandboxConfig",
    "agency_names",
    "create_app",
    "load_faults",
    "months_after",
    "page",
    "server_config",
    "write_deployment",
]
