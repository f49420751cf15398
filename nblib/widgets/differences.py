"""Where an answer differs from what it is held against, marked. Judges nothing."""

import re
from difflib import SequenceMatcher
from html import escape

_WORDS = re.compile(r"\w+|\s+|[^\w\s]")


def marked(answer: str, reference: str) -> tuple[str, str]:
    """The answer in HTML and in text, with what the reference lacks inserted and what it alone has struck out.

    In text as wdiff does it: `[-struck out-]` and `{+inserted+}`. GitHub keeps <ins> and <del>, and no styles.
    """
    html, text = [], []
    theirs, ours = _WORDS.findall(reference), _WORDS.findall(answer)
    for _, start, end, begin, until in SequenceMatcher(None, theirs, ours, autojunk=False).get_opcodes():
        lost, new = "".join(theirs[start:end]), "".join(ours[begin:until])
        if lost == new:
            html.append(code(new))
            text.append(new)
            continue
        html.append((f"<del>{code(lost)}</del>" if lost else "") + (f"<ins><b>{code(new)}</b></ins>" if new else ""))
        text.append((f"[-{lost}-]" if lost else "") + (f"{{+{new}+}}" if new else ""))
    return "".join(html), "".join(text)


def code(text: str) -> str:
    """Code for a table's cell: spaces and line ends are kept, without <pre>, whose margins would stretch the row."""
    return escape(text).replace("  ", "&nbsp;&nbsp;").replace("\n ", "\n&nbsp;").replace("\n", "<br>")


def as_code(html: str) -> str:
    """What `code` or `marked` made, in the type of code; a word without an end breaks instead of stretching its row."""
    return f'<code style="overflow-wrap: anywhere">{html}</code>'
