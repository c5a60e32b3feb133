/* How fast a partition takes data, what is kept back of the disk, and a disk that is full. */
#include "log/quota.h"
#include "unit.h"

static const int64_t second_ns = 1000000000;

static void assert_about(int64_t ns, int64_t expected_ns)
{
    if (ns < expected_ns - 1000000 || ns > expected_ns + 1000000)
        fail_msg("%" PRId64 " ns is not about %" PRId64, ns, expected_ns);
}

static void test_a_writer_is_slowed(void **state)
{
    struct unit *u = *state;
    unit_open(u);
    struct tlog_partition *p = unit_partition(u, "t", 0), *q = unit_partition(u, "t", 1);
    assert_int_equal(tlog_partition_throttle(p, 1 << 30), 0); /* no quota */
    unit_config(u, "t", "quota.bytes.per.second=1000");
    assert_int_equal(tlog_partition_throttle(p, 600), 0); /* a second's worth at once */
    assert_int_equal(tlog_partition_throttle(p, 400), 0);
    assert_about(tlog_partition_throttle(p, 500), second_ns / 2);
    assert_about(tlog_partition_throttle(p, 500), second_ns); /* behind the one before */
    assert_int_equal(tlog_partition_throttle(q, 1000), 0);    /* each partition has its own */
    simdisk_advance(u->disk, second_ns);
    assert_about(tlog_partition_throttle(p, 100), second_ns / 10);
    simdisk_advance(u->disk, 3600 * second_ns); /* no more than a second's worth is saved up */
    assert_int_equal(tlog_partition_throttle(p, 1000), 0);
    assert_about(tlog_partition_throttle(p, 1000), second_ns);
    simdisk_jump(u->disk, 3600 * second_ns); /* CLOCK_REALTIME is no matter */
    assert_about(tlog_partition_throttle(p, 1000), 2 * second_ns);
    assert_int_equal(tlog_partition_throttle(p, UINT64_MAX), TLOG_THROTTLE_MOST_NS);
    unit_config(u, "t", "quota.bytes.per.second=-1");
    assert_int_equal(tlog_partition_throttle(p, 1000), 0);
}

/* A producer that does as it is told gets its rate, over a minute and whatever its writes' sizes. */
static void test_the_rate_is_met(void **state)
{
    struct unit *u = *state;
    unit_open(u);
    struct tlog_partition *p = unit_partition(u, "t", 0);
    unit_config(u, "t", "quota.bytes.per.second=1MiB");
    uint64_t bytes = 0;
    int64_t from_ns = u->io->boottime_ns(u->io), passed_ns = 0;
    for (unsigned i = 0; passed_ns < 60 * second_ns; i++) {
        uint64_t piece = 1 + i * 7919 % 300000;
        simdisk_advance(u->disk, tlog_partition_throttle(p, piece));
        bytes += piece;
        passed_ns = u->io->boottime_ns(u->io) - from_ns;
    }
    assert_true(bytes > 60u << 20);
    assert_true(bytes < 62u << 20); /* the second's worth of the beginning */
}

/* quota.bytes counts from the start on. */
static void test_a_trim_makes_room_in_the_quota(void **state)
{
    struct unit *u = *state;
    unit_open(u);
    struct tlog_partition *p = unit_partition(u, "t", 0);
    struct tlog_writer *writer = unit_writer(u, p);
    unit_config(u, "t", "segment.bytes=1KiB\nquota.bytes=3000");
    unit_lines(p, 0, 30, 100);
    assert_int_equal(unit_append(p, "x\n"), -EDQUOT);
    assert_int_equal(unit_write(writer, "x"), -EDQUOT);
    assert_int_equal(tlog_partition_trim(p, 1000, NULL), 0);
    unit_lines(p, 30, 9, 100);
    assert_int_equal(unit_write(writer, "x\n"), 2);
    char *line = unit_lines_text(39, 1, 100);
    assert_int_equal(tlog_partition_append(p, line, 100, 1), -EDQUOT);
    free(line);
}

/* ---- what is kept back ---- */

static void test_inodes_are_kept_for_what_is_there(void **state)
{
    struct unit *u = *state;
    struct tlog_topic *topic;
    unit_open(u);
    (void)unit_partition(u, "t", 0);
    unit_config(u, "t", "segment.bytes=1KiB");
    simdisk_resize(u->disk, 1 << 30, 1000);
    unsigned made = 0;
    int r;
    while ((r = tlog_topic_add_partition(unit_topic(u, "t"), made + 1, NULL)) == 0) {
        made++;
        unit_release(u);
    }
    assert_int_equal(r, -ENOSPC);
    assert_true(made > 200);
    assert_int_equal(tlog_topic_create(u->store, "new", 1, NULL, &topic, &u->error), -ENOSPC);
    assert_non_null(strstr(u->error.text, "new: No space left"));
    assert_null(tlog_topic_get(u->store, "new"));
    struct tlog_partition *p = unit_get(u, "t", 0); /* it rolls on, and the checkpoint is written */
    unit_lines(p, 0, 40, 100);
    assert_int_equal(p->segment_count, 4);
    assert_int_equal(tlog_store_sync(u->store), 0);
    assert_false(u->store->checkpoint_late);
    simdisk_resize(u->disk, 1 << 30, 2000);
    assert_int_equal(tlog_topic_create(u->store, "new", 1, NULL, NULL, &u->error), 0);
}

static void test_a_partition_too_many_makes_none(void **state)
{
    struct unit *u = *state;
    unit_open(u);
    struct tlog_topic *topic = unit_topic(u, "t");
    simdisk_resize(u->disk, 1 << 30, 1000);
    assert_int_equal(tlog_topic_add_partition(topic, 999, NULL), -ENOSPC);
    assert_int_equal(tlog_topic_partitions(topic), 1);
    simdisk_resize(u->disk, simdisk_used_bytes(u->disk) + 10000, 100000);
    assert_int_equal(tlog_topic_add_partition(topic, 5, NULL), -ENOSPC);
    assert_int_equal(tlog_topic_partitions(topic), 1);
}

/* ---- a full disk ---- */

/* Whole lines are there or not, the daemon goes on when there is room, and nothing is lost over a kill or power cut
 * at the worst moment. */
static void test_a_full_disk(void **state)
{
    struct unit *u = *state;
    for (uint64_t seed = 0; seed < 6; seed++) {
        unit_open(u);
        struct tlog_partition *p = unit_partition(u, "t", 0);
        unit_config(u, "t", "segment.bytes=8KiB");
        uint64_t end = unit_bounds(p).end;
        assert_int_equal(tlog_store_sync(u->store), 0);
        simdisk_resize(u->disk, simdisk_used_bytes(u->disk) + 50000, 100000);
        unsigned lines = (unsigned)(end / 100);
        char *text = unit_lines_text(lines, 2000, 100);
        unsigned n = 0;
        while (n < 2000 && tlog_partition_append(p, text + (size_t)n * 100, 100, 1) == 0)
            n++;
        assert_true(n > 100 && n < 2000);
        assert_int_equal(tlog_partition_append(p, text + (size_t)n * 100, 100, 1), -ENOSPC);
        free(text);
        struct tlog_bounds bounds = unit_bounds(p);
        assert_int_equal(bounds.end, end + 100 * n);
        assert_false(bounds.failed);
        (void)tlog_partition_sync_wait(p);
        assert_int_equal(unit_bounds(p).durable, bounds.end);
        if (seed % 3 == 1)
            unit_kill(u);
        else if (seed % 3 == 2)
            unit_power_cut(u, seed);
        else
            (void)unit_try_close(u);
        if (seed % 3 < 2 && seed % 2) { /* a start on the full disk shows what is there */
            unit_open(u);
            assert_int_equal(unit_bounds(unit_get(u, "t", 0)).end, bounds.end);
            (void)unit_try_close(u);
        }
        simdisk_resize(u->disk, 1 << 30, 100000);
        unit_open(u);
        p = unit_get(u, "t", 0);
        assert_int_equal(unit_bounds(p).end, bounds.end);
        char *expected = unit_lines_text(0, (unsigned)(bounds.end / 100), 100), *found = unit_text(p);
        /* each round begins its numbers where the last ended */
        assert_string_equal(found, expected);
        free(expected);
        free(found);
        assert_int_equal(tlog_store_sync(u->store), 0);
        unit_close(u);
        assert_string_equal(unit_verify(u), "");
    }
}

/* The last block is taken: deleting, changing the configuration and trimming work all the same, each time. */
static void test_a_full_disk_can_be_mended(void **state)
{
    struct unit *u = *state;
    unit_open(u);
    struct tlog_partition *p = unit_partition(u, "t", 0), *q = unit_partition(u, "t", 1);
    unit_config(u, "t", "segment.bytes=1MiB");
    assert_true(unit_exists(u, "spare"));
    char *line = unit_lines_text(0, 1, 70000);
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned i = 0; i < 20; i++)
            assert_int_equal(tlog_partition_append(round == 2 ? q : p, line, 70000, 1), 0);
        unit_lines(q, 0, 1, 100);
        assert_int_equal(tlog_store_sync(u->store), 0);
        simdisk_resize(u->disk, simdisk_used_bytes(u->disk), 100000);
        for (unsigned bytes = 70000; bytes > 1; bytes /= 2)
            while (tlog_partition_append(q, line + 70000 - bytes, bytes, 1) == 0)
                ;
        if (round == 0)
            assert_int_equal(tlog_topic_config_set(unit_topic(u, "t"), "retention.ms=1d", false, &u->error), 0);
        else if (round == 1)
            assert_int_equal(tlog_partition_remove(p, true), 0);
        else
            assert_int_equal(tlog_partition_trim(q, unit_bounds(q).end - 1, NULL), 0);
        simdisk_resize(u->disk, 1 << 30, 100000);
        (void)tlog_store_maintain(u->store);
        assert_true(unit_exists(u, "spare")); /* for the next time */
    }
    free(line);
    assert_true(unit_bounds(q).start > 0);
    unit_close(u);
    assert_string_equal(unit_verify(u), "");
}

/* A roll that finds no room leaves the old segment as it was, and is done once there is some. */
static void test_a_roll_on_a_full_disk(void **state)
{
    struct unit *u = *state;
    for (unsigned kind = 0; kind < 3; kind++) {
        static const char *const names[] = {"a", "b", "c"};
        static const unsigned kinds[] = {1U << SIM_CREATE, 1U << SIM_WRITE, 1U << SIM_CREATE};
        unit_open(u);
        struct tlog_partition *p = unit_partition(u, names[kind], 0);
        unit_config(u, names[kind], "segment.bytes=1KiB");
        unit_lines(p, 0, 10, 100);
        struct tlog_writer *writer = unit_writer(u, p);
        unit_write(writer, "begun");
        struct tlog_bounds before = unit_bounds(p);
        simdisk_fail(u->disk, kinds[kind], kind == 2, ENOSPC, true); /* the .log, the header, the .idx */
        assert_int_equal(unit_append(p, "one that would begin another segment\n"), -ENOSPC);
        assert_int_equal(unit_bounds(p).end, before.end);
        assert_int_equal(p->segment_count, 1);
        assert_int_equal(unit_append(p, "one that would begin another segment\n"), -ENOSPC);
        simdisk_fail(u->disk, 0, 0, 0, false);
        assert_int_equal(unit_append(p, "this one does begin another segment\n"), 0);
        assert_int_equal(p->segment_count, 2);
        unit_write(writer, " and ended\n");
        char *lines = unit_lines_text(0, 10, 100), expected[2000];
        snprintf(expected, sizeof expected, "%sthis one does begin another segment\nbegun and ended\n", lines);
        free(lines);
        unit_assert_text(p, expected);
        if (kind == 1)
            unit_power_cut(u, 7);
        else
            unit_close(u);
        unit_open(u);
        if (kind != 1)
            unit_assert_text(unit_get(u, names[kind], 0), expected);
        unit_close(u);
        assert_string_equal(unit_verify(u), "");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        UNIT_SIM(test_a_writer_is_slowed),
        UNIT_SIM(test_the_rate_is_met),
        UNIT_SIM(test_a_trim_makes_room_in_the_quota),
        UNIT_SIM(test_inodes_are_kept_for_what_is_there),
        UNIT_SIM(test_a_partition_too_many_makes_none),
        UNIT_SIM(test_a_full_disk),
        UNIT_SIM(test_a_full_disk_can_be_mended),
        UNIT_SIM(test_a_roll_on_a_full_disk),
    };
    return cmocka_run_group_tests_name("quota", tests, NULL, NULL);
}
