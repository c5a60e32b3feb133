/* A partition and a topic are deleted with their records and restored from the trash, and the disk is killed or
 * unplugged at every operation of it: they are there in whole or in the trash in whole, and no position of the partition
 * is ever used twice. Their segments are sealed but for the last, and the first was trimmed. */
#include "workload.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { LINES = 120, POINTS = 400 };

struct fixture {
    struct simdisk *disk;
    struct tlog_store *store;
    struct tlog_topic *topic;
    char text[LINES * 32];
    uint64_t start, end;
    unsigned start_line;
    struct simdisk *points[POINTS];
    unsigned count;
};

static const struct work settings = {.max_files = 0};

static void point_hook(void *arg, enum sim_kind kind, const char *path)
{
    struct fixture *fixture = arg;
    (void)kind;
    (void)path;
    assert_true(fixture->count < POINTS);
    fixture->points[fixture->count++] = simdisk_clone(fixture->disk);
}

static int setup(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    struct tlog_attr attr = {.mode = 0755};
    struct tlog_error error = {""};
    fixture->disk = simdisk_new(&(struct simdisk_options){.seed = 1});
    assert_int_equal(work_open(fixture->disk, &settings, &fixture->store, &error), 0);
    const char *config = "segment.bytes=1KiB\nseal.linger.ms=0\n";
    assert_int_equal(tlog_store_config_set(fixture->store, config, true, NULL), 0);
    assert_int_equal(tlog_topic_create(fixture->store, "t", 1, &attr, &fixture->topic, &error), 0);
    struct tlog_partition *partition = tlog_partition_get(fixture->topic, 0);
    for (unsigned i = 0; i < LINES; i++) {
        char *at = fixture->text + fixture->end;
        int length = sprintf(at, "line %u of the first life\n", i);
        assert_int_equal(tlog_partition_append(partition, at, (size_t)length, 1), 0);
        fixture->end += (uint64_t)length;
    }
    assert_int_equal(tlog_store_sync(fixture->store), 0);
    (void)tlog_store_maintain(fixture->store);
    (void)tlog_store_maintain(fixture->store);
    struct tlog_bounds bounds;
    assert_int_equal(tlog_partition_trim(partition, 1100, &fixture->start), 0);
    tlog_partition_bounds(partition, &bounds);
    assert_true(bounds.start > 0 && bounds.sealed_bytes > 1024);
    fixture->start_line = (unsigned)bounds.start_seq;
    assert_int_equal(tlog_partition_append(partition, "tail\n", 5, 1), 0);
    strcpy(fixture->text + fixture->end, "tail\n");
    fixture->end += 5;
    assert_int_equal(tlog_partition_sync_wait(partition), 0);
    tlog_partition_unref(partition);
    simdisk_hook(fixture->disk, point_hook, fixture);
    *state = fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;
    for (unsigned i = 0; i < fixture->count; i++)
        simdisk_free(fixture->points[i]);
    simdisk_hook(fixture->disk, NULL, NULL);
    tlog_topic_unref(fixture->topic);
    work_bury(fixture->disk, fixture->store);
    simdisk_free(fixture->disk);
    free(fixture);
    return 0;
}

/* The whole first life, or nothing of it and a start at its end. Tells which. */
static bool partition_is_whole(const struct fixture *fixture, struct tlog_partition *partition)
{
    struct tlog_bounds bounds;
    char text[sizeof fixture->text + 64];
    tlog_partition_bounds(partition, &bounds);
    assert_false(bounds.damaged);
    if (bounds.start == fixture->end && bounds.start_seq == LINES + 1)
        return false;
    uint64_t bytes = fixture->end - fixture->start;
    assert_int_equal(bounds.start, fixture->start);
    assert_int_equal(bounds.start_seq, fixture->start_line);
    assert_int_equal(bounds.end, fixture->end);
    assert_int_equal(bounds.end_seq, LINES + 1);
    assert_int_equal(tlog_partition_read(partition, fixture->start, text, sizeof text), bytes);
    assert_memory_equal(text, fixture->text + fixture->start, bytes);
    return true;
}

/* Opens what a crash at a point left, and calls `judge` with it. */
static void each_crash(const struct fixture *fixture,
                       bool (*judge)(const struct fixture *fixture, struct tlog_store *store))
{
    unsigned whole = 0, gone = 0;
    for (unsigned i = 0; i < fixture->count; i++)
        for (unsigned seed = 0; seed < 6; seed++) {
            struct simdisk *disk = simdisk_clone(fixture->points[i]);
            struct tlog_store *store;
            struct tlog_error error = {""};
            if (seed)
                simdisk_power_cut(disk, seed);
            else
                simdisk_kill(disk, i);
            int result = work_open(disk, &settings, &store, &error);
            if (result)
                fail_msg("point %u, seed %u: %d %s", i, seed, result, error.text);
            bool there = judge(fixture, store);
            whole += there;
            gone += !there;
            work_bury(disk, store);
            simdisk_free(disk);
        }
    print_message("%u crashes found it whole, %u gone\n", whole, gone);
    assert_true(whole > 0 && gone > 0);
}

static bool judge_partition(const struct fixture *fixture, struct tlog_store *store)
{
    struct tlog_topic *topic = tlog_topic_get(store, "t");
    assert_non_null(topic);
    struct tlog_partition *partition = tlog_partition_get(topic, 0);
    if (!partition) {
        assert_int_equal(tlog_topic_add_partition(topic, 0, NULL), 0);
        partition = tlog_partition_get(topic, 0);
        struct tlog_bounds bounds;
        tlog_partition_bounds(partition, &bounds);
        assert_int_equal(bounds.start, fixture->end);
        assert_int_equal(bounds.start_seq, LINES + 1);
    }
    bool whole = partition_is_whole(fixture, partition);
    assert_int_equal(tlog_partition_append(partition, "later\n", 6, 1), 0);
    assert_int_equal(tlog_partition_sync_wait(partition), 0);
    tlog_partition_unref(partition);
    tlog_topic_unref(topic);
    return whole;
}

static void a_partition_goes_in_whole(void **state)
{
    struct fixture *fixture = *state;
    struct tlog_partition *partition = tlog_partition_get(fixture->topic, 0);
    assert_int_equal(tlog_partition_remove(partition, true), 0);
    tlog_partition_unref(partition);
    assert_int_equal(tlog_topic_add_partition(fixture->topic, 0, NULL), 0);
    partition = tlog_partition_get(fixture->topic, 0);
    assert_false(partition_is_whole(fixture, partition));
    assert_int_equal(tlog_partition_sync_wait(partition), 0);
    tlog_partition_unref(partition);
    each_crash(fixture, judge_partition);
}

/* Restores the only item of the trash, if there is one. */
static bool restore_it(struct tlog_store *store)
{
    struct tlog_trash_item *items;
    struct tlog_error error;
    size_t count;
    assert_int_equal(tlog_store_trash(store, &items, &count), 0);
    assert_true(count <= 1);
    if (count == 1) {
        int result = tlog_store_restore(store, items[0].name, &error);
        if (result)
            fail_msg("restoring gave %d %s", result, error.text);
    }
    free(items);
    return count == 1;
}

/* It is in its place in whole, or it is in the trash, and is so once it was restored. */
static bool judge_restored(const struct fixture *fixture, struct tlog_store *store)
{
    struct tlog_topic *topic = tlog_topic_get(store, "t");
    struct tlog_partition *partition = topic ? tlog_partition_get(topic, 0) : NULL;
    bool there = partition;
    if (!there) {
        tlog_topic_unref(topic);
        assert_true(restore_it(store));
        topic = tlog_topic_get(store, "t");
        assert_non_null(topic);
        partition = tlog_partition_get(topic, 0);
        assert_non_null(partition);
    }
    assert_true(partition_is_whole(fixture, partition));
    assert_int_equal(tlog_partition_append(partition, "later\n", 6, 1), 0);
    assert_int_equal(tlog_partition_sync_wait(partition), 0);
    tlog_partition_unref(partition);
    tlog_topic_unref(topic);
    return there;
}

static void a_partition_comes_back_in_whole(void **state)
{
    struct fixture *fixture = *state;
    struct tlog_partition *partition = tlog_partition_get(fixture->topic, 0);
    assert_int_equal(tlog_partition_remove(partition, true), 0);
    tlog_partition_unref(partition);
    assert_true(restore_it(fixture->store));
    partition = tlog_partition_get(fixture->topic, 0);
    assert_non_null(partition);
    assert_true(partition_is_whole(fixture, partition));
    tlog_partition_unref(partition);
    each_crash(fixture, judge_restored);
}

static void a_topic_comes_back_in_whole(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(tlog_topic_remove(fixture->topic, true), 0);
    assert_true(restore_it(fixture->store));
    each_crash(fixture, judge_restored);
}

static bool judge_topic(const struct fixture *fixture, struct tlog_store *store)
{
    struct tlog_topic *topic = tlog_topic_get(store, "t");
    if (!topic)
        return false;
    struct tlog_partition *partition = tlog_partition_get(topic, 0);
    assert_non_null(partition);
    assert_true(partition_is_whole(fixture, partition));
    tlog_partition_unref(partition);
    tlog_topic_unref(topic);
    return true;
}

static void a_topic_goes_in_whole(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(tlog_topic_remove(fixture->topic, true), 0);
    assert_null(tlog_topic_get(fixture->store, "t"));
    assert_int_equal(tlog_store_sync(fixture->store), 0);
    each_crash(fixture, judge_topic);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_partition_goes_in_whole, setup, teardown),
        cmocka_unit_test_setup_teardown(a_topic_goes_in_whole, setup, teardown),
        cmocka_unit_test_setup_teardown(a_partition_comes_back_in_whole, setup, teardown),
        cmocka_unit_test_setup_teardown(a_topic_comes_back_in_whole, setup, teardown),
    };
    return cmocka_run_group_tests_name("discard", tests, NULL, NULL);
}
