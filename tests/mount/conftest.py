import os
import signal

import pytest

from harness import Image, end_removals, lifetime


def pytest_configure(config):
    config.addinivalue_line("markers", "sanitize: worth running on a daemon built with sanitizers, too")


def pytest_sessionstart(session):
    if session.config.option.collectonly:
        return
    if os.geteuid() != 0:
        pytest.exit("tests/mount: must be run by root: they mount, and become other users", 2)
    os.umask(0o022)
    # A shell that starts tests in the background has SIGINT ignored, and so would have the programs that are sent one.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_sessionfinish():
    end_removals()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item):
    """Shows what the daemon said and what lies in the store, where a test failed."""
    outcome = yield
    report = outcome.get_result()
    mount = item.funcargs.get("idle")
    if report.failed and mount is not None:
        report.sections += [(f"the {what}", text) for what, text in
                            (("daemon's stderr", mount.stderr()), ("store's files", mount.files())) if text]


@pytest.fixture
def idle():
    """A store that is still to be made and a mountpoint, with no daemon yet."""
    with lifetime() as mount:
        yield mount


@pytest.fixture
def mnt(request, idle):
    """A fresh store, mounted. `@pytest.mark.parametrize("mnt", ["ro"], indirect=True)` gives it options."""
    idle.options = getattr(request, "param", "")
    idle.start()
    return idle


def mounted_on(idle, image):
    """A mount whose store lies on a disk of its own, taken away afterwards."""
    idle.image = image
    idle.store = idle.image.path / "store"
    try:
        idle.start()
        yield idle
        idle.finish()
    finally:
        idle.detach()
        idle.image.clear()


@pytest.fixture
def small_disk(idle):
    """A mount whose store lies on an ext4 of 96 MiB of its own; mnt.image fills and frees it."""
    yield from mounted_on(idle, Image(idle.base, 96))


@pytest.fixture
def few_inodes(idle):
    """The same with 3000 inodes, of which a hundredth is kept back."""
    yield from mounted_on(idle, Image(idle.base, 96, inodes=3000))


@pytest.fixture
def failing_disk(idle):
    """A mount whose store lies on a disk that fails once `idle.outer` is full: its image has holes there, and what
    the loop device cannot write comes back as EIO from fsync."""
    idle.outer = Image(idle.base, 256, "outer")
    idle.image = Image(idle.outer.path, 1024, "inner")
    idle.store = idle.image.path / "store"
    try:
        idle.start()
        yield idle
        idle.finish()
    finally:
        idle.detach()
        idle.image.clear()
        idle.outer.clear()
