"""The real tools of DESIGN 1.1 behave on a mount as they do on ext4, by what they print and what they leave."""

import hashlib
import os
import signal
import subprocess

import pytest

from harness import append, as_user, opened, read, run, sh, wait_for

TEXT = b"".join(b"%05d %s\n" % (number, b"word " * (number % 17)) for number in range(5000))


@pytest.fixture
def log(mnt):
    """A partition with TEXT in it, and the same in an ordinary file beside the mount."""
    topic = mnt.topic("t", partitions=2)
    append(topic / "0", TEXT)
    (mnt.base / "same").write_bytes(TEXT)
    return topic / "0"


def follow(mnt, *argv):
    """A program that follows a file, with its output going to a file of ours."""
    output = mnt.base / "followed"
    with open(output, "wb") as stdout:
        child = mnt.spawn(*argv, stdout=stdout, stderr=stdout)
    return child, output


def grows_to(output, wanted):
    wait_for(lambda: len(output.read_bytes()) >= len(wanted), f"{len(wanted)} bytes followed")
    assert output.read_bytes() == wanted


# ---- following ----------------------------------------------------------------------------------------------


@pytest.mark.sanitize
@pytest.mark.parametrize("option", ["-f", "-F"])
def test_tail_follows_without_loss_repeats_or_complaints(mnt, option):
    log = mnt.topic("t") / "0"
    append(log, b"before\n")
    _, output = follow(mnt, "tail", option, "-s", "0.05", "-n", "+1", log)
    wanted = b"before\n"
    grows_to(output, wanted)
    for number in range(40):
        lines = b"".join(b"%d %s\n" % (number, b"x" * (number * count)) for count in range(number))
        if lines:
            append(log, lines)
        wanted += lines
    with opened(log) as fd:
        os.write(fd, b"in ")
        os.write(fd, b"pieces\n")
    grows_to(output, wanted + b"in pieces\n")


def test_tail_F_waits_for_a_partition_that_is_still_to_come(mnt):
    topic = mnt.topic("t")
    output = mnt.base / "followed"
    with open(output, "wb") as stdout:
        mnt.spawn("tail", "-F", "-s", "0.05", topic / "1", stdout=stdout, stderr=subprocess.DEVNULL)
    append(topic / "0", b"elsewhere\n")
    (topic / "1").touch()
    append(topic / "1", b"here it is\n")
    grows_to(output, b"here it is\n")


def test_tail_F_of_a_quiet_partition_does_not_think_it_was_replaced(mnt, log):
    """After some quiet ticks tail -F opens by name again; another inode would make it print all anew."""
    _, output = follow(mnt, "tail", "-F", "-s", "0.02", "-n", "1", log)
    last = TEXT.splitlines(keepends=True)[-1]
    grows_to(output, last)
    errors = subprocess.run(["timeout", "1", "tail", "-F", "-s", "0.02", "-n", "0", log], capture_output=True,
                            check=False)
    assert errors.stdout == errors.stderr == b""
    append(log, b"later\n")
    grows_to(output, last + b"later\n")


def test_tail_with_pid_ends_when_the_process_does(mnt, log):
    process = mnt.spawn("sleep", 60)
    tail = mnt.spawn("tail", "-f", "-s", "0.05", "--pid", process.pid, log, stdout=subprocess.DEVNULL)
    process.kill()
    process.wait()
    assert tail.wait(20) == 0


@pytest.mark.parametrize("argv, wanted", [
    (["tail", "-n", "3"], TEXT.splitlines(keepends=True)[-3:]), (["tail", "-n", "+4998"], TEXT.splitlines(True)[4997:]),
    (["tail", "-c", "100"], [TEXT[-100:]]), (["head", "-n", "3"], TEXT.splitlines(True)[:3]),
    (["head", "-c", "1000"], [TEXT[:1000]]), (["head", "-n", "-4997"], TEXT.splitlines(True)[:3]),
    (["cat"], [TEXT]), (["tac"], TEXT.splitlines(True)[::-1]), (["sort", "-r"], TEXT.splitlines(True)[::-1]),
])
def test_programs_that_read(log, argv, wanted):
    assert run(*argv, log).stdout == b"".join(wanted)


@pytest.mark.parametrize("script", [
    'wc "$1"', 'wc -l "$1"', 'wc -c "$1"', 'wc -L "$1"', 'grep -c 7 "$1"', 'grep -n "^00042" "$1"', 'grep -v word "$1"',
    'awk "{ s += NF } END { print s, NR }" "$1"', 'sed -n "100,110p" "$1"', 'cut -c 1-5 "$1"', 'sha256sum < "$1"',
    'md5sum < "$1"', 'cksum < "$1"', 'od -c "$1"', 'tail -c +5000 "$1" | head -c 100', 'sort -k 2 "$1" | uniq -c | tail',
    'while read -r a b; do echo "$b:$a"; done < "$1"', 'mapfile -t lines < "$1"; echo "${#lines[@]} ${lines[77]}"',
    'paste "$1" "$1"', 'rev "$1"', 'nl "$1"', 'fold -w 20 "$1"', 'split -n l/3/7 "$1"', 'gzip -c "$1" | zcat', 'xxd "$1"',
    'dd if="$1" bs=1000 skip=3 count=2 status=none', 'dd if="$1" bs=1 skip=77 count=33 status=none',
    'dd if="$1" iflag=skip_bytes,count_bytes skip=12345 count=999 status=none', 'stat -c "%s %F %h" "$1"',
    'cmp "$1" "$1" && echo same', 'comm -12 "$1" "$1"', 'shuf --random-source="$1" -i 1-10', 'strings "$1" | tail -3',
    'bash -c \'exec 3<"$1"; read -u 3 x; cat <&3\' bash "$1"', 'head -2 "$1"; tail -2 "$1"',
    'python3 -c "import sys; print(sum(map(len, open(sys.argv[1]))))" "$1"', 'grep -m 2 word "$1"',
    '(head -n 1; cat) < "$1" | wc -c', 'less "$1" | md5sum', 'diff "$1" <(sed s/7/8/ "$1")',
])
def test_programs_print_what_they_print_on_ext4(mnt, log, script):
    script = f"cd /usr/bin; PATH=/usr/bin:/bin; {script} 2>&1 | sed 's#{mnt.path}/t/0#F#g; s#{mnt.base}/same#F#g'"
    assert sh(script, log) == sh(script, mnt.base / "same") != b""


def test_split_cuts_a_partition_into_whole_lines(mnt, log):
    run("split", "-l", "700", log, mnt.base / "part.")
    parts = sorted(mnt.base.glob("part.*"))
    assert len(parts) == 8
    assert b"".join(part.read_bytes() for part in parts) == TEXT


def test_grep_r_finds_in_all_partitions_and_nothing_hidden(mnt, log):
    append(mnt / "t" / "1", b"needle in one\n")
    append(mnt.topic("u") / "0", b"needle in u\n")
    assert sorted(run("grep", "-r", "needle", ".", cwd=mnt.path).stdout.splitlines()) == [
        b"./t/1:needle in one", b"./u/0:needle in u"]


def less(log, *keys, mnt):
    """What less shows on a terminal of its own, told by keys."""
    commands = mnt.base / "keys"
    commands.write_bytes(b"".join(keys))
    script = f'LESS= TERM=xterm exec script -qec "stty rows 24 cols 80; less {log} " /dev/null < {commands}'
    return run("bash", "-c", script, seconds=30, code=None).stdout


def test_less_shows_the_beginning_the_end_and_a_search(mnt, log):
    shown = less(log, b"G", b"q", mnt=mnt)
    assert b"00000" in shown and b"04999" in shown
    shown = less(log, b"/^02345\n", b"q", mnt=mnt)
    assert b"02345" in shown


@pytest.mark.sanitize
def test_less_F_follows(mnt, log):
    """less +F on a pseudo-terminal shows a line that is appended while it waits."""
    import pty
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ.update(TERM="xterm", LESS="")
        os.execvp("less", ["less", "+F", str(log)])
    try:
        shown = b""
        shown = until(terminal, shown, b"04999")
        append(log, b"appended while it waits\n")
        until(terminal, shown, b"appended while it waits")
        os.write(terminal, b"\x03q")
        wait_for(lambda: os.waitpid(pid, os.WNOHANG)[0] == pid or pressed(terminal), "the end of less")
        pid = 0
    finally:
        if pid:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        os.close(terminal)


def pressed(terminal):
    try:
        os.write(terminal, b"q")
    except OSError:
        pass
    return False


def until(terminal, shown, wanted):
    import select
    while wanted not in shown:
        assert select.select([terminal], [], [], 20)[0], f"less does not show {wanted!r}: {shown[-500:]!r}"
        shown += os.read(terminal, 65536)
    return shown


# ---- writing ------------------------------------------------------------------------------------------------


@pytest.mark.sanitize
@pytest.mark.parametrize("script", [
    'cat "$2" > "$1"', 'cat "$2" >> "$1"', 'cp "$2" "$1"', 'tee "$1" < "$2" > /dev/null', 'tee -a "$1" < "$2" > /dev/null',
    'dd if="$2" of="$1" status=none', 'dd if="$2" of="$1" bs=7 status=none', 'dd if="$2" of="$1" bs=1M status=none',
    'dd if="$2" of="$1" oflag=append conv=notrunc status=none', 'dd if="$2" of="$1" conv=fsync status=none bs=64k',
    'dd if="$2" of="$1" oflag=dsync bs=64k status=none', 'cat < "$2" 1<> /dev/null > "$1"', 'sed "" "$2" > "$1"',
    'awk 1 "$2" > "$1"', 'awk -v f="$1" "{ print > f }" "$2"', 'awk -v f="$1" "{ print >> f }" "$2"', 'sort "$2" -o "$1"',
    'while IFS= read -r l; do printf "%s\n" "$l"; done < "$2" > "$1"', 'cat "$2" | cat - > "$1"', 'head -n 5000 "$2" > "$1"',
    'cp --reflink=auto "$2" "$1"', 'cp --sparse=always "$2" "$1"', 'cp -p "$2" "$1"', 'cp -a "$2" "$1"', 'cp --no-preserve=all "$2" "$1"',
    'rsync --inplace "$2" "$1"', 'rsync -a --inplace "$2" "$1"', 'rsync -a --append "$2" "$1"', 'rsync -W --inplace "$2" "$1"',
    'tar c -C "${2%/*}" --transform="s/same/1/" same | tar x --overwrite -C "${1%/*}"', 'python3 -c "import shutil, sys; shutil.copyfile(sys.argv[2], sys.argv[1])" "$1" "$2"',
    'perl -pe 1 "$2" > "$1"', 'pv -q "$2" > "$1"', 'sponge=$(cat "$2"; echo x); printf %s "${sponge%x}" > "$1"',
    'split --filter="cat >> $1" -l 100 "$2"', 'xargs -d "\n" -n 50 printf "%s\n" < "$2" >> "$1"', 'stdbuf -o0 cat "$2" > "$1"',
])
def test_programs_that_write_an_empty_partition(mnt, log, script):
    target = mnt / "t" / "1"
    sh(f"PATH=/usr/bin:/bin; {script}", target, mnt.base / "same")
    assert read(target) == TEXT


@pytest.mark.parametrize("script", [
    'cat "$2" > "$1"', 'cp "$2" "$1"', 'tee "$1" < "$2" > /dev/null', 'dd if="$2" of="$1" status=none', 'cp -a "$2" "$1"',
    'tee -a "$1" < "$2" > /dev/null', 'cp -f "$2" "$1"'])
def test_programs_that_overwrite_append_instead(mnt, log, script):
    sh(script, log, mnt.base / "same")
    assert read(log) == TEXT + TEXT


def test_tee_writes_to_many_partitions(mnt, log):
    topic = mnt.topic("many", partitions=5)
    sh('tee "$1"/{0,1,2,3,4} < "$2" > /dev/null', topic, mnt.base / "same")
    assert [read(topic / str(number)) for number in range(5)] == [TEXT] * 5


def test_cp_of_a_partition_to_a_partition(mnt, log):
    run("cp", log, mnt / "t" / "1")
    assert read(mnt / "t" / "1") == TEXT


def test_cp_a_of_the_mount_and_back(mnt, log):
    append(mnt / "t" / "1", b"other\n")
    os.chmod(mnt / "t" / "1", 0o640)
    os.utime(mnt / "t" / "1", ns=(5, 1500000000_123456789))
    run("cp", "-a", mnt / "t", mnt.base / "copy")
    assert (mnt.base / "copy" / "0").read_bytes() == TEXT
    assert (mnt.base / "copy" / "1").stat().st_mtime_ns == 1500000000_123456789
    # cp takes a directory that it has made for empty and creates exclusively, but 0 is there: it says so, and a
    # second run, or one into a topic made before, does it.
    done = run("cp", "-a", mnt.base / "copy", mnt / "back", code=1)
    assert b"back/0': File exists" in done.stderr
    (mnt / "again").mkdir()
    done = run("cp", "-aT", mnt.base / "copy", mnt / "again")
    assert done.stderr == b""
    os.rename(mnt / "back", mnt / "refused")
    os.rename(mnt / "again", mnt / "back")
    assert read(mnt / "back" / "0") == TEXT
    assert read(mnt / "back" / "1") == b"other\n"
    facts = os.stat(mnt / "back" / "1")
    assert (facts.st_mode & 0o777, facts.st_mtime_ns) == (0o640, 1500000000_123456789)


@pytest.mark.sanitize
def test_tar_out_and_in(mnt, log):
    append(mnt / "t" / "1", b"other\n")
    archive = mnt.base / "archive.tar"
    assert run("tar", "cf", archive, "-C", mnt.path, "t").stderr == b""
    before = {name: os.stat(mnt / "t" / name).st_mtime_ns // 10**9 for name in "01"}
    os.rename(mnt / "t", mnt / "original")
    assert run("tar", "xpf", archive, "-C", mnt.path).stderr == b""
    assert read(mnt / "t" / "0") == TEXT
    assert read(mnt / "t" / "1") == b"other\n"
    assert {name: os.stat(mnt / "t" / name).st_mtime_ns // 10**9 for name in "01"} == before
    assert run("tar", "df", archive, "-C", mnt.path).stdout == b""


def itemized(*argv):
    return run("rsync", "-i", *argv).stdout.decode().splitlines()


@pytest.mark.sanitize
def test_rsync_a_twice_moves_nothing_the_second_time(mnt, log):
    copy = mnt.base / "copy"
    assert any(line.endswith(" t/0") for line in itemized("-a", f"{mnt.path}/", copy))
    assert (copy / "t" / "0").read_bytes() == TEXT
    assert itemized("-a", f"{mnt.path}/", copy) == []
    append(log, b"one more\n")
    assert [line.split()[-1] for line in itemized("-a", f"{mnt.path}/", copy)] == ["t/0"]
    assert (copy / "t" / "0").read_bytes() == TEXT + b"one more\n"
    mnt.restart()
    assert itemized("-a", f"{mnt.path}/", copy) == []


@pytest.fixture
def twelve(tmp_path):
    """An ordinary directory with a topic of twelve partitions, two of them empty."""
    for number in range(12):
        path = tmp_path / "tree" / "twelve" / str(number)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"".join(b"line %d of %d\n" % (line, number) for line in range(number * 500)) * (number != 5))
        os.utime(path, ns=(5, (1500000000 + number) * 10**9 + 123456789))
    return tmp_path / "tree"


@pytest.mark.sanitize
@pytest.mark.parametrize("how", ["--inplace", "--append", "--append-verify"])
def test_rsync_into_a_mount_with_twelve_partitions(mnt, twelve, how):
    run("rsync", "-a", how, f"{twelve}/", f"{mnt.path}/")
    for number in range(12):
        assert read(mnt / "twelve" / str(number)) == (twelve / "twelve" / str(number)).read_bytes(), number
        if how == "--inplace" or number not in (0, 5):  # rsync --append leaves alone what has its size already
            assert os.stat(mnt / "twelve" / str(number)).st_mtime_ns == (1500000000 + number) * 10**9 + 123456789
    assert sorted(os.listdir(mnt / "twelve"), key=int) == [str(number) for number in range(12)]
    # The directory's own time is not kept: it is when a partition was last added.
    again = itemized("-a", how, f"{twelve}/", f"{mnt.path}/")
    assert [line for line in again if not line.startswith(".d..t......")] == []


def test_rsync_append_brings_only_what_is_new(mnt, twelve):
    run("rsync", "-a", "--append", f"{twelve}/", f"{mnt.path}/")
    for number in range(12):
        with open(twelve / "twelve" / str(number), "ab") as file:
            file.write(b"new line of %d\n" % number * number)
    done = run("rsync", "-a", "--append", "--stats", f"{twelve}/", f"{mnt.path}/")
    literal = [line for line in done.stdout.decode().splitlines() if line.startswith("Literal data")][0]
    assert int("".join(filter(str.isdigit, literal))) == sum(len(b"new line of %d\n" % n) * n for n in range(12))
    for number in range(12):
        assert read(mnt / "twelve" / str(number)) == (twelve / "twelve" / str(number)).read_bytes()


def test_rsync_without_inplace_is_refused_and_costs_nothing(mnt, log):
    (mnt.base / "same").write_bytes(b"another history\n")
    done = run("rsync", mnt.base / "same", log, code=None)
    assert done.returncode != 0
    assert read(log) == TEXT


def test_rsync_delete_cannot_take_a_history(mnt, log, tmp_path):
    (tmp_path / "empty" / "t").mkdir(parents=True)
    done = run("rsync", "-a", "--inplace", "--delete", f"{tmp_path}/empty/", f"{mnt.path}/", code=None)
    assert done.returncode != 0
    assert read(log) == TEXT


# ---- looking ------------------------------------------------------------------------------------------------


def test_find_by_size_time_and_type(mnt, log):
    found = run("find", mnt.path, "-type", "f", "-size", "+1k", "-mmin", "-5").stdout.split()
    assert found == [os.fsencode(log)]
    assert run("find", mnt.path, "-type", "f", "-empty").stdout.split() == [os.fsencode(mnt / "t" / "1")]
    assert run("find", mnt.path, "-type", "d").stdout.split() == [os.fsencode(mnt.path), os.fsencode(mnt / "t")]
    assert run("find", mnt.path, "-name", ".*", "-path", "*/t/*").stdout == b""


def test_stat_and_ls_agree(mnt, log):
    size, kind, links = run("stat", "-c", "%s/%F/%h", log).stdout.decode().strip().split("/")
    assert (int(size), kind, links) == (len(TEXT), "regular file", "1")
    assert run("ls", "-l", log).stdout.split()[4] == b"%d" % len(TEXT)
    assert run("stat", "-c", "%F", mnt / "t").stdout == b"directory\n"
    assert run("stat", "-f", "-c", "%T", mnt.path).stdout == b"fuseblk\n" or run("stat", "-f", mnt.path).stdout


def test_sha256sum_check(mnt, log):
    sums = sh('cd "$1" && sha256sum t/0 t/1', mnt.path)
    assert sums.split()[0].decode() == hashlib.sha256(TEXT).hexdigest()
    assert run("sha256sum", "-c", "-", cwd=mnt.path, input=sums).stdout == b"t/0: OK\nt/1: OK\n"


@pytest.mark.sanitize
def test_vim_R_shows_and_harms_nothing(mnt, log):
    written = mnt.base / "from-vim"
    run("vim.tiny", "-u", "NONE", "-n", "-i", "NONE", "-R", "-es", "-c", f"w {written}", "-c", "q!", log,
        env=dict(os.environ, TERM="dumb"), code=None)
    assert written.read_bytes() == TEXT
    assert read(log) == TEXT
    assert sorted(os.listdir(mnt / "t")) == ["0", "1"]


def test_inotifywait_hears_appends(mnt, log):
    child = mnt.spawn("inotifywait", "-m", "-e", "modify", "-e", "close_write", "--format", "%e", log, stdout=-1,
                      stderr=-1)
    while b"established" not in child.stderr.readline():
        pass
    append(log, b"heard\n")
    assert child.stdout.readline() == b"MODIFY\n"
    assert child.stdout.readline().startswith(b"CLOSE_WRITE")


def test_inotifywait_on_a_directory_hears_touch_and_appends(mnt, log):
    child = mnt.spawn("inotifywait", "-m", "--format", "%e %f", "-e", "create", "-e", "modify", mnt / "t", stdout=-1,
                      stderr=-1)
    while b"established" not in child.stderr.readline():
        pass
    os.close(os.open(mnt / "t" / "2", os.O_CREAT | os.O_WRONLY))
    assert child.stdout.readline() == b"CREATE 2\n"
    append(mnt / "t" / "2", b"x\n")
    assert child.stdout.readline() == b"MODIFY 2\n"


def test_inotify_goes_on_after_others_looked_the_name_up_again(mnt, log):
    """One kernel inode a name: a watch hears writes through opens that came long after."""
    child = mnt.spawn("inotifywait", "-m", "-e", "modify", "--format", "%e", log, stdout=-1, stderr=-1)
    while b"established" not in child.stderr.readline():
        pass
    for _ in range(3):
        os.stat(log)
        sh('echo 2 > /proc/sys/vm/drop_caches; echo x >> "$1"', log)
        assert child.stdout.readline() == b"MODIFY\n"


def test_bash_completion_globs_and_test_operators(mnt, log):
    assert sh('cd "$1"; echo */*; [ -f t/0 ] && [ -s t/0 ] && [ ! -s t/1 ] && [ -d t ] && [ -w t/0 ] && echo yes',
              mnt.path) == b"t/0 t/1\nyes\n"
    assert sh('[ "$1" -nt "$2" ] && echo newer', log, "/etc/passwd") == b"newer\n"


def test_xargs_many_readers_at_once(mnt, log):
    shown = sh('seq 40 | xargs -P 8 -I{} sha256sum "$1"', log).split(b"\n")[:-1]
    assert {line.split()[0].decode() for line in shown} == {hashlib.sha256(TEXT).hexdigest()}
    assert len(shown) == 40


def test_logger_style_programs_that_keep_a_file_open(mnt):
    """A long-lived producer restarted and rotated by hand, as log daemons are."""
    topic = mnt.topic("t")
    for number in range(5):
        child = mnt.spawn("bash", "-c", 'exec >> "$1"; trap exit TERM; echo start $2; while read -r l; do echo "$l"; done',
                          "bash", topic / "0", number, stdin=-1)
        child.stdin.write(b"first\nsecond\n")
        child.stdin.flush()
        wait_for(lambda number=number: read(topic / "0").count(b"second") == number + 1, "the lines")
        child.send_signal(signal.SIGTERM)
        child.wait(10)
    assert read(topic / "0") == b"".join(b"start %d\nfirst\nsecond\n" % number for number in range(5))


def test_a_pipeline_from_one_partition_into_another(mnt, log):
    """A consumer that is a producer: tail -f | grep | tee -a, as people build them."""
    sink = mnt / "t" / "1"
    mnt.spawn("bash", "-c", 'tail -s 0.05 -n +1 -f "$1" | grep --line-buffered 7 | tee -a "$2" > /dev/null', "bash", log,
              sink, start_new_session=True)
    append(log, b"77777 the last\n")
    wanted = b"".join(line for line in TEXT.splitlines(keepends=True) if b"7" in line) + b"77777 the last\n"
    wait_for(lambda: os.stat(sink).st_size >= len(wanted), "the pipeline")
    assert read(sink) == wanted
    for child in mnt.children:
        os.killpg(child.pid, signal.SIGKILL)


def test_another_user_uses_the_same_tools(idle):
    idle.options = "allow_other"
    idle.start()
    topic = idle.topic("t")
    os.chmod(topic, 0o777)
    os.chmod(topic / "0", 0o666)
    run(*as_user("bash", "-c", f'echo one >> "{topic}/0"; head -n 1 "{topic}/0" >> "{topic}/0"; touch "{topic}/1"; '
                               f'tee -a "{topic}/1" < "{topic}/0" > /dev/null'))
    assert read(topic / "0") == b"one\none\n"
    assert read(topic / "1") == b"one\none\n"
