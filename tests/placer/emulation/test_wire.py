"""How the wire counts bytes."""

import struct

from hypothesis import given
from hypothesis import strategies as st

from placer.emulation.wire import wire_size_bytes


def packet(payload_bytes, *, segment=0, headers=52):
    """An Ethernet frame behind a virtio_net_hdr, which leaves the cutting to the hardware if it has a segment size."""
    return struct.pack("=BBHHHH", 0, 1 if segment else 0, headers + 14, segment, 0, 0) + bytes(
        14 + headers + payload_bytes
    )


def test_a_plain_packet_counts_as_ip_counts_it():
    assert wire_size_bytes(packet(1448)) == 1500


@given(st.integers(1, 45), st.integers(1, 1448))
def test_a_large_packet_counts_the_headers_of_all_its_segments(whole, rest):
    assert wire_size_bytes(packet(whole * 1448 + rest, segment=1448)) == whole * 1500 + 52 + rest
