"""Files written byte by byte, for what no encoder writes."""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Sequence
from typing import NamedTuple

# --- PNG


def chunk(name: bytes, body: bytes, crc: int | None = None) -> bytes:
    right = zlib.crc32(name + body)
    return (
        struct.pack(">I", len(body))
        + name
        + body
        + struct.pack(">I", right if crc is None else crc)
    )


def png(
    width: int,
    height: int,
    depth: int,
    colour: int,
    rows: bytes,
    *others: bytes,
    after: bytes = b"",
) -> bytes:
    """rows hold their filter bytes; others stand before the data, after behind it."""
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    data = chunk(b"IDAT", zlib.compress(rows))
    return b"".join(
        (b"\x89PNG\r\n\x1a\n", chunk(b"IHDR", head), *others, data, after, chunk(b"IEND", b""))
    )


def with_chunk(data: bytes, added: bytes) -> bytes:
    """Behind the header of a PNG."""
    return data[:33] + added + data[33:]


# --- JPEG


def with_segment(data: bytes, marker: int, body: bytes) -> bytes:
    """In front of everything else in a JPEG."""
    return data[:2] + b"\xff" + bytes([marker]) + struct.pack(">H", len(body) + 2) + body + data[2:]


# --- TIFF

_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 16: 8}


class Field(NamedTuple):
    """type: 1 byte, 2 ASCII, 3 short, 4 long, 5 rational, 7 undefined, 11 float, 12 double."""

    tag: int
    type: int
    body: bytes

    @property
    def count(self) -> int:
        return len(self.body) // _SIZES[self.type]


def short(tag: int, *values: int, order: str = "<") -> Field:
    return Field(tag, 3, struct.pack(f"{order}{len(values)}H", *values))


def long(tag: int, *values: int, order: str = "<") -> Field:
    return Field(tag, 4, struct.pack(f"{order}{len(values)}I", *values))


def directory(fields: Sequence[Field], data: bytes = b"", order: str = "<") -> bytes:
    """A TIFF with `data` right behind its header, at byte 8; EXIF is such a file, too."""
    entries, more = b"", b""
    at = 8 + len(data) + (len(data) & 1)
    behind = at + 2 + 12 * len(fields) + 4
    for tag, type, body in sorted(fields):
        value = body.ljust(4, b"\0")
        if len(body) > 4:
            value = struct.pack(order + "I", behind + len(more))
            more += body + bytes(len(body) & 1)
        entries += struct.pack(order + "HHI", tag, type, len(body) // _SIZES[type]) + value
    head = b"II*\0" if order == "<" else b"MM\0*"
    return b"".join((
        head, struct.pack(order + "I", at), data, bytes(len(data) & 1),
        struct.pack(order + "H", len(fields)), entries, bytes(4), more,
    ))  # fmt: skip


def tiff(
    width: int, height: int, data: bytes, photometric: int, *fields: Field,
    bits: Sequence[int] = (8,), order: str = "<",
) -> bytes:  # fmt: skip
    """Uncompressed, in one strip, unless `fields` say otherwise."""
    said = {field.tag for field in fields}
    usual = [
        short(256, width, order=order), short(257, height, order=order),
        short(258, *bits, order=order), short(259, 1, order=order),
        short(262, photometric, order=order), long(273, 8, order=order),
        short(277, len(bits), order=order), short(278, height, order=order),
        long(279, len(data), order=order),
    ]  # fmt: skip
    return directory([*(one for one in usual if one.tag not in said), *fields], data, order)


# --- HEIC: one picture of 96 by 64 pixels, red above blue, coded with libheif 1.23

_HVCC = base64.b64decode(
    "AQNwAAAAkAAAAAAAHvAA/P34+AAADwNgAAEAGEABDAH//wNwAAADAJAAAAMAAAMAHroCQGEAAQArQgEBA3AAAAMAkAAAAw"
    "AAAwAeoDCBBZbqSSmubgIaDAgAAAMAyAAAAwAIQGIAAQAHRAHBcrAiQA=="
)
CODED = base64.b64decode(
    "AAAAvSgBrwT4QTJp2//Fh///+qRvZf2qoaT5/FB/da0pf7kHP//lFcgYgenEjxMM+lXNUb0b3u4VVCwbbZAWmePUJuhuJW"
    "gsvfbp9kx8BnHOLCkM/11cDNLh7I+BOl38blpDQa5VgUEv/Xq+14G+7PMN9O+ejQdkCxQU1ZgTEmWS9LLQYEkyQ0xsnu/J"
    "DunG7BqWwowEhrK4pPq0PgRPjAyBs4PWckNXpvZzpEo5eKndIDhySQ2y3m2s7exnmtJzzw=="
)
# 4000 by 3000 pixels of one colour, half transparent, 4:4:4.
LARGE_HEIC = zlib.decompress(
    base64.b85decode(
        "c-rmPPe>F|90%|>yTiKpXSGrcv9N-"
        "yh|RS`9s0AWK_nCrScsYH?5z82W}VhmR=RAZn3pIEJQO8$R4Y*FkB7FROHz5Ms4hx>E)`fO4}$&Pu75JB!&icghGE~"
        "E-}`-"
        "dzj^auXBcDIzEF$l*LaxGVQ`;I^bPLuF=p9gXdw@aAFKRcJviNGCRao3hhq!Z8&uILb2AH*M9&h4w~Qq|r5GJ4TW2H"
        "r^i#xnz!$p|qZxFe#nLFp-"
        ">kaWyr5++=rDQ6VAGjW2RDNzwJJB&28tc0v{Fg7Q}=R_NE#StlT#BDjHOy@NMyRDWNB(jBv@k^R!X^RaeHXYSt3dE2"
        "hOtXt*kn=V>oo_LRX=bVv|MOD}LmhS|au`DQf1`xN>NwWom;S45)gT;wj7)p-"
        "?(+G`09Wr*<=zbelS9CJ%EFvD)pT%+OrLS0-"
        "jEp8Q3{BICP?*UwfwGZ0M}i6q_sQXDwn+4&(#H6%yGK&vR$M#UaGwKTql@fsvCZLX&&Tq>@bf&s-"
        "awK~PGHLFT~o~uBiA?{UT3%`<^#>|eOhb*74SY>9B+pM;Bie&Mi=9?aMkkVrtfgVwY-SB#7$0R;pC-"
        "tW7Y#F;3{yf~}thy6?Pfd1_IrgyK@ssBC^~lMCeYaxegXhPEU^>I@1>n3K9B&#$tz3r6tedDThnJ}lmS^Bcdli-guz"
        "Uc^7qEN{%de=E(ETngL18Wm3sATXh5JzGL7{=dMijQ8@Ei&+qVO6Ddr;Vq!XXqsLgACe1D~PrB?{mChkpQ$Egtxm-"
        "e#Tgx7ks}eAQpkS2<Y!yyth#q27c~Hx3UK>)@QV(RB1*c}+J66E;H7hOt5D{^WOvax6zw<_Mxzj3a6_^w8GUAZi0Nm"
        "lOKFaX}SshQ5aip}7=jHFiLAl|&J>3sSowRSv1WklGKa1CXkKR3)UUps(C&NF9MxEvBH=@Ip$1D)d2f)j`S+DGuFNJ"
        "*J}nraJ2W+m-JA1{8q|s{"
    )
)


def box(type: bytes, *bodies: bytes) -> bytes:
    body = b"".join(bodies)
    return struct.pack(">I", 8 + len(body)) + type + body


def irot(quarters: int) -> bytes:
    """Counterclockwise."""
    return box(b"irot", bytes([quarters]))


def imir(axis: int) -> bytes:
    return box(b"imir", bytes([axis]))


def clap(width: int, height: int, right: int = 0, down: int = 0) -> bytes:
    """right and down: from the middle, in half pixels."""
    return box(b"clap", struct.pack(">IIIIiIiI", width, 1, height, 1, right, 2, down, 2))


class Item(NamedTuple):
    """properties are boxes, of which the coded picture's own need not be named."""

    type: bytes
    data: bytes
    properties: tuple[bytes, ...] = ()


def heic(
    *items: Item, brands: Sequence[bytes] = (b"heic", b"mif1"),
    references: Sequence[tuple[bytes, int, Sequence[int]]] = (), hidden: Sequence[int] = (),
) -> bytes:  # fmt: skip
    """The first item is the primary one. Items count from 1."""
    infos, associations, properties = b"", b"", list[bytes]()
    for number, (type, _, own) in enumerate(items, 1):
        flags = int(number in hidden)
        infos += box(b"infe", bytes([2, 0, 0, flags]), struct.pack(">HH", number, 0), type, b"\0")
        boxes = list(own)
        if type == b"hvc1":
            boxes = [box(b"hvcC", _HVCC), box(b"ispe", bytes(4), struct.pack(">II", 96, 64)), *own]
        if boxes:
            associations += struct.pack(">HB", number, len(boxes))
            for one in boxes:
                properties.append(one)
                essential = 0x80 if one[4:8] in (b"hvcC", b"clap", b"irot", b"imir") else 0
                associations += bytes([essential | len(properties)])
    count = sum(bool(item.properties or item.type == b"hvc1") for item in items)
    ipma = box(b"ipma", bytes(4), struct.pack(">I", count), associations)
    linked = b"".join(
        box(type, struct.pack(f">HH{len(to)}H", start, len(to), *to))
        for type, start, to in references
    )
    head = box(b"ftyp", brands[0], bytes(4), *brands)

    def meta(start: int) -> bytes:
        places = b""
        for number, item in enumerate(items, 1):
            places += struct.pack(">HHHII", number, 0, 1, start, len(item.data))
            start += len(item.data)
        return box(
            b"meta", bytes(4), box(b"hdlr", bytes(8), b"pict", bytes(13)),
            box(b"pitm", bytes(4), struct.pack(">H", 1)),
            box(b"iloc", bytes(4), b"\x44\0", struct.pack(">H", len(items)), places),
            box(b"iinf", bytes(4), struct.pack(">H", len(items)), infos),
            *([box(b"iref", bytes(4), linked)] if linked else []),
            box(b"iprp", box(b"ipco", *properties), ipma),
        )  # fmt: skip

    start = len(head) + len(meta(0)) + 8
    return head + meta(start) + box(b"mdat", *(item.data for item in items))
