/* The simulated disk keeps what a disk keeps, and loses what a disk loses. */
#include "simdisk.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

struct fixture {
    struct simdisk *disk;
    const struct tlog_io *io;
};

static int setup(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    fixture->disk = simdisk_new(&(struct simdisk_options){.seed = 1});
    fixture->io = simdisk_io(fixture->disk);
    *state = fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;
    simdisk_free(fixture->disk);
    free(fixture);
    return 0;
}

static int put(const struct tlog_io *io, int fd, const char *text, uint64_t foff)
{
    struct iovec from = {.iov_base = strdup(text), .iov_len = strlen(text)};
    int error = io->pwritev(io, fd, &from, 1, foff);
    free(from.iov_base);
    return error;
}

static void fill(const struct tlog_io *io, int fd, unsigned char byte, size_t length, uint64_t foff)
{
    struct iovec from = {.iov_base = malloc(length), .iov_len = length};
    memset(from.iov_base, byte, length);
    assert_int_equal(io->pwritev(io, fd, &from, 1, foff), 0);
    free(from.iov_base);
}

/* The file's text; "-" when it is missing. */
static const char *get(const struct tlog_io *io, const char *path)
{
    static char text[65536];
    int fd = io->open(io, path, TLOG_IO_READ);
    if (fd == -ENOENT)
        return "-";
    assert_true(fd >= 0);
    ssize_t length = io->pread(io, fd, text, sizeof text - 1, 0);
    assert_true(length >= 0);
    text[length] = '\0';
    io->close(io, fd);
    return text;
}

static int create(const struct tlog_io *io, const char *path)
{
    int fd = io->open(io, path, TLOG_IO_WRITE | TLOG_IO_CREATE | TLOG_IO_EXCL);
    assert_true(fd >= 0);
    return fd;
}

static void behaves_as_a_filesystem(void **state)
{
    const struct tlog_io *io = ((struct fixture *)*state)->io;
    struct tlog_io_stat stat;
    assert_int_equal(io->mkdir(io, "/a"), 0);
    assert_int_equal(io->mkdir(io, "/a"), -EEXIST);
    assert_int_equal(io->mkdir(io, "/b/c"), -ENOENT);
    int fd = create(io, "/a/f");
    assert_int_equal(io->open(io, "/a/f", TLOG_IO_WRITE | TLOG_IO_CREATE | TLOG_IO_EXCL), -EEXIST);
    assert_int_equal(io->open(io, "/a/g", TLOG_IO_READ), -ENOENT);
    assert_int_equal(io->open(io, "/a/f/g", TLOG_IO_READ), -ENOTDIR);
    assert_int_equal(put(io, fd, "hello", 2), 0);
    assert_int_equal(io->stat(io, fd, &stat), 0);
    assert_int_equal(stat.size_bytes, 7);
    assert_int_equal(stat.disk_bytes, 4096);
    assert_int_equal(io->reserve(io, fd, 0, 10000), 0);
    assert_int_equal(io->stat(io, fd, &stat), 0);
    assert_int_equal(stat.size_bytes, 7);
    assert_int_equal(stat.disk_bytes, 12288);
    assert_int_equal(io->truncate(io, fd, 4), 0);
    assert_int_equal(io->truncate(io, fd, 6), 0);
    char bytes[16];
    assert_int_equal(io->pread(io, fd, bytes, sizeof bytes, 0), 6);
    assert_memory_equal(bytes, "\0\0he\0\0", 6);
    assert_int_equal(io->pread(io, fd, bytes, sizeof bytes, 6), 0);
    assert_int_equal(io->rmdir(io, "/a"), -ENOTEMPTY);
    assert_int_equal(io->rename(io, "/a/f", "/g"), 0);
    assert_string_equal(get(io, "/a/f"), "-");
    assert_int_equal(io->rmdir(io, "/a"), 0);
    assert_int_equal(io->unlink(io, "/g"), 0);
    assert_int_equal(io->pread(io, fd, bytes, sizeof bytes, 0), 6);
    assert_int_equal(io->close(io, fd), 0);
    assert_int_equal(io->close(io, fd), -EBADF);
    assert_int_equal(simdisk_used_bytes(((struct fixture *)*state)->disk), 0);
}

static void a_lock_ends_with_its_descriptor(void **state)
{
    const struct tlog_io *io = ((struct fixture *)*state)->io;
    int first = create(io, "/LOCK"), second = io->open(io, "/LOCK", TLOG_IO_WRITE);
    assert_int_equal(io->lock(io, first), 0);
    assert_int_equal(io->lock(io, second), -EWOULDBLOCK);
    io->close(io, first);
    assert_int_equal(io->lock(io, second), 0);
    simdisk_kill(((struct fixture *)*state)->disk, 1);
    int third = io->open(io, "/LOCK", TLOG_IO_WRITE);
    assert_int_equal(io->lock(io, third), 0);
    io->close(io, third);
}

static void a_mapping_sees_the_file_grow(void **state)
{
    const struct tlog_io *io = ((struct fixture *)*state)->io;
    const void *map;
    int fd = create(io, "/f");
    assert_int_equal(put(io, fd, "one", 0), 0);
    assert_int_equal(io->map(io, fd, 1 << 20, &map), 0);
    assert_memory_equal(map, "one", 3);
    assert_int_equal(put(io, fd, "two", 5000), 0);
    assert_memory_equal((const char *)map + 5000, "two", 3);
    io->close(io, fd);
    assert_memory_equal((const char *)map + 5000, "two", 3);
    io->unmap(io, map, 1 << 20);
}

static void a_kill_keeps_what_was_written(void **state)
{
    struct fixture *fixture = *state;
    const struct tlog_io *io = fixture->io;
    char before[64], after[64];
    io->boot_id(io, before);
    assert_int_equal(put(io, create(io, "/f"), "text", 0), 0);
    simdisk_kill(fixture->disk, 7);
    assert_string_equal(get(io, "/f"), "text");
    io->boot_id(io, after);
    assert_string_equal(before, after);
    assert_int_equal(simdisk_open_files(fixture->disk), 0);
}

/* Clones taken in the middle of a write, killed: every length of it is seen, and nothing else. */
struct torn {
    struct simdisk *disk, *clones[200];
};

static void torn_hook(void *arg, enum sim_kind kind, const char *path)
{
    struct torn *torn = arg;
    (void)path;
    if (kind == SIM_WRITE)
        for (int i = 0; i < 200; i++)
            torn->clones[i] = simdisk_clone(torn->disk);
}

static void a_kill_cuts_the_write_under_way(void **state)
{
    struct fixture *fixture = *state;
    struct torn torn = {.disk = fixture->disk};
    unsigned seen = 0;
    int fd = create(fixture->io, "/f");
    simdisk_hook(fixture->disk, torn_hook, &torn);
    assert_int_equal(put(fixture->io, fd, "abcde", 0), 0);
    simdisk_hook(fixture->disk, NULL, NULL);
    assert_string_equal(get(fixture->io, "/f"), "abcde");
    for (unsigned i = 0; i < 200; i++) {
        simdisk_kill(torn.clones[i], i);
        const char *text = get(simdisk_io(torn.clones[i]), "/f");
        assert_memory_equal(text, "abcde", strlen(text));
        seen |= 1U << strlen(text);
        simdisk_free(torn.clones[i]);
    }
    assert_int_equal(seen, 63);
}

/* Cuts the power over clones of the disk and tells which of the expected outcomes were seen, as bits; any other
 * outcome fails. */
static unsigned outcomes(struct simdisk *disk, const char *path, const char *const *expected)
{
    unsigned seen = 0;
    for (unsigned seed = 0; seed < 300; seed++) {
        struct simdisk *clone = simdisk_clone(disk);
        simdisk_power_cut(clone, seed);
        const char *text = get(simdisk_io(clone), path);
        unsigned i = 0;
        while (expected[i] && strcmp(text, expected[i]) != 0)
            i++;
        if (!expected[i])
            fail_msg("seed %u: %s holds \"%s\"", seed, path, text);
        seen |= 1U << i;
        simdisk_free(clone);
    }
    return seen;
}

static void a_power_cut_keeps_what_was_synced(void **state)
{
    struct fixture *fixture = *state;
    const struct tlog_io *io = fixture->io;
    int fd = create(io, "/f");
    assert_int_equal(put(io, fd, "old", 0), 0);
    assert_int_equal(outcomes(fixture->disk, "/f", (const char *[]){"-", "", "old", NULL}), 7);
    assert_int_equal(io->sync(io, fd), 0);
    assert_int_equal(outcomes(fixture->disk, "/f", (const char *[]){"-", "old", NULL}), 3);
    assert_int_equal(io->sync_dir(io, "/"), 0);
    assert_int_equal(outcomes(fixture->disk, "/f", (const char *[]){"old", NULL}), 1);
    assert_int_equal(put(io, fd, "new", 0), 0);
    assert_int_equal(put(io, fd, "!", 3), 0);
    assert_int_equal(outcomes(fixture->disk, "/f", (const char *[]){"old", "new", "new!", NULL}), 7);
    io->close(io, fd);
}

static void sectors_are_lost_one_by_one(void **state)
{
    struct fixture *fixture = *state;
    const struct tlog_io *io = fixture->io;
    int fd = create(io, "/f");
    fill(io, fd, 'a', 2048, 0);
    assert_int_equal(io->sync(io, fd), 0);
    assert_int_equal(io->sync_dir(io, "/"), 0);
    fill(io, fd, 'b', 4096, 0);
    unsigned mixed = 0, zeros = 0;
    for (unsigned seed = 0; seed < 200; seed++) {
        struct simdisk *clone = simdisk_clone(fixture->disk);
        simdisk_power_cut(clone, seed);
        const char *text = get(simdisk_io(clone), "/f");
        char disk[4096] = {0};
        int at = simdisk_io(clone)->open(simdisk_io(clone), "/f", TLOG_IO_READ);
        ssize_t length = simdisk_io(clone)->pread(simdisk_io(clone), at, disk, sizeof disk, 0);
        assert_true(length == 2048 || length == 4096);
        unsigned old = 0, new = 0;
        for (ssize_t i = 0; i < length; i += 512) {
            for (ssize_t j = i; j < i + 512; j++)
                assert_int_equal(disk[j], disk[i]);
            assert_true(disk[i] == 'b' || disk[i] == (i < 2048 ? 'a' : '\0'));
            old += disk[i] == 'a';
            new += disk[i] == 'b';
            zeros += disk[i] == '\0';
        }
        mixed += old && new;
        assert_true(text[0] == 'a' || text[0] == 'b');
        simdisk_free(clone);
    }
    assert_true(mixed > 20);
    assert_true(zeros > 20);
    io->close(io, fd);
}

static void bytes_cut_off_do_not_come_back(void **state)
{
    struct fixture *fixture = *state;
    const struct tlog_io *io = fixture->io;
    int fd = create(io, "/f");
    assert_int_equal(put(io, fd, "secret", 0), 0);
    assert_int_equal(io->truncate(io, fd, 2), 0);
    assert_int_equal(put(io, fd, "xy", 4), 0);
    assert_int_equal(io->sync_dir(io, "/"), 0);
    for (unsigned seed = 0; seed < 300; seed++) {
        struct simdisk *clone = simdisk_clone(fixture->disk);
        char text[8] = {0};
        simdisk_power_cut(clone, seed);
        int at = simdisk_io(clone)->open(simdisk_io(clone), "/f", TLOG_IO_READ);
        ssize_t length = simdisk_io(clone)->pread(simdisk_io(clone), at, text, sizeof text, 0);
        bool whole = !memcmp(text, "secret", 6), cut = !memcmp(text, "se\0\0xy", 6) || !memcmp(text, "se\0\0\0\0", 6);
        bool lost = !memcmp(text, "\0\0\0\0\0\0", 6);
        assert_true(length == 0 || (length == 2 && (cut || lost)) || (length == 6 && (whole || cut || lost)));
        simdisk_free(clone);
    }
    io->close(io, fd);
}

static void a_rename_is_atomic(void **state)
{
    struct fixture *fixture = *state;
    const struct tlog_io *io = fixture->io;
    int fd = create(io, "/f");
    assert_int_equal(put(io, fd, "old", 0), 0);
    assert_int_equal(io->sync(io, fd), 0);
    assert_int_equal(io->sync_dir(io, "/"), 0);
    io->close(io, fd);
    fd = create(io, "/f.new");
    assert_int_equal(put(io, fd, "new", 0), 0);
    assert_int_equal(io->rename(io, "/f.new", "/f"), 0);
    /* nobody synced the data before the rename: an empty file is what that earns */
    assert_int_equal(outcomes(fixture->disk, "/f", (const char *[]){"old", "new", "", NULL}), 7);
    assert_int_equal(io->sync(io, fd), 0);
    assert_int_equal(outcomes(fixture->disk, "/f", (const char *[]){"old", "new", NULL}), 3);
    assert_int_equal(io->sync_dir(io, "/"), 0);
    assert_int_equal(outcomes(fixture->disk, "/f", (const char *[]){"new", NULL}), 1);
    assert_int_equal(io->unlink(io, "/f"), 0);
    assert_int_equal(outcomes(fixture->disk, "/f", (const char *[]){"new", "-", NULL}), 3);
    io->close(io, fd);
}

static void a_directory_needs_its_parent(void **state)
{
    struct fixture *fixture = *state;
    const struct tlog_io *io = fixture->io;
    assert_int_equal(io->mkdir(io, "/d"), 0);
    int fd = create(io, "/d/f");
    assert_int_equal(put(io, fd, "x", 0), 0);
    assert_int_equal(io->sync(io, fd), 0);
    assert_int_equal(io->sync_dir(io, "/d"), 0);
    assert_int_equal(outcomes(fixture->disk, "/d/f", (const char *[]){"-", "x", NULL}), 3);
    assert_int_equal(io->sync_dir(io, "/"), 0);
    assert_int_equal(outcomes(fixture->disk, "/d/f", (const char *[]){"x", NULL}), 1);
    io->close(io, fd);
}

static void a_failed_sync_is_not_made_good_by_the_next(void **state)
{
    struct fixture *fixture = *state;
    const struct tlog_io *io = fixture->io;
    int fd = create(io, "/f");
    assert_int_equal(put(io, fd, "old", 0), 0);
    assert_int_equal(io->sync(io, fd), 0);
    assert_int_equal(io->sync_dir(io, "/"), 0);
    unsigned seen = 0;
    char seen_text[4096];
    for (unsigned i = 0; i < 40; i++) {
        fill(io, fd, (unsigned char)('a' + i % 26), 2048, 0);
        simdisk_fail(fixture->disk, 1U << SIM_SYNC, 0, EIO, false);
        assert_int_equal(io->sync(io, fd), -EIO);
        assert_true(simdisk_failed(fixture->disk));
        assert_int_equal(io->sync(io, fd), 0);
        struct simdisk *clone = simdisk_clone(fixture->disk);
        simdisk_power_cut(clone, i);
        snprintf(seen_text, sizeof seen_text, "%s", get(io, "/f"));
        seen |= !strcmp(get(simdisk_io(clone), "/f"), seen_text) ? 1 : 2;
        simdisk_free(clone);
    }
    assert_int_not_equal(seen & 2, 0);
    /* written again, it is dirty again, by the page */
    fill(io, fd, 'z', 1, 100);
    assert_int_equal(io->sync(io, fd), 0);
    snprintf(seen_text, sizeof seen_text, "%s", get(io, "/f"));
    assert_int_equal(outcomes(fixture->disk, "/f", (const char *[]){seen_text, NULL}), 1);
    io->close(io, fd);
}

static void faults_strike_where_they_are_told(void **state)
{
    struct fixture *fixture = *state;
    const struct tlog_io *io = fixture->io;
    int fd = create(io, "/f");
    simdisk_fail(fixture->disk, 1U << SIM_WRITE, 2, ENOSPC, false);
    assert_int_equal(put(io, fd, "a", 0), 0);
    assert_int_equal(io->sync(io, fd), 0);
    assert_int_equal(put(io, fd, "b", 1), 0);
    assert_false(simdisk_failed(fixture->disk));
    assert_int_equal(put(io, fd, "c", 2), -ENOSPC);
    assert_true(simdisk_failed(fixture->disk));
    assert_int_equal(put(io, fd, "d", 2), 0);
    simdisk_fail(fixture->disk, SIM_ALL, 1, EMFILE, true);
    assert_int_equal(put(io, fd, "e", 3), 0);
    assert_int_equal(io->open(io, "/f", TLOG_IO_READ), -EMFILE);
    assert_int_equal(io->open(io, "/f", TLOG_IO_READ), -EMFILE);
    simdisk_fail(fixture->disk, 0, 0, 0, false);
    assert_string_equal(get(io, "/f"), "abde");
    simdisk_bad_range(fixture->disk, "/f", 1, 2);
    char byte;
    assert_int_equal(io->pread(io, fd, &byte, 1, 0), 1);
    assert_int_equal(io->pread(io, fd, &byte, 1, 1), -EIO);
    assert_int_equal(io->pread(io, fd, &byte, 1, 2), 1);
    io->close(io, fd);
}

static void the_world_stops(void **state)
{
    struct fixture *fixture = *state;
    const struct tlog_io *io = fixture->io;
    int fd = create(io, "/f");
    simdisk_stop(fixture->disk, 1);
    assert_int_equal(put(io, fd, "a", 0), 0);
    assert_false(simdisk_stopped(fixture->disk));
    assert_int_equal(put(io, fd, "b", 1), -EIO);
    assert_true(simdisk_stopped(fixture->disk));
    assert_int_equal(io->unlink(io, "/f"), -EIO);
    assert_int_equal(io->open(io, "/f", TLOG_IO_READ), -EIO);
    assert_int_equal(io->close(io, fd), 0);
    simdisk_kill(fixture->disk, 1);
    assert_string_equal(get(io, "/f"), "a");
}

static void space_runs_out_and_comes_back(void **state)
{
    struct fixture *fixture = *state;
    const struct tlog_io *io = fixture->io;
    int keep = create(io, "/keep"), fd = create(io, "/f");
    simdisk_resize(fixture->disk, 3 * 4096, 4);
    fill(io, keep, 'k', 4096, 0);
    assert_int_equal(io->reserve(io, fd, 0, 8192), 0);
    assert_int_equal(put(io, keep, "x", 4096), -ENOSPC);
    fill(io, fd, 'f', 8192, 0);
    assert_int_equal(io->mkdir(io, "/d"), -ENOSPC);
    assert_int_equal(io->truncate(io, fd, 100), 0);
    assert_int_equal(io->mkdir(io, "/d"), 0);
    assert_int_equal(io->mkdir(io, "/e"), -ENOSPC);
    assert_int_equal(put(io, keep, "x", 4096), 0);
    assert_int_equal(io->unlink(io, "/f"), 0);
    assert_int_equal(put(io, keep, "x", 8192), -ENOSPC);
    io->close(io, fd);
    assert_int_equal(put(io, keep, "x", 8192), 0);
    struct tlog_io_statfs statfs;
    assert_int_equal(io->statfs(io, "/", &statfs), 0);
    assert_int_equal(statfs.blocks_available, 0);
    assert_int_equal(statfs.files_free, 1);
    io->close(io, keep);
}

static void clocks_and_boots(void **state)
{
    struct fixture *fixture = *state;
    const struct tlog_io *io = fixture->io;
    char before[64], after[64];
    int64_t real = io->realtime_ns(io), boot = io->boottime_ns(io);
    simdisk_advance(fixture->disk, 5000000000);
    assert_true(io->realtime_ns(io) >= real + 5000000000);
    simdisk_jump(fixture->disk, -60000000000);
    assert_true(io->realtime_ns(io) < real);
    assert_true(io->boottime_ns(io) >= boot + 5000000000);
    io->boot_id(io, before);
    simdisk_power_cut(fixture->disk, 1);
    io->boot_id(io, after);
    assert_string_not_equal(before, after);
    assert_true(io->boottime_ns(io) < boot + 5000000000);
}

static void lies_lose_what_was_synced(void **state)
{
    struct fixture *fixture = *state;
    const struct tlog_io *io = fixture->io;
    simdisk_lie(fixture->disk, "/f", "");
    int fd = create(io, "/f");
    assert_int_equal(put(io, fd, "x", 0), 0);
    assert_int_equal(io->sync(io, fd), 0);
    assert_int_equal(io->sync_dir(io, "/"), 0);
    assert_int_equal(outcomes(fixture->disk, "/f", (const char *[]){"-", "", "x", NULL}), 7);
    io->close(io, fd);
}

static int count_file(void *arg, const char *path, uint64_t size_bytes)
{
    char *seen = arg;
    snprintf(seen + strlen(seen), 200 - strlen(seen), "%s:%u ", path, (unsigned)size_bytes);
    return 0;
}

static void files_are_copied_exported_and_rot(void **state)
{
    struct fixture *fixture = *state;
    const struct tlog_io *io = fixture->io;
    char seen[200] = "";
    assert_int_equal(io->mkdir(io, "/s"), 0);
    assert_int_equal(put(io, create(io, "/s/f"), "text", 0), 0);
    assert_int_equal(simdisk_copy(fixture->disk, "/s/f", "/copy/deep/f"), 0);
    assert_int_equal(simdisk_copy(fixture->disk, "/s/g", "/copy/g"), -ENOENT);
    assert_int_equal(simdisk_flip(fixture->disk, "/s/f", 0), 0);
    assert_int_equal(simdisk_walk(fixture->disk, "/", count_file, seen), 0);
    assert_string_equal(seen, "/copy/deep/f:4 /s/f:4 ");
    assert_string_equal(get(io, "/copy/deep/f"), "text");
    assert_string_equal(get(io, "/s/f"), "Text");
    char to[] = "/tmp/simdisk.XXXXXX", path[64], text[8] = "";
    assert_non_null(mkdtemp(to));
    assert_int_equal(simdisk_export(fixture->disk, "/copy", to), 0);
    snprintf(path, sizeof path, "%s/deep/f", to);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    assert_non_null(fgets(text, sizeof text, file));
    fclose(file);
    assert_string_equal(text, "text");
    unlink(path);
    snprintf(path, sizeof path, "%s/deep", to);
    rmdir(path);
    assert_int_equal(rmdir(to), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(behaves_as_a_filesystem, setup, teardown),
        cmocka_unit_test_setup_teardown(a_lock_ends_with_its_descriptor, setup, teardown),
        cmocka_unit_test_setup_teardown(a_mapping_sees_the_file_grow, setup, teardown),
        cmocka_unit_test_setup_teardown(a_kill_keeps_what_was_written, setup, teardown),
        cmocka_unit_test_setup_teardown(a_kill_cuts_the_write_under_way, setup, teardown),
        cmocka_unit_test_setup_teardown(a_power_cut_keeps_what_was_synced, setup, teardown),
        cmocka_unit_test_setup_teardown(sectors_are_lost_one_by_one, setup, teardown),
        cmocka_unit_test_setup_teardown(bytes_cut_off_do_not_come_back, setup, teardown),
        cmocka_unit_test_setup_teardown(a_rename_is_atomic, setup, teardown),
        cmocka_unit_test_setup_teardown(a_directory_needs_its_parent, setup, teardown),
        cmocka_unit_test_setup_teardown(a_failed_sync_is_not_made_good_by_the_next, setup, teardown),
        cmocka_unit_test_setup_teardown(faults_strike_where_they_are_told, setup, teardown),
        cmocka_unit_test_setup_teardown(the_world_stops, setup, teardown),
        cmocka_unit_test_setup_teardown(space_runs_out_and_comes_back, setup, teardown),
        cmocka_unit_test_setup_teardown(clocks_and_boots, setup, teardown),
        cmocka_unit_test_setup_teardown(lies_lose_what_was_synced, setup, teardown),
        cmocka_unit_test_setup_teardown(files_are_copied_exported_and_rot, setup, teardown),
    };
    return cmocka_run_group_tests_name("simdisk", tests, NULL, NULL);
}
