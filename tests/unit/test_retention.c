/* Retention by time and by size, and clocks that jump. */
#include "log/clock.h"
#include "log/retention.h"
#include "log/topic.h"
#include "unit.h"

enum { LINE = 100, LINES = 10, SEGMENT = LINE * LINES };
static const int64_t second_ns = 1000000000, minute_ns = 60 * second_ns, hour_ns = 60 * minute_ns,
                     day_ns = 24 * hour_ns;

/* Retention as it is some time later. */
static int64_t later(struct unit *u, struct tlog_partition *p, int64_t ns)
{
    simdisk_advance(u->disk, ns);
    return tlog_partition_retain(p);
}

/* A partition of segments that were filled an hour apart, the last of them active, past retention's ten seconds. */
static struct tlog_partition *filled(struct unit *u, unsigned segments, const char *config)
{
    unit_open(u);
    struct tlog_partition *p = unit_partition(u, "t", 0);
    unit_config(u, "t", "segment.bytes=1KiB");
    unit_config(u, "t", config);
    for (unsigned i = 0; i < segments; i++) {
        simdisk_advance(u->disk, i ? hour_ns : 0);
        unit_lines(p, i * LINES, LINES, LINE);
    }
    assert_int_equal(p->segment_count, segments);
    assert_int_equal(tlog_store_sync(u->store), 0);
    simdisk_advance(u->disk, TLOG_RETENTION_WAIT_NS);
    return p;
}

static uint64_t start_of(struct tlog_partition *p)
{
    return unit_bounds(p).start;
}

static void test_old_segments_go(void **state)
{
    struct unit *u = *state;
    struct tlog_partition *p = filled(u, 4, "retention.ms=3h");
    int64_t next_ns = tlog_partition_retain(p);
    assert_int_equal(start_of(p), SEGMENT); /* appended 3 h and 10 s ago */
    assert_true(next_ns > hour_ns - 15 * second_ns && next_ns < hour_ns);
    assert_true(later(u, p, next_ns - second_ns) > 0);
    assert_int_equal(start_of(p), SEGMENT);
    (void)later(u, p, second_ns);
    assert_int_equal(start_of(p), 2 * SEGMENT);
    unit_lines(p, 4 * LINES - 1, 1, LINE - 1); /* the active one has a younger record now */
    (void)later(u, p, 3 * hour_ns - minute_ns);
    assert_int_equal(start_of(p), 4 * SEGMENT);
    unit_reopen(u);
    assert_int_equal(start_of(unit_get(u, "t", 0)), 4 * SEGMENT);
}

/* The same when what is left of them is sealed, also after a start. */
static void test_old_sealed_segments_go(void **state)
{
    struct unit *u = *state;
    struct tlog_partition *p = filled(u, 4, "retention.ms=30h\nseal.linger.ms=0");
    (void)tlog_store_maintain(u->store);
    (void)tlog_store_maintain(u->store);
    assert_int_equal(unit_bounds(p).sealed_bytes, 3 * SEGMENT);
    assert_int_equal(p->segments[1].forms, TLOG_SEALED);
    (void)later(u, p, 27 * hour_ns);
    assert_int_equal(start_of(p), SEGMENT);
    unit_reopen(u);
    p = unit_get(u, "t", 0);
    (void)later(u, p, hour_ns);
    assert_int_equal(start_of(p), 2 * SEGMENT);
    simdisk_advance(u->disk, 2 * hour_ns);
    (void)tlog_store_maintain(u->store); /* which does it by itself */
    assert_int_equal(start_of(p), 4 * SEGMENT);
}

static void test_the_active_segment_goes_too(void **state)
{
    struct unit *u = *state;
    struct tlog_partition *p = filled(u, 2, "retention.ms=1h");
    (void)later(u, p, 2 * hour_ns);
    struct tlog_bounds bounds = unit_bounds(p);
    assert_int_equal(bounds.start, 2 * SEGMENT);
    assert_int_equal(bounds.end, 2 * SEGMENT);
    assert_int_equal(bounds.start_seq, 2 * LINES);
    assert_int_equal(later(u, p, 2 * hour_ns), -1); /* an empty one is not rolled again and again */
    assert_int_equal(p->segment_count, 1);
    unit_append(p, "new\n");
    assert_true(tlog_partition_retain(p) > 0);
    unit_assert_text(p, "new\n");
}

static void test_retention_by_size(void **state)
{
    struct unit *u = *state;
    struct tlog_partition *p = filled(u, 6, "retention.bytes=2500");
    assert_int_equal(tlog_partition_retain(p), TLOG_RETENTION_LOOK_NS);
    assert_int_equal(start_of(p), 3 * SEGMENT); /* 3000 bytes: one less would be too few */
    unit_lines(p, 6 * LINES, 4, LINE);
    tlog_partition_retain(p);
    assert_int_equal(start_of(p), 3 * SEGMENT);
    unit_lines(p, 6 * LINES + 4, 1, LINE);
    tlog_partition_retain(p);
    assert_int_equal(start_of(p), 4 * SEGMENT);
    unit_config(u, "t", "retention.bytes=0");
    (void)later(u, p, TLOG_RETENTION_WAIT_NS);
    assert_int_equal(start_of(p), 6 * SEGMENT + 5 * LINE);
    unit_config(u, "t", "retention.bytes=-1\nretention.ms=-1");
    assert_int_equal(later(u, p, day_ns), -1);
}

static void test_a_change_waits(void **state)
{
    struct unit *u = *state;
    struct tlog_partition *p = filled(u, 4, "retention.ms=30d");
    assert_true(tlog_partition_retain(p) > 0);
    unit_config(u, "t", "retention.ms=1s");
    int64_t next_ns = later(u, p, 9 * second_ns);
    assert_true(next_ns > 0 && next_ns < second_ns);
    assert_int_equal(start_of(p), 0);
    unit_config(u, "t", "retention.ms=30d"); /* a mistake, and it cost nothing */
    (void)later(u, p, 9 * second_ns);
    unit_config(u, "t", "segment.ms=1d"); /* not a change of retention */
    assert_true(later(u, p, 2 * second_ns) > second_ns * 60);
    assert_int_equal(start_of(p), 0);
    /* the root's keys count as well, and so does a start */
    assert_int_equal(tlog_topic_config_set(unit_topic(u, "t"), "", true, &u->error), 0);
    assert_int_equal(tlog_store_config_set(u->store, "retention.ms=1s\n", false, &u->error), 0);
    assert_true(later(u, p, 9 * second_ns) > 0);
    assert_int_equal(start_of(p), 0);
    unit_reopen(u);
    p = unit_get(u, "t", 0);
    assert_true(later(u, p, 9 * second_ns) > 0);
    assert_int_equal(start_of(p), 0);
    (void)later(u, p, 2 * second_ns);
    assert_int_equal(start_of(p), 4 * SEGMENT);
}

static void test_pinned_readers_read_on(void **state)
{
    struct unit *u = *state;
    struct tlog_pin pin;
    char line[LINE];
    struct tlog_partition *p = filled(u, 4, "retention.ms=1h");
    assert_int_equal(tlog_partition_pin(p, 0, &pin), 0);
    (void)later(u, p, hour_ns);
    assert_int_equal(start_of(p), 4 * SEGMENT);
    for (unsigned i = 0; i < 4 * LINES; i++) {
        char *expected = unit_lines_text(i, 1, LINE);
        assert_int_equal(tlog_partition_read(p, i * LINE, line, LINE), LINE);
        assert_memory_equal(line, expected, LINE);
        free(expected);
    }
    tlog_pin_release(&pin);
}

/* ---- clocks ---- */

static bool is_doubted(struct unit *u)
{
    struct tlog_store_status status;
    tlog_store_status(u->store, &status);
    return status.clock_doubted;
}

static void test_a_jump_forward_deletes_nothing(void **state)
{
    struct unit *u = *state;
    struct tlog_partition *p = filled(u, 4, "retention.ms=1d");
    simdisk_jump(u->disk, 2 * day_ns);
    tlog_partition_retain(p);
    assert_int_equal(start_of(p), 0);
    for (unsigned i = 0; i < 4; i++) { /* nor after starts in the same boot, whatever ended the process */
        if (i % 2)
            unit_reopen(u);
        else
            unit_kill(u), unit_open(u);
        p = unit_get(u, "t", 0);
        (void)later(u, p, 2 * hour_ns);
        assert_int_equal(start_of(p), 0);
    }
    (void)later(u, p, 13 * hour_ns + minute_ns); /* a day after the oldest: the first segment, by time passed */
    assert_int_equal(start_of(p), SEGMENT);
}

static void test_a_jump_back_deletes_nothing(void **state)
{
    struct unit *u = *state;
    struct tlog_partition *p = filled(u, 4, "retention.ms=1d");
    simdisk_jump(u->disk, -2 * day_ns);
    for (unsigned i = 0; i < 23; i++)
        (void)later(u, p, hour_ns);
    assert_int_equal(start_of(p), 0);
    simdisk_jump(u->disk, 2 * day_ns); /* it is set right: what is old by the time that passed goes */
    tlog_partition_retain(p);
    assert_int_equal(start_of(p), 3 * SEGMENT);
    (void)later(u, p, hour_ns);
    assert_int_equal(start_of(p), 4 * SEGMENT);
}

/* Another boot, and the clock is far ahead of all that is known: the machine was off, or the clock is wrong. */
static void test_another_boot_far_ahead(void **state)
{
    struct unit *u = *state;
    (void)filled(u, 4, "retention.ms=1d");
    unit_close(u);
    simdisk_power_cut(u->disk, 1);
    simdisk_jump(u->disk, 2 * day_ns);
    unit_open(u);
    struct tlog_partition *p = unit_get(u, "t", 0);
    (void)later(u, p, 50 * minute_ns);
    assert_int_equal(start_of(p), 0);
    assert_true(is_doubted(u));
    unit_reopen(u); /* the hour goes on */
    p = unit_get(u, "t", 0);
    (void)later(u, p, 9 * minute_ns);
    assert_int_equal(start_of(p), 0);
    (void)later(u, p, 2 * minute_ns);
    assert_int_equal(start_of(p), 4 * SEGMENT);
    assert_false(is_doubted(u));
}

/* The same, and somebody sets the clock right within the hour. */
static void test_another_boot_and_a_clock_set_right(void **state)
{
    struct unit *u = *state;
    (void)filled(u, 4, "retention.ms=1d");
    unit_close(u);
    simdisk_power_cut(u->disk, 1);
    simdisk_jump(u->disk, 2 * day_ns);
    unit_open(u);
    struct tlog_partition *p = unit_get(u, "t", 0);
    (void)later(u, p, 30 * minute_ns);
    simdisk_jump(u->disk, -2 * day_ns);
    (void)later(u, p, 40 * minute_ns);
    (void)later(u, p, 12 * hour_ns);
    assert_int_equal(start_of(p), 0);
    (void)later(u, p, 8 * hour_ns);
    assert_int_equal(start_of(p), SEGMENT);
}

static void test_another_boot_soon(void **state)
{
    struct unit *u = *state;
    struct tlog_partition *p = filled(u, 4, "retention.ms=1d");
    (void)later(u, p, 20 * hour_ns);
    assert_int_equal(tlog_store_sync(u->store), 0); /* the time known is that of the last checkpoint */
    unit_power_cut(u, 1);
    simdisk_jump(u->disk, 50 * minute_ns);
    unit_open(u);
    p = unit_get(u, "t", 0);
    (void)later(u, p, 11 * second_ns);
    assert_int_equal(start_of(p), 0);
    (void)later(u, p, 10 * minute_ns);
    assert_int_equal(start_of(p), SEGMENT);
}

/* Without a checkpoint the newest record is what is known of the time. */
static void test_a_copy_far_ahead(void **state)
{
    struct unit *u = *state;
    (void)filled(u, 4, "retention.ms=1d");
    unit_close(u);
    unit_copy_store(u);
    simdisk_jump(u->disk, 30 * day_ns);
    unit_open(u);
    struct tlog_partition *p = unit_get(u, "t", 0);
    (void)later(u, p, 59 * minute_ns);
    assert_int_equal(start_of(p), 0);
    (void)later(u, p, 2 * minute_ns);
    assert_int_equal(start_of(p), 4 * SEGMENT);
}

static void test_the_clock(void **state)
{
    (void)state;
    struct tlog_clock clock;
    const struct tlog_clock_mark none = {0}, left = {.time_ns = 1000 * hour_ns, .boot_ns = 10 * hour_ns};
    tlog_clock_init(&clock);
    /* nothing is known: what the clock says */
    tlog_clock_start(&clock, &none, false, 0, 500 * hour_ns, hour_ns);
    assert_int_equal(tlog_clock_now(&clock, 501 * hour_ns, 2 * hour_ns), 501 * hour_ns);
    assert_int_equal(tlog_clock_now(&clock, 900 * hour_ns, 3 * hour_ns), 502 * hour_ns);
    assert_int_equal(tlog_clock_now(&clock, 100 * hour_ns, 3 * hour_ns), 100 * hour_ns);
    assert_int_equal(tlog_clock_stamp(&clock, 900 * hour_ns, 3 * hour_ns), 900 * hour_ns);
    assert_int_equal(tlog_clock_stamp(&clock, 100 * hour_ns, 3 * hour_ns), 502 * hour_ns);
    /* another boot with a clock that lags, as one without a battery does: from the last time known on */
    tlog_clock_start(&clock, &left, false, 0, hour_ns, hour_ns / 2);
    assert_int_equal(tlog_clock_now(&clock, hour_ns, hour_ns / 2), hour_ns);
    assert_int_equal(tlog_clock_now(&clock, 2000 * hour_ns, hour_ns), 1000 * hour_ns + hour_ns / 2);
    /* the mark goes on where it is left, doubt and all */
    tlog_clock_start(&clock, &left, false, 0, 1100 * hour_ns, 0);
    struct tlog_clock_mark mark = tlog_clock_keep(&clock, 1100 * hour_ns, minute_ns);
    assert_int_equal(mark.time_ns, 1000 * hour_ns + minute_ns);
    tlog_clock_start(&clock, &mark, true, 0, 1100 * hour_ns, 2 * minute_ns);
    assert_int_equal(tlog_clock_now(&clock, 1100 * hour_ns, hour_ns - 1), 1000 * hour_ns + hour_ns - 1);
    assert_int_equal(tlog_clock_now(&clock, 1101 * hour_ns, hour_ns), 1101 * hour_ns);
    tlog_clock_release(&clock);
}

static void test_compaction_is_refused(void **state)
{
    struct unit *u = *state;
    unit_open(u);
    assert_int_equal(tlog_topic_config_set(unit_topic(u, "t"), "cleanup.policy=compact", false, &u->error), -EINVAL);
    assert_non_null(strstr(u->error.text, "cleanup.policy: compact: logs are not compacted yet"));
    assert_int_equal(tlog_topic_config_set(unit_topic(u, "t"), "cleanup.policy=delete", false, &u->error), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        UNIT_SIM(test_old_segments_go),
        UNIT_SIM(test_old_sealed_segments_go),
        UNIT_SIM(test_the_active_segment_goes_too),
        UNIT_SIM(test_retention_by_size),
        UNIT_SIM(test_a_change_waits),
        UNIT_SIM(test_pinned_readers_read_on),
        UNIT_SIM(test_a_jump_forward_deletes_nothing),
        UNIT_SIM(test_a_jump_back_deletes_nothing),
        UNIT_SIM(test_another_boot_far_ahead),
        UNIT_SIM(test_another_boot_and_a_clock_set_right),
        UNIT_SIM(test_another_boot_soon),
        UNIT_SIM(test_a_copy_far_ahead),
        cmocka_unit_test(test_the_clock),
        UNIT_BOTH(test_compaction_is_refused),
    };
    return cmocka_run_group_tests_name("retention", tests, NULL, NULL);
}
