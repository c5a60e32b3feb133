/* Recovery in its cases: the same boot, another boot, a copied store; lost, torn and damaged files. */
#include "unit.h"

#define DIR "topics/t/0/"
#define LOG DIR "00000000000000000000.log"
#define IDX DIR "00000000000000000000.idx"

static int entry_at(void *arg, const struct tlog_entry *entry)
{
    struct tlog_entry *last = arg;
    *last = *entry;
    return 0;
}

static struct tlog_entry last_entry(struct tlog_partition *p)
{
    struct tlog_entry last = {.pos = 0};
    assert_int_equal(tlog_partition_entries(p, entry_at, &last), 0);
    return last;
}

/* ---- the same boot ---- */

static void test_a_kill_loses_nothing(void **state)
{
    struct unit *u = *state;
    unit_open(u);
    struct tlog_partition *p = unit_partition(u, "t", 0);
    unit_lines(p, 0, 57, 100); /* an entry of 41 lines, and an open one */
    uint64_t cut_files = 0;
    for (unsigned i = 0; i < 3; i++) {
        unit_kill(u);
        unit_open(u);
        p = unit_get(u, "t", 0);
        char *expected = unit_lines_text(0, 57 + i, 100);
        unit_assert_text(p, expected);
        free(expected);
        struct tlog_recovery recovery = unit_recovery(u);
        assert_int_equal(recovery.partitions, 1);
        assert_int_equal(recovery.indexed_records, i == 0 ? 16 : 1);
        cut_files += recovery.cut_files;
        assert_int_equal(unit_bounds(p).end_seq, 57 + i);
        assert_int_equal(last_entry(p).seq + last_entry(p).records, 57 + i);
        unit_lines(p, 57 + i, 1, 100);
    }
    assert_int_equal(cut_files, 0);
    unit_close(u);
    assert_string_equal(unit_verify(u), "");
    assert_int_equal(unit_verified.records, 60);
}

static void test_topics_made_since_the_checkpoint(void **state)
{
    struct unit *u = *state;
    unit_open(u);
    unit_append(unit_partition(u, "t", 2), "new\n");
    unit_partition(u, "empty", 1);
    unit_kill(u);
    unit_open(u);
    unit_assert_text(unit_get(u, "t", 2), "new\n");
    unit_assert_text(unit_get(u, "t", 0), "");
    unit_assert_text(unit_get(u, "empty", 1), "");
    assert_int_equal(unit_recovery(u).cut_files, 0);
    assert_int_equal(unit_recovery(u).damaged, 0);
}

static void test_a_torn_line_is_cut_and_kept(void **state)
{
    struct unit *u = *state;
    unit_open(u);
    unit_append(unit_partition(u, "t", 0), "whole\n");
    unit_kill(u);
    unit_put(u, LOG, 6, "another\ntorn", 12); /* a write that was under way */
    unit_open(u);
    struct tlog_recovery recovery = unit_recovery(u);
    assert_int_equal(recovery.cut_bytes, 4);
    assert_int_equal(recovery.cut_files, 1);
    assert_int_equal(recovery.indexed_records, 2);
    assert_non_null(strstr(u->notes, "t/0: 4 bytes past the last whole record were cut and kept in "
                                     "00000000000000000014.cut"));
    unit_assert_text(unit_get(u, "t", 0), "whole\nanother\n");
    char *cut = unit_file(u, DIR "00000000000000000014.cut", NULL);
    assert_string_equal(cut, "torn");
    free(cut);
    assert_int_equal(unit_size(u, LOG), 14);
    /* another torn one at the same place does not take the first one's */
    unit_kill(u);
    unit_put(u, LOG, 14, "again", 5);
    unit_open(u);
    cut = unit_file(u, DIR "00000000000000000014.cut.1", NULL);
    assert_string_equal(cut, "again");
    free(cut);
    unit_append(unit_get(u, "t", 0), "goes on\n");
    unit_assert_text(unit_get(u, "t", 0), "whole\nanother\ngoes on\n");
    unit_close(u);
    assert_string_equal(unit_verify(u), "");
}

static void test_an_entry_without_its_data(void **state)
{
    struct unit *u = *state;
    for (unsigned missing = 1; missing <= 9; missing += 4) { /* of the 9 bytes "rest end\n" */
        char name[8], log[64];
        snprintf(name, sizeof name, "t%u", missing);
        snprintf(log, sizeof log, "topics/%s/0/00000000000000000000.log", name);
        unit_open(u);
        struct tlog_partition *p = unit_partition(u, name, 0);
        struct tlog_writer *writer = unit_writer(u, p);
        unit_append(p, "before\n");
        unit_write(writer, "rest");
        unit_write(writer, " end\n");
        unit_kill(u); /* between the entry and its bytes, or in the middle of these */
        unit_truncate(u, log, 7 + 9 - missing);
        unit_open(u);
        p = unit_get(u, name, 0);
        assert_int_equal(unit_recovery(u).ended_rests, 1); /* nobody was answered: the rest is unfinished still */
        unit_assert_text(p, "before\nrest\n");
        assert_int_equal(unit_bounds(p).end_seq, 2);
        unit_kill(u);
        unit_open(u);
        assert_int_equal(unit_recovery(u).ended_rests, 0);
        unit_assert_text(unit_get(u, name, 0), "before\nrest\n");
        unit_close(u);
        assert_string_equal(unit_verify(u), "");
    }
}

static void test_rests_end_as_lines_once(void **state)
{
    struct unit *u = *state;
    unit_open(u);
    struct tlog_partition *p = unit_partition(u, "t", 0), *q = unit_partition(u, "t", 1);
    struct tlog_writer *a = unit_writer(u, p), *b = unit_writer(u, p), *c = unit_writer(u, q), *d = unit_writer(u, p);
    unit_write(a, "a in ");
    unit_write(b, "b was ended");
    unit_write(a, "pieces");
    unit_write(c, "in another partition");
    unit_write(d, "d was closed");
    unit_writer_close(u, d);
    unit_write(b, "\nb again");
    unit_kill(u);
    for (unsigned i = 0; i < 3; i++) {
        unit_open(u);
        assert_int_equal(unit_recovery(u).ended_rests, i == 0 ? 3 : 0);
        unit_assert_text(unit_get(u, "t", 0), "d was closed\nb was ended\na in pieces\nb again\n");
        unit_assert_text(unit_get(u, "t", 1), "in another partition\n");
        assert_int_equal(unit_bounds(unit_get(u, "t", 0)).pending, 0);
        if (i == 0) {
            unit_kill(u);
        } else {
            assert_int_equal(tlog_store_sync(u->store), 0);
            unit_power_cut(u, i);
        }
    }
}

static void test_rests_of_a_removed_partition_are_gone(void **state)
{
    struct unit *u = *state;
    unit_open(u);
    struct tlog_partition *p = unit_partition(u, "t", 1);
    struct tlog_writer *writer = unit_writer(u, p);
    unit_write(writer, "unfinished");
    assert_int_equal(tlog_partition_remove(p, true), 0);
    unit_partition(u, "t", 1);
    unit_kill(u);
    unit_open(u);
    assert_int_equal(unit_recovery(u).ended_rests, 0);
    unit_assert_text(unit_get(u, "t", 1), "");
    assert_int_equal(unit_bounds(unit_get(u, "t", 1)).start, 11);
}

static void test_raw_tails_are_not_guessed(void **state)
{
    struct unit *u = *state;
    unit_open(u);
    struct tlog_partition *p = unit_partition(u, "t", 0);
    unit_config(u, "t", "message.format=raw");
    assert_int_equal(tlog_partition_append(p, "record\n", 7, 1), 0);
    unit_kill(u);
    unit_put(u, LOG, 7, "half\na rec", 10);
    unit_open(u);
    assert_int_equal(unit_recovery(u).cut_bytes, 10);
    unit_assert_text(unit_get(u, "t", 0), "record\n");
    char *cut = unit_file(u, DIR "00000000000000000007.cut", NULL);
    assert_string_equal(cut, "half\na rec");
    free(cut);
}

static void test_a_kill_right_after_a_roll(void **state)
{
    struct unit *u = *state;
    unit_open(u);
    struct tlog_partition *p = unit_partition(u, "t", 0);
    unit_config(u, "t", "segment.bytes=1K");
    unit_lines(p, 0, 11, 100);
    unit_kill(u);
    unit_unlink(u, DIR "00000000000000001000.idx"); /* as if its making had been cut short */
    unit_truncate(u, DIR "00000000000000001000.log", 0);
    unit_open(u);
    p = unit_get(u, "t", 0);
    char *expected = unit_lines_text(0, 10, 100);
    unit_assert_text(p, expected);
    free(expected);
    assert_false(unit_bounds(p).damaged);
    assert_false(unit_exists(u, DIR "00000000000000001000.log"));
    unit_lines(p, 10, 20, 100);
    unit_kill(u);
    unit_open(u);
    expected = unit_lines_text(0, 30, 100);
    unit_assert_text(unit_get(u, "t", 0), expected);
    free(expected);
    unit_close(u);
    assert_string_equal(unit_verify(u), "");
}

static void test_a_topic_whose_making_was_cut_short(void **state)
{
    struct unit *u = *state;
    unit_open(u);
    unit_append(unit_partition(u, "t", 0), "records\n");
    unit_partition(u, "half", 1);
    unit_kill(u);
    unit_unlink(u, "topics/half/topic.conf");
    unit_open(u);
    assert_false(unit_exists(u, "topics/half"));
    assert_non_null(strstr(u->notes, "half: the topic had not been made to the end, it is removed"));
    unit_kill(u);
    /* where records are, its loss is no reason to remove them */
    unit_unlink(u, "topics/t/topic.conf");
    assert_int_equal(unit_try_open(u), -EBADMSG);
    assert_string_equal(u->error.text, "/store: topic t: topic.conf is missing, and there are records");
    assert_true(unit_exists(u, LOG));
}

/* ---- another boot ---- */

static void test_what_the_journal_holds_is_put_back(void **state)
{
    struct unit *u = *state;
    unsigned replayed = 0;
    for (uint64_t seed = 1; seed <= 16; seed++) {
        char name[16];
        snprintf(name, sizeof name, "t%" PRIu64, seed);
        unit_open(u);
        struct tlog_partition *p = unit_partition(u, name, 0);
        unit_config(u, name, "segment.bytes=2K");
        for (unsigned i = 0; i < 8; i++) {
            unit_lines(p, i * 7, 7, 100);
            assert_int_equal(tlog_partition_sync_wait(p), 0);
        }
        struct tlog_bounds before = unit_bounds(p);
        assert_int_equal(before.durable, 5600);
        unit_lines(p, 56, 30, 100);
        unit_power_cut(u, seed);
        unit_open(u);
        p = unit_get(u, name, 0);
        struct tlog_bounds bounds = unit_bounds(p);
        assert_true(bounds.end >= 5600 && bounds.end <= 8600);
        assert_int_equal(bounds.end % 100, 0); /* whole records */
        assert_int_equal(bounds.end_seq, bounds.end / 100);
        char *expected = unit_lines_text(0, (unsigned)bounds.end_seq, 100);
        unit_assert_text(p, expected);
        free(expected);
        replayed += unit_recovery(u).replayed_bytes > 0;
        assert_int_equal(bounds.durable, bounds.end);
        unit_close(u);
        assert_string_equal(unit_verify(u), "");
    }
    assert_true(replayed > 4);
}

static void test_a_flipped_byte_past_what_was_synced(void **state)
{
    struct unit *u = *state;
    unit_open(u);
    struct tlog_partition *p = unit_partition(u, "t", 0);
    unit_lines(p, 0, 82, 100); /* two entries of 41 lines */
    assert_int_equal(tlog_store_sync(u->store), 0);
    unit_lines(p, 82, 82, 100);
    /* All of it reached the disk by itself, but one byte of the fourth entry did not. */
    unit_kill(u);
    int fd = u->io->open(u->io, "/store/" LOG, TLOG_IO_WRITE);
    assert_true(fd >= 0);
    assert_int_equal(u->io->sync(u->io, fd), 0);
    u->io->close(u->io, fd);
    fd = u->io->open(u->io, "/store/" IDX, TLOG_IO_WRITE);
    assert_int_equal(u->io->sync(u->io, fd), 0);
    u->io->close(u->io, fd);
    unit_flip(u, LOG, 13000);
    simdisk_power_cut(u->disk, 3);
    unit_open(u);
    p = unit_get(u, "t", 0);
    assert_int_equal(unit_bounds(p).end, 12300);
    assert_int_equal(unit_recovery(u).cut_bytes, 4100);
    assert_int_equal(unit_size(u, DIR "00000000000000012300.cut"), 4100);
    assert_false(unit_bounds(p).damaged);
    char *expected = unit_lines_text(0, 123, 100);
    unit_assert_text(p, expected);
    free(expected);
    unit_lines(p, 123, 10, 100);
    unit_power_cut(u, 4);
    size_t bytes; /* what was cut was made durable before it was cut */
    char *cut = unit_file(u, DIR "00000000000000012300.cut", &bytes), *was = unit_lines_text(123, 41, 100);
    was[700] ^= 0x10;
    assert_int_equal(bytes, 4100);
    assert_memory_equal(cut, was, 4100);
    free(cut);
    free(was);
    unit_open(u);
    unit_close(u);
    assert_string_equal(unit_verify(u), "");
}

static void test_losing_what_was_synced_is_damage(void **state)
{
    struct unit *u = *state;
    for (unsigned boot = 0; boot < 2; boot++) {
        char name[8], file[64];
        snprintf(name, sizeof name, "t%u", boot);
        unit_open(u);
        struct tlog_partition *p = unit_partition(u, name, 0);
        unit_config(u, name, "segment.bytes=1K");
        unit_lines(p, 0, 25, 100);
        unit_close(u);
        static const char *const suffixes[] = {"log", "idx"};
        for (unsigned i = 0; i < 2; i++) {
            snprintf(file, sizeof file, "topics/%s/0/00000000000000002000.%s", name, suffixes[i]);
            unit_unlink(u, file);
        }
        snprintf(file, sizeof file, "/store/topics/%s/0", name);
        assert_int_equal(u->io->sync_dir(u->io, file), 0);
        if (boot)
            simdisk_power_cut(u->disk, 1);
        unit_open(u);
        p = unit_get(u, name, 0);
        assert_true(unit_bounds(p).damaged);
        assert_int_equal(unit_append(p, "never in the place of another\n"), -EROFS);
        assert_int_equal(unit_recovery(u).damaged, boot + 1);
        assert_non_null(strstr(u->notes, "missing"));
        char first[100];
        assert_int_equal(tlog_partition_read(p, 0, first, 100), 100); /* what is there is served */
        assert_memory_equal(first, "0 xxx", 5);
        unit_append(unit_partition(u, "other", 0), "others go on\n");
        unit_close(u);
    }
}

static void test_a_hole_between_segments_is_reported(void **state)
{
    struct unit *u = *state;
    static const char *const lost[] = {DIR "00000000000000001000.log", DIR "00000000000000001000.idx"};
    unit_open(u);
    struct tlog_partition *p = unit_partition(u, "t", 0);
    unit_config(u, "t", "segment.bytes=1K");
    unit_lines(p, 0, 35, 100);
    unit_close(u);
    unit_unlink(u, lost[0]);
    unit_unlink(u, lost[1]);
    unit_open(u);
    p = unit_get(u, "t", 0);
    assert_true(unit_bounds(p).damaged);
    assert_non_null(strstr(u->notes, "t/0: bytes are missing from 1000 on: a hole between segments"));
    assert_int_equal(unit_bounds(p).end, 3500);
    char bytes[100];
    assert_int_equal(tlog_partition_read(p, 2000, bytes, 100), 100);
    assert_memory_equal(bytes, "20 xx", 5);
    assert_true(tlog_partition_read(p, 1500, bytes, 100) < 0);
    unit_close(u);
    assert_non_null(strstr(unit_verify(u), "bytes from 1000 to 2000 are missing before it"));
    /* for ever: nothing is joined by opening it again */
    unit_open(u);
    assert_int_equal(unit_recovery(u).damaged, 1);
}

static void test_a_lost_index(void **state)
{
    struct unit *u = *state;
    for (unsigned kind = 0; kind < 3; kind++) {
        char name[8], idx[64];
        snprintf(name, sizeof name, "t%u", kind);
        snprintf(idx, sizeof idx, "topics/%s/0/00000000000000000000.idx", name);
        unit_open(u);
        struct tlog_partition *p = unit_partition(u, name, 0);
        unit_lines(p, 0, 100, 100);
        uint32_t epoch = unit_bounds(p).epoch;
        unit_close(u);
        if (kind == 0)
            unit_unlink(u, idx);
        else if (kind == 1)
            unit_truncate(u, idx, 0);
        else
            unit_flip(u, idx, 30); /* its header */
        unit_open(u);
        p = unit_get(u, name, 0);
        assert_false(unit_bounds(p).damaged);
        assert_int_equal(unit_bounds(p).epoch, epoch + 1);
        assert_int_equal(unit_bounds(p).end_seq, 100);
        assert_int_equal(unit_recovery(u).indexed_records, 100);
        assert_non_null(strstr(u->notes, "was lost; its lines were indexed anew"));
        char *expected = unit_lines_text(0, 100, 100);
        unit_assert_text(p, expected);
        free(expected);
        uint64_t pos;
        assert_int_equal(tlog_partition_find_seq(p, 57, &pos, NULL), 0);
        assert_int_equal(pos, 5700);
        assert_int_equal(tlog_partition_find_time(p, 0, &pos, NULL), 0);
        assert_int_equal(pos, 0);
        unit_lines(p, 100, 5, 100);
        assert_int_equal(tlog_partition_sync_wait(p), 0);
        unit_power_cut(u, 9);
        unit_open(u);
        assert_int_equal(unit_bounds(unit_get(u, name, 0)).end_seq, 105);
        assert_int_equal(unit_bounds(unit_get(u, name, 0)).epoch, epoch + 1);
        unit_close(u);
        assert_string_equal(unit_verify(u), "");
    }
}

static void test_a_lost_index_of_raw_records_is_damage(void **state)
{
    struct unit *u = *state;
    unit_open(u);
    struct tlog_partition *p = unit_partition(u, "t", 0);
    unit_config(u, "t", "message.format=raw");
    assert_int_equal(tlog_partition_append(p, "a\nb", 3, 1), 0);
    unit_close(u);
    unit_unlink(u, IDX);
    unit_open(u);
    p = unit_get(u, "t", 0);
    assert_true(unit_bounds(p).damaged);
    assert_int_equal(tlog_partition_append(p, "c", 1, 1), -EROFS);
    assert_non_null(strstr(u->notes, "missing or damaged"));
    assert_int_equal(unit_size(u, LOG), 3);
    struct tlog_bounds bounds = unit_bounds(p);
    assert_true(bounds.start <= bounds.end);
}

/* ---- the checkpoint ---- */

static void test_without_a_checkpoint_everything_is_read(void **state)
{
    struct unit *u = *state;
    for (unsigned kind = 0; kind < 3; kind++) {
        char name[8];
        snprintf(name, sizeof name, "t%u", kind);
        unit_open(u);
        struct tlog_partition *p = unit_partition(u, name, 0);
        unit_config(u, name, "segment.bytes=2K");
        unit_lines(p, 0, 100, 100);
        unit_close(u);
        if (kind == 0)
            unit_unlink(u, "checkpoint");
        else if (kind == 1)
            unit_flip(u, "checkpoint", 50);
        else
            unit_truncate(u, "checkpoint", 77);
        unit_open(u);
        assert_true(kind == 0 || strstr(u->notes, "the checkpoint is damaged: every log is read from its start"));
        char *expected = unit_lines_text(0, 100, 100);
        unit_assert_text(unit_get(u, name, 0), expected);
        free(expected);
        assert_int_equal(unit_recovery(u).damaged, 0);
        assert_int_equal(unit_recovery(u).cut_files, 0);
        unit_close(u);
        assert_string_equal(unit_verify(u), "");
    }
}

/* ---- copies ---- */

static void test_a_copied_store(void **state)
{
    struct unit *u = *state;
    unit_open(u);
    struct tlog_partition *p = unit_partition(u, "t", 0);
    struct tlog_writer *writer = unit_writer(u, p);
    unit_config(u, "t", "segment.bytes=8K");
    unit_lines(p, 0, 200, 100);
    assert_int_equal(tlog_partition_sync_wait(p), 0);
    unit_write(writer, "the original's own rest");
    if (u->disk)
        unit_kill(u); /* the copy is of a store that was in use */
    else
        unit_close(u);
    char original[sizeof u->path];
    strcpy(original, u->path);
    unit_copy_store(u);
    unit_open(u);
    assert_non_null(strstr(u->notes, "this store is a copy"));
    p = unit_get(u, "t", 0);
    assert_int_equal(unit_recovery(u).ended_rests, 0); /* its journal is another store's */
    assert_int_equal(unit_bounds(p).end_seq, u->disk ? 200 : 201);
    char bytes[100];
    for (unsigned i = 0; i < unit_bounds(p).end_seq && i < 200; i++) {
        char *line = unit_lines_text(i, 1, 100);
        assert_int_equal(tlog_partition_read(p, 100 * i, bytes, 100), 100);
        assert_memory_equal(bytes, line, 100);
        free(line);
    }
    unit_lines(p, 500, 10, 100);
    assert_int_equal(tlog_partition_sync_wait(p), 0);
    uint64_t seq = unit_bounds(p).end_seq;
    unit_reopen(u);
    assert_null(strstr(u->notes, "this store is a copy")); /* it is a store of its own now */
    assert_int_equal(unit_bounds(unit_get(u, "t", 0)).end_seq, seq);
    unit_close(u);
    assert_string_equal(unit_verify(u), "");
    strcpy(u->path, original);
    unit_open(u);
    assert_int_equal(unit_bounds(unit_get(u, "t", 0)).end_seq, 201);
}

static void test_a_copy_whose_log_and_index_differ(void **state)
{
    struct unit *u = *state;
    for (unsigned kind = 0; kind < 2; kind++) {
        unit_open(u);
        struct tlog_partition *p = unit_partition(u, "t", 0);
        unit_lines(p, 0, 410, 100); /* ten entries */
        uint64_t end = unit_bounds(p).end;
        unit_close(u);
        unit_copy_store(u);
        if (kind == 0)
            unit_truncate(u, LOG, end - 4150); /* the .log was copied earlier */
        else
            unit_truncate(u, IDX, unit_size(u, IDX) - 2 * TLOG_ENTRY_BYTES - 5); /* the .idx was */
        unit_open(u);
        p = unit_get(u, "t", 0);
        assert_false(unit_bounds(p).damaged);
        assert_int_equal(unit_bounds(p).end, kind == 0 ? end - 2 * 4100 : end - 3 * 4100);
        assert_int_equal(unit_recovery(u).cut_files, 1);
        unit_append(p, "goes on\n");
        unit_close(u);
        assert_string_equal(unit_verify(u), "");
        unit_open(u);
        assert_int_equal(tlog_topic_remove(unit_topic(u, "t"), true), 0);
        unit_close(u);
    }
}

static void test_a_partition_put_back_from_a_backup(void **state)
{
    struct unit *u = *state;
    unit_open(u);
    struct tlog_partition *p = unit_partition(u, "t", 0);
    unit_lines(p, 0, 100, 100);
    unit_close(u);
    /* the same bytes in other files, changed in the middle: the checkpoint does not speak of these */
    size_t bytes;
    char *log = unit_file(u, LOG, &bytes);
    unit_unlink(u, LOG);
    log[5000] = '!';
    unit_put(u, "placeholder", 0, "", 0);
    unit_put(u, LOG, 0, log, bytes);
    free(log);
    unit_open(u);
    p = unit_get(u, "t", 0);
    assert_int_equal(unit_bounds(p).end, 4100); /* what verifies from the start */
    assert_int_equal(unit_recovery(u).cut_bytes, 5900);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        UNIT_SIM(test_a_kill_loses_nothing),
        UNIT_SIM(test_topics_made_since_the_checkpoint),
        UNIT_SIM(test_a_torn_line_is_cut_and_kept),
        UNIT_SIM(test_an_entry_without_its_data),
        UNIT_SIM(test_rests_end_as_lines_once),
        UNIT_SIM(test_rests_of_a_removed_partition_are_gone),
        UNIT_SIM(test_raw_tails_are_not_guessed),
        UNIT_SIM(test_a_kill_right_after_a_roll),
        UNIT_SIM(test_a_topic_whose_making_was_cut_short),
        UNIT_SIM(test_what_the_journal_holds_is_put_back),
        UNIT_SIM(test_a_flipped_byte_past_what_was_synced),
        UNIT_SIM(test_losing_what_was_synced_is_damage),
        UNIT_BOTH(test_a_hole_between_segments_is_reported),
        UNIT_SIM(test_a_lost_index),
        UNIT_BOTH(test_a_lost_index_of_raw_records_is_damage),
        UNIT_BOTH(test_without_a_checkpoint_everything_is_read),
        UNIT_BOTH(test_a_copied_store),
        UNIT_BOTH(test_a_copy_whose_log_and_index_differ),
        UNIT_SIM(test_a_partition_put_back_from_a_backup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
