/* Trimming the head: what goes, what is kept for pins, what a crash leaves, and a full disk. */
#include "log/trim.h"
#include "unit.h"

enum { LINE = 100, LINES = 10, SEGMENT = LINE * LINES }; /* bytes, lines a segment, bytes a segment */

/* A partition of `segments` full segments, the last of them active. */
static struct tlog_partition *filled(struct unit *u, unsigned segments)
{
    unit_open(u);
    struct tlog_partition *p = unit_partition(u, "t", 0);
    unit_config(u, "t", "segment.bytes=1KiB");
    unit_lines(p, 0, segments * LINES, LINE);
    assert_int_equal(p->segment_count, segments);
    assert_int_equal(tlog_store_sync(u->store), 0);
    return p;
}

static void test_whole_segments_go(void **state)
{
    struct unit *u = *state;
    uint64_t start = 99;
    struct tlog_partition *p = filled(u, 5);
    struct tlog_bounds before = unit_bounds(p);
    assert_int_equal(tlog_partition_trim(p, SEGMENT - 1, &start), 0);
    assert_int_equal(start, 0);
    assert_int_equal(tlog_partition_trim(p, 2 * SEGMENT + 50, &start), 0);
    assert_int_equal(start, 2 * SEGMENT);
    struct tlog_bounds after = unit_bounds(p);
    assert_int_equal(after.start, 2 * SEGMENT);
    assert_int_equal(after.start_seq, 2 * LINES);
    assert_int_equal(after.end, before.end);
    assert_int_equal(after.segments, 3);
    assert_int_equal(after.mtime_ns, before.mtime_ns);
    assert_true(after.ctime_ns > before.ctime_ns);
    assert_true(after.disk_bytes < before.disk_bytes);
    unit_assert_lines(p, 2 * LINES, 3 * LINES, LINE);
    char byte;
    assert_int_equal(tlog_partition_read(p, 2 * SEGMENT - 1, &byte, 1), -ESTALE);
    assert_false(unit_exists(u, "topics/t/0/00000000000000001000.log"));
    assert_false(unit_exists(u, "topics/t/0/00000000000000000000.idx"));
    assert_true(unit_exists(u, "topics/t/0/00000000000000002000.log"));
    assert_int_equal(tlog_partition_trim(p, 0, &start), 0); /* it never falls */
    assert_int_equal(start, 2 * SEGMENT);
    assert_int_equal(tlog_partition_trim(p, 5 * SEGMENT + 1, NULL), -EINVAL);
    uint64_t pos, seq;
    assert_int_equal(tlog_partition_find_seq(p, 3, &pos, &seq), 0);
    assert_int_equal(pos, 2 * SEGMENT);
    assert_int_equal(seq, 2 * LINES);
    unit_reopen(u);
    p = unit_get(u, "t", 0);
    assert_int_equal(unit_bounds(p).start, 2 * SEGMENT);
    assert_int_equal(unit_bounds(p).start_seq, 2 * LINES);
    unit_assert_lines(p, 2 * LINES, 3 * LINES, LINE);
    unit_close(u);
    assert_string_equal(unit_verify(u), "");
}

static void test_everything_goes(void **state)
{
    struct unit *u = *state;
    uint64_t start;
    struct tlog_partition *p = filled(u, 3);
    unit_append(p, "in the active one\n");
    uint64_t end = unit_bounds(p).end, chain;
    assert_int_equal(tlog_partition_trim(p, UINT64_MAX, &start), 0);
    assert_int_equal(start, end);
    struct tlog_bounds bounds = unit_bounds(p);
    assert_int_equal(bounds.start, end);
    assert_int_equal(bounds.start_seq, 3 * LINES + 1);
    assert_int_equal(bounds.segments, 1);
    chain = bounds.chain;
    assert_int_equal(tlog_partition_trim(p, end, &start), 0); /* again: no segment is made for nothing */
    assert_int_equal(start, end);
    assert_int_equal(p->segment_count, 1);
    for (unsigned power = 0; power < 2; power++) {
        if (power)
            unit_power_cut(u, 5);
        else
            unit_kill(u);
        unit_open(u);
        p = unit_get(u, "t", 0);
        assert_int_equal(unit_bounds(p).start, end);
        assert_int_equal(unit_bounds(p).end, end);
        assert_int_equal(unit_bounds(p).end_seq, 3 * LINES + 1);
        assert_int_equal(unit_bounds(p).chain, chain);
    }
    unit_append(p, "next\n");
    unit_reopen(u);
    unit_assert_text(unit_get(u, "t", 0), "next\n");
    unit_close(u);
    assert_string_equal(unit_verify(u), "");
}

static void test_a_pin_keeps_what_was_trimmed(void **state)
{
    struct unit *u = *state;
    struct tlog_pin pin, late, none = {0};
    char data[LINE];
    struct tlog_partition *p = filled(u, 6);
    assert_int_equal(tlog_partition_pin(p, SEGMENT + 300, &pin), 0);
    assert_int_equal(tlog_partition_trim(p, 4 * SEGMENT, NULL), 0);
    assert_int_equal(tlog_partition_pin(p, 4 * SEGMENT - 1, &late), -ESTALE);
    assert_int_equal(tlog_partition_pin(p, 4 * SEGMENT, &late), 0);
    /* What lies before the pinned segment is gone, the rest can be read, and none of it is part of the log. */
    assert_int_equal(tlog_partition_read(p, SEGMENT - 1, data, 1), -ESTALE);
    assert_int_equal(tlog_partition_read(p, SEGMENT + 300, data, LINE), LINE);
    assert_memory_equal(data, "13 x", 4);
    assert_int_equal(tlog_partition_read(p, 4 * SEGMENT - LINE, data, LINE), LINE);
    assert_memory_equal(data, "39 x", 4);
    assert_int_equal(unit_bounds(p).start, 4 * SEGMENT);
    assert_int_equal(unit_entries(p), 2);
    assert_true(tlog_partition_drop(p) > 0);
    tlog_pin_release(&pin);
    tlog_pin_release(&pin);
    tlog_pin_release(&none);
    assert_int_equal(tlog_partition_drop(p), -1);
    assert_int_equal(tlog_partition_read(p, 4 * SEGMENT - 1, data, 1), -ESTALE);
    assert_false(unit_exists(u, "topics/t/0/00000000000000003000.log"));
    tlog_pin_release(&late);
    unit_assert_lines(p, 4 * LINES, 2 * LINES, LINE);
}

static void test_pins_have_a_budget(void **state)
{
    struct unit *u = *state;
    struct tlog_pin pin;
    char data;
    struct tlog_partition *p = filled(u, 6);
    unit_config(u, "t", "pin.bytes=2K\npin.ms=1m");
    assert_int_equal(tlog_partition_pin(p, 0, &pin), 0);
    assert_int_equal(tlog_partition_trim(p, 2 * SEGMENT, NULL), 0);
    assert_int_equal(tlog_partition_read(p, 0, &data, 1), 1);
    simdisk_advance(u->disk, 30000000000);
    assert_int_equal(tlog_partition_trim(p, 3 * SEGMENT, NULL), 0); /* three are too many: the oldest goes */
    assert_int_equal(tlog_partition_read(p, 0, &data, 1), -ESTALE);
    assert_int_equal(tlog_partition_read(p, SEGMENT, &data, 1), 1);
    int64_t next_ns = tlog_partition_drop(p);
    assert_true(next_ns > 29000000000 && next_ns < 31000000000);
    simdisk_advance(u->disk, next_ns);
    next_ns = tlog_partition_drop(p); /* one was trimmed a minute ago, the other half a minute */
    assert_true(next_ns > 29000000000 && next_ns < 31000000000);
    assert_int_equal(tlog_partition_read(p, SEGMENT, &data, 1), -ESTALE);
    assert_int_equal(tlog_partition_read(p, 2 * SEGMENT, &data, 1), 1);
    simdisk_jump(u->disk, INT64_C(3600) * 1000000000); /* what CLOCK_REALTIME does is no matter */
    assert_true(tlog_partition_drop(p) > 0);
    simdisk_advance(u->disk, next_ns);
    assert_int_equal(tlog_partition_drop(p), -1);
    assert_int_equal(tlog_partition_read(p, 2 * SEGMENT, &data, 1), -ESTALE);
    tlog_pin_release(&pin);
}

/* Stopped before each operation of a trim, by a kill and by a power cut: the start is the old one or the new one,
 * never lower than somebody was told, everything from there on is there, and nothing below it comes back. */
static void test_a_trim_cut_short(void **state)
{
    struct unit *u = *state;
    struct tlog_partition *p = filled(u, 5);
    unit_lines(p, 5 * LINES, 3, LINE); /* rolled by the trim, and not synced yet */
    struct unit_clones clones;
    unit_clone_on(u, &clones);
    assert_int_equal(tlog_partition_trim(p, 3 * SEGMENT, NULL), 0);
    unsigned first = clones.count;
    assert_int_equal(tlog_partition_trim(p, UINT64_MAX, NULL), 0);
    unit_clone_off(u);
    assert_true(first > 3 && clones.count > first + 5);
    unit_close(u);
    unsigned seen[3] = {0};
    for (unsigned i = 0; i < clones.count; i++)
        for (unsigned power = 0; power < 3; power++) {
            simdisk_free(u->disk);
            u->disk = power < 2 ? simdisk_clone(clones.points[i]) : clones.points[i];
            u->io = u->options.io = simdisk_io(u->disk);
            if (power)
                simdisk_power_cut(u->disk, i + power);
            else
                simdisk_kill(u->disk, i);
            unit_open(u);
            p = unit_get(u, "t", 0);
            struct tlog_bounds bounds = unit_bounds(p);
            assert_false(bounds.damaged);
            uint64_t kept = bounds.start / LINE, lines = bounds.end_seq - kept;
            assert_true(bounds.start == 0 || bounds.start == 3 * SEGMENT || bounds.start == 5 * SEGMENT + 3 * LINE);
            assert_true(i < first || bounds.start >= 3 * SEGMENT);
            assert_true(bounds.end_seq == 5 * LINES + 3 || (power && i <= first + 8 && bounds.end_seq >= 5 * LINES));
            unit_assert_lines(p, (unsigned)kept, (unsigned)lines, LINE);
            seen[bounds.start == 0 ? 0 : bounds.start == 3 * SEGMENT ? 1 : 2]++;
            struct tlog_recovery recovery = unit_recovery(u);
            assert_int_equal(unit_count(u, "topics/t/0", "0"), 2 * p->segment_count + recovery.cut_files);
            unit_append(p, "and on it goes\n");
            unit_close(u);
            assert_string_equal(unit_verify(u), "");
        }
    assert_true(seen[0] && seen[1] && seen[2]);
}

/* A rest that ended in what was trimmed does not come back, one that is held is not lost. */
static void test_rests_and_a_trim(void **state)
{
    struct unit *u = *state;
    struct tlog_partition *p = filled(u, 2);
    struct tlog_writer *ended = unit_writer(u, p), *held = unit_writer(u, p);
    unit_write(held, "held");
    unit_write(ended, "ended");
    unit_writer_close(u, ended);
    assert_int_equal(tlog_partition_trim(p, UINT64_MAX, NULL), 0);
    uint64_t start = unit_bounds(p).start;
    for (unsigned power = 0; power < 2; power++) {
        struct simdisk *now = simdisk_clone(u->disk);
        struct unit again = {.disk = now, .io = simdisk_io(now), .path = "/store", .options = u->options};
        again.options.io = again.io;
        again.options.note = NULL;
        if (power)
            simdisk_power_cut(now, 3);
        else
            simdisk_kill(now, 3);
        unit_open(&again);
        p = unit_get(&again, "t", 0);
        assert_int_equal(unit_bounds(p).start, start);
        unit_assert_text(p, "held\n");
        unit_close(&again);
        simdisk_free(now);
    }
}

static void test_a_full_disk_can_be_trimmed(void **state)
{
    struct unit *u = *state;
    uint64_t start;
    struct tlog_partition *p = filled(u, 5);
    unit_lines(p, 5 * LINES, 1, LINE);
    assert_int_equal(tlog_store_sync(u->store), 0);
    simdisk_resize(u->disk, simdisk_used_bytes(u->disk), 100000);
    char *line = unit_lines_text(0, 1, 800);
    int r;
    for (unsigned i = 0; i < 100 && (r = tlog_partition_append(p, line, 800, 1)) == 0; i++)
        ;
    free(line);
    assert_int_equal(r, -ENOSPC);
    struct tlog_bounds full = unit_bounds(p);
    unsigned segments = p->segment_count;
    assert_int_equal(tlog_partition_trim(p, 3 * SEGMENT, &start), 0);
    assert_int_equal(start, 3 * SEGMENT);
    assert_int_equal(unit_bounds(p).end, full.end);
    assert_int_equal(p->segment_count, segments - 3);
    assert_int_equal(unit_append(p, "there is room again\n"), 0);
    unit_reopen(u);
    p = unit_get(u, "t", 0);
    assert_int_equal(unit_bounds(p).start, 3 * SEGMENT);
    unit_close(u);
    assert_string_equal(unit_verify(u), "");
}

/* The same with a journal that has been used up by fsyncs, and held rests that want to be carried on in it. */
static void test_a_full_disk_and_a_full_journal(void **state)
{
    struct unit *u = *state;
    u->options.journal_bytes = 16 << 10;
    struct tlog_partition *p = filled(u, 5), *q = unit_partition(u, "t", 1);
    struct tlog_writer *writer = unit_writer(u, q);
    assert_int_equal(unit_write(writer, "held"), 4);
    assert_int_equal(tlog_store_sync(u->store), 0);
    simdisk_resize(u->disk, simdisk_used_bytes(u->disk), 100000);
    char *line = unit_lines_text(0, 1, 40);
    for (unsigned i = 0; i < 400; i++) { /* what still fits, each with an fsync */
        struct tlog_partition *which = i % 2 ? p : q;
        if (tlog_partition_append(which, line, 40, 1) == 0)
            (void)tlog_partition_sync_wait(which);
        unit_advance(u, 50);
    }
    assert_int_equal(tlog_partition_append(p, line, 40, 1), -ENOSPC);
    free(line);
    uint64_t start;
    struct tlog_bounds full = unit_bounds(p);
    assert_false(full.failed);
    assert_int_equal(tlog_partition_trim(p, 3 * SEGMENT, &start), 0);
    assert_int_equal(start, 3 * SEGMENT);
    unit_advance(u, 6000);
    assert_false(u->store->checkpoint_late);
    assert_int_equal(unit_append(p, "there is room again\n"), 0);
    assert_int_equal(unit_write(writer, " and ended\n"), 11);
    assert_int_equal(tlog_store_sync(u->store), 0);
}

/* A checkpoint that is written between a trim's journal record and its end gives up the record, so it says the start. */
static void test_the_checkpoint_says_it_early(void **state)
{
    struct unit *u = *state;
    struct tlog_checkpoint checkpoint;
    struct tlog_partition *p = filled(u, 4);
    pthread_mutex_lock(&p->lock);
    p->start_next = 2 * SEGMENT;
    p->start_next_seq = 2 * LINES;
    pthread_mutex_unlock(&p->lock);
    assert_int_equal(tlog_store_sync(u->store), 0);
    assert_int_equal(tlog_checkpoint_read(u->io, u->path, &checkpoint), 0);
    const struct tlog_checkpoint_row *row = tlog_checkpoint_find(&checkpoint, p->topic->id, 0);
    assert_int_equal(row->start, 2 * SEGMENT);
    assert_int_equal(row->start_seq, 2 * LINES);
    free(checkpoint.rows);
    assert_int_equal(unit_bounds(p).start, 0); /* nobody is told yet */
    unit_kill(u);
    unit_open(u);
    assert_int_equal(unit_bounds(unit_get(u, "t", 0)).start, 2 * SEGMENT);
}

/* Everything is to go, and the disk has no room for a new segment: all but the active one goes, then all. */
static void test_a_full_disk_and_a_trim_to_the_end(void **state)
{
    struct unit *u = *state;
    uint64_t start;
    struct tlog_partition *p = filled(u, 4);
    simdisk_fail(u->disk, 1U << SIM_CREATE, 0, ENOSPC, true);
    assert_int_equal(tlog_partition_trim(p, UINT64_MAX, &start), 0);
    assert_int_equal(start, 3 * SEGMENT);
    assert_int_equal(tlog_partition_trim(p, UINT64_MAX, &start), -ENOSPC);
    assert_int_equal(unit_bounds(p).start, 3 * SEGMENT);
    simdisk_fail(u->disk, 0, 0, 0, false);
    assert_int_equal(tlog_partition_trim(p, UINT64_MAX, &start), 0);
    assert_int_equal(start, 4 * SEGMENT);
    /* Where what goes makes room, all goes at once. */
    unit_lines(p, 0, 4 * LINES, LINE);
    assert_int_equal(tlog_store_sync(u->store), 0);
    simdisk_resize(u->disk, simdisk_used_bytes(u->disk), 100000);
    assert_int_equal(tlog_partition_trim(p, UINT64_MAX, &start), 0);
    assert_int_equal(start, 8 * SEGMENT);
}

static void test_a_trim_that_fails_changes_nothing(void **state)
{
    struct unit *u = *state;
    struct tlog_partition *p = filled(u, 4);
    simdisk_fail(u->disk, 1U << SIM_WRITE, 0, ENOSPC, true); /* the journal takes nothing */
    assert_int_equal(tlog_partition_trim(p, 2 * SEGMENT, NULL), -ENOSPC);
    assert_int_equal(unit_bounds(p).start, 0);
    simdisk_fail(u->disk, 1U << SIM_SYNC, 0, EIO, false);
    assert_int_equal(tlog_partition_trim(p, 2 * SEGMENT, NULL), -EIO);
    assert_int_equal(unit_bounds(p).start, 0);
    assert_int_equal(tlog_partition_trim(p, 2 * SEGMENT, NULL), -EROFS);
    unit_assert_lines(p, 0, 4 * LINES, LINE);
}

static void test_an_unlink_that_fails_is_tried_again(void **state)
{
    struct unit *u = *state;
    struct tlog_partition *p = filled(u, 4);
    simdisk_fail(u->disk, 1U << SIM_UNLINK, 0, EIO, true);
    assert_int_equal(tlog_partition_trim(p, 2 * SEGMENT, NULL), 0);
    assert_int_equal(unit_bounds(p).start, 2 * SEGMENT);
    assert_true(unit_exists(u, "topics/t/0/00000000000000000000.log"));
    simdisk_fail(u->disk, 0, 0, 0, false);
    assert_int_equal(tlog_partition_drop(p), -1);
    assert_false(unit_exists(u, "topics/t/0/00000000000000000000.log"));
    unit_assert_lines(p, 2 * LINES, 2 * LINES, LINE);
}

static void count_trims(void *arg, struct tlog_partition *p)
{
    struct unit *u = arg;
    struct tlog_bounds bounds;
    tlog_partition_bounds(p, &bounds); /* no lock is held */
    atomic_fetch_add(&u->grown, (unsigned)bounds.start);
}

static void test_trims_are_told(void **state)
{
    struct unit *u = *state;
    u->options.trimmed = count_trims;
    struct tlog_partition *p = filled(u, 4);
    assert_int_equal(tlog_partition_trim(p, 10, NULL), 0);
    assert_int_equal(u->grown, 0);
    assert_int_equal(tlog_partition_trim(p, SEGMENT, NULL), 0);
    assert_int_equal(u->grown, SEGMENT);
}

/* Sealed segments, with or without raw files beside them, go as raw ones do, and a log may start with one. */
static void test_sealed_segments_go(void **state)
{
    struct unit *u = *state;
    char data[LINE];
    struct tlog_pin pin;
    for (unsigned linger = 0; linger < 2; linger++) {
        struct tlog_partition *p = linger ? unit_get(u, "t", 0) : filled(u, 8);
        unit_config(u, "t", linger ? "seal.linger.ms=1h" : "seal.linger.ms=0");
        (void)tlog_store_maintain(u->store);
        (void)tlog_store_maintain(u->store);
        uint64_t old = unit_bounds(p).start;
        assert_int_equal(unit_bounds(p).sealed_bytes, 7 * SEGMENT - old);
        assert_int_equal(tlog_partition_pin(p, old, &pin), 0);
        assert_int_equal(tlog_partition_trim(p, old + 3 * SEGMENT, NULL), 0);
        assert_int_equal(unit_bounds(p).sealed_bytes, 4 * SEGMENT - old);
        assert_int_equal(unit_bounds(p).start_seq, (old + 3 * SEGMENT) / LINE);
        assert_int_equal(tlog_partition_read(p, old, data, LINE), LINE); /* pinned */
        tlog_pin_release(&pin);
        (void)tlog_store_maintain(u->store);
        assert_int_equal(tlog_partition_read(p, old, data, LINE), -ESTALE);
        assert_int_equal(unit_count(u, "topics/t/0", "0"), (4 - old / SEGMENT) + 2);
        unsigned lines = (unsigned)(old / LINE) + 3 * LINES;
        unit_assert_lines(p, lines, 8 * LINES - lines, LINE);
        if (linger && u->disk)
            unit_kill(u), unit_open(u);
        else
            unit_reopen(u);
        p = unit_get(u, "t", 0);
        assert_int_equal(unit_bounds(p).start, old + 3 * SEGMENT);
        assert_int_equal(unit_bounds(p).start_seq, lines);
        assert_int_equal(unit_bounds(p).sealed_bytes, 4 * SEGMENT - old);
        unit_assert_lines(p, lines, 8 * LINES - lines, LINE);
    }
    unit_close(u);
    assert_string_equal(unit_verify(u), "");
    unit_copy_store(u);
    unit_open(u);
    struct tlog_partition *p = unit_get(u, "t", 0);
    assert_int_equal(unit_bounds(p).start, 6 * SEGMENT);
    assert_int_equal(unit_bounds(p).start_seq, 6 * LINES);
    unit_assert_lines(p, 6 * LINES, 2 * LINES, LINE);
}

/* Without a checkpoint to believe, a trimmed log is a log that begins further on, in a copy as in a damaged store. */
static void test_a_trimmed_log_without_its_checkpoint(void **state)
{
    struct unit *u = *state;
    for (unsigned copied = 0; copied < 2; copied++) {
        struct tlog_partition *p = copied ? unit_get(u, "t", 0) : filled(u, 5);
        assert_int_equal(tlog_partition_trim(p, (2 + copied) * SEGMENT, NULL), 0);
        unit_close(u);
        if (copied)
            unit_copy_store(u);
        else
            unit_flip(u, "checkpoint", 40);
        unit_open(u);
        p = unit_get(u, "t", 0);
        assert_false(unit_bounds(p).damaged);
        assert_int_equal(unit_bounds(p).start, (2 + copied) * SEGMENT);
        assert_int_equal(unit_bounds(p).start_seq, (2 + copied) * LINES);
        unit_assert_lines(p, (2 + copied) * LINES, (3 - copied) * LINES, LINE);
    }
}

/* Recovery wrote the files anew after a failed fsync, so that the checkpoint knows others: it knows the start still. */
static void test_a_start_outlives_its_files(void **state)
{
    struct unit *u = *state;
    struct tlog_partition *p = filled(u, 5);
    assert_int_equal(tlog_partition_trim(p, 2 * SEGMENT, NULL), 0);
    assert_int_equal(tlog_store_sync(u->store), 0); /* the journal forgets it */
    unit_lines(p, 5 * LINES, 1, LINE);
    simdisk_fail(u->disk, 1U << SIM_SYNC, 0, EIO, false);
    (void)tlog_partition_flush(p);
    assert_true(unit_bounds(p).failed);
    unit_kill(u);
    unit_open(u);
    assert_non_null(strstr(u->notes, "written to fresh files"));
    assert_int_equal(unit_bounds(unit_get(u, "t", 0)).start, 2 * SEGMENT);
    unit_power_cut(u, 3);
    unit_open(u);
    p = unit_get(u, "t", 0);
    assert_false(unit_bounds(p).damaged);
    assert_int_equal(unit_bounds(p).start, 2 * SEGMENT);
    unit_assert_lines(p, 2 * LINES, 3 * LINES + 1, LINE);
}

/* The segment at the start is lost: the ones below it do not take its place. */
static void test_a_lost_start_is_damage(void **state)
{
    struct unit *u = *state;
    struct tlog_partition *p = filled(u, 5);
    assert_int_equal(tlog_partition_trim(p, 2 * SEGMENT, NULL), 0);
    unit_close(u);
    unit_unlink(u, "topics/t/0/00000000000000002000.log");
    unit_unlink(u, "topics/t/0/00000000000000002000.idx");
    unit_open(u);
    assert_true(unit_bounds(unit_get(u, "t", 0)).damaged);
    assert_non_null(strstr(u->notes, "t/0: the log was trimmed to 2000, and no segment begins there"));
}

/* ---- everything at once ---- */

struct crowd {
    struct unit *u;
    struct tlog_partition *p;
    atomic_bool stop;
    atomic_uint stale, wrong, read_whole;
};

static void *append_lines(void *arg)
{
    struct crowd *crowd = arg;
    for (unsigned i = 0; i < 20000 && !atomic_load(&crowd->stop); i++) {
        char line[LINE + 1];
        snprintf(line, sizeof line, "%099u\n", i);
        if (tlog_partition_append(crowd->p, line, LINE, 1) < 0)
            abort();
    }
    atomic_store(&crowd->stop, true);
    return NULL;
}

/* From the start as it is pinned to the end as it is then: every line in its place, whatever is trimmed meanwhile. */
static void read_pinned(struct crowd *crowd)
{
    struct tlog_pin pin;
    struct tlog_bounds bounds;
    char data[8 * LINE + 1], expected[LINE + 1];
    tlog_partition_bounds(crowd->p, &bounds);
    if (tlog_partition_pin(crowd->p, bounds.start, &pin) < 0) /* trimmed in between */
        return;
    for (uint64_t pos = bounds.start; pos < bounds.end; pos += LINE) {
        ssize_t n = tlog_partition_read(crowd->p, pos, data, LINE);
        if (n == LINE) {
            snprintf(expected, sizeof expected, "%099u\n", (unsigned)(pos / LINE));
            atomic_fetch_add(&crowd->wrong, memcmp(data, expected, LINE) != 0);
        } else {
            atomic_fetch_add(n == -ESTALE ? &crowd->stale : &crowd->wrong, 1);
        }
    }
    tlog_pin_release(&pin);
    atomic_fetch_add(&crowd->read_whole, 1);
}

static void *read_lines(void *arg)
{
    struct crowd *crowd = arg;
    while (!atomic_load(&crowd->stop))
        read_pinned(crowd);
    return NULL;
}

static void *trim_lines(void *arg)
{
    struct crowd *crowd = arg;
    uint64_t start = 0, next = 0;
    for (unsigned i = 0; !atomic_load(&crowd->stop); i++) {
        struct tlog_bounds bounds;
        tlog_partition_bounds(crowd->p, &bounds);
        uint64_t pos = i % 16 == 15 ? UINT64_MAX : bounds.start + (bounds.end - bounds.start) / 2;
        if (tlog_partition_trim(crowd->p, pos, &next) < 0 || next < start)
            abort();
        start = next;
    }
    return NULL;
}

static void *cut_and_rename(void *arg)
{
    struct crowd *crowd = arg;
    for (unsigned i = 0; !atomic_load(&crowd->stop); i++) {
        struct tlog_cut *cuts;
        size_t count;
        if (tlog_store_cut(crowd->u->store, 0, &cuts, &count) < 0 || cuts[0].start > cuts[0].end)
            abort();
        tlog_cuts_free(cuts, count);
        if (tlog_topic_rename(tlog_partition_topic(crowd->p), i % 2 ? "t" : "u") < 0)
            abort();
    }
    return NULL;
}

static void test_all_at_once(void **state)
{
    struct unit *u = *state;
    void *(*const run[])(void *) = {append_lines, read_lines, read_lines, trim_lines, cut_and_rename};
    pthread_t threads[5];
    struct crowd crowd = {.u = u};
    u->options.no_upkeep = false;
    unit_open(u);
    crowd.p = unit_partition(u, "t", 0);
    unit_config(u, "t", "segment.bytes=4KiB\nseal.linger.ms=0\nflush.ms=100");
    for (unsigned i = 0; i < 5; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, run[i], &crowd), 0);
    for (unsigned i = 0; i < 5; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(crowd.stale, 0);
    assert_int_equal(crowd.wrong, 0);
    assert_true(crowd.read_whole > 0);
    struct tlog_bounds bounds = unit_bounds(crowd.p);
    assert_false(bounds.damaged || bounds.failed);
    assert_int_equal(bounds.end_seq - bounds.start_seq, (bounds.end - bounds.start) / LINE);
    char name[256];
    tlog_topic_name(tlog_partition_topic(crowd.p), name);
    unit_reopen(u);
    crowd.p = unit_get(u, name, 0);
    assert_int_equal(unit_bounds(crowd.p).start, bounds.start);
    assert_int_equal(unit_bounds(crowd.p).end, bounds.end);
    unit_close(u);
    assert_string_equal(unit_verify(u), "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        UNIT_BOTH(test_whole_segments_go),
        UNIT_SIM(test_everything_goes),
        UNIT_BOTH(test_a_pin_keeps_what_was_trimmed),
        UNIT_SIM(test_pins_have_a_budget),
        UNIT_SIM(test_a_trim_cut_short),
        UNIT_SIM(test_rests_and_a_trim),
        UNIT_SIM(test_a_full_disk_can_be_trimmed),
        UNIT_SIM(test_the_checkpoint_says_it_early),
        UNIT_SIM(test_a_full_disk_and_a_full_journal),
        UNIT_SIM(test_a_full_disk_and_a_trim_to_the_end),
        UNIT_SIM(test_a_trim_that_fails_changes_nothing),
        UNIT_SIM(test_an_unlink_that_fails_is_tried_again),
        UNIT_BOTH(test_trims_are_told),
        UNIT_BOTH(test_sealed_segments_go),
        UNIT_BOTH(test_a_trimmed_log_without_its_checkpoint),
        UNIT_SIM(test_a_start_outlives_its_files),
        UNIT_BOTH(test_a_lost_start_is_damage),
        UNIT_MEMORY(test_all_at_once),
    };
    return cmocka_run_group_tests_name("trim", tests, NULL, NULL);
}
