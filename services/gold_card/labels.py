"""The words people see for the states of an application, and the general states they stand for."""

from services.events import State
from services.gold_card.edition import FIELD_AUTHORITY, Edition, StateLabel
from services.text import Text


def label(edition: Edition, service_state: str, authority: str = "") -> Text:
    """The word for a state; `authority` is the agency consulted. Raises KeyError for an unknown state."""
    named = edition.authority_title(authority or FIELD_AUTHORITY)
    return _of(edition, service_state).title.format(authority=named)


def general_state(edition: Edition, service_state: str) -> State:
    """The general state that a state of the service stands for. Raises KeyError for an unknown state."""
    return _of(edition, service_state).general


def _of(edition: Edition, service_state: str) -> StateLabel:
    for state in edition.states:
        if state.id == service_state:
            return state
    raise KeyError(service_state)
