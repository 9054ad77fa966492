# SPDX-License-Identifier: Apache-2.0
"""A web page in one file: its frame, its style, pictures as data. It opens without a network."""

from __future__ import annotations

import base64
import html

import cv2
import numpy as np
from numpy.typing import NDArray


def page(title: str, body: str) -> str:
    """A whole page; the body is HTML, the title plain text."""
    title = html.escape(title)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title><style>{_STYLE}</style></head><body><main>"
        f"<h1>{title}</h1>{body}</main></body></html>\n"
    )


def picture(kind: str, content: bytes) -> str:
    """A picture's bytes as the address of an <img>; kind: svg+xml, png, jpeg."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"


def jpeg(image: NDArray[np.uint8], width: int = 960) -> str:
    """An image (H, W, 3) uint8 RGB, no wider than `width`, as the address of an <img>."""
    if image.shape[1] > width:
        height = round(image.shape[0] * width / image.shape[1])
        image = np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA))
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 85])[1].tobytes()
    return picture("jpeg", data)


_STYLE = """
:root{--ink:#1b1f24;--soft:#667080;--line:#e3e7ec;--card:#fff;--page:#f5f7f9;--warn:#b3470c}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);font:15px/1.5 system-ui,-apple-system,
"Segoe UI",Roboto,"DejaVu Sans",sans-serif}
main{max-width:1180px;margin:0 auto;padding:28px 20px 60px}
h1{font-size:26px;margin:0 0 18px}h2{font-size:18px;margin:0 0 10px}
section,details{background:var(--card);border:1px solid var(--line);border-radius:10px;
padding:18px 20px;margin:0 0 18px}
summary{cursor:pointer;color:var(--soft)}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(200px,1fr));gap:14px;
background:none;border:0;padding:0}
.tile{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:14px 16px}
.name,.note{color:var(--soft);font-size:13px}.value{font-size:27px;font-weight:600}
.grid{display:grid;grid-template-columns:repeat(auto-fit,minmax(480px,1fr));gap:14px}
.plot{width:100%;height:auto;display:block}
table{border-collapse:collapse;width:100%;font-size:14px}
th,td{text-align:left;padding:6px 10px;border-bottom:1px solid var(--line);vertical-align:top}
th{color:var(--soft);font-weight:500}
.facts{margin-top:10px}.facts th{white-space:nowrap;width:1%}.facts td{word-break:break-word}
.frames{display:grid;grid-template-columns:repeat(auto-fit,minmax(480px,1fr));gap:14px}
figure{margin:0}figure img{width:100%;border-radius:8px;display:block}
figcaption{color:var(--soft);font-size:13px;padding:6px 2px}
.loss{border-color:var(--warn)}.loss h2{color:var(--warn)}
@media(max-width:560px){.grid,.frames{grid-template-columns:1fr}}
"""
