/* Recovery with sealed segments: in every form that a crash, a copy or rot leaves them in. */
#include "unit.h"

#define DIR    "topics/t/0/"
#define FIRST  DIR "00000000000000000000"
#define SECOND DIR "00000000000000004000"
#define THIRD  DIR "00000000000000008000"

enum { LINE = 100, LINES = 100, SEGMENT = 4000 };

/* Two segments of 40 lines and one of 20, that is not sealed. */
static void make(struct unit *u, bool raw_stays)
{
    unit_open(u);
    struct tlog_partition *p = unit_partition(u, "t", 0);
    unit_config(u, "t", "segment.bytes=4000");
    for (unsigned i = 0; i < LINES / 10; i++) {
        unit_lines(p, i * 10, 10, LINE);
        assert_int_equal(tlog_partition_sync_wait(p), 0);
    }
    unit_close(u);
    unit_seal(u, DIR, 0, raw_stays);
    unit_seal(u, DIR, SEGMENT, raw_stays);
}

/* The log is whole, and goes on as one. */
static void assert_whole(struct unit *u)
{
    struct tlog_partition *p = unit_get(u, "t", 0);
    char *text = unit_lines_text(0, LINES, LINE);
    struct tlog_bounds bounds = unit_bounds(p);
    assert_false(bounds.damaged);
    assert_int_equal(bounds.start, 0);
    assert_int_equal(bounds.end, LINES * LINE);
    assert_int_equal(bounds.end_seq, LINES);
    unit_assert_text(p, text);
    free(text);
    unit_lines(p, LINES, 30, LINE); /* rolls */
    assert_int_equal(tlog_partition_sync_wait(p), 0);
    text = unit_lines_text(0, LINES + 30, LINE);
    unit_assert_text(p, text);
    free(text);
}

static void assert_noted(struct unit *u, const char *sentence)
{
    if (!strstr(u->notes, sentence))
        fail_msg("\"%s\" is not in \"%s\"", sentence, u->notes);
}

static void assert_verifies(struct unit *u)
{
    unit_close(u);
    assert_string_equal(unit_verify(u), "");
}

static void test_sealed_and_raw(void **state)
{
    for (int raw_stays = 0; raw_stays < 2; raw_stays++) {
        struct unit *u = *state;
        make(u, raw_stays);
        unit_open(u);
        assert_whole(u);
        assert_verifies(u);
        if (raw_stays == 0) {
            unit_teardown(state);
            unit_setup_sim(state);
        }
    }
}

/* A start in the same boot after a clean end does not look into sealed files: they may be many. */
static void test_a_clean_start_opens_no_sealed_file(void **state)
{
    struct unit *u = *state;
    make(u, false);
    unit_open(u); /* the checkpoint knows the segments as they are now */
    size_t bytes;
    unit_close(u);
    char *first = unit_file(u, FIRST ".zst", &bytes);
    unit_truncate(u, FIRST ".zst", 0);
    unit_open(u);
    assert_false(unit_bounds(unit_get(u, "t", 0)).damaged);
    assert_int_equal(unit_bounds(unit_get(u, "t", 0)).start_seq, 0);
    unit_close(u);
    unit_put(u, FIRST ".zst", 0, first, bytes);
    free(first);
    unit_open(u);
    assert_whole(u);
}

static void test_another_boot(void **state)
{
    struct unit *u = *state;
    make(u, false);
    unit_open(u);
    unit_power_cut(u, 7);
    unit_open(u);
    assert_whole(u);
    unit_power_cut(u, 8);
    unit_open(u);
    assert_int_equal(unit_bounds(unit_get(u, "t", 0)).end, (LINES + 30) * LINE);
    assert_verifies(u);
}

static void test_no_checkpoint(void **state)
{
    struct unit *u = *state;
    make(u, false);
    unit_unlink(u, "checkpoint");
    unit_open(u);
    assert_whole(u);
    assert_verifies(u);
}

/* The oldest segment was trimmed, and with the checkpoint the knowledge of it is lost. */
static void test_no_checkpoint_and_a_trimmed_head(void **state)
{
    struct unit *u = *state;
    make(u, false);
    unit_unlink(u, "checkpoint");
    unit_unlink(u, FIRST ".zst");
    unit_open(u);
    struct tlog_bounds bounds = unit_bounds(unit_get(u, "t", 0));
    assert_false(bounds.damaged);
    assert_int_equal(bounds.start, SEGMENT);
    assert_int_equal(bounds.start_seq, 40);
    assert_int_equal(bounds.end, LINES * LINE);
    assert_int_equal(bounds.end_seq, LINES);
    char *text = unit_lines_text(40, 60, LINE);
    unit_assert_text(unit_get(u, "t", 0), text);
    free(text);
    assert_verifies(u);
}

static void test_half_of_the_raw_files(void **state)
{
    static const char *const halves[] = {FIRST ".log", FIRST ".idx"};
    for (unsigned i = 0; i < 2; i++) {
        struct unit *u = *state;
        make(u, true);
        unit_unlink(u, halves[i]);
        unit_open(u);
        assert_false(unit_exists(u, FIRST ".log"));
        assert_false(unit_exists(u, FIRST ".idx"));
        assert_true(unit_exists(u, SECOND ".log"));
        assert_whole(u);
        assert_verifies(u);
        unit_teardown(state);
        unit_setup_sim(state);
    }
}

static void test_what_was_not_made_to_its_end_is_removed(void **state)
{
    struct unit *u = *state;
    make(u, true);
    unit_put(u, THIRD ".zst.new", 0, "half", 4);
    unit_put(u, DIR "attr.new", 0, "mode", 4);
    unit_open(u);
    assert_false(unit_exists(u, THIRD ".zst.new"));
    assert_false(unit_exists(u, DIR "attr.new"));
    assert_whole(u);
}

static void test_a_torn_one_beside_raw_files(void **state)
{
    struct unit *u = *state;
    make(u, true);
    unit_truncate(u, FIRST ".zst", 100);
    unit_copy_store(u);
    unit_open(u);
    assert_noted(u, "t/0: 00000000000000000000.zst: its end is missing or damaged; the segment's raw files are there, "
                    "the sealed one was put aside as 00000000000000000000.zst.cut");
    assert_false(unit_exists(u, FIRST ".zst"));
    assert_int_equal(unit_size(u, FIRST ".zst.cut"), 100);
    assert_whole(u);
    assert_verifies(u);
}

static void test_a_torn_one_alone(void **state)
{
    struct unit *u = *state;
    make(u, false);
    unit_truncate(u, FIRST ".zst", 100);
    unit_copy_store(u);
    unit_open(u);
    assert_noted(u, "t/0: 00000000000000000000.zst: its end is missing or damaged");
    struct tlog_partition *p = unit_get(u, "t", 0);
    assert_true(unit_bounds(p).damaged);
    char bytes[LINE];
    assert_true(tlog_partition_read(p, 0, bytes, sizeof bytes) < 0);
    assert_int_equal(unit_append(p, "refused\n"), -EROFS);
    char *text = unit_lines_text(40, 60, LINE), *rest = malloc(6000);
    assert_int_equal(tlog_partition_read(p, SEGMENT, rest, 6000), 6000);
    assert_memory_equal(rest, text, 6000);
    free(text);
    free(rest);
    unit_reopen(u); /* it is found again */
    assert_true(unit_bounds(unit_get(u, "t", 0)).damaged);
}

/* The active segment was not copied: the log goes on behind the sealed one. */
static void test_the_last_one_is_sealed(void **state)
{
    struct unit *u = *state;
    make(u, false);
    unit_unlink(u, THIRD ".log");
    unit_unlink(u, THIRD ".idx");
    unit_copy_store(u);
    unit_open(u);
    struct tlog_partition *p = unit_get(u, "t", 0);
    assert_int_equal(unit_bounds(p).end, 8000);
    assert_int_equal(unit_bounds(p).end_seq, 80);
    char *text = unit_lines_text(0, 80, LINE);
    unit_assert_text(p, text);
    free(text);
    unit_lines(p, 80, 20, LINE);
    assert_int_equal(tlog_partition_sync_wait(p), 0);
    unit_power_cut(u, 3);
    unit_open(u);
    assert_whole(u);
    assert_verifies(u);
}

static void test_a_copy_looked_at_whose_last_one_is_sealed(void **state)
{
    struct unit *u = *state;
    make(u, false);
    unit_unlink(u, THIRD ".log");
    unit_unlink(u, THIRD ".idx");
    unit_copy_store(u);
    u->options.read_only = true;
    unit_open(u);
    assert_int_equal(unit_bounds(unit_get(u, "t", 0)).end, 8000);
    char *text = unit_lines_text(0, 80, LINE);
    unit_assert_text(unit_get(u, "t", 0), text);
    free(text);
    unit_close(u);
    assert_false(unit_exists(u, THIRD ".log"));
    assert_string_equal(unit_verify(u), "");
}

/* Raw files that were copied while they grew, and the sealed one copied later. */
static void test_a_copy_with_young_raw_files(void **state)
{
    struct unit *u = *state;
    make(u, true);
    unit_truncate(u, SECOND ".log", 2000);
    unit_truncate(u, SECOND ".idx", 64 + 2 * 64);
    unit_copy_store(u);
    unit_open(u);
    assert_noted(u, "t/0: the raw files of segment 4000 are not whole, its sealed file is");
    assert_false(unit_exists(u, SECOND ".log"));
    assert_whole(u);
    assert_verifies(u);
}

static void test_holes(void **state)
{
    struct unit *u = *state;
    make(u, false);
    unit_unlink(u, SECOND ".zst"); /* in the same boot, too, behind the checkpoint's back */
    unit_open(u);
    assert_noted(u, "t/0: bytes are missing from 4000 on: a hole between segments");
    assert_true(unit_bounds(unit_get(u, "t", 0)).damaged);
    char *text = unit_lines_text(0, 40, LINE), bytes[SEGMENT];
    assert_int_equal(tlog_partition_read(unit_get(u, "t", 0), 0, bytes, sizeof bytes), sizeof bytes);
    assert_memory_equal(bytes, text, sizeof bytes);
    free(text);
    unit_close(u);
    assert_non_null(strstr(unit_verify(u), "bytes from 4000 to 8000 are missing before it"));
    unit_copy_store(u);
    u->notes[0] = 0;
    unit_open(u);
    assert_noted(u, "t/0: bytes are missing from 4000 on: a hole between segments");
    assert_true(unit_bounds(unit_get(u, "t", 0)).damaged);
}

/* A line that ended long ago, in what is sealed by now, is not appended again. */
static void test_a_rest_that_ended_in_a_sealed_segment(void **state)
{
    struct unit *u = *state;
    unit_open(u);
    struct tlog_partition *p = unit_partition(u, "t", 0), *other = unit_partition(u, "o", 0);
    unit_config(u, "t", "segment.bytes=4000");
    struct tlog_writer *kept = unit_writer(u, other), *writer = unit_writer(u, p);
    assert_int_equal(unit_write(kept, "kept"), 4); /* the journal stays long for its sake */
    assert_int_equal(unit_write(writer, "half"), 4);
    unit_lines(p, 0, 10, LINE);
    unit_writer_close(u, writer);
    unit_lines(p, 10, 50, LINE);
    assert_int_equal(tlog_store_sync(u->store), 0);
    uint64_t end = unit_bounds(p).end;
    unit_kill(u);
    unit_seal(u, DIR, 0, false);
    unit_open(u);
    assert_int_equal(unit_bounds(unit_get(u, "t", 0)).end, end);
    unit_assert_text(unit_get(u, "o", 0), "kept\n");
}

/* The oldest sealed segment was trimmed; nobody looks for it. */
static void test_a_trim_and_a_clean_start(void **state)
{
    struct unit *u = *state;
    make(u, false);
    unit_open(u);
    uint64_t start;
    assert_int_equal(tlog_partition_trim(unit_get(u, "t", 0), SEGMENT + 10, &start), 0);
    assert_int_equal(start, SEGMENT);
    unit_reopen(u);
    struct tlog_bounds bounds = unit_bounds(unit_get(u, "t", 0));
    assert_int_equal(bounds.start, SEGMENT);
    assert_int_equal(bounds.start_seq, 40);
    assert_false(bounds.damaged);
    char *text = unit_lines_text(40, 60, LINE);
    unit_assert_text(unit_get(u, "t", 0), text);
    free(text);
    unit_close(u);
    unit_copy_store(u);
    unit_open(u);
    bounds = unit_bounds(unit_get(u, "t", 0));
    assert_int_equal(bounds.start, SEGMENT);
    assert_int_equal(bounds.start_seq, 40);
    assert_verifies(u);
}

/* A copy that was made while the head was trimmed: an index is left of what went. */
static void test_a_lone_index_before_the_rest(void **state)
{
    struct unit *u = *state;
    make(u, true);
    unit_unlink(u, FIRST ".zst");
    unit_unlink(u, FIRST ".log");
    unit_copy_store(u);
    assert_string_equal(unit_verify(u), "");
    unit_open(u);
    assert_false(unit_exists(u, FIRST ".idx"));
    struct tlog_bounds bounds = unit_bounds(unit_get(u, "t", 0));
    assert_false(bounds.damaged);
    assert_int_equal(bounds.start, SEGMENT);
    assert_int_equal(bounds.start_seq, 40);
    assert_verifies(u);
}

/* A copy whose names were read while the last segment was made: a .log, and no .idx yet. */
static void test_a_copy_without_the_last_index(void **state)
{
    for (int raw = 0; raw < 2; raw++) {
        struct unit *u = *state;
        unit_open(u);
        struct tlog_partition *p = unit_partition(u, "t", 0);
        unit_config(u, "t", raw ? "segment.bytes=4000\nmessage.format=raw\n" : "segment.bytes=4000\n");
        unit_lines(p, 0, 40, LINE);
        assert_int_equal(tlog_store_sync(u->store), 0); /* what the checkpoint knows */
        size_t bytes;
        char *checkpoint = unit_file(u, "checkpoint", &bytes);
        unit_lines(p, 40, 10, LINE);
        unit_close(u);
        unit_unlink(u, SECOND ".idx");
        unit_put(u, "checkpoint", 0, checkpoint, bytes);
        free(checkpoint);
        unit_copy_store(u);
        assert_string_equal(unit_verify(u), "");
        assert_int_equal(unit_verified.damages, 0);
        unit_open(u);
        struct tlog_bounds bounds = unit_bounds(unit_get(u, "t", 0));
        assert_false(bounds.damaged);
        assert_int_equal(bounds.end_seq, raw ? 40 : 50); /* records of a raw topic cannot be told apart without it */
        assert_int_equal(unit_exists(u, SECOND ".cut"), raw);
        assert_verifies(u);
        if (raw == 0) {
            unit_teardown(state);
            unit_setup_sim(state);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        UNIT_SIM(test_sealed_and_raw),
        UNIT_SIM(test_a_clean_start_opens_no_sealed_file),
        UNIT_SIM(test_another_boot),
        UNIT_SIM(test_no_checkpoint),
        UNIT_SIM(test_no_checkpoint_and_a_trimmed_head),
        UNIT_SIM(test_half_of_the_raw_files),
        UNIT_SIM(test_what_was_not_made_to_its_end_is_removed),
        UNIT_SIM(test_a_torn_one_beside_raw_files),
        UNIT_SIM(test_a_torn_one_alone),
        UNIT_SIM(test_the_last_one_is_sealed),
        UNIT_SIM(test_a_copy_looked_at_whose_last_one_is_sealed),
        UNIT_SIM(test_a_copy_with_young_raw_files),
        UNIT_SIM(test_holes),
        UNIT_SIM(test_a_rest_that_ended_in_a_sealed_segment),
        UNIT_SIM(test_a_trim_and_a_clean_start),
        UNIT_SIM(test_a_lone_index_before_the_rest),
        UNIT_SIM(test_a_copy_without_the_last_index),
        UNIT_REAL(test_a_torn_one_beside_raw_files),
        UNIT_REAL(test_a_copy_looked_at_whose_last_one_is_sealed),
    };
    return cmocka_run_group_tests_name("recover_sealed", tests, NULL, NULL);
}
