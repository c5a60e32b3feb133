"""Users, modes, owners and times; what of them outlives the daemon."""

import errno
import os
import stat

import pytest

from harness import NOBODY, append, as_user, build_path, fails, opened, read, run, sh

OTHER = 1  # daemon


@pytest.fixture
def open_mnt(idle):
    """A mount that other users may enter."""
    idle.options = "allow_other"
    idle.start()
    return idle


def as_nobody(script, *args, code=0, uid=NOBODY, gid=NOBODY):
    return run(*as_user("bash", "-c", script, "bash", *args, uid=uid, gid=gid), code=code, cwd="/")


def mode(path):
    return stat.S_IMODE(os.stat(path).st_mode)


@pytest.mark.sanitize
def test_without_allow_other_other_users_see_nothing(mnt):
    append(mnt.topic("t") / "0", b"private\n")
    done = as_nobody('cat "$1"/t/0', mnt.path, code=1)
    assert b"Permission denied" in done.stderr and done.stdout == b""


@pytest.mark.parametrize("bits, may_read, may_write", [
    (0o600, False, False), (0o604, True, False), (0o602, False, True), (0o606, True, True)])
def test_the_modes_of_a_partition_are_consume_and_produce(open_mnt, bits, may_read, may_write):
    topic = open_mnt.topic("t")
    append(topic / "0", b"first\n")
    os.chmod(topic / "0", bits)
    done = as_nobody('cat "$1"', topic / "0", code=0 if may_read else 1)
    assert done.stdout == (b"first\n" if may_read else b"")
    done = as_nobody('echo second >> "$1"', topic / "0", code=0 if may_write else 1)
    assert may_write or b"Permission denied" in done.stderr
    assert read(topic / "0") == (b"first\nsecond\n" if may_write else b"first\n")


def test_a_topic_directorys_w_is_to_administer(open_mnt):
    topic = open_mnt.topic("t")
    os.chmod(topic, 0o755)
    for script in ('touch "$1"/1', 'rm -f "$1"/0', 'rmdir "$1"', 'mv "$1" "$1"2', 'echo quota.bytes=5 >> "$1"/.config',
                   'chmod 777 "$1"', 'chmod 666 "$1"/0', 'chown nobody "$1"/0', 'touch -d 2001-01-01 "$1"/0'):
        done = as_nobody(script, topic, code=1)
        assert b"ermission denied" in done.stderr or b"not permitted" in done.stderr, script
    assert os.listdir(topic) == ["0"]
    os.chmod(topic, 0o757)
    as_nobody('touch "$1"/1', topic)
    assert sorted(os.listdir(topic)) == ["0", "1"]
    assert os.stat(topic / "1").st_uid == NOBODY


def test_config_follows_the_topics_mode(open_mnt):
    topic = open_mnt.topic("t")
    as_nobody('cat "$1"/.config "$1"/.offsets', topic)
    as_nobody('echo quota.bytes=5000 >> "$1"/.config', topic, code=1)
    os.chmod(topic, 0o757)
    as_nobody('echo quota.bytes=5000 >> "$1"/.config', topic)
    assert read(topic / ".config") == b"quota.bytes=5000\n"


def test_others_cannot_make_topics_until_the_root_lets_them(open_mnt):
    as_nobody('mkdir "$1"/mine', open_mnt.path, code=1)
    os.chmod(open_mnt.path, 0o777)
    as_nobody('mkdir "$1"/mine; echo x >> "$1"/mine/0', open_mnt.path)
    facts = os.stat(open_mnt / "mine")
    assert (facts.st_uid, facts.st_gid) == (NOBODY, NOBODY)
    assert os.stat(open_mnt / "mine" / "0").st_uid == NOBODY
    as_nobody('echo y >> "$1"/mine/0', open_mnt.path, code=1, uid=OTHER, gid=OTHER)
    open_mnt.restart()
    assert os.stat(open_mnt / "mine" / "0").st_uid == NOBODY
    assert mode(open_mnt.path) == 0o777
    as_nobody('echo z >> "$1"/mine/0', open_mnt.path)
    assert read(open_mnt / "mine" / "0") == b"x\nz\n"


@pytest.mark.sanitize
def test_chmod_and_chown_outlive_the_daemon(open_mnt):
    topic = open_mnt.topic("t", partitions=3)
    os.chmod(topic, 0o2750)
    os.chmod(topic / "1", 0o640)
    os.chown(topic / "1", NOBODY, OTHER)
    os.chown(topic, OTHER, -1)
    os.chown(topic / "2", -1, OTHER)

    def facts():
        return [(os.stat(path).st_uid, os.stat(path).st_gid, mode(path) & 0o777)
                for path in (topic, topic / "0", topic / "1", topic / "2")]

    before = facts()
    assert before == [(OTHER, 0, 0o750), (0, 0, 0o644), (NOBODY, OTHER, 0o640), (0, OTHER, 0o644)]
    open_mnt.restart()
    assert facts() == before
    open_mnt.crash()
    assert facts() == before
    as_nobody('cat "$1"', topic / "1", code=1)
    os.chmod(topic, 0o755)
    as_nobody('cat "$1"', topic / "1")


def test_new_partitions_and_umask(open_mnt):
    sh('umask 077; mkdir "$1"/private; umask 022; mkdir "$1"/public', open_mnt.path)
    assert mode(open_mnt / "private") == 0o700
    assert mode(open_mnt / "private" / "0") == 0o600
    assert mode(open_mnt / "public") == 0o755
    assert mode(open_mnt / "public" / "0") == 0o644


def test_chmod_leaves_size_content_and_mtime(open_mnt):
    log = open_mnt.topic("t") / "0"
    append(log, b"x\n")
    before = os.stat(log)
    os.chmod(log, 0o600)
    os.chown(log, NOBODY, NOBODY)
    after = os.stat(log)
    assert (after.st_size, after.st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    assert after.st_ctime_ns >= before.st_ctime_ns
    assert read(log) == b"x\n"


def test_only_the_owner_sets_the_mtime(open_mnt):
    topic = open_mnt.topic("t")
    append(topic / "0", b"x\n")
    os.chmod(topic / "0", 0o666)
    done = as_nobody('touch -d "2001-01-01" "$1"', topic / "0", code=1)
    assert b"not permitted" in done.stderr
    os.chown(topic / "0", NOBODY, NOBODY)
    as_nobody('touch -d "2001-01-01 UTC" "$1"', topic / "0")
    assert os.stat(topic / "0").st_mtime == 978307200


def test_a_set_mtime_lasts_until_the_next_append(mnt):
    log = mnt.topic("t") / "0"
    append(log, b"x\n")
    os.utime(log, ns=(1, 1234567890_123456789))
    assert os.stat(log).st_mtime_ns == 1234567890_123456789
    mnt.restart()
    assert os.stat(log).st_mtime_ns == 1234567890_123456789
    mnt.crash()
    assert os.stat(log).st_mtime_ns == 1234567890_123456789
    append(log, b"y\n")
    mtime = os.stat(log).st_mtime_ns
    assert mtime > 1600000000_000000000
    mnt.restart()
    assert abs(os.stat(log).st_mtime_ns - mtime) < 100_000_000


def test_a_mtime_in_the_future_gives_way_to_the_next_append(mnt):
    log = mnt.topic("t") / "0"
    os.utime(log, (4000000000, 4000000000))
    assert os.stat(log).st_mtime == 4000000000
    append(log, b"now\n")
    assert os.stat(log).st_mtime < 3900000000


def test_touch_of_what_exists_sets_now(mnt):
    log = mnt.topic("t") / "0"
    append(log, b"x\n")
    os.utime(log, (1000, 1000))
    sh('touch "$1"', log)
    assert os.stat(log).st_mtime > 1600000000
    assert read(log) == b"x\n"


def test_cp_p_keeps_mode_owner_and_time(open_mnt, tmp_path):
    source = tmp_path / "file"
    source.write_bytes(b"copied\n" * 1000)
    os.chmod(source, 0o640)
    os.chown(source, NOBODY, OTHER)
    os.utime(source, ns=(5, 1500000000_987654321))
    topic = open_mnt.topic("t")
    run("cp", "-p", source, topic / "0")
    facts = os.stat(topic / "0")
    assert (facts.st_uid, facts.st_gid, mode(topic / "0"), facts.st_mtime_ns) == (
        NOBODY, OTHER, 0o640, 1500000000_987654321)
    open_mnt.restart()
    assert os.stat(topic / "0").st_mtime_ns == 1500000000_987654321
    assert read(topic / "0") == source.read_bytes()


def test_a_write_only_producer_can_append_but_not_look(open_mnt):
    topic = open_mnt.topic("t")
    os.chmod(topic / "0", 0o602)
    as_nobody('for i in 1 2 3; do echo line $i; done >> "$1"', topic / "0")
    as_nobody('cat "$1"', topic / "0", code=1)
    assert read(topic / "0") == b"line 1\nline 2\nline 3\n"


def test_a_directory_without_x_hides_everything(open_mnt):
    topic = open_mnt.topic("t")
    append(topic / "0", b"x\n")
    os.chmod(topic, 0o700)
    for name in ("0", ".config", ".offsets", "0@append"):
        as_nobody('stat "$1"', topic / name, code=1)
    os.chmod(topic, 0o711)
    as_nobody('cat "$1"', topic / "0")
    as_nobody('ls "$1"', topic, code=2)


OWN_DAEMON = """
cd "$1"
if ! setpriv --reuid=65534 --regid=65534 --clear-groups test -w /dev/fuse; then
    mknod fuse c 10 229; chmod 666 fuse; mount --bind fuse /dev/fuse  # as udev leaves it; here only in this namespace
fi
exec setpriv --reuid=65534 --regid=65534 --clear-groups bash -euc '
    "$2" "$1"/store "$1"/mnt
    mkdir "$1"/mnt/t; echo mine >> "$1"/mnt/t/0; printf rest >> "$1"/mnt/t/0; cat "$1"/mnt/t/0
    stat -c "%u %g" "$1"/mnt/t/0
    fusermount3 -u "$1"/mnt
    flock -w 20 "$1"/store/LOCK true  # umount returns before the daemon has ended
    "$2" "$1"/store "$1"/mnt
    kill -9 $(pgrep -u nobody -f "^$2 $1/store ")
    "$2" "$1"/store "$1"/mnt
    cat "$1"/mnt/t/0
    fusermount3 -u "$1"/mnt' bash "$1" "$2"
"""


def test_an_ordinary_user_runs_a_daemon_of_his_own(idle):
    """Mounts by fusermount3, is killed, cleans up after himself: all without root."""
    os.chown(idle.base, NOBODY, NOBODY)
    os.chown(idle.path, NOBODY, NOBODY)
    done = run("unshare", "-m", "bash", "-ec", OWN_DAEMON, "bash", idle.base, build_path("fs", "topicfs"))
    assert done.stdout == b"mine\nrest\n65534 65534\nmine\nrest\n", done.stderr
    run("flock", "-w", 20, idle.store / "LOCK", "true")
    assert idle.log_bytes("t") == b"mine\nrest\n"


def test_root_is_not_bound_by_modes_but_by_the_log(open_mnt):
    topic = open_mnt.topic("t")
    append(topic / "0", b"x\n")
    os.chmod(topic / "0", 0)
    assert read(topic / "0") == b"x\n"
    with fails(errno.EPERM):
        os.unlink(topic / "0")
    with opened(topic / "0", os.O_RDWR) as fd, fails(errno.EPERM):
        os.pwrite(fd, b"y\n", 0)
