/* Durability: what an fsync promises, what it costs, and what happens when the disk refuses it. */
#include "unit.h"

#define LOG "topics/t/0/00000000000000000000.log"

static void test_what_was_synced_survives_a_power_cut(void **state)
{
    struct unit *u = *state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        unit_open(u);
        char name[16];
        snprintf(name, sizeof name, "t%" PRIu64, seed);
        struct tlog_partition *p = unit_partition(u, name, 0);
        struct tlog_writer *writer = unit_writer(u, p);
        unit_append(p, "synced\n");
        assert_int_equal(unit_bounds(p).durable, 0);
        unit_write(writer, "a rest");
        assert_int_equal(tlog_partition_sync_wait(p), 0);
        assert_int_equal(unit_bounds(p).durable, 7);
        unit_append(p, "not synced\n");
        assert_int_equal(unit_bounds(p).durable, 7);
        unit_power_cut(u, seed);
        unit_open(u);
        p = unit_get(u, name, 0);
        assert_int_equal(unit_bounds(p).durable, unit_bounds(p).end);
        char *text = unit_text(p); /* the rest once, what was not synced perhaps */
        if (strcmp(text, "synced\na rest\n") != 0)
            assert_string_equal(text, "synced\nnot synced\na rest\n");
        free(text);
        unit_close(u);
        assert_string_equal(unit_verify(u), "");
    }
}

static void test_one_sync_for_all_partitions(void **state)
{
    struct unit *u = *state;
    struct tlog_store_status before, after;
    unit_open(u);
    struct tlog_partition *a = unit_partition(u, "t", 0), *b = unit_partition(u, "t", 1);
    assert_int_equal(tlog_partition_sync_wait(a), 0);
    assert_int_equal(tlog_partition_sync_wait(b), 0);
    unit_append(a, "one\n");
    unit_append(b, "two\n");
    assert_int_equal(tlog_partition_sync_wait(b), 0);
    unit_append(a, "more\n");
    tlog_store_status(u->store, &before);
    uint64_t syncs = simdisk_count(u->disk, 1U << SIM_SYNC | 1U << SIM_SYNC_DIR);
    assert_int_equal(tlog_partition_sync_wait(a), 0);
    assert_int_equal(simdisk_count(u->disk, 1U << SIM_SYNC | 1U << SIM_SYNC_DIR) - syncs, 1);
    tlog_store_status(u->store, &after);
    assert_int_equal(after.syncs - before.syncs, 1);
    assert_int_equal(unit_bounds(a).durable, 9);
    assert_int_equal(tlog_partition_sync_wait(a), 0); /* nothing new: nothing to do */
    assert_int_equal(tlog_partition_sync_wait(b), 0);
    assert_int_equal(simdisk_count(u->disk, 1U << SIM_SYNC | 1U << SIM_SYNC_DIR) - syncs, 1);
    unit_append(a, "even more\n");
    unit_append(b, "even more\n");
    assert_int_equal(tlog_partition_sync_wait(a), 0);
    assert_int_equal(unit_bounds(b).durable, 4); /* not in the journal yet */
    assert_int_equal(tlog_partition_sync_wait(b), 0);
    assert_int_equal(unit_bounds(b).durable, 14);
}

static void test_an_empty_partition_is_durable_too(void **state)
{
    struct unit *u = *state;
    unit_open(u);
    struct tlog_partition *p = unit_partition(u, "t", 3);
    assert_int_equal(tlog_partition_sync_wait(p), 0);
    unit_power_cut(u, 3);
    unit_open(u);
    p = unit_get(u, "t", 3);
    assert_int_equal(unit_bounds(p).end, 0);
    unit_append(p, "goes on\n");
    assert_int_equal(tlog_partition_sync_wait(p), 0);
    unit_power_cut(u, 4);
    unit_open(u);
    unit_assert_text(unit_get(u, "t", 3), "goes on\n");
}

static void test_a_large_append_goes_to_the_files(void **state)
{
    struct unit *u = *state;
    struct tlog_store_status status, before;
    u->options.journal_bytes = 0;
    unit_open(u);
    struct tlog_partition *p = unit_partition(u, "t", 0);
    char *big = unit_lines_text(0, 3000, 100);
    assert_int_equal(tlog_partition_append(p, big, 200000, 2000), 0);
    assert_int_equal(tlog_partition_sync_wait(p), 0);
    assert_int_equal(p->synced, 0); /* up to 256 KiB: the journal */
    assert_int_equal(unit_bounds(p).durable, 200000);
    assert_int_equal(tlog_store_sync(u->store), 0);
    tlog_store_status(u->store, &before);
    assert_int_equal(tlog_partition_append(p, big, 300000, 3000), 0);
    assert_int_equal(tlog_partition_sync_wait(p), 0);
    assert_int_equal(p->synced, 500000);
    tlog_store_status(u->store, &status);
    assert_true(status.journal_used_bytes - before.journal_used_bytes < 10000);
    unit_power_cut(u, 8);
    unit_open(u);
    char *text = unit_text(unit_get(u, "t", 0));
    assert_memory_equal(text, big, 200000);
    assert_memory_equal(text + 200000, big, 300000);
    assert_int_equal(strlen(text), 500000);
    free(text);
    free(big);
}

static void test_more_entries_than_the_journal_holds(void **state)
{
    struct unit *u = *state;
    u->options.journal_bytes = 16 << 10;
    unit_open(u);
    struct tlog_partition *p = unit_partition(u, "t", 0);
    unit_config(u, "t", "message.format=raw");
    for (unsigned i = 0; i < 1000; i++) /* 64 bytes of index each */
        assert_int_equal(tlog_partition_append(p, "r", 1, 1), 0);
    assert_int_equal(tlog_partition_sync_wait(p), 0);
    assert_int_equal(unit_bounds(p).durable, 1000);
    unit_power_cut(u, 8);
    unit_open(u);
    assert_int_equal(unit_bounds(unit_get(u, "t", 0)).end_seq, 1000);
}

static void test_no_space_for_the_journal(void **state)
{
    struct unit *u = *state;
    u->options.journal_bytes = 16 << 10;
    unit_open(u);
    struct tlog_partition *p = unit_partition(u, "t", 0);
    unit_append(p, "x\n");
    assert_int_equal(tlog_store_sync(u->store), 0);
    unsigned synced = 0;
    simdisk_fail(u->disk, 1U << SIM_CREATE, 0, ENOSPC, true); /* no further file */
    for (unsigned i = 0; i < 60; i++) {
        unit_lines(p, i, 10, 100);
        assert_int_equal(tlog_partition_sync_wait(p), 0);
        assert_int_equal(unit_bounds(p).durable, unit_bounds(p).end);
        synced = i + 1;
    }
    assert_true(simdisk_failed(u->disk));
    simdisk_fail(u->disk, 0, 0, 0, false);
    unit_power_cut(u, 2);
    unit_open(u);
    assert_int_equal(unit_bounds(unit_get(u, "t", 0)).end, 2 + synced * 1000);
}

static void test_over_several_segments(void **state)
{
    struct unit *u = *state;
    for (unsigned large = 0; large < 2; large++) {
        char name[8];
        unit_open(u);
        snprintf(name, sizeof name, "t%u", large);
        struct tlog_partition *p = unit_partition(u, name, 0);
        unit_config(u, name, "segment.bytes=4K");
        unit_lines(p, 0, large ? 4000 : 300, 100);
        assert_int_equal(tlog_partition_sync_wait(p), 0);
        assert_int_equal(unit_bounds(p).durable, large ? 400000 : 30000);
        assert_true((p->synced > 0) == large);
        unit_power_cut(u, 77);
        unit_open(u);
        char *expected = unit_lines_text(0, large ? 4000 : 300, 100);
        unit_assert_text(unit_get(u, name, 0), expected);
        free(expected);
        unit_close(u);
        assert_string_equal(unit_verify(u), "");
    }
}

/* ---- refusals ---- */

static void assert_read_only(struct unit *u, struct tlog_partition *p, const char *text)
{
    struct tlog_writer *writer = unit_writer(u, p);
    assert_true(unit_bounds(p).failed);
    assert_int_equal(unit_append(p, "refused\n"), -EROFS);
    assert_int_equal(unit_write(writer, "refused\n"), -EROFS);
    assert_int_equal(unit_write(writer, "refused"), -EROFS);
    unit_assert_text(p, text);
}

static void test_a_refused_sync_of_a_file(void **state)
{
    struct unit *u = *state;
    for (unsigned skip = 0; skip < 2; skip++) { /* the .log's, the .idx's */
        char name[8], marker[64];
        unit_open(u);
        snprintf(name, sizeof name, "t%u", skip);
        snprintf(marker, sizeof marker, "topics/t%u/0/failed", skip);
        struct tlog_partition *p = unit_partition(u, name, 0), *other = unit_partition(u, name, 1);
        unit_append(p, "before\n");
        assert_int_equal(tlog_store_sync(u->store), 0);
        unit_append(p, "after\n");
        simdisk_fail(u->disk, 1U << SIM_SYNC, skip, EIO, false);
        assert_int_equal(tlog_store_sync(u->store), -EIO);
        assert_true(simdisk_failed(u->disk));
        assert_read_only(u, p, "before\nafter\n");
        assert_int_equal(unit_bounds(p).durable, 7);
        assert_true(unit_exists(u, marker));
        assert_non_null(strstr(u->notes, "fsync"));
        uint64_t syncs = simdisk_count(u->disk, 1U << SIM_SYNC);
        assert_int_equal(tlog_partition_sync_wait(p), -EIO); /* never tried again */
        assert_int_equal(simdisk_count(u->disk, 1U << SIM_SYNC), syncs);
        assert_int_equal(unit_append(other, "works\n"), 0);
        assert_int_equal(tlog_partition_sync_wait(other), 0);
        unit_advance(u, 60000);
        assert_int_equal(unit_bounds(p).durable, 7);
        unit_kill(u); /* the same boot: the pages are still there */
        unit_open(u);
        assert_int_equal(unit_recovery(u).rewritten_files, 2);
        p = unit_get(u, name, 0);
        assert_false(unit_bounds(p).failed);
        assert_false(unit_exists(u, marker));
        unit_assert_text(p, "before\nafter\n");
        assert_int_equal(unit_append(p, "again\n"), 0);
        assert_int_equal(tlog_partition_sync_wait(p), 0);
        unit_power_cut(u, 5);
        unit_open(u);
        unit_assert_text(unit_get(u, name, 0), "before\nafter\nagain\n");
        unit_assert_text(unit_get(u, name, 1), "works\n");
        unit_close(u);
        assert_string_equal(unit_verify(u), "");
    }
}

static void test_a_refused_sync_of_a_directory(void **state)
{
    struct unit *u = *state;
    unit_open(u);
    struct tlog_partition *p = unit_partition(u, "t", 0);
    unit_append(p, "line\n");
    simdisk_fail(u->disk, 1U << SIM_SYNC_DIR, 0, EIO, false);
    assert_int_equal(tlog_partition_sync_wait(p), -EIO);
    assert_read_only(u, p, "line\n");
    unit_kill(u);
    unit_open(u);
    p = unit_get(u, "t", 0);
    assert_int_equal(tlog_partition_sync_wait(p), 0);
    unit_assert_text(p, "line\n");
}

static void test_too_many_files_are_no_refusal(void **state)
{
    struct unit *u = *state;
    unit_open(u);
    struct tlog_partition *p = unit_partition(u, "t", 0);
    unit_append(p, "line\n");
    simdisk_fail(u->disk, 1U << SIM_SYNC_DIR, 0, EMFILE, false);
    assert_int_equal(tlog_partition_sync_wait(p), -EMFILE);
    assert_false(unit_bounds(p).failed);
    assert_int_equal(tlog_partition_sync_wait(p), 0);
    assert_int_equal(unit_bounds(p).durable, 5);
}

static void test_a_refused_sync_of_the_journal(void **state)
{
    struct unit *u = *state;
    struct tlog_store_status status;
    struct tlog_attr attr = {0700, 1, 1};
    unit_open(u);
    struct tlog_partition *p = unit_partition(u, "t", 0), *other = unit_partition(u, "t", 1);
    struct tlog_topic *topic = tlog_partition_topic(p);
    unit_append(p, "before\n");
    assert_int_equal(tlog_store_sync(u->store), 0);
    unit_append(p, "after\n");
    simdisk_fail(u->disk, 1U << SIM_SYNC, 0, EIO, false);
    assert_int_equal(tlog_partition_sync_wait(p), -EIO);
    tlog_store_status(u->store, &status);
    assert_true(status.failed);
    assert_true(unit_exists(u, "failed"));
    assert_read_only(u, p, "before\nafter\n");
    assert_read_only(u, other, "");
    assert_int_equal(tlog_partition_sync_wait(other), -EIO);
    assert_int_equal(tlog_topic_create(u->store, "new", 1, NULL, NULL, NULL), -EROFS);
    assert_int_equal(tlog_topic_add_partition(topic, 5, NULL), -EROFS);
    assert_int_equal(tlog_topic_rename(topic, "other"), -EROFS);
    assert_int_equal(tlog_topic_remove(topic, true), -EROFS);
    assert_int_equal(tlog_partition_remove(other, false), -EROFS);
    assert_int_equal(tlog_topic_config_set(topic, "flush.ms=1s", false, NULL), -EROFS);
    assert_int_equal(tlog_topic_set_attr(topic, &attr), -EROFS);
    assert_int_equal(tlog_store_set_attr(u->store, &attr), -EROFS);
    assert_int_equal(tlog_store_config_set(u->store, "flush.ms=1s", false, NULL), -EROFS);
    assert_int_equal(tlog_store_upkeep(u->store), -1);
    assert_int_equal(unit_try_close(u), -EIO);
    unit_open(u);
    assert_non_null(strstr(u->notes, "journal"));
    assert_false(unit_exists(u, "failed"));
    p = unit_get(u, "t", 0);
    unit_assert_text(p, "before\nafter\n");
    assert_int_equal(unit_append(p, "again\n"), 0);
    assert_int_equal(tlog_partition_sync_wait(p), 0);
    unit_power_cut(u, 6);
    unit_open(u);
    unit_assert_text(unit_get(u, "t", 0), "before\nafter\nagain\n");
}

static void test_a_refusal_while_files_are_closed_to_make_room(void **state)
{
    struct unit *u = *state;
    u->options.max_files = 8; /* four handles */
    unit_open(u);
    for (unsigned i = 0; i < 4; i++)
        unit_append(unit_partition(u, "t", i), "line\n");
    simdisk_fail(u->disk, 1U << SIM_SYNC, 0, EIO, false);
    for (unsigned i = 4; i < 8 && !simdisk_failed(u->disk); i++)
        unit_append(unit_partition(u, "t", i), "line\n");
    assert_true(simdisk_failed(u->disk));
    unsigned failed = 0;
    for (unsigned i = 0; i < 4; i++)
        failed += unit_bounds(unit_get(u, "t", i)).failed;
    assert_int_equal(failed, 1);
    unit_advance(u, 200); /* upkeep marks it on disk */
    unsigned marked = 0;
    for (unsigned i = 0; i < 4; i++) {
        char marker[64];
        snprintf(marker, sizeof marker, "topics/t/%u/failed", i);
        marked += unit_exists(u, marker);
    }
    assert_int_equal(marked, 1);
    assert_int_equal(tlog_store_sync(u->store), -EIO);
    unit_kill(u);
    unit_open(u);
    assert_int_equal(unit_recovery(u).rewritten_files, 2);
    for (unsigned i = 0; i < 4; i++)
        unit_assert_text(unit_get(u, "t", i), "line\n");
}

/* ---- with others at work ---- */

static void rename_it(void *arg)
{
    struct tlog_topic *topic = arg;
    assert_int_equal(tlog_topic_rename(topic, "renamed"), 0);
}

static void test_a_rename_during_a_sync(void **state)
{
    struct unit *u = *state;
    unit_gate_use(u);
    unit_open(u);
    for (unsigned flush = 0; flush < 2; flush++) {
        struct tlog_partition *p = unit_partition(u, flush ? "u" : "t", 0);
        unit_append(p, "line\n");
        unit_gate.arg = tlog_partition_topic(p);
        unit_gate.before_sync_dir = rename_it;
        assert_int_equal(flush ? tlog_partition_flush(p) : tlog_partition_sync_wait(p), 0);
        assert_null(unit_gate.before_sync_dir);
        assert_false(unit_bounds(p).failed);
        assert_int_equal(unit_append(p, "goes on\n"), 0);
        assert_int_equal(tlog_partition_sync_wait(p), 0);
        assert_int_equal(unit_bounds(p).durable, 13);
        assert_int_equal(tlog_topic_rename(tlog_partition_topic(p), flush ? "u2" : "t2"), 0);
    }
}

static void replace_it(void *arg)
{
    struct unit *u = arg;
    struct tlog_topic *topic = tlog_topic_get(u->store, "t");
    assert_int_equal(tlog_topic_remove(topic, true), 0);
    tlog_topic_unref(topic);
    assert_int_equal(tlog_topic_create(u->store, "t", 1, NULL, NULL, NULL), 0);
}

static void test_a_removal_during_a_sync(void **state)
{
    struct unit *u = *state;
    unit_gate_use(u);
    unit_open(u);
    struct tlog_partition *p = unit_partition(u, "t", 0);
    unit_append(p, "line\n");
    unit_gate.arg = u;
    unit_gate.before_sync_dir = replace_it;
    assert_int_equal(tlog_partition_sync_wait(p), -ESTALE);
    assert_true(unit_bounds(p).deleted);
    assert_false(unit_exists(u, "topics/t/0/failed")); /* another topic of that name */
    p = unit_get(u, "t", 0);
    assert_int_equal(unit_append(p, "other\n"), 0);
    assert_int_equal(tlog_partition_sync_wait(p), 0);
}

enum { WRITERS = 6, LINES = 60 };

static void *append_and_sync(void *arg)
{
    struct tlog_partition *p = arg;
    uintptr_t failures = 0;
    for (unsigned i = 0; i < LINES; i++) {
        failures += unit_append(p, "a line of a writer that wants to be sure of it\n") != 0;
        uint64_t end = unit_bounds(p).end;
        failures += tlog_partition_sync_wait(p) != 0;
        failures += unit_bounds(p).durable < end;
    }
    return (void *)failures;
}

static void test_group_commit(void **state)
{
    struct unit *u = *state;
    struct tlog_store_status status;
    pthread_t threads[WRITERS];
    u->options.no_upkeep = false;
    u->options.journal_bytes = 64 << 10; /* reused under way */
    unit_open(u);
    for (unsigned i = 0; i < WRITERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, append_and_sync, unit_partition(u, "t", i / 2)), 0);
    for (unsigned i = 0; i < WRITERS; i++) {
        void *failures;
        pthread_join(threads[i], &failures);
        assert_null(failures);
    }
    for (unsigned i = 0; i < WRITERS / 2; i++)
        assert_int_equal(unit_bounds(unit_get(u, "t", i)).end_seq, 2 * LINES);
    tlog_store_status(u->store, &status);
    assert_true(status.syncs > 0);
    unit_close(u);
    assert_string_equal(unit_verify(u), "");
}

/* Everybody who comes while the disk is busy is served by the next sync. */
struct behind {
    struct tlog_waiter waiter;
    int result;
};

static void behind_done(struct tlog_waiter *waiter, int result)
{
    ((struct behind *)waiter)->result = result;
}

static void *sync_first(void *arg)
{
    return (void *)(intptr_t)tlog_partition_sync_wait(arg);
}

static void test_waiters_of_many_partitions_share_a_sync(void **state)
{
    struct unit *u = *state;
    enum { OTHERS = 10 };
    struct behind behind[OTHERS];
    pthread_t thread;
    void *result;
    unit_gate_use(u);
    unit_open(u);
    struct tlog_partition *p[OTHERS + 1];
    for (unsigned i = 0; i <= OTHERS; i++) {
        p[i] = unit_partition(u, "t", i);
        unit_append(p[i], "line\n");
    }
    assert_int_equal(tlog_store_sync(u->store), 0);
    for (unsigned i = 0; i <= OTHERS; i++)
        unit_append(p[i], "line\n");
    unit_gate_shut(true);
    assert_int_equal(pthread_create(&thread, NULL, sync_first, p[OTHERS]), 0);
    unit_gate_wait(1);
    unsigned before = unit_gate.syncs;
    for (unsigned i = 0; i < OTHERS; i++) {
        behind[i] = (struct behind){{.done = behind_done}, 1};
        tlog_partition_sync(p[i], &behind[i].waiter);
        assert_int_equal(behind[i].result, 1);
        assert_int_equal(unit_bounds(p[i]).durable, 5);
    }
    unit_gate_shut(false);
    pthread_join(thread, &result);
    assert_null(result);
    assert_int_equal(unit_gate.syncs - before, 2);
    for (unsigned i = 0; i < OTHERS; i++) {
        assert_int_equal(behind[i].result, 0);
        assert_int_equal(unit_bounds(p[i]).durable, 10);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        UNIT_SIM(test_what_was_synced_survives_a_power_cut),
        UNIT_SIM(test_one_sync_for_all_partitions),
        UNIT_SIM(test_an_empty_partition_is_durable_too),
        UNIT_SIM(test_a_large_append_goes_to_the_files),
        UNIT_SIM(test_more_entries_than_the_journal_holds),
        UNIT_SIM(test_no_space_for_the_journal),
        UNIT_SIM(test_over_several_segments),
        UNIT_SIM(test_a_refused_sync_of_a_file),
        UNIT_SIM(test_a_refused_sync_of_a_directory),
        UNIT_SIM(test_too_many_files_are_no_refusal),
        UNIT_SIM(test_a_refused_sync_of_the_journal),
        UNIT_SIM(test_a_refusal_while_files_are_closed_to_make_room),
        UNIT_REAL(test_a_rename_during_a_sync),
        UNIT_REAL(test_a_removal_during_a_sync),
        UNIT_BOTH(test_group_commit),
        UNIT_REAL(test_waiters_of_many_partitions_share_a_sync),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
