"""The private descriptor pool of this package's messages.

Every client of the Open Inference Protocol brings its own copy of the package ``inference``. In the
default pool a second copy is a duplicate symbol, so that one process could not hold both; in a pool of
our own it can.
"""

from __future__ import annotations

from google.protobuf.descriptor_pool import DescriptorPool

POOL = DescriptorPool()
