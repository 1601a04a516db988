# SPDX-License-Identifier: Apache-2.0
"""Images that are not quite right, made of good ones. Sign them afterwards: the firmware is to start them."""


def patched(path, source, change):
    path.write_bytes(change(source.read_bytes()))
    return path


def strip_signature(image):
    """Without .pcrsig: the section keeps its bytes under a name that nobody knows."""
    table, rest = image[:1024], image[1024:]            # the stub itself knows the name as well
    assert table.count(b'.pcrsig\0') == 1
    return table.replace(b'.pcrsig\0', b'.foreign') + rest


def alter_signature(image):
    start = image.index(b'"sig":"') + len(b'"sig":"')
    middle = start + 100
    other = b'A' if image[middle:middle + 1] != b'A' else b'B'
    return image[:middle] + other + image[middle + 1:]
