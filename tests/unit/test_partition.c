/* Appending and reading: bounds, segments, views, quotas, raw records, rolling. */
#include "unit.h"

static void test_what_is_appended_is_read(void **state)
{
    struct unit *u = *state;
    unit_open(u);
    struct tlog_partition *p = unit_partition(u, "t", 0);
    struct tlog_bounds bounds = unit_bounds(p);
    assert_int_equal(bounds.start, 0);
    assert_int_equal(bounds.end, 0);
    assert_int_equal(bounds.end_seq, 0);
    assert_true(bounds.mtime_ns > 0);
    assert_int_equal(unit_append(p, "one\n"), 0);
    assert_int_equal(unit_append(p, "two\nthree\n"), 0);
    assert_int_equal(tlog_partition_append(p, "", 0, 0), 0);
    unit_assert_text(p, "one\ntwo\nthree\n");
    bounds = unit_bounds(p);
    assert_int_equal(bounds.end, 14);
    assert_int_equal(bounds.committed, 14);
    assert_int_equal(tlog_partition_committed(p), 14);
    assert_int_equal(bounds.end_seq, 3);
    assert_int_equal(bounds.durable, 0);
    assert_int_equal(bounds.pending, 0);
    assert_false(bounds.failed || bounds.damaged || bounds.deleted);
    char *log = unit_file(u, "topics/t/0/00000000000000000000.log", NULL);
    assert_string_equal(log, "one\ntwo\nthree\n"); /* plain text, nothing else */
    free(log);
}

static void test_reads_begin_and_end_anywhere(void **state)
{
    struct unit *u = *state;
    unit_open(u);
    struct tlog_partition *p = unit_partition(u, "t", 0);
    unit_config(u, "t", "segment.bytes=1K");
    unit_lines(p, 0, 500, 17);
    char *expected = unit_lines_text(0, 500, 17), got[9000];
    assert_true(p->segment_count > 8);
    for (unsigned from = 0; from < 8500; from += 61)
        for (unsigned length = 1; length < 8500; length = length * 5 + 3) {
            unsigned want = from + length > 8500 ? 8500 - from : length;
            memset(got, '#', sizeof got);
            assert_int_equal(tlog_partition_read(p, from, got, length), want);
            assert_memory_equal(got, expected + from, want);
            assert_int_equal(got[want], '#');
        }
    assert_int_equal(tlog_partition_read(p, 8500, got, 10), 0);
    assert_int_equal(tlog_partition_read(p, UINT64_MAX, got, 10), 0);
    free(expected);
}

static void test_views_show_the_log_piece_by_piece(void **state)
{
    struct unit *u = *state;
    struct tlog_view view;
    unit_open(u);
    struct tlog_partition *p = unit_partition(u, "t", 0);
    unit_config(u, "t", "segment.bytes=1K");
    unit_lines(p, 0, 300, 20);
    char *expected = unit_lines_text(0, 300, 20);
    for (unsigned most = 1; most < 4000; most = most * 7 + 5) {
        uint64_t pos = 0;
        while (pos < 6000) {
            assert_int_equal(tlog_partition_view(p, pos, most, most % 2, &view), 0);
            assert_true(view.length > 0 && view.length <= most);
            assert_memory_equal(view.data, expected + pos, view.length);
            pos += view.length;
            tlog_view_release(&view);
        }
        assert_int_equal(pos, 6000);
    }
    assert_int_equal(tlog_partition_view(p, 6000, 10, false, &view), 0);
    assert_int_equal(view.length, 0);
    tlog_view_release(&view);
    free(expected);
}

static void test_a_view_outlives_growth_and_the_closing_of_files(void **state)
{
    struct unit *u = *state;
    struct tlog_view view, later;
    unit_open(u);
    struct tlog_partition *p = unit_partition(u, "t", 0);
    assert_int_equal(unit_append(p, "first\n"), 0);
    assert_int_equal(tlog_partition_view(p, 0, 100, false, &view), 0);
    assert_int_equal(view.length, 6);
    assert_int_equal(unit_append(p, "second\n"), 0);
    assert_int_equal(tlog_partition_view(p, 6, 100, true, &later), 0);
    assert_int_equal(later.length, 7);
    assert_int_equal(tlog_partition_remove(p, true), 0);
    assert_memory_equal(view.data, "first\n", 6);
    assert_memory_equal(later.data, "second\n", 7);
    tlog_view_release(&view);
    tlog_view_release(&later);
    tlog_view_release(&later);                                         /* once more does nothing */
    assert_int_equal(tlog_partition_view(p, 0, 100, false, &view), 0); /* from the trash */
    assert_int_equal(view.length, 13);
    tlog_view_release(&view);
    assert_int_equal(unit_append(p, "third\n"), -ESTALE);
}

static void test_a_segment_wider_than_its_mapping_is_still_read(void **state)
{
    struct unit *u = *state;
    struct tlog_view view;
    unit_open(u);
    struct tlog_partition *p = unit_partition(u, "t", 0);
    unit_config(u, "t", "segment.bytes=1K");
    assert_int_equal(unit_append(p, "a\n"), 0);
    assert_int_equal(tlog_partition_view(p, 0, 2, false, &view), 0); /* the mapping is made for 1 KiB and some */
    tlog_view_release(&view);
    unit_config(u, "t", "segment.bytes=1GiB");
    size_t bytes = 3 << 20;
    char *big = malloc(bytes), *got = malloc(bytes);
    for (int i = 0; i < 3; i++) {
        memset(big, 'a' + i, bytes - 1);
        big[bytes - 1] = '\n';
        assert_int_equal(tlog_partition_append(p, big, bytes, 1), 0);
    }
    assert_int_equal(p->segment_count, 1);
    assert_int_equal(tlog_partition_view(p, 2 + 2 * bytes, bytes, true, &view), -ENOMEM);
    assert_int_equal(tlog_partition_read(p, 2 + 2 * bytes, got, bytes), bytes);
    assert_memory_equal(got, big, bytes);
    /* a view across the mapping's end stops there */
    assert_int_equal(tlog_partition_view(p, 2 + bytes, bytes, true, &view), 0);
    assert_true(view.length > 0 && view.length < bytes);
    memset(big, 'b', bytes);
    assert_memory_equal(view.data, big, view.length);
    tlog_view_release(&view);
    free(big);
    free(got);
}

static void test_below_the_start_is_stale(void **state)
{
    struct unit *u = *state;
    struct tlog_view view;
    char byte;
    unit_open(u);
    struct tlog_partition *p = unit_partition(u, "t", 0);
    unit_partition(u, "t", 1);
    assert_int_equal(unit_append(p, "gone\n"), 0);
    assert_int_equal(tlog_partition_remove(p, true), 0);
    p = unit_partition(u, "t", 0);
    assert_int_equal(unit_bounds(p).start, 5);
    assert_int_equal(unit_append(p, "new\n"), 0);
    assert_int_equal(tlog_partition_read(p, 4, &byte, 1), -ESTALE);
    assert_int_equal(tlog_partition_view(p, 0, 1, false, &view), -ESTALE);
    assert_null(view.hold);
    assert_int_equal(tlog_partition_read(p, 5, &byte, 1), 1);
    assert_int_equal(byte, 'n');
    assert_int_equal(unit_bounds(p).end_seq, 2);
}

static void test_segments_roll_by_size(void **state)
{
    struct unit *u = *state;
    unit_open(u);
    struct tlog_partition *p = unit_partition(u, "t", 0);
    unit_config(u, "t", "segment.bytes=1K");
    unit_lines(p, 0, 10, 100); /* 1000 bytes */
    assert_int_equal(p->segment_count, 1);
    unit_lines(p, 10, 1, 24); /* 1024: full to the byte */
    assert_int_equal(p->segment_count, 1);
    unit_lines(p, 11, 1, 24);
    assert_int_equal(p->segment_count, 2);
    assert_int_equal(unit_size(u, "topics/t/0/00000000000000000000.log"), 1024);
    assert_int_equal(unit_size(u, "topics/t/0/00000000000000001024.log"), 24);
    /* an append is never torn between two: one larger than a segment gets its own */
    char *big = unit_lines_text(12, 3, 1000);
    assert_int_equal(tlog_partition_append(p, big, 3000, 3), 0);
    free(big);
    unit_lines(p, 15, 1, 24);
    assert_int_equal(unit_size(u, "topics/t/0/00000000000000001048.log"), 3000);
    assert_int_equal(unit_size(u, "topics/t/0/00000000000000004048.log"), 24);
    assert_int_equal(p->segment_count, 4);
    unit_close(u);
    assert_string_equal(unit_verify(u), "");
    assert_int_equal(unit_verified.segments, 4);
    assert_int_equal(unit_verified.records, 16);
}

static int flags_of(void *arg, const struct tlog_entry *entry)
{
    uint32_t *flags = arg;
    *flags = *flags << 4 | entry->flags;
    return 0;
}

static void test_segments_roll_by_age(void **state)
{
    struct unit *u = *state;
    uint32_t flags = 0;
    unit_open(u);
    struct tlog_partition *p = unit_partition(u, "t", 0);
    unit_config(u, "t", "segment.ms=1h");
    unit_append(p, "a\n");
    simdisk_advance(u->disk, INT64_C(3599) * 1000000000);
    unit_append(p, "b\n");
    assert_int_equal(p->segment_count, 1);
    simdisk_advance(u->disk, INT64_C(1) * 1000000000);
    unit_append(p, "c\n");
    assert_int_equal(p->segment_count, 2); /* counted from its first append */
    simdisk_advance(u->disk, INT64_C(3601) * 1000000000);
    unit_append(p, "d\n");
    assert_int_equal(p->segment_count, 3);
    unit_config(u, "t", "segment.ms=-1");
    simdisk_advance(u->disk, INT64_C(360000) * 1000000000);
    unit_append(p, "e\n");
    assert_int_equal(p->segment_count, 3);
    unit_assert_text(p, "a\nb\nc\nd\ne\n");
    unit_advance(u, 200);
    assert_int_equal(tlog_partition_entries(p, flags_of, &flags), 0);
    assert_int_equal(flags, 0x022); /* a and b in one, then two that say that a segment begins */
}

static void test_quota(void **state)
{
    struct unit *u = *state;
    unit_open(u);
    struct tlog_partition *p = unit_partition(u, "t", 0);
    struct tlog_writer *writer = unit_writer(u, p);
    unit_config(u, "t", "quota.bytes=10");
    assert_int_equal(unit_append(p, "12345\n"), 0);
    assert_int_equal(unit_append(p, "12345\n"), -EDQUOT);
    assert_int_equal(unit_write(writer, "abc"), 3);
    assert_int_equal(unit_append(p, "1\n"), -EDQUOT); /* the unfinished line counts */
    assert_int_equal(unit_write(writer, "de"), -EDQUOT);
    assert_int_equal(unit_write(writer, "\n"), 1);
    unit_assert_text(p, "12345\nabc\n");
    assert_int_equal(unit_append(p, "\n"), -EDQUOT);
    unit_config(u, "t", "quota.bytes=-1");
    assert_int_equal(unit_append(p, "\n"), 0);
    unit_config(u, "t", "quota.bytes=0");
    assert_int_equal(unit_append(p, "\n"), -EDQUOT);
    unit_assert_text(p, "12345\nabc\n\n");
}

static void test_raw_records_are_what_was_written(void **state)
{
    struct unit *u = *state;
    unit_open(u);
    struct tlog_partition *p = unit_partition(u, "t", 0);
    struct tlog_writer *writer = unit_writer(u, p);
    unit_config(u, "t", "message.format=raw");
    assert_int_equal(tlog_writer_append(writer, "a\nb", 3, 3, 1), 3);
    assert_int_equal(tlog_writer_held(writer), 0);
    assert_int_equal(tlog_partition_append(p, "\0\n", 2, 1), 0);
    assert_int_equal(tlog_writer_append(writer, "c", 1, 1, 1), 1);
    assert_int_equal(unit_entries(p), 3); /* each indexed before it was answered */
    assert_int_equal(unit_bounds(p).end_seq, 3);
    char got[8];
    assert_int_equal(tlog_partition_read(p, 0, got, sizeof got), 6);
    assert_memory_equal(got, "a\nb\0\nc", 6);
    unit_reopen(u);
    p = unit_get(u, "t", 0);
    assert_int_equal(unit_bounds(p).end_seq, 3);
    assert_int_equal(unit_bounds(p).end, 6);
}

struct entries {
    struct tlog_entry at[64];
    unsigned count;
};

static int keep_entry(void *arg, const struct tlog_entry *entry)
{
    struct entries *entries = arg;
    entries->at[entries->count++] = *entry;
    return entries->count == 64;
}

static void test_entries_close_at_4_kib_and_say_what_they_cover(void **state)
{
    struct unit *u = *state;
    struct entries entries = {.count = 0};
    unit_open(u);
    struct tlog_partition *p = unit_partition(u, "t", 0);
    unit_lines(p, 0, 100, 100);
    assert_int_equal(tlog_partition_entries(p, keep_entry, &entries), 0);
    assert_int_equal(entries.count, 2);
    uint64_t pos = 0, seq = 0;
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(entries.at[i].pos, pos);
        assert_int_equal(entries.at[i].seq, seq);
        assert_int_equal(entries.at[i].length_bytes, 4100);
        assert_int_equal(entries.at[i].records, 41);
        assert_int_equal(entries.at[i].producer_seq, 0);
        pos += 4100;
        seq += 41;
    }
    assert_true(entries.at[1].time_ns >= entries.at[0].time_ns);
    char *text = unit_text(p);
    uint64_t chain = tlog_root_chain(tlog_topic_id(tlog_partition_topic(p)), 0);
    for (unsigned i = 0; i < 2; i++) { /* the chain as the format says */
        chain = tlog_entry_chain(&entries.at[i], tlog_hash(text + entries.at[i].pos, 4100, chain));
        assert_int_equal(entries.at[i].chain, chain);
    }
    assert_int_equal(unit_bounds(p).chain, chain);
    free(text);
    entries.count = 62;
    assert_int_equal(tlog_partition_entries(p, keep_entry, &entries), 1); /* what `each` returned */
}

static void test_times_never_go_back(void **state)
{
    struct unit *u = *state;
    unit_open(u);
    struct tlog_partition *p = unit_partition(u, "t", 0);
    unit_append(p, "a\n");
    int64_t first_ns = unit_bounds(p).mtime_ns;
    simdisk_jump(u->disk, INT64_C(-100) * 1000000000);
    unit_append(p, "b\n");
    assert_int_equal(unit_bounds(p).mtime_ns, first_ns);
    /* and a clock that is set a year ahead moves them by no more than an hour */
    simdisk_jump(u->disk, INT64_C(365 * 86400) * 1000000000);
    unit_append(p, "c\n");
    assert_true(unit_bounds(p).mtime_ns > first_ns + INT64_C(3500) * 1000000000);
    assert_true(unit_bounds(p).mtime_ns < first_ns + INT64_C(3700) * 1000000000);
}

static void test_a_refused_append_leaves_nothing(void **state)
{
    struct unit *u = *state;
    unit_open(u);
    struct tlog_partition *p = unit_partition(u, "t", 0);
    unit_append(p, "before\n");
    struct tlog_bounds before = unit_bounds(p), after;
    static const int errors[] = {ENOSPC, EIO, EDQUOT, EFBIG};
    for (unsigned i = 0; i < 4; i++) {
        simdisk_fail(u->disk, 1U << SIM_WRITE, 0, errors[i], false);
        assert_int_equal(unit_append(p, "refused\n"), errors[i] == EFBIG ? -ENOSPC : -errors[i]);
        after = unit_bounds(p);
        assert_int_equal(after.end, before.end);
        assert_int_equal(after.end_seq, before.end_seq);
        assert_int_equal(unit_size(u, "topics/t/0/00000000000000000000.log"), 7);
    }
    assert_int_equal(unit_append(p, "after\n"), 0);
    unit_assert_text(p, "before\nafter\n");
    unit_close(u);
    assert_string_equal(unit_verify(u), "");
}

static void test_an_entry_that_cannot_be_closed_grows(void **state)
{
    struct unit *u = *state;
    unit_open(u);
    struct tlog_partition *p = unit_partition(u, "t", 0);
    unit_lines(p, 0, 40, 100);
    simdisk_fail(u->disk, 1U << SIM_WRITE, 1, ENOSPC, false); /* the .log is written, the .idx is not */
    unit_lines(p, 40, 1, 100);
    assert_true(simdisk_failed(u->disk));
    assert_int_equal(unit_entries(p), 0);
    unit_lines(p, 41, 1, 100); /* tried again first */
    assert_int_equal(unit_entries(p), 1);
    simdisk_fail(u->disk, 1U << SIM_WRITE, 1, ENOSPC, true);
    unit_lines(p, 42, 1, 100);
    unit_lines(p, 43, 0, 100);
    simdisk_fail(u->disk, 0, 0, 0, false);
    char *expected = unit_lines_text(0, 43, 100);
    unit_assert_text(p, expected);
    unit_reopen(u);
    unit_assert_text(unit_get(u, "t", 0), expected);
    free(expected);
    unit_close(u);
    assert_string_equal(unit_verify(u), "");
}

static void test_a_roll_that_fails_can_be_tried_again(void **state)
{
    struct unit *u = *state;
    unit_open(u);
    struct tlog_partition *p = unit_partition(u, "t", 0);
    unit_config(u, "t", "segment.bytes=1K");
    unit_lines(p, 0, 10, 100);
    for (unsigned skip = 0; skip < 4; skip++) {
        simdisk_fail(u->disk, 1U << SIM_CREATE | 1U << SIM_WRITE, skip, EIO, false);
        assert_int_equal(unit_append(p, "a line of some length that does not fit any more\n"), -EIO);
        assert_true(simdisk_failed(u->disk));
        assert_true(unit_bounds(p).end == 1000 && p->segment_count == 1);
    }
    unit_lines(p, 10, 10, 100);
    char *expected = unit_lines_text(0, 20, 100);
    unit_assert_text(p, expected);
    assert_int_equal(p->segment_count, 2);
    free(expected);
    unit_close(u);
    assert_string_equal(unit_verify(u), "");
}

static void test_watchers_are_told(void **state)
{
    struct unit *u = *state;
    unit_open(u);
    struct tlog_partition *p = unit_partition(u, "t", 0);
    struct tlog_writer *writer = unit_writer(u, p);
    unit_append(p, "a\n");
    assert_int_equal(u->grown, 0);
    tlog_partition_watch(p, true);
    tlog_partition_watch(p, true);
    unit_append(p, "b\n");
    assert_int_equal(u->grown, 1);
    unit_write(writer, "c");
    assert_int_equal(u->grown, 1); /* nothing to read yet */
    unit_write(writer, "d\ne");
    assert_int_equal(u->grown, 2);
    unit_writer_close(u, writer);
    assert_int_equal(u->grown, 3);
    tlog_partition_watch(p, false);
    unit_append(p, "f\n");
    assert_int_equal(u->grown, 4);
    tlog_partition_watch(p, false);
    unit_append(p, "g\n");
    assert_int_equal(u->grown, 4);
    unit_assert_text(p, "a\nb\ncd\ne\nf\ng\n");
}

static void test_disk_bytes_are_what_du_counts(void **state)
{
    struct unit *u = *state;
    unit_open(u);
    struct tlog_partition *p = unit_partition(u, "t", 0);
    unit_config(u, "t", "segment.bytes=64K");
    unit_lines(p, 0, 2000, 100);
    assert_int_equal(tlog_store_sync(u->store), 0);
    uint64_t sum = 0;
    for (unsigned i = 0; i < p->segment_count; i++) {
        char name[128];
        static const char *const suffix[] = {"log", "idx"};
        for (unsigned k = 0; k < 2; k++) {
            snprintf(name, sizeof name, "topics/t/0/%020" PRIu64 ".%s", p->segments[i].pos, suffix[k]);
            sum += (unit_size(u, name) + 4095) / 4096 * 4096;
        }
    }
    assert_int_equal(unit_bounds(p).disk_bytes, sum);
    unit_reopen(u);
    p = unit_get(u, "t", 0);
    assert_in_range(unit_bounds(p).disk_bytes, 200000, sum);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        UNIT_BOTH(test_what_is_appended_is_read),
        UNIT_BOTH(test_reads_begin_and_end_anywhere),
        UNIT_BOTH(test_views_show_the_log_piece_by_piece),
        UNIT_BOTH(test_a_view_outlives_growth_and_the_closing_of_files),
        UNIT_BOTH(test_a_segment_wider_than_its_mapping_is_still_read),
        UNIT_BOTH(test_below_the_start_is_stale),
        UNIT_BOTH(test_segments_roll_by_size),
        UNIT_SIM(test_segments_roll_by_age),
        UNIT_BOTH(test_quota),
        UNIT_BOTH(test_raw_records_are_what_was_written),
        UNIT_BOTH(test_entries_close_at_4_kib_and_say_what_they_cover),
        UNIT_SIM(test_times_never_go_back),
        UNIT_SIM(test_a_refused_append_leaves_nothing),
        UNIT_SIM(test_an_entry_that_cannot_be_closed_grows),
        UNIT_SIM(test_a_roll_that_fails_can_be_tried_again),
        UNIT_BOTH(test_watchers_are_told),
        UNIT_BOTH(test_disk_bytes_are_what_du_counts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
