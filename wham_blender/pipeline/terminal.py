"""Shows the worker's messages in a terminal."""

from __future__ import annotations

import io
import sys
from typing import Any

from .. import protocol
from ..errors import one_line


class Terminal:
    """Prints messages as text: a progress bar, and the other messages above it."""

    def __init__(self) -> None:
        self._bar: Any = None
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="replace")  # names of files may have what the terminal cannot show

    def __call__(self, message: protocol.Message) -> None:
        """Show a message."""
        match message:
            case protocol.Progress():
                left = "" if message.seconds_left is None else f", {message.seconds_left:.0f} s left"
                bar = self._bar = self._bar or _new_bar()
                bar.set_description_str(message.stage, refresh=False)
                bar.set_postfix_str(f"{message.done} of {message.total}{left}", refresh=False)
                bar.n = 100 * message.fraction
                bar.refresh()
            case protocol.People():
                for person in message.people:
                    self._write(
                        f"Person {person.id}: frames {person.first_frame} to {person.last_frame}, "
                        f"{person.height:.0%} of the picture high"
                    )
            case protocol.Log() | protocol.Warn():
                self._write(message.text)
            case protocol.Failed():
                self._close()
                print(message.text, file=sys.stderr)
            case protocol.Done():
                self._close()
                protocol.write_line(f"Wrote {one_line(message.path)}")

    def _write(self, text: str) -> None:
        if self._bar:
            self._bar.write(text, file=sys.stderr)
        else:
            print(text, file=sys.stderr)

    def _close(self) -> None:
        if self._bar:
            self._bar.close()


def _new_bar() -> Any:
    from tqdm import tqdm

    return tqdm(total=100, bar_format="{desc:<10}|{bar}| {n:3.0f} % {postfix}", leave=False)
