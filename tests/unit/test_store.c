/* The store: what can be opened and what cannot, its lock and identity, looking without writing, many partitions. */
#include <fcntl.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "unit.h"

static void test_what_cannot_be_opened(void **state)
{
    struct unit *u = *state;
    char path[128];
    u->options.create = false;
    assert_int_equal(unit_try_open(u), -ENOENT);
    assert_non_null(strstr(u->error.text, "No such file"));
    assert_int_equal(u->io->mkdir(u->io, u->path), 0);
    assert_int_equal(unit_try_open(u), -ENOTEMPTY);
    assert_non_null(strstr(u->error.text, "not a store"));
    assert_int_equal(unit_count(u, "", ""), 0); /* nothing touched */
    unit_put(u, "letter.txt", 0, "dear reader", 11);
    u->options.create = true;
    assert_int_equal(unit_try_open(u), -ENOTEMPTY);
    assert_non_null(strstr(u->error.text, "neither a store nor empty"));
    assert_int_equal(unit_count(u, "", ""), 1);
    strcpy(path, u->path);
    strcat(u->path, "/letter.txt");
    assert_int_equal(unit_try_open(u), -ENOTDIR);
    strcpy(u->path, path);
    unit_unlink(u, "letter.txt");
    unit_open(u);
    struct tlog_store *other;
    char *long_path = malloc(5001);
    memset(long_path, 'x', 5000);
    long_path[5000] = 0;
    assert_int_equal(tlog_store_open(&other, long_path, &u->options, &u->error), -ENAMETOOLONG);
    free(long_path);
}

static void test_one_process_at_a_time(void **state)
{
    struct unit *u = *state;
    struct tlog_store *other;
    unit_open(u);
    assert_int_equal(tlog_store_open(&other, u->path, &u->options, &u->error), -EWOULDBLOCK);
    assert_non_null(strstr(u->error.text, "another process has it open"));
    unit_append(unit_partition(u, "t", 0), "still ours\n");
    unit_close(u);
    unit_open(u);
    unit_assert_text(unit_get(u, "t", 0), "still ours\n");
}

/* A real process, really killed. */
static void test_a_killed_process_leaves_the_lock_and_its_lines(void **state)
{
    struct unit *u = *state;
    unit_open(u);
    unit_partition(u, "t", 0);
    unit_close(u);
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0) {
        struct tlog_store *store;
        struct tlog_writer *writer;
        u->options.note = NULL;
        if (tlog_store_open(&store, u->path, &u->options, NULL) < 0)
            _exit(1);
        struct tlog_partition *p = tlog_partition_get(tlog_topic_get(store, "t"), 0);
        if (tlog_writer_open(&writer, p) < 0 || unit_append(p, "line\n") < 0 || unit_write(writer, "rest") != 4)
            _exit(1);
        (void)!write(ends[1], "!", 1);
        for (;;)
            pause();
    }
    char byte;
    assert_int_equal(read(ends[0], &byte, 1), 1);
    assert_int_equal(unit_try_open(u), -EWOULDBLOCK);
    kill(child, SIGKILL);
    assert_int_equal(waitpid(child, NULL, 0), child);
    close(ends[0]);
    close(ends[1]);
    unit_open(u);
    assert_int_equal(unit_recovery(u).ended_rests, 1);
    unit_assert_text(unit_get(u, "t", 0), "line\nrest\n");
}

/* A copy that becomes another store: another id, the same topics, all that was in them; and the original is as it was.
 * A crash at any point of it leaves one store or the other. */
static void test_a_clone(void **state)
{
    struct unit *u = *state;
    struct tlog_store_status before, after;
    uint8_t topic_id[16];
    unit_open(u);
    tlog_store_status(u->store, &before);
    unit_lines(unit_partition(u, "t", 0), 0, 50, 100);
    memcpy(topic_id, tlog_topic_id(unit_topic(u, "t")), 16);
    assert_int_equal(tlog_store_settle(&u->options, u->path, true, &u->error), -EWOULDBLOCK);
    unit_close(u);
    unit_copy_store(u);
    assert_int_equal(tlog_store_settle(&u->options, u->path, true, &u->error), 0);
    u->notes[0] = 0;
    unit_open(u);
    assert_string_equal(u->notes, "");
    tlog_store_status(u->store, &after);
    assert_string_not_equal(before.id, after.id);
    assert_false(after.copied);
    assert_memory_equal(tlog_topic_id(unit_topic(u, "t")), topic_id, 16);
    char *text = unit_lines_text(0, 50, 100);
    unit_assert_text(unit_get(u, "t", 0), text);
    unit_lines(unit_get(u, "t", 0), 50, 5, 100);
    assert_int_equal(tlog_partition_sync_wait(unit_get(u, "t", 0)), 0);
    free(text);
    unit_close(u);
    /* a clone that was killed at each of its operations */
    for (uint64_t skip = 0; u->disk; skip++) {
        struct simdisk *kept = u->disk, *tried = simdisk_clone(kept);
        struct tlog_options options = u->options;
        options.io = simdisk_io(tried);
        simdisk_stop(tried, skip);
        int r = tlog_store_settle(&options, u->path, true, NULL);
        bool stopped = simdisk_stopped(tried);
        if (stopped)
            simdisk_power_cut(tried, skip + 1);
        else
            simdisk_kill(tried, 1);
        u->disk = tried;
        u->io = u->options.io = simdisk_io(tried);
        unit_open(u);
        assert_int_equal(unit_bounds(unit_get(u, "t", 0)).end_seq, 55);
        unit_close(u);
        assert_string_equal(unit_verify(u), "");
        u->disk = kept;
        u->io = u->options.io = simdisk_io(kept);
        simdisk_free(tried);
        if (!stopped) {
            assert_int_equal(r, 0);
            break;
        }
    }
}

static void test_identity(void **state)
{
    struct unit *u = *state;
    struct tlog_store_status first, again;
    unit_open(u);
    tlog_store_status(u->store, &first);
    assert_int_equal(strlen(first.id), 36);
    assert_int_equal(first.topics, 0);
    assert_false(first.failed);
    unit_partition(u, "t", 2);
    unit_reopen(u);
    tlog_store_status(u->store, &again);
    assert_string_equal(first.id, again.id);
    assert_int_equal(again.topics, 1);
    assert_int_equal(again.partitions, 3);
    assert_true(again.journal_bytes >= again.journal_used_bytes);
    unit_close(u);
    assert_string_equal(u->notes, ""); /* nothing to tell of a plain start */
    /* moved by rename it is the same, copied it is told */
    char moved[96];
    snprintf(moved, sizeof moved, "%.80s-moved", u->path);
    assert_int_equal(u->io->rename(u->io, u->path, moved), 0);
    strcpy(u->path, moved);
    unit_open(u);
    assert_string_equal(u->notes, "");
    unit_close(u);
    unit_copy_store(u);
    unit_open(u);
    assert_non_null(strstr(u->notes, "this store is a copy"));
    u->notes[0] = 0;
    unit_reopen(u); /* it is at home here now; what it is, nobody has said */
    assert_null(strstr(u->notes, "this store is a copy"));
    assert_non_null(strstr(u->notes, "topicctl adopt"));
    struct tlog_store_status status;
    tlog_store_status(u->store, &status);
    assert_true(status.copied);
    unit_close(u);
    assert_int_equal(tlog_store_settle(&u->options, u->path, false, &u->error), 0);
    u->notes[0] = 0;
    unit_open(u);
    assert_string_equal(u->notes, "");
    tlog_store_status(u->store, &status);
    assert_false(status.copied);
    assert_string_equal(status.id, first.id);
    unit_close(u);
    /* from another machine */
    char *id = unit_file(u, "id", NULL), *machine = strstr(id, "machine=");
    assert_non_null(machine);
    machine[8] ^= 1;
    unit_put(u, "id", 0, id, strlen(id));
    free(id);
    unit_open(u);
    assert_non_null(strstr(u->notes, "moved here from another machine"));
    unit_reopen(u);
    assert_string_equal(u->notes, "");
    unit_close(u);
    unit_put(u, "id", 0, "not-hexadecimal-at-all!!", 24);
    assert_int_equal(unit_try_open(u), -EBADMSG);
    assert_non_null(strstr(u->error.text, "id: not a store's id"));
}

static void test_damaged_configuration_is_told(void **state)
{
    struct unit *u = *state;
    unit_open(u);
    unit_append(unit_partition(u, "t", 0), "line\n");
    unit_close(u);
    unit_put(u, "topicfs.conf", 0, "flush.ms=never\n", 15);
    assert_int_equal(unit_try_open(u), -EBADMSG);
    assert_non_null(strstr(u->error.text, "topicfs.conf: line 1: flush.ms: never: not a number"));
    unit_truncate(u, "topicfs.conf", 0);
    unit_put(u, "topics/t/topic.conf", 0, "id=zz", 5);
    assert_int_equal(unit_try_open(u), -EBADMSG);
    assert_non_null(strstr(u->error.text, "topic t: topic.conf: no id in its first line"));
    assert_true(unit_exists(u, "topics/t/0/00000000000000000000.log"));
}

static void test_looking_changes_nothing(void **state)
{
    struct unit *u = *state;
    struct tlog_attr attr = {0700, 0, 0};
    unit_open(u);
    struct tlog_partition *p = unit_partition(u, "t", 0);
    struct tlog_writer *writer = unit_writer(u, p);
    unit_config(u, "t", "segment.bytes=2K");
    unit_lines(p, 0, 50, 100);
    unit_write(writer, "a rest");
    unit_kill(u);
    unit_put(u, "topics/t/0/00000000000000004000.log", 1000, "to", 2); /* torn */
    uint64_t operations = simdisk_count(u->disk, SIM_MUTATING);
    u->options.read_only = true;
    u->options.create = false;
    unit_open(u);
    p = unit_get(u, "t", 0);
    char *expected = unit_lines_text(0, 50, 100);
    unit_assert_text(p, expected); /* what lies past the last entry included */
    assert_int_equal(unit_bounds(p).end_seq, 50);
    uint64_t pos;
    for (uint64_t seq = 0; seq <= 50; seq++) {
        assert_int_equal(tlog_partition_find_seq(p, seq, &pos, NULL), 0);
        assert_int_equal(pos, 100 * seq);
    }
    assert_int_equal(unit_append(p, "no\n"), -EROFS);
    assert_int_equal(tlog_topic_create(u->store, "new", 1, NULL, NULL, NULL), -EROFS);
    assert_int_equal(tlog_topic_remove(unit_topic(u, "t"), true), -EROFS);
    assert_int_equal(tlog_topic_rename(unit_topic(u, "t"), "u"), -EROFS);
    assert_int_equal(tlog_topic_add_partition(unit_topic(u, "t"), 1, NULL), -EROFS);
    assert_int_equal(tlog_partition_remove(p, true), -EROFS);
    assert_int_equal(tlog_topic_set_attr(unit_topic(u, "t"), &attr), -EROFS);
    assert_int_equal(tlog_partition_set_attr(p, &attr), -EROFS);
    assert_int_equal(tlog_partition_set_mtime(p, 1), -EROFS);
    assert_int_equal(tlog_store_set_attr(u->store, &attr), -EROFS);
    assert_int_equal(tlog_store_config_set(u->store, "", true, NULL), -EROFS);
    assert_int_equal(tlog_topic_config_set(unit_topic(u, "t"), "", true, NULL), -EROFS);
    assert_int_equal(tlog_partition_sync_wait(p), 0);
    assert_int_equal(tlog_store_upkeep(u->store), -1);
    assert_int_equal(tlog_store_sync(u->store), 0);
    unit_close(u);
    assert_int_equal(simdisk_count(u->disk, SIM_MUTATING), operations);
    u->options.read_only = false;
    unit_open(u);
    assert_int_equal(unit_recovery(u).ended_rests, 1);
    assert_int_equal(unit_recovery(u).cut_bytes, 2);
    assert_int_equal(unit_bounds(unit_get(u, "t", 0)).end_seq, 51);
    free(expected);
}

static void test_looking_while_another_writes(void **state)
{
    struct unit *u = *state;
    struct tlog_store *looked;
    struct tlog_options options = {.io = u->options.io, .read_only = true};
    unit_open(u);
    struct tlog_partition *p = unit_partition(u, "t", 0);
    unit_append(p, "line\n");
    assert_int_equal(tlog_store_open(&looked, u->path, &options, &u->error), 0);
    struct tlog_topic *topic = tlog_topic_get(looked, "t");
    struct tlog_partition *seen = tlog_partition_get(topic, 0);
    unit_append(p, "more\n");
    unit_assert_text(seen, "line\n");
    tlog_partition_unref(seen);
    tlog_topic_unref(topic);
    assert_int_equal(tlog_store_close(looked, NULL), 0);
    unit_assert_text(p, "line\nmore\n");
}

static void test_statfs(void **state)
{
    struct unit *u = *state;
    struct statvfs got;
    unit_open(u);
    assert_int_equal(tlog_store_statfs(u->store, &got), 0);
    assert_int_equal(got.f_namemax, 249);
    assert_true(got.f_blocks >= got.f_bfree && got.f_bfree >= got.f_bavail);
    assert_true(got.f_bsize >= 512 && got.f_blocks > 0);
    if (!u->disk) {
        struct statvfs real;
        assert_int_equal(statvfs(u->path, &real), 0);
        assert_int_equal(got.f_blocks * got.f_frsize, real.f_blocks * real.f_frsize);
    }
}

static void test_closing_says_what_it_could_not_do(void **state)
{
    struct unit *u = *state;
    unit_open(u);
    unit_append(unit_partition(u, "t", 0), "line\n");
    simdisk_fail(u->disk, 1U << SIM_SYNC, 0, EIO, false);
    assert_int_equal(unit_try_close(u), -EIO);
    assert_string_equal(u->error.text, "/store: closing: Input/output error");
    assert_int_equal(simdisk_open_files(u->disk), 0); /* and closes all the same */
    unit_open(u);
    unit_assert_text(unit_get(u, "t", 0), "line\n");
}

static void test_an_opening_that_fails_gives_everything_back(void **state)
{
    struct unit *u = *state;
    unsigned failures = 0;
    unit_open(u);
    struct tlog_partition *p = unit_partition(u, "t", 0);
    unit_lines(p, 0, 50, 100);
    unit_kill(u);
    struct simdisk *before = simdisk_clone(u->disk);
    for (uint64_t skip = 0;; skip++) {
        simdisk_free(u->disk);
        u->disk = simdisk_clone(before);
        u->io = u->options.io = simdisk_io(u->disk);
        simdisk_fail(u->disk, SIM_ALL, skip, EIO, false);
        int r = unit_try_open(u);
        bool struck = simdisk_failed(u->disk);
        simdisk_fail(u->disk, 0, 0, 0, false);
        if (r < 0) {
            failures++;
            assert_int_equal(simdisk_open_files(u->disk), 0);
            assert_true(strlen(u->error.text) > 0);
            unit_open(u); /* the disk is well again */
        }
        p = unit_get(u, "t", 0);
        if (!unit_bounds(p).damaged && !unit_bounds(p).failed) {
            char *expected = unit_lines_text(0, 50, 100);
            char *text = unit_text(p);
            if (strcmp(text, expected) != 0)
                fail_msg("operation %" PRIu64 ": %zu bytes: %s", skip, strlen(text), u->notes);
            free(text);
            free(expected);
        }
        (void)unit_try_close(u);
        if (!struck)
            break;
    }
    assert_true(failures > 10);
    simdisk_free(before);
}

/* ---- many partitions ---- */

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void many(struct unit *u, unsigned topics, unsigned partitions)
{
    u->options.max_files = 32;
    unit_open(u);
    assert_int_equal(tlog_store_config_set(u->store, "partitions.max=100000", true, NULL), 0);
    for (unsigned i = 0; i < topics; i++) {
        char name[16];
        struct tlog_topic *topic;
        snprintf(name, sizeof name, "t%u", i);
        assert_int_equal(tlog_topic_create(u->store, name, partitions, NULL, &topic, NULL), 0);
        for (unsigned k = 0; k < partitions; k += 7) {
            char line[32];
            struct tlog_partition *p = tlog_partition_get(topic, k);
            snprintf(line, sizeof line, "%u of %u\n", k, i);
            assert_int_equal(unit_append(p, line), 0);
            tlog_partition_unref(p);
        }
        tlog_topic_unref(topic);
        struct tlog_store_status status;
        tlog_store_status(u->store, &status);
        assert_true(status.open_files <= 34);
    }
    int64_t begun_ms = now_ms();
    unit_close(u);
    int64_t closed_ms = now_ms();
    unit_open(u);
    int64_t opened_ms = now_ms();
    print_message("%u partitions: closed in %d ms, opened in %d ms\n", topics * partitions, (int)(closed_ms - begun_ms),
                  (int)(opened_ms - closed_ms));
    assert_int_equal(unit_recovery(u).partitions, topics * partitions);
    for (unsigned i = 0; i < topics; i++) {
        char name[16];
        snprintf(name, sizeof name, "t%u", i);
        struct tlog_topic *topic = tlog_topic_get(u->store, name);
        for (unsigned k = 0; k < partitions; k++) {
            char line[32] = "";
            struct tlog_partition *p = tlog_partition_get(topic, k);
            if (k % 7 == 0)
                snprintf(line, sizeof line, "%u of %u\n", k, i);
            assert_int_equal(unit_bounds(p).end, strlen(line));
            if (k % 91 == 0)
                unit_assert_text(p, line);
            tlog_partition_unref(p);
        }
        tlog_topic_unref(topic);
    }
}

static void test_ten_thousand_partitions(void **state)
{
    many(*state, 100, 100);
}

static void test_few_descriptors(void **state)
{
    struct unit *u = *state;
    many(u, 2, 50);
    unsigned open = 0;
    for (int fd = 3; fd < 1000; fd++)
        open += fcntl(fd, F_GETFD) != -1;
    assert_true(open < 50);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        UNIT_BOTH(test_what_cannot_be_opened),
        UNIT_BOTH(test_one_process_at_a_time),
        UNIT_REAL(test_a_killed_process_leaves_the_lock_and_its_lines),
        UNIT_BOTH(test_identity),
        UNIT_BOTH(test_a_clone),
        UNIT_BOTH(test_damaged_configuration_is_told),
        UNIT_SIM(test_looking_changes_nothing),
        UNIT_BOTH(test_looking_while_another_writes),
        UNIT_BOTH(test_statfs),
        UNIT_SIM(test_closing_says_what_it_could_not_do),
        UNIT_SIM(test_an_opening_that_fails_gives_everything_back),
        UNIT_MEMORY(test_ten_thousand_partitions),
        UNIT_MEMORY(test_few_descriptors),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
