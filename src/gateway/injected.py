"""What routes are given by name: the parts of the process, and the session of the request."""

from litestar.di import NamedDependency

from adapters.registry import Registry
from gateway.db import SqlDatabase
from gateway.identity.session_store import Session
from gateway.settings import Settings
from services.flow import Flow

TheDatabase = NamedDependency[SqlDatabase]
TheFlow = NamedDependency[Flow]
TheRegistry = NamedDependency[Registry]
TheSession = NamedDependency[Session]
TheSettings = NamedDependency[Settings]
