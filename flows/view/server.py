"""The server of ``miha view``: one page, a description, pictures and values; on the loopback address alone."""

import json
from collections.abc import Callable
from functools import lru_cache
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np

from flows.view.catalogue import LAYERS, Catalogue, catalogue_of
from flows.view.drawing import COLOURS, SOURCES, Part, legend_of, read_part, shape_of, unit_of
from miha.errors import ConfigError, DataError, MihaError
from miha.gapfill.pictures import picture, shades
from miha.rasters.options import ReadOptions

HOST = "127.0.0.1"
KEPT = 256  # pictures


class Viewer(ThreadingHTTPServer):
    """Serves one folder until :meth:`shutdown`.

    Args:
        folder: of filled scenes, a data set, a run, or any GeoTIFFs.
        options: how rasters are read.
        port: 0: a free one.

    Raises:
        ConfigError: the port is taken.
        DataError: nothing to show.
    """

    daemon_threads = True

    def __init__(self, folder: Path, options: ReadOptions = ReadOptions(), port: int = 0) -> None:
        self.options = options
        self.catalogue: Catalogue = catalogue_of(folder, options)
        self.legends: dict[str, tuple[float, float]] = {}
        for layer in LAYERS:
            if paths := [day.layers[layer] for day in self.catalogue.days if layer in day.layers]:
                self.legends[layer] = (
                    (-0.5, len(SOURCES) - 0.5) if layer == "source" else legend_of(paths, layer, options)
                )
        values = [layer for layer in ("observed", "filled", "truth") if layer in self.legends]
        low, high = min(self.legends[one][0] for one in values), max(self.legends[one][1] for one in values)
        self.legends |= dict.fromkeys(values, (low, high))  # one scale, so that they can be compared
        self.picture = lru_cache(maxsize=KEPT)(self._picture)
        try:
            super().__init__((HOST, port), _Handler)
        except OSError as error:
            raise ConfigError(f"--port {port} cannot be used: {error.strerror}. Choose another, or none.") from error

    @property
    def address(self) -> str:
        """Where the page is."""
        return f"http://{HOST}:{self.server_port}/"

    def description(self) -> dict[str, Any]:
        """What the page shows: days with their layers, legends, size."""
        first = next(iter(self.catalogue.days[0].layers.values()))
        height, width = shape_of(first)
        unit = unit_of(first, self.options)
        legends = {
            layer: {"low": low, "high": high, "colours": shades(COLOURS[layer])}
            for layer, (low, high) in self.legends.items()
            if layer != "source"
        }
        return {
            "title": self.catalogue.title,
            "report": self.catalogue.report is not None,
            "height": height,
            "width": width,
            "unit": unit,
            "days": [{"label": day.label, "layers": [*day.layers]} for day in self.catalogue.days],
            "layers": [layer for layer in LAYERS if layer in self.legends],
            "legends": legends,
            "sources": [{"name": name, "colour": colour} for name, colour in SOURCES.values()],
        }

    def _picture(self, day: int, layer: str, part: Part) -> bytes:
        path = self.path(day, layer)
        values = read_part(path, layer, part.clipped(*shape_of(path)), self.options)
        return picture(values, COLOURS[layer], *self.legends[layer], compression=1)

    def value(self, day: int, layer: str, row: int, column: int) -> float | None:
        """Value of one pixel; None where there is none."""
        path = self.path(day, layer)
        part = Part(column, row, column + 1, row + 1, 1, 1).clipped(*shape_of(path))
        value = float(read_part(path, layer, part, self.options)[0, 0])
        return value if np.isfinite(value) else None

    def path(self, day: int, layer: str) -> Path:
        """File of a layer of a day.

        Raises:
            DataError: there is none.
        """
        if not 0 <= day < len(self.catalogue.days) or layer not in (layers := self.catalogue.days[day].layers):
            raise DataError(f"there is no layer {layer!r} of day {day}.")
        return layers[layer]


class _Handler(BaseHTTPRequestHandler):
    server: Viewer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer one request."""
        asked = urlsplit(self.path)
        answers: dict[str, Callable[[dict[str, str]], tuple[str, bytes]]] = {
            "/": lambda _: ("text/html", (resources.files("flows.view") / "page.html").read_bytes()),
            "/description": lambda _: ("application/json", json.dumps(self.server.description()).encode()),
            "/picture": self._picture,
            "/value": self._value,
            "/report": lambda _: ("text/html", self._report()),
        }
        host = self.headers.get("Host", "").rsplit(":", 1)[0]
        if host not in (HOST, "localhost"):  # a page from the web that has its own name lead here
            self.send_error(HTTPStatus.FORBIDDEN)
            return
        if (answer := answers.get(asked.path)) is None:
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        try:
            kind, content = answer({key: values[-1] for key, values in parse_qs(asked.query).items()})
        except (KeyError, ValueError, MihaError) as error:
            self.send_error(HTTPStatus.BAD_REQUEST, explain=str(error))
            return
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", f"{kind}; charset=utf-8" if kind != "image/png" else kind)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Cache-Control", "max-age=600" if kind == "image/png" else "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.end_headers()
        self.wfile.write(content)

    def _picture(self, asked: dict[str, str]) -> tuple[str, bytes]:
        part = Part(*(int(asked[key]) for key in ("left", "top", "right", "bottom", "width", "height")))
        return "image/png", self.server.picture(int(asked["day"]), asked["layer"], part)

    def _value(self, asked: dict[str, str]) -> tuple[str, bytes]:
        value = self.server.value(int(asked["day"]), asked["layer"], int(asked["row"]), int(asked["column"]))
        return "application/json", json.dumps(value).encode()

    def _report(self) -> bytes:
        if self.server.catalogue.report is None:
            raise DataError("this is no run with a report.")
        return self.server.catalogue.report.read_bytes()

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: a line for each picture helps nobody."""
