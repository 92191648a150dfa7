"""Sandbox of the notification service: where notices of a case go, and an inbox in place of the mail.

A message names its case and a template; the text is the template's and holds nothing of the person. It is
addressed to whatever contact the case has when the inbox is read, so that a message sent before the contact
is not lost. The inbox keeps the newest `MESSAGES_MAX`.
"""

from collections import OrderedDict, deque
from html import escape
from typing import Any

import msgspec
from litestar import Request, Response, get

from adapters.notify.adapter import OPERATIONS, ContactDetails, ContactRequest, Message
from adapters.sandbox_kit import Facts, Instance, Rules, page
from adapters.vocabulary import Acknowledged

MESSAGES_MAX = 1000
CONTACTS_MAX = 100_000

# Subject lines by template, without the service that stands before it, and language; a template without one
# gets the general line.
SUBJECTS = {
    "submitted": {"zh-TW": "您的申請已送件", "en": "Your application has been filed"},
    "payment_received": {"zh-TW": "已收到您的規費", "en": "Your fee has been received"},
    "supplement_requested": {"zh-TW": "您的申請須補正", "en": "Your application needs a supplement"},
    "passport_inspection": {"zh-TW": "請於期限內繳驗護照", "en": "Have your passport inspected in time"},
    "approved": {"zh-TW": "您的申請已核准", "en": "Your application is approved"},
    "collected": {"zh-TW": "您已領取卡片", "en": "Your card has been handed over"},
    "refused": {"zh-TW": "您的申請不予許可", "en": "Your application is refused"},
    "dismissed": {"zh-TW": "您的申請已駁回", "en": "Your application is dismissed"},
    "withdrawn": {"zh-TW": "您的申請已撤回", "en": "Your application is withdrawn"},
}
GENERAL = {"zh-TW": "您的申請有新通知", "en": "There is news of your application"}
TEXTS = {
    "zh-TW": "案件 {case}：{subject}。請登入查看：{link}",
    "en": "Case {case}: {subject}. Sign in to read more: {link}",
}


class Sent(msgspec.Struct, frozen=True, kw_only=True):
    """A message as the person finds it."""

    reference: str
    case: str
    to: ContactDetails | None
    template: str
    language: str
    subject: str
    text: str
    sent_at: str


class Post:
    """Contacts and messages of one sandbox."""

    def __init__(self, instance: Instance) -> None:
        self._instance = instance
        self._contacts: OrderedDict[str, ContactDetails] = OrderedDict()
        self._messages: deque[Sent] = deque(maxlen=MESSAGES_MAX)

    def register(self, facts: Facts, request: ContactRequest) -> Acknowledged:
        """Where notices of this case go from now on."""
        self._contacts[facts.case] = request.contact
        if len(self._contacts) > CONTACTS_MAX:
            self._contacts.popitem(last=False)
        return Acknowledged(reference=f"CONTACT-{facts.call.hex[-12:]}")

    def send(self, facts: Facts, message: Message) -> Acknowledged:
        """Put a message into the inbox."""
        reference = f"MAIL-{facts.call.hex[-12:]}"
        subject = SUBJECTS.get(message.template.rpartition(".")[2], GENERAL)[message.language]
        self._messages.appendleft(
            Sent(
                reference=reference,
                case=facts.case,
                to=None,
                template=message.template,
                language=message.language,
                subject=subject,
                text=TEXTS[message.language].format(case=facts.case, subject=subject, link=message.link),
                sent_at=self._instance.clock.legal_now().isoformat(timespec="seconds"),
            )
        )
        return Acknowledged(reference=reference)

    def inbox(self) -> list[Sent]:
        """All messages, the newest first, with the contact that the case has now."""
        return [msgspec.structs.replace(sent, to=self._contacts.get(sent.case)) for sent in self._messages]


def build(instance: Instance) -> Rules:
    """The rules of this agency, and its inbox."""
    post_office = Post(instance)

    @get("/inbox", sync_to_thread=False)
    def inbox(request: Request[Any, Any, Any]) -> Response[str] | list[Sent]:
        """The inbox: JSON for who asks for it, a page for everyone else."""
        if "application/json" in request.headers.get("accept", ""):
            return post_office.inbox()
        rows = "".join(_row(sent) for sent in post_office.inbox())
        head = "<tr><th>時間 Time</th><th>收件人 To</th><th>內容 Text</th></tr>"
        return page("收件匣 Inbox", f"<table>{head}{rows}</table>", origin=instance.link.origin)

    return Rules(
        operations=OPERATIONS,
        decide={"contact": post_office.register, "send": post_office.send},
        routes=(inbox,),
        state=post_office.inbox,
    )


def _row(sent: Sent) -> str:
    to = sent.to.email if sent.to else "—"
    text = escape(sent.text)
    return (
        f"<tr><td>{escape(sent.sent_at)}</td><td>{escape(to)}</td>"
        f"<td lang='{sent.language}'><strong>{escape(sent.subject)}</strong><br>{text}</td></tr>"
    )
