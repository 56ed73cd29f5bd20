"""What pyproject.toml cannot say: an extension that may fail to build (see engine/relay/forwarder.h)."""

from setuptools import Extension, setup

setup(
    ext_modules=[
        Extension(
            "triortc.engine.relay.forwarder",
            ["engine/relay/forwarder.c"],
            depends=["engine/relay/forwarder.h"],
            # No contraction: the figures of both planes are equal to the last bit.
            extra_compile_args=["-std=gnu11", "-O2", "-Wall", "-Wextra", "-pthread", "-ffp-contract=off"],
            extra_link_args=["-pthread"],
            # It uses nothing of any Python (engine/relay/core.py calls it by ctypes): one file for all of them.
            py_limited_api=True,
            optional=True,
        )
    ],
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
