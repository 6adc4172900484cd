"""A written report, read without a browser."""

from __future__ import annotations

import html.parser
import json


class Page(html.parser.HTMLParser):
    """The elements of a page, its scripts, its policy and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags, self.scripts, self.policy, self.text = [], [], "", ""
        self._is_script = False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._is_script = tag in ("script", "style")
        if tag == "script":
            self.scripts.append((dict(attrs), ""))
        if tag == "meta" and dict(attrs).get("http-equiv") == "Content-Security-Policy":
            self.policy = dict(attrs)["content"]

    def handle_endtag(self, tag):
        self._is_script = False

    def handle_data(self, data):
        if not self._is_script:
            self.text += data
        elif self.tags[-1][0] == "script":
            attrs, text = self.scripts[-1]
            self.scripts[-1] = (attrs, text + data)

    @property
    def data(self) -> dict:
        return json.loads(next(text for attrs, text in self.scripts if attrs.get("id") == "report-data"))

    def __contains__(self, words: str) -> bool:
        return words in " ".join(self.text.replace("\xa0", " ").split())
