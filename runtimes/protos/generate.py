"""Regenerate the message modules from the ``.proto`` files, bound to the private pool.

Run from the root of the checkout, in an environment of its own::

    pip install grpcio-tools==1.81.1 && python runtimes/protos/generate.py

That version's output imports under protobuf 6.33, which ortools needs, and under protobuf 7.
No gRPC stubs are generated: they refuse every grpcio older than the generator, and ``runtimes.rpc``
reads the services from their descriptors.
"""

from __future__ import annotations

from pathlib import Path

from grpc_tools import protoc  # type: ignore[import-not-found]  # of the generator's environment

_HERE = Path(__file__).resolve().parent
_ROOT = _HERE.parent.parent
_DEFAULT_POOL_IMPORT = "from google.protobuf import descriptor_pool as _descriptor_pool\n"
_DEFAULT_POOL = "_descriptor_pool.Default()"


def main() -> None:
    """Write ``*_pb2.py`` and ``*_pb2.pyi`` beside every ``.proto`` file of this directory."""
    for proto in sorted(_HERE.glob("*.proto")):
        arguments = ["protoc", f"-I{_ROOT}", f"--python_out={_ROOT}", f"--pyi_out={_ROOT}", str(proto)]
        if protoc.main(arguments) != 0:
            raise SystemExit(f"protoc failed on {proto.name}: see its message above")
        module = proto.with_name(proto.stem + "_pb2.py")
        text = module.read_text()
        if text.count(_DEFAULT_POOL_IMPORT) != 1 or text.count(_DEFAULT_POOL) != 1:
            raise SystemExit(f"{module.name}: the generator's text changed; adapt this script to it")
        text = text.replace(_DEFAULT_POOL_IMPORT, "from runtimes.protos.pool import POOL as _POOL\n")
        module.write_text(text.replace(_DEFAULT_POOL, "_POOL"))
        # The generator writes bare Mapping, which strict checking refuses.
        stub = module.with_suffix(".pyi")
        stub.write_text("# mypy: ignore-errors\n" + stub.read_text())


if __name__ == "__main__":
    main()
