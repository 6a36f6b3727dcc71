"""A plan's site on one Linux machine: devices as network namespaces, links as shaped wires, the real agents inside."""
