/* What happens by itself: entries closed, files synced, the checkpoint, the journal's space, carried rests. */
#include <time.h>

#include "unit.h"

static void test_an_open_entry_is_closed_after_100_ms(void **state)
{
    struct unit *u = *state;
    unit_open(u);
    struct tlog_partition *p = unit_partition(u, "t", 0);
    assert_int_equal(tlog_store_sync(u->store), 0);
    unit_append(p, "line\n");
    simdisk_advance(u->disk, 60000000);
    int64_t next_ns = tlog_store_upkeep(u->store);
    assert_true(next_ns > 0 && next_ns <= 40000000);
    assert_int_equal(unit_entries(p), 0);
    unit_append(p, "another\n"); /* the time counts from the first */
    simdisk_advance(u->disk, next_ns);
    next_ns = tlog_store_upkeep(u->store);
    assert_int_equal(unit_entries(p), 1);
    assert_true(next_ns > 1000000000); /* then there is nothing until the files are synced */
    unit_append(p, "more\n");
    unit_advance(u, 99);
    assert_int_equal(unit_entries(p), 1);
    unit_advance(u, 2);
    assert_int_equal(unit_entries(p), 2);
}

static void test_files_are_synced_after_flush_ms(void **state)
{
    struct unit *u = *state;
    struct tlog_checkpoint checkpoint;
    unit_open(u);
    struct tlog_partition *p = unit_partition(u, "t", 0);
    unit_config(u, "t", "flush.ms=2s");
    assert_int_equal(tlog_store_sync(u->store), 0);
    assert_int_equal(tlog_store_upkeep(u->store), -1); /* nothing pending */
    unit_append(p, "line\n");
    unit_advance(u, 1900);
    assert_int_equal(unit_bounds(p).durable, 0);
    unit_advance(u, 200);
    assert_int_equal(unit_bounds(p).durable, 5);
    assert_int_equal(p->synced, 5);
    assert_int_equal(tlog_store_upkeep(u->store), -1);
    assert_false(p->queued);
    /* and the checkpoint says so */
    assert_int_equal(tlog_checkpoint_read(u->io, u->path, &checkpoint), 0);
    const struct tlog_checkpoint_row *row = tlog_checkpoint_find(&checkpoint, p->topic->id, 0);
    assert_non_null(row);
    assert_int_equal(row->synced, 5);
    assert_int_equal(row->end, 5);
    assert_int_equal(row->segment_pos, 0);
    assert_true(row->log_inode != 0 && row->idx_inode != 0 && !row->failed);
    assert_true(checkpoint.lsn > 0);
    free(checkpoint.rows);
    unit_append(p, "again\n");
    unit_advance(u, 2100);
    assert_int_equal(unit_bounds(p).durable, 11);
    unit_power_cut(u, 3);
    unit_open(u);
    unit_assert_text(unit_get(u, "t", 0), "line\nagain\n");
}

static void test_flush_bytes_do_not_wait(void **state)
{
    struct unit *u = *state;
    unit_open(u);
    struct tlog_partition *p = unit_partition(u, "t", 0);
    unit_config(u, "t", "flush.ms=1h\nflush.bytes=64K");
    assert_int_equal(tlog_store_sync(u->store), 0);
    unit_lines(p, 0, 655, 100);
    tlog_store_upkeep(u->store);
    assert_int_equal(p->synced, 0);
    unit_lines(p, 655, 1, 100);
    tlog_store_upkeep(u->store);
    assert_int_equal(p->synced, 65600);
    unit_lines(p, 656, 600, 100);
    tlog_store_upkeep(u->store);
    assert_int_equal(p->synced, 65600);
    unit_lines(p, 1256, 60, 100);
    tlog_store_upkeep(u->store);
    assert_int_equal(p->synced, 131600);
}

static void test_an_error_is_tried_again_later(void **state)
{
    struct unit *u = *state;
    unit_open(u);
    struct tlog_partition *p = unit_partition(u, "t", 0);
    assert_int_equal(tlog_store_sync(u->store), 0);
    unit_append(p, "line\n");
    simdisk_fail(u->disk, 1U << SIM_WRITE, 0, ENOSPC, true);
    simdisk_advance(u->disk, 6000000000);
    int64_t next_ns = tlog_store_upkeep(u->store);
    assert_true(next_ns > 0 && next_ns <= 1000000000);
    assert_int_equal(unit_entries(p), 0);
    assert_false(unit_bounds(p).failed); /* a full disk is no refusal to sync */
    simdisk_fail(u->disk, 0, 0, 0, false);
    unit_advance(u, 6000);
    assert_int_equal(unit_entries(p), 1);
    assert_int_equal(p->synced, 5);
}

/* The journal is two small files: they are used again and again, and what is in them is not lost. */
static void test_journal_space_is_used_again(void **state)
{
    struct unit *u = *state;
    struct tlog_store_status status;
    u->options.journal_bytes = 16 << 10;
    unit_open(u);
    struct tlog_partition *p = unit_partition(u, "t", 0), *q = unit_partition(u, "t", 1);
    struct tlog_writer *writer = unit_writer(u, q);
    unit_config(u, "t", "flush.ms=1h");
    unit_write(writer, "begun long ago");
    uint64_t most = 0;
    for (unsigned i = 0; i < 200; i++) {
        unit_lines(p, i * 5, 5, 100);
        assert_int_equal(tlog_partition_sync_wait(p), 0);
        tlog_store_upkeep(u->store);
        tlog_store_status(u->store, &status);
        if (status.journal_bytes > most)
            most = status.journal_bytes;
    }
    assert_true(status.syncs >= 200);
    assert_true(most <= 4 * (16 << 10));
    assert_true(tlog_journal_last(&u->store->ground.journal) > 200);
    assert_true(writer->first_lsn > 200); /* it was carried over, again and again */
    for (uint64_t seed = 0; seed < 2; seed++) {
        if (seed == 0)
            unit_power_cut(u, 42);
        else
            unit_kill(u);
        unit_open(u);
        assert_int_equal(unit_recovery(u).ended_rests, seed == 0);
        char *expected = unit_lines_text(0, 1000, 100);
        unit_assert_text(unit_get(u, "t", 0), expected);
        unit_assert_text(unit_get(u, "t", 1), "begun long ago\n");
        free(expected);
    }
}

/* A round that carries a long rest is cut short before each of its operations: it is there, once and whole. */
static void test_a_long_rest_is_carried_whole(void **state)
{
    struct unit *u = *state;
    u->options.journal_bytes = 16 << 10;
    char *rest = unit_lines_text(0, 1, 20001);
    unit_open(u);
    struct tlog_partition *p = unit_partition(u, "t", 0), *q = unit_partition(u, "t", 1);
    assert_int_equal(tlog_writer_append(unit_writer(u, q), rest, 20000, 0, 0), 20000);
    assert_int_equal(tlog_partition_sync_wait(q), 0);
    unit_lines(p, 0, 30, 100);
    assert_int_equal(tlog_partition_sync_wait(p), 0);
    struct unit_clones clones;
    unit_clone_on(u, &clones);
    assert_int_equal(tlog_store_sync(u->store), 0);
    unit_clone_off(u);
    assert_true(clones.count > 15);
    unit_close(u);
    for (unsigned i = 0; i < clones.count; i++)
        for (unsigned power = 0; power < 2; power++) {
            simdisk_free(u->disk);
            u->disk = power ? clones.points[i] : simdisk_clone(clones.points[i]);
            u->io = u->options.io = simdisk_io(u->disk);
            if (power)
                simdisk_power_cut(u->disk, i);
            else
                simdisk_kill(u->disk, i);
            unit_open(u);
            char *text = unit_text(unit_get(u, "t", 1));
            if (strcmp(text, rest) != 0)
                fail_msg("operation %u, %s: %zu bytes: %s", i, power ? "power cut" : "kill", strlen(text), u->notes);
            free(text);
            assert_int_equal(unit_bounds(unit_get(u, "t", 0)).end, 3000);
            unit_close(u);
        }
    free(rest);
}

static void test_failed_partitions_do_not_stop_the_others(void **state)
{
    struct unit *u = *state;
    unit_open(u);
    struct tlog_partition *p = unit_partition(u, "t", 0), *q = unit_partition(u, "t", 1);
    assert_int_equal(tlog_store_sync(u->store), 0);
    unit_append(p, "line\n");
    simdisk_fail(u->disk, 1U << SIM_SYNC, 0, EIO, false);
    unit_advance(u, 6000);
    assert_true(unit_bounds(p).failed);
    for (unsigned i = 0; i < 3; i++) {
        unit_append(q, "line\n");
        unit_advance(u, 6000);
        assert_int_equal(unit_bounds(q).durable, 5 * (i + 1));
        assert_int_equal(unit_bounds(p).durable, 0);
    }
    struct tlog_checkpoint checkpoint;
    assert_int_equal(tlog_checkpoint_read(u->io, u->path, &checkpoint), 0);
    assert_true(tlog_checkpoint_find(&checkpoint, p->topic->id, 0)->failed);
    assert_false(tlog_checkpoint_find(&checkpoint, p->topic->id, 1)->failed);
    free(checkpoint.rows);
}

static void test_removed_partitions_are_let_go(void **state)
{
    struct unit *u = *state;
    unit_open(u);
    struct tlog_partition *p = unit_partition(u, "t", 1);
    unit_append(p, "line\n");
    tlog_store_upkeep(u->store);
    assert_true(p->queued);
    int refs = atomic_load(&p->refs);
    assert_int_equal(tlog_partition_remove(p, true), 0);
    tlog_store_upkeep(u->store);
    assert_int_equal(atomic_load(&p->refs), refs - 2); /* the table's and upkeep's */
    assert_false(p->queued);
}

static void test_nothing_to_do_costs_nothing(void **state)
{
    struct unit *u = *state;
    unit_open(u);
    for (unsigned i = 0; i < 20; i++)
        unit_append(unit_partition(u, "t", i), "line\n");
    unit_release(u);
    unit_advance(u, 200);
    unit_advance(u, 6000);
    assert_int_equal(tlog_store_upkeep(u->store), -1);
    uint64_t operations = simdisk_count(u->disk, SIM_ALL);
    for (unsigned i = 0; i < 5; i++)
        unit_advance(u, 10000);
    assert_int_equal(simdisk_count(u->disk, SIM_ALL), operations);
}

/* ---- the thread ---- */

static bool is_durable(void *arg)
{
    struct tlog_bounds bounds = unit_bounds(arg);
    return bounds.durable == bounds.end;
}

static bool is_indexed(void *arg)
{
    return unit_entries(arg) == 1;
}

static void test_the_thread_does_it_by_itself(void **state)
{
    struct unit *u = *state;
    u->options.no_upkeep = false;
    unit_open(u);
    struct tlog_partition *p = unit_partition(u, "t", 0);
    unit_append(p, "line\n");
    struct timespec begun, ended;
    clock_gettime(CLOCK_MONOTONIC, &begun);
    unit_wait(is_indexed, p);
    unit_config(u, "t", "flush.ms=100ms");
    unit_append(p, "more\n");
    unit_wait(is_durable, p);
    /* a partition that upkeep has looked at already, or that only holds a rest, is not forgotten */
    struct tlog_writer *writer = unit_writer(u, p);
    unit_write(writer, "a rest");
    for (unsigned i = 0; i < 3; i++) {
        unit_lines(p, 0, 1, i == 2 ? 5000 : 50);
        unit_wait(is_durable, p);
    }
    clock_gettime(CLOCK_MONOTONIC, &ended);
    assert_true(ended.tv_sec - begun.tv_sec < 4); /* and does not wait for flush.ms as it was before */
    assert_int_equal(unit_bounds(p).durable, 5110);
}

enum { PARTITIONS = 8, ROUNDS = 400 };

static void *churn(void *arg)
{
    struct tlog_partition *p = arg;
    for (unsigned i = 0; i < ROUNDS; i++) {
        if (unit_append(p, "a line that is appended over and over\n") < 0)
            return arg;
        if (i % 50 == 0 && tlog_partition_sync_wait(p) < 0)
            return arg;
    }
    return NULL;
}

static void *tend(void *arg)
{
    struct unit *u = arg;
    for (unsigned i = 0; i < 50; i++)
        (void)tlog_store_sync(u->store); /* everything is let go, and made dirty again */
    return NULL;
}

static void test_no_partition_is_lost_to_upkeep(void **state)
{
    struct unit *u = *state;
    pthread_t threads[PARTITIONS], tender;
    struct tlog_partition *p[PARTITIONS];
    void *failed;
    u->options.no_upkeep = false;
    u->options.journal_bytes = 64 << 10;
    if (!u->disk) {
        unit_gate_use(u);
        unit_gate.pretend = true;
    }
    unit_open(u);
    for (unsigned i = 0; i < PARTITIONS; i++)
        p[i] = unit_partition(u, "t", i);
    unit_config(u, "t", "flush.ms=100ms\nflush.bytes=64K\nsegment.bytes=8K");
    assert_int_equal(pthread_create(&tender, NULL, tend, u), 0);
    for (unsigned i = 0; i < PARTITIONS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, churn, p[i]), 0);
    for (unsigned i = 0; i < PARTITIONS; i++) {
        pthread_join(threads[i], &failed);
        assert_null(failed);
    }
    pthread_join(tender, NULL);
    for (unsigned i = 0; i < PARTITIONS; i++) {
        if (u->disk)
            simdisk_advance(u->disk, 1000000000);
        unit_append(p[i], "the last\n");
    }
    if (u->disk) {
        unit_advance(u, 200);
        unit_advance(u, 200);
    }
    for (unsigned i = 0; i < PARTITIONS; i++)
        unit_wait(is_durable, p[i]); /* each of them is still looked after */
    unit_close(u);
    assert_string_equal(unit_verify(u), "");
    assert_int_equal(unit_verified.records, PARTITIONS * (ROUNDS + 1));
}

static void *one_round(void *arg)
{
    static int64_t next_ns;
    next_ns = tlog_store_upkeep(arg);
    return &next_ns;
}

static void test_what_comes_during_a_flush_is_flushed_next(void **state)
{
    struct unit *u = *state;
    unit_gate_use(u);
    unit_open(u);
    struct tlog_partition *p = unit_partition(u, "t", 0);
    unit_config(u, "t", "flush.bytes=64KiB\nflush.ms=5s\n");
    assert_int_equal(tlog_store_sync(u->store), 0);
    char *text = unit_lines_text(0, 700, 100); /* in one append: no entry is left open that upkeep would come for */
    assert_int_equal(tlog_partition_append(p, text, 70000, 700), 0);
    unit_gate_shut(true);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, one_round, u->store), 0);
    unit_gate_wait(1);
    assert_int_equal(tlog_partition_append(p, text, 5000, 50), 0);
    unit_gate_shut(false);
    free(text);
    void *next_ns;
    pthread_join(thread, &next_ns);
    assert_int_equal(unit_bounds(p).durable, 70000);
    assert_true(*(int64_t *)next_ns > 0 && *(int64_t *)next_ns <= INT64_C(5000000000));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        UNIT_SIM(test_an_open_entry_is_closed_after_100_ms),
        UNIT_SIM(test_files_are_synced_after_flush_ms),
        UNIT_SIM(test_flush_bytes_do_not_wait),
        UNIT_SIM(test_an_error_is_tried_again_later),
        UNIT_SIM(test_journal_space_is_used_again),
        UNIT_SIM(test_a_long_rest_is_carried_whole),
        UNIT_SIM(test_failed_partitions_do_not_stop_the_others),
        UNIT_SIM(test_removed_partitions_are_let_go),
        UNIT_SIM(test_nothing_to_do_costs_nothing),
        UNIT_REAL(test_what_comes_during_a_flush_is_flushed_next),
        UNIT_REAL(test_the_thread_does_it_by_itself),
        UNIT_BOTH(test_no_partition_is_lost_to_upkeep),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
