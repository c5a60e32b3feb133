/* Finding records by number, time and position: over segments, in the open entry, in the middle of lines, past the
 * end, in raw partitions. */
#include "unit.h"

static void assert_seq(struct tlog_partition *p, uint64_t seq, uint64_t pos, uint64_t found)
{
    uint64_t got_pos = 99999, got_seq = 99999;
    assert_int_equal(tlog_partition_find_seq(p, seq, &got_pos, &got_seq), 0);
    assert_int_equal(got_pos, pos);
    assert_int_equal(got_seq, found);
}

static void assert_pos(struct tlog_partition *p, uint64_t at, uint64_t pos, uint64_t found)
{
    uint64_t got_pos = 99999, got_seq = 99999;
    assert_int_equal(tlog_partition_find_pos(p, at, &got_pos, &got_seq), 0);
    assert_int_equal(got_pos, pos);
    assert_int_equal(got_seq, found);
}

static void assert_time(struct tlog_partition *p, int64_t time_ns, uint64_t pos, uint64_t found)
{
    uint64_t got_pos = 99999, got_seq = 99999;
    assert_int_equal(tlog_partition_find_time(p, time_ns, &got_pos, &got_seq), 0);
    assert_int_equal(got_pos, pos);
    assert_int_equal(got_seq, found);
}

static void test_nothing_to_find(void **state)
{
    struct unit *u = *state;
    unit_open(u);
    struct tlog_partition *p = unit_partition(u, "t", 0);
    for (int i = 0; i < 2; i++) {
        assert_seq(p, 0, 0, 0);
        assert_seq(p, 7, 0, 0);
        assert_pos(p, 0, 0, 0);
        assert_pos(p, 7, 0, 0);
        assert_time(p, 0, 0, 0);
        assert_time(p, INT64_MAX, 0, 0);
        unit_reopen(u);
        p = unit_get(u, "t", 0);
    }
    assert_int_equal(tlog_partition_find_seq(p, 0, NULL, NULL), 0);
}

/* Lines of 1, 2, 3 … bytes, over several entries and segments, the last in the open entry: each is found by its
 * number and from each of its bytes. */
static void test_every_record_by_number_and_position(void **state)
{
    struct unit *u = *state;
    enum { LINES = 220 };
    char line[LINES + 1];
    uint64_t pos = 0;
    unit_open(u);
    struct tlog_partition *p = unit_partition(u, "t", 0);
    unit_config(u, "t", "segment.bytes=6K");
    for (unsigned i = 0; i < LINES; i++) {
        memset(line, 'a', i);
        line[i] = '\n';
        assert_int_equal(tlog_partition_append(p, line, i + 1, 1), 0);
    }
    assert_true(p->segment_count > 3 && p->open->entry.length_bytes > 0 && unit_entries(p) > 4);
    for (unsigned i = 0; i < LINES; i++) {
        assert_seq(p, i, pos, i);
        assert_pos(p, pos, pos, i);
        if (i > 0) {
            assert_pos(p, pos + 1, pos + i + 1, i + 1);
            assert_pos(p, pos + i, pos + i + 1, i + 1);
        }
        pos += i + 1;
    }
    assert_seq(p, LINES, pos, LINES);
    assert_seq(p, LINES + 100, pos, LINES);
    assert_pos(p, pos, pos, LINES);
    assert_pos(p, pos + 100, pos, LINES);
}

static void test_right_after_a_roll(void **state)
{
    struct unit *u = *state;
    unit_open(u);
    struct tlog_partition *p = unit_partition(u, "t", 0);
    unit_config(u, "t", "segment.bytes=1K");
    unit_lines(p, 0, 11, 100); /* the second segment has no closed entry yet */
    assert_int_equal(p->segment_count, 2);
    assert_seq(p, 0, 0, 0);
    assert_seq(p, 5, 500, 5);
    assert_seq(p, 10, 1000, 10);
    assert_pos(p, 250, 300, 3);
    assert_pos(p, 1000, 1000, 10);
    assert_time(p, 0, 0, 0);
    unit_config(u, "t", "segment.bytes=1M");
    unit_lines(p, 11, 100, 100);
    assert_seq(p, 5, 500, 5);
    assert_seq(p, 110, 11000, 110);
}

static void test_by_time(void **state)
{
    struct unit *u = *state;
    int64_t times[8];
    unit_open(u);
    struct tlog_partition *p = unit_partition(u, "t", 0);
    unit_config(u, "t", "segment.bytes=1K");
    for (unsigned i = 0; i < 8; i++) { /* each in an entry of its own, two in a segment */
        unit_lines(p, i, 1, 500);
        times[i] = unit_bounds(p).mtime_ns;
        if (i < 7)
            unit_advance(u, 1000);
    }
    assert_int_equal(p->segment_count, 4);
    assert_int_equal(unit_entries(p), 7);
    for (unsigned i = 0; i < 8; i++) {
        assert_time(p, times[i], 500 * i, i);
        assert_time(p, times[i] - 1, 500 * i, i);
        assert_time(p, times[i] + 1, 500 * (i + 1), i + 1);
    }
    assert_time(p, 0, 0, 0);
    assert_time(p, INT64_MIN, 0, 0);
    assert_time(p, INT64_MAX, 4000, 8);
}

static void test_time_is_never_later_than_the_record(void **state)
{
    struct unit *u = *state;
    unit_open(u);
    struct tlog_partition *p = unit_partition(u, "t", 0);
    unit_lines(p, 0, 10, 100);
    simdisk_advance(u->disk, 50 * 1000000);
    int64_t between_ns = unit_bounds(p).mtime_ns + 1;
    unit_lines(p, 10, 10, 100); /* the same entry: its last append counts, so the search begins early */
    assert_time(p, between_ns, 0, 0);
    unit_advance(u, 200);
    assert_time(p, between_ns, 0, 0);
    assert_time(p, unit_bounds(p).mtime_ns + 1, 2000, 20);
}

static void test_raw(void **state)
{
    struct unit *u = *state;
    unit_open(u);
    struct tlog_partition *p = unit_partition(u, "t", 0);
    unit_config(u, "t", "message.format=raw\nsegment.bytes=1K");
    uint64_t pos = 0;
    for (unsigned i = 0; i < 100; i++) {
        char record[64];
        memset(record, '\n', sizeof record);
        assert_int_equal(tlog_partition_append(p, record, 1 + i % 50, 1), 0);
    }
    for (unsigned i = 0; i < 100; i++) {
        unsigned length = 1 + i % 50;
        assert_seq(p, i, pos, i);
        assert_pos(p, pos, pos, i);
        assert_pos(p, pos + 1, pos + length, i + 1);
        pos += length;
    }
    assert_seq(p, 100, pos, 100);
}

static void test_below_the_start(void **state)
{
    struct unit *u = *state;
    unit_open(u);
    unit_partition(u, "t", 1);
    struct tlog_partition *p = unit_get(u, "t", 0);
    unit_lines(p, 0, 10, 100);
    assert_int_equal(tlog_partition_remove(p, true), 0);
    p = unit_partition(u, "t", 0);
    assert_seq(p, 3, 1000, 10);
    unit_lines(p, 10, 3, 100);
    assert_seq(p, 3, 1000, 10);
    assert_seq(p, 11, 1100, 11);
    assert_pos(p, 0, 1000, 10);
    assert_pos(p, 1001, 1100, 11);
}

static void test_a_line_longer_than_what_is_read_at_once(void **state)
{
    struct unit *u = *state;
    unit_open(u);
    struct tlog_partition *p = unit_partition(u, "t", 0);
    size_t bytes = 200 << 10;
    char *text = malloc(2 * bytes);
    memset(text, 'y', 2 * bytes);
    text[bytes - 1] = text[2 * bytes - 2] = text[2 * bytes - 1] = '\n';
    assert_int_equal(tlog_partition_append(p, text, 2 * bytes, 3), 0); /* three lines, one entry */
    free(text);
    assert_seq(p, 1, bytes, 1);
    assert_seq(p, 2, 2 * bytes - 1, 2);
    assert_pos(p, 1, bytes, 1);
    assert_pos(p, bytes + 70000, 2 * bytes - 1, 2);
    assert_pos(p, 2 * bytes - 1, 2 * bytes - 1, 2);
    assert_seq(p, 3, 2 * bytes, 3);
}

static void test_an_error_of_the_disk_is_told(void **state)
{
    struct unit *u = *state;
    uint64_t pos = 7;
    unit_open(u);
    struct tlog_partition *p = unit_partition(u, "t", 0);
    unit_lines(p, 0, 100, 100);
    simdisk_fail(u->disk, 1U << SIM_READ, 0, EIO, true);
    assert_int_equal(tlog_partition_find_seq(p, 3, &pos, NULL), -EIO);
    assert_int_equal(pos, 7);
    char byte;
    assert_int_equal(tlog_partition_read(p, 0, &byte, 1), -EIO);
    simdisk_fail(u->disk, 0, 0, 0, false);
    assert_seq(p, 3, 300, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        UNIT_BOTH(test_nothing_to_find),
        UNIT_BOTH(test_every_record_by_number_and_position),
        UNIT_BOTH(test_right_after_a_roll),
        UNIT_SIM(test_by_time),
        UNIT_SIM(test_time_is_never_later_than_the_record),
        UNIT_BOTH(test_raw),
        UNIT_BOTH(test_below_the_start),
        UNIT_BOTH(test_a_line_longer_than_what_is_read_at_once),
        UNIT_SIM(test_an_error_of_the_disk_is_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
