"""Read one image safely: the only decode, in training and everywhere else; masks are opened here too.

The content decides what a file is, not its suffix. Grey and 1-bit are replicated to RGB; transparency is flattened on
white; 16-bit grey is scaled to 8 bits by 255 / (2^bits - 1) and rounded; of 16-bit colour Pillow gives the high byte,
at most one level from that; CMYK is converted without a profile, each channel to (255 - ink) (255 - black) / 255;
colour profiles are ignored. EXIF and TIFF orientation is applied, so that a score map lies on what a viewer shows. Of a
JPEG with previews behind it the first picture is read.
"""

import io
import re
import stat
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, ImageOps
from PIL.BmpImagePlugin import BmpImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile

from blemish.errors import InputError, printable
from blemish.images.quiet import QUIET

MIN_SIDE = 32
MAX_ASPECT = 20
MAX_MEGAPIXELS = 64.0
FULL_BITS = 16

# The four decoders are called by name, never through Image.open: no other decoder can be reached, a camera's JPEG with
# a preview behind it stays a JPEG, and the pixel limit below is the only one.
READERS: dict[bytes, type[ImageFile.ImageFile]] = {
    b"\x89PNG\r\n\x1a\n": PngImageFile,
    b"\xff\xd8\xff": JpegImageFile,
    b"BM": BmpImageFile,
    b"II*\0": TiffImageFile,
    b"MM\0*": TiffImageFile,
    b"II+\0": TiffImageFile,
    b"MM\0+": TiffImageFile,
}
ALLOWED = "allowed: PNG, JPEG, BMP, TIFF"
FOREIGN = re.compile(
    rb"(?P<GIF>GIF8)|(?P<WEBP>RIFF....WEBP)|(?P<PSD>8BPS)|(?P<EPS>%!PS|\xc5\xd0\xd3\xc6)|(?P<FITS>SIMPLE  =)"
    rb"|(?P<JP2>....jP  \r\n|\xff\x4f\xff\x51)|(?P<HEIC>....ftyp)|(?P<PDF>%PDF)|(?P<SVG>\s*<(?:svg|\?xml))",
    re.DOTALL,
)
GREY16 = {"I;16", "I;16L", "I;16B", "I;16N"}
COLOUR8 = {"1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr"}
CUT_SHORT = re.compile("truncated|not enough image data|Missing dimensions", re.IGNORECASE)  # TIFF: at the end
ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


def read_image(
    source: Path | bytes, *, max_megapixels: float = MAX_MEGAPIXELS, bits: int = FULL_BITS
) -> NDArray[np.uint8]:
    """Return the image in a file, or in the bytes of one, upright.

    bits: of 16-bit grey that are used, 9 ... 16. Shape (H, W, 3), uint8 RGB; both sides at least 32 px, and neither
    more than 20 times the other. Raises InputError for a file that is unreadable, damaged, of another format, animated,
    too large or too small, for values of more than `bits`, and, with fewer than 16 of them, for 16-bit colour, of which
    only the high byte could be read. Bits flipped inside a JPEG, BMP or TIFF can go unseen: these have no checksum.
    """
    image, data, name = opened(source, max_megapixels=max_megapixels)
    _check_shape(*image.size, name=name)
    if image.mode not in COLOUR8 | GREY16:
        raise InputError(f"{name}: pixel type {image.mode} not supported (allowed: 8-bit, or unsigned 16-bit integers)")
    with decoding(name):
        if bits < FULL_BITS and image.mode not in GREY16 and _is_deep(image, data):
            raise InputError(f"{name}: 16-bit colour cannot be read with {bits} bits (allowed: grey, or 16 bits)")
        return _rgb(upright(image, data, name=name), bits=bits, name=name)


def brightest(path: Path) -> int | None:
    """Return the largest value in a file of 16-bit grey, 0 ... 65535; None for another. Raises as read_image does."""
    image, data, name = opened(path, max_megapixels=MAX_MEGAPIXELS)
    if image.mode not in GREY16:
        return None
    with decoding(name):
        return int(np.array(upright(image, data, name=name)).max())


def image_shape(path: Path) -> tuple[int, int, int]:
    """Return (height, width, channels) of the image or mask in a file, upright, without decoding it where possible.

    channels: 1 for grey, else 3. Raises InputError as read_image does, but sees no damage behind the header.
    """
    image, data, name = opened(path, max_megapixels=MAX_MEGAPIXELS)
    (width, height), channels = image.size, 1 if image.mode in {"1", "L", "LA", "I", *GREY16} else 3
    with decoding(name):
        if isinstance(image, TiffImageFile):  # some versions of Pillow swap the size of a turned TIFF, some do not
            width, height = image.tag_v2[256], image.tag_v2[257]
        # Pillow decodes a PNG to look for EXIF, which may follow the pixels; most have none.
        elif isinstance(image, PngImageFile) and not any(key in data for key in (b"eXIf", b"exif", b"adobe.xmp")):
            return height, width, channels
        turned = image.getexif().get(0x0112) in {5, 6, 7, 8}
    return (width, height, channels) if turned else (height, width, channels)


def as_image(array: NDArray[Any], *, bits: int = FULL_BITS) -> NDArray[np.uint8]:
    """Return an image held in memory as read_image would return it from a file.

    array: uint8, or uint16 (of which `bits` are used, scaled as in a file), of shape (H, W), (H, W, 1), (H, W, 3) RGB
    or (H, W, 4) RGBA (flattened on white). The result, (H, W, 3) uint8, may share its memory. Raises InputError for
    anything else.
    """
    if not isinstance(array, np.ndarray) or array.dtype.newbyteorder("=") not in (np.uint8, np.uint16):
        kind = array.dtype if isinstance(array, np.ndarray) else type(array).__name__
        raise InputError(f"image array: {kind} not supported (allowed: numpy arrays of uint8 or uint16)")
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)):
        raise InputError(f"image array: shape {array.shape} not supported (allowed: (H, W) and (H, W, 1, 3 or 4))")
    _check_shape(array.shape[1], array.shape[0], name="image array")
    pixels = np.ascontiguousarray(array if array.dtype == np.uint8 else _eight_bits(array, bits, name="image array"))
    if pixels.ndim == 3 and pixels.shape[2] == 4:
        return _rgb(Image.fromarray(pixels), bits=bits, name="image array")
    return pixels if pixels.ndim == 3 and pixels.shape[2] == 3 else _replicated(pixels.reshape(pixels.shape[:2]))


def from_pillow(picture: Image.Image) -> NDArray[Any]:
    """Return a picture of PIL as an array for `as_image`: upright, (H, W, 3) uint8, or (H, W) uint16 of 16-bit grey.

    Raises InputError for one that is too small, of several frames, or of a pixel type that is not read from a file.
    """
    name = "image of PIL"
    _check_shape(*picture.size, name=name)
    if picture.mode not in COLOUR8 | GREY16:
        raise InputError(f"{name}: pixel type {picture.mode} not supported (allowed: 8-bit, or 16-bit integers)")
    if (frames := getattr(picture, "n_frames", 1)) > 1:
        raise InputError(f"{name}: multi-frame not supported ({frames} frames; allowed: 1)")
    with decoding(name):
        turned = ImageOps.exif_transpose(picture)
        return np.array(turned) if turned.mode in GREY16 else _rgb(turned, bits=FULL_BITS, name=name)


def _content(source: Path | bytes, *, name: str, max_megapixels: float) -> bytes:
    """Return the file's bytes, at most what the largest allowed image can need (8 bytes a pixel, and metadata)."""
    most = int(8e6 * max_megapixels) + 2**24
    try:
        if isinstance(source, bytes):
            data = source
        elif not stat.S_ISREG(source.stat().st_mode):
            raise InputError(f"{name}: not a file")
        else:
            with source.open("rb") as stream:
                data = stream.read(most + 1)
    except FileNotFoundError:
        raise InputError(f"no such file: {name}") from None
    except PermissionError:
        raise InputError(f"permission denied: {name}") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise InputError(f"{name}: cannot be read ({getattr(error, 'strerror', None) or error})") from error
    if not data:
        raise InputError(f"{name}: empty file ({ALLOWED})")
    if len(data) > most:
        raise InputError(f"{name}: file exceeds {most} bytes, more than {max_megapixels:g} Mpx can need")
    return data


@contextmanager
def decoding(name: str) -> Iterator[None]:
    """Turn whatever a decoder raises on damaged bytes into one line, and keep its warnings quiet."""
    try:
        with QUIET:  # what matters is checked here
            yield
    except InputError:
        raise
    except MemoryError as error:
        raise InputError(f"{name}: not enough memory to decode it") from error
    except Exception as error:  # a decoder's errors are of every type
        text = " ".join(str(error).split())
        if "MAX_TEXT" in text:
            raise InputError(f"{name}: text chunk too large (allowed: 1 MiB unpacked; colour profile too)") from error
        if CUT_SHORT.search(text) or isinstance(error.__cause__ or error, struct.error | IndexError | EOFError):
            raise InputError(f"{name}: truncated image") from error
        raise InputError(f"{name}: corrupt image data, or of an unknown kind ({printable(text)[:200]})") from error


def opened(source: Path | bytes, *, max_megapixels: float) -> tuple[ImageFile.ImageFile, bytes, str]:
    """Return the picture with its header read and checked, before room for its pixels is made; its bytes; its name."""
    name = "image" if isinstance(source, bytes) else printable(source)
    data = _content(source, name=name, max_megapixels=max_megapixels)
    reader = next((reader for magic, reader in READERS.items() if data.startswith(magic)), None)
    if reader is None:
        foreign = FOREIGN.match(data)
        fault = f"format {foreign.lastgroup} not allowed (" if foreign else "not an image (magic bytes; "
        raise InputError(f"{name}: {fault}{ALLOWED})")
    with decoding(name):
        try:
            image = reader(io.BytesIO(data))
        except SyntaxError as error:
            if "not identified" not in str(error):
                raise
            raise InputError(f"{name}: invalid dimensions or pixel type in the {reader.format} header") from error
        width, height = image.size
        megapixels = width * height / 1e6
        if megapixels > max_megapixels:
            raise InputError(f"{name}: {megapixels:.6g} Mpx exceeds limit {max_megapixels:g} Mpx ({width}x{height})")
        frames = getattr(image, "n_frames", 1)
        if frames > 1:
            raise InputError(f"{name}: multi-frame not supported ({frames} frames; allowed: 1)")
        if isinstance(image, TiffImageFile):
            _check_tiff(image, name=name)
    return image, data, name


def upright(image: ImageFile.ImageFile, data: bytes, *, name: str) -> Image.Image:
    """Return the decoded picture, upright."""
    if isinstance(image, PngImageFile):
        _check_png(image, data, name=name)
    ImageOps.exif_transpose(image, in_place=True)
    return image


def _rgb(image: Image.Image, *, bits: int, name: str) -> NDArray[np.uint8]:
    if image.mode in GREY16:
        return _replicated(_eight_bits(np.array(image), bits, name=name))
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        image = Image.new("RGB", image.size, (255, 255, 255))
        image.paste(layer, mask=layer)
    return np.array(image.convert("RGB"))


def _eight_bits(values: NDArray[Any], bits: int, *, name: str) -> NDArray[np.uint8]:
    """Scale [0, 2^bits - 1] to [0, 255], rounded; by a table, which needs no wider copy of a large image."""
    full = 2**bits - 1
    if bits < FULL_BITS and (top := int(values.max())) > full:
        raise InputError(f"{name}: brightest value {top} exceeds {full}, the largest of {bits} bits")
    return np.asarray(((np.arange(full + 1) * 255 + full // 2) // full).astype(np.uint8)[values])


def _is_deep(image: ImageFile.ImageFile, data: bytes) -> bool:
    """Tell whether a picture in colour has more than 8 bits a channel, whatever of it Pillow gives."""
    if isinstance(image, TiffImageFile):
        return bool(max(image.tag_v2.get(258, (8,))) > 8)
    return isinstance(image, PngImageFile) and data[24] > 8


def _replicated(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.repeat(grey[:, :, None], 3, axis=2)


def _check_shape(width: int, height: int, *, name: str) -> None:
    if min(width, height) < MIN_SIDE:
        raise InputError(f"{name}: {width}x{height} is smaller than minimum {MIN_SIDE}x{MIN_SIDE}")
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise InputError(f"{name}: aspect ratio of {width}x{height} exceeds {MAX_ASPECT}:1")


def _check_tiff(image: TiffImageFile, *, name: str) -> None:
    """Refuse the TIFFs that Pillow would read without a word, and wrongly."""
    tags = image.tag_v2
    if int(tags.get(254, 0)) & 1:
        raise InputError(f"{name}: only the preview of a raw photograph ({ALLOWED})")
    if image.mode in GREY16 and (tags.get(258), tags.get(262)) != ((16,), 1):
        raise InputError(f"{name}: 12-bit or white-is-zero TIFF not supported (allowed: 16-bit, black is zero)")
    if image.mode == "L" and 2 in tags.get(339, ()):
        raise InputError(f"{name}: signed TIFF not supported (allowed: unsigned integers)")
    if image.tile[0][0] == "raw":  # missing strips would stay black
        boxes = [tile[1] or (0, 0, 0, 0) for tile in image.tile]
        area = sum((right - left) * (lower - upper) for left, upper, right, lower in boxes)
        if area < image.size[0] * image.size[1] * (len(image.getbands()) if tags.get(284) == 2 else 1):
            raise InputError(f"{name}: truncated image (TIFF strips are missing)")


def _check_png(image: PngImageFile, data: bytes, *, name: str) -> None:
    """Check what Pillow does not: the checksum of every chunk, and that there are pixels for every row."""
    depth, colour_type, interlaced = data[24], data[25], data[28]
    if "transparency" in image.info and colour_type in (0, 2) and depth not in (1, 8):
        raise InputError(f"{name}: transparent colour in a {depth}-bit PNG not supported (allowed: 8-bit, or an alpha)")
    bits = depth * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour_type]
    missing = _png_bytes(*image.size, bits=bits, interlaced=bool(interlaced))
    inflater, position, kind = zlib.decompressobj(), 8, b""
    while kind != b"IEND":
        length, kind = struct.unpack_from(">I4s", data, position)
        end = position + 8 + length
        if struct.unpack_from(">I", data, end)[0] != zlib.crc32(memoryview(data)[position + 4 : end]):
            raise InputError(f"{name}: corrupt image data (checksum of PNG chunk {printable(kind.decode('latin-1'))})")
        if kind == b"IDAT":
            chunk = data[position + 8 : end]
            while chunk and missing > 0:
                missing -= len(inflater.decompress(chunk, 2**20))
                chunk = inflater.unconsumed_tail
        position = end + 4
    if missing > 0:
        raise InputError(f"{name}: truncated image: {missing} bytes of pixels missing")


def _png_bytes(width: int, height: int, *, bits: int, interlaced: bool) -> int:
    """Return how many bytes a PNG's pixels take before compression, each row with its filter byte."""
    passes = ADAM7 if interlaced else ((0, 0, 1, 1),)
    sides = [(-(-(width - x) // dx), -(-(height - y) // dy)) for x, y, dx, dy in passes]
    return sum(rows * (1 + -(-columns * bits // 8)) for columns, rows in sides if columns > 0)
