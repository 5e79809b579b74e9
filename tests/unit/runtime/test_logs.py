"""Log lines: one JSON object each, whatever they hold."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from common.node.logs import JsonFormatter, configure_logging


def line_of(message: str, **extra: Any) -> str:
    record = logging.makeLogRecord(
        {"name": "tongjian.test", "levelno": 20, "levelname": "INFO", "msg": message, **extra}
    )
    return JsonFormatter().format(record)


@given(st.text(), st.text())
def test_n6_no_text_breaks_out_of_its_line(message: str, value: str) -> None:
    line = line_of("%s", args=(message,), peer=value)
    assert line.isascii()
    assert line.isprintable()
    document = json.loads(line)
    assert document["message"] == message
    assert document["peer"] == value


def test_n6_values_are_cut_and_cannot_replace_members() -> None:
    document = json.loads(line_of("hello", peer="x" * 100_000, level="forged", height=7))
    assert len(document["peer"]) < 10_000
    assert document["level"] == "info"
    assert document["height"] == 7


def test_exceptions_stay_on_one_line() -> None:
    try:
        raise ValueError("two\nlines")
    except ValueError as error:
        line = line_of("failed", exc_info=(type(error), error, error.__traceback__))
    assert "\n" not in line
    assert "two\nlines" in json.loads(line)["exception"]


def test_a_file_is_appended_to(tmp_path: Path) -> None:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    try:
        for _ in range(2):
            configure_logging("info", tmp_path / "log" / "node.log")
            logging.getLogger("tongjian.test").info("hello", extra={"height": 1})
            logging.getLogger("tongjian.test").debug("not this")
        (tmp_path / "log" / "node.log").rename(tmp_path / "log" / "node.log.1")
        logging.getLogger("tongjian.test").info("after rotation", extra={"height": 2})
    finally:
        for handler in list(root.handlers):
            root.removeHandler(handler)
            handler.close()
        for handler in handlers:
            root.addHandler(handler)
        root.setLevel(level)
    for name, heights in (("node.log.1", [1, 1]), ("node.log", [2])):
        lines = (tmp_path / "log" / name).read_text().splitlines()
        assert [json.loads(line)["height"] for line in lines] == heights
