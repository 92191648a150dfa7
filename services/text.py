"""A text in the two languages that every person can choose from."""

from typing import Literal

import msgspec

Language = Literal["zh-TW", "en"]


class Text(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The same text in Traditional Chinese, as used in Taiwan, and in English."""

    zh: str
    en: str

    def in_language(self, language: Language) -> str:
        """The text in one language."""
        return self.zh if language == "zh-TW" else self.en

    def format(self, **values: object) -> "Text":
        """The text with its placeholders filled; a value that is a `Text` is taken in each language."""

        def chosen(language: Language) -> dict[str, object]:
            return {
                name: value.in_language(language) if isinstance(value, Text) else value
                for name, value in values.items()
            }

        return Text(self.zh.format(**chosen("zh-TW")), self.en.format(**chosen("en")))
