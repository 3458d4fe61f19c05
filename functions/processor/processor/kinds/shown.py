"""A frame as it is meant to be seen: upright, with square pixels, and HDR in colours of sRGB."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from av.filter import Graph
from PIL import Image

# Of a value from 0 to 1 the light that it stands for, 1 being white: of PQ (SMPTE ST 2084; that is
# 203 nits, as ITU-R BT.2408 has it) and HLG (ITU-R BT.2100, where that is a signal of 0.75).
_PQ = (
    "pow(max(pow(E,1/78.84375)-0.8359375,0)/(18.8515625-18.6875*pow(E,1/78.84375)),1/0.1593017578125)"
    "*10000/203"
)
_HLG = "pow(if(lte(E,0.5),E*E/3,(exp((E-0.55991073)/0.17883277)+0.28466892)/12),1.2)/0.2031"
_HDR = {16: _PQ, 18: _HLG}  # by AVColorTransferCharacteristic
_SRGB = "maxval*clip(1.055*pow(min({light},1),1/2.4)-0.055,0,1)"
_TURNS = {90: 8, -90: 6, 180: 3, -180: 3, 270: 6, -270: 8}  # EXIF's numbers
_SDR = "color_primaries=bt709:color_trc=bt709"
_RATIOS = (Fraction(1, 8), Fraction(8))


class Shown:
    """size: of a frame with square pixels, before it is turned. turn: degrees, anticlockwise."""

    def __init__(self, frame: Any, video: Any) -> None:
        self._frame, self._video = frame, video
        self.turn = int(frame.rotation or 0)
        self._light = _HDR.get(frame.color_trc)
        ratio = video.sample_aspect_ratio or Fraction(1)
        ratio = ratio if _RATIOS[0] <= ratio <= _RATIOS[1] else Fraction(1)
        width, height = frame.width, frame.height
        if ratio > 1:
            height = max(1, round(height / ratio))
        else:
            width = max(1, round(width * ratio))
        self.size = (width, height)

    @property
    def is_hdr(self) -> bool:
        return self._light is not None

    @property
    def orientation(self) -> int:
        return _TURNS.get(self.turn, 1)

    @property
    def upright(self) -> tuple[int, int]:
        return self.size[::-1] if self.orientation >= 5 else self.size

    def filters(self, size: tuple[int, int], format: str) -> list[tuple[str, str]]:
        """To that size, not turned."""
        filters = [("scale", f"w={size[0]}:h={size[1]}:flags=bicubic+accurate_rnd")]
        if self._light:  # what is brighter than white becomes white, each colour by itself
            curve = _SRGB.format(light=self._light.replace("E", "(val/maxval)"))
            curve = curve.replace(",", "\\,")
            filters += [("format", "gbrp10le"), ("lutrgb", f"r={curve}:g={curve}:b={curve}")]
            filters += [("scale", "out_color_matrix=bt709"), ("setparams", _SDR)]
        return [*filters, ("setsar", "1"), ("format", format)]

    def picture(self) -> Image.Image:
        graph = chain(self._video, self.filters(self.size, "rgb24"))
        graph.vpush(self._frame)
        frame: Any = graph.vpull()
        image: Image.Image = frame.to_image()
        return image


def chain(video: Any, filters: list[tuple[str, str]]) -> Graph:
    """Filters of one input and one output, one after the other."""
    graph = Graph()
    last = graph.add_buffer(template=video)
    for name, arguments in (*filters, ("buffersink", "")):
        following = graph.add(name, arguments or None)
        last.link_to(following)
        last = following
    graph.configure()
    return graph
