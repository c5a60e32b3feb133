/* Verification of sealed segments: each kind of damage is found and named, and what lies beside it still read. */
#include "unit.h"

#define DIR    "topics/t/0/"
#define FIRST  DIR "00000000000000000000"
#define SECOND DIR "00000000000001000000"
#define THIRD  DIR "00000000000002000000"

enum { LINE = 1000, LINES = 2500, SEGMENT = 1000000 };

/* Three segments, of four frames the first two, both sealed, the second with its raw files. */
static void make(struct unit *u)
{
    unit_open(u);
    struct tlog_partition *p = unit_partition(u, "t", 0);
    unit_config(u, "t", "segment.bytes=1000000");
    for (unsigned i = 0; i < LINES; i += 50) {
        unit_lines(p, i, 50, LINE);
        assert_int_equal(tlog_partition_sync_wait(p), 0);
    }
    unit_close(u);
    unit_seal(u, DIR, 0, false);
    unit_seal(u, DIR, SEGMENT, true);
}

static void assert_told(struct unit *u, const char *sentence)
{
    const char *sentences = unit_verify(u);
    if (!strstr(sentences, sentence))
        fail_msg("\"%s\" is not in \"%s\"", sentence, sentences);
}

static void test_a_sound_store(void **state)
{
    struct unit *u = *state;
    make(u);
    assert_string_equal(unit_verify(u), "");
    assert_int_equal(unit_verified.segments, 3);
    assert_int_equal(unit_verified.records, LINES);
    assert_int_equal(unit_verified.bytes, LINES * LINE);
    assert_int_equal(unit_verified.damages, 0);
}

static void test_a_damaged_frame_is_named_and_the_next_read(void **state)
{
    struct unit *u = *state;
    make(u);
    size_t bytes;
    char *whole = unit_file(u, FIRST ".zst", &bytes);
    free(whole);
    unit_flip(u, FIRST ".zst", 60); /* in the first frame, behind its header */
    assert_told(u, "t/0/00000000000000000000.zst: frame 0 (positions 0 to 262144): damaged\n");
    assert_int_equal(unit_verified.damages, 1);
    /* three frames of four are good, but for the entry that begins in the damaged one */
    uint64_t lost = (uint64_t)LINES * LINE - unit_verified.bytes;
    assert_true(lost >= 262144 && lost < 262144 + 10000);
}

static void test_every_flipped_byte_is_found(void **state)
{
    struct unit *u = *state;
    make(u);
    uint64_t bytes = unit_size(u, FIRST ".zst");
    for (uint64_t foff = 0; foff < bytes; foff += foff + 4096 < bytes ? 511 : 61) {
        unit_flip(u, FIRST ".zst", foff);
        const char *sentences = unit_verify(u);
        if (unit_verified.damages == 0 || !strstr(sentences, "t/0/00000000000000000000.zst: "))
            fail_msg("foff %" PRIu64 " of %" PRIu64 ": %s", foff, bytes, sentences);
        unit_flip(u, FIRST ".zst", foff);
    }
    assert_string_equal(unit_verify(u), "");
}

static void test_a_torn_file(void **state)
{
    struct unit *u = *state;
    make(u);
    uint64_t bytes = unit_size(u, FIRST ".zst");
    unit_truncate(u, FIRST ".zst", bytes - 1);
    assert_told(u, "t/0/00000000000000000000.zst: its end is missing or damaged");
    unit_truncate(u, FIRST ".zst", 0);
    assert_told(u, "t/0/00000000000000000000.zst: too short for a sealed file");
}

static void test_neighbours(void **state)
{
    struct unit *u = *state;
    make(u);
    size_t first_bytes, second_bytes;
    char *first = unit_file(u, FIRST ".zst", &first_bytes), *second = unit_file(u, SECOND ".zst", &second_bytes);
    unit_put(u, SECOND ".zst", 0, first, first_bytes);
    unit_truncate(u, SECOND ".zst", first_bytes);
    assert_told(u, "t/0/00000000000001000000.zst: belongs to position 0");
    unit_put(u, SECOND ".zst", 0, second, second_bytes);
    unit_truncate(u, SECOND ".zst", second_bytes);
    assert_string_equal(unit_verify(u), "");
    /* a hole: the second gone in both forms */
    unit_unlink(u, SECOND ".zst");
    unit_unlink(u, SECOND ".log");
    unit_unlink(u, SECOND ".idx");
    assert_told(u, "t/0/00000000000002000000.log: bytes from 1000000 to 2000000 are missing before it");
    assert_int_equal(unit_verified.damages, 1);
    free(first);
    free(second);
}

/* Another log's sealed segment at the same place, whole in itself. */
static void test_a_segment_of_another_history(void **state)
{
    struct unit *u = *state;
    make(u);
    unit_open(u);
    struct tlog_partition *p = unit_partition(u, "t", 1);
    for (unsigned i = 0; i < LINES; i += 50) {
        unit_lines(p, i + 1, 50, LINE);
        assert_int_equal(tlog_partition_sync_wait(p), 0);
    }
    unit_close(u);
    unit_seal(u, "topics/t/1/", SEGMENT, true);
    size_t bytes;
    char *other = unit_file(u, "topics/t/1/00000000000001000000.zst", &bytes);
    unit_put(u, SECOND ".zst", 0, other, bytes);
    unit_truncate(u, SECOND ".zst", bytes);
    assert_told(u, "t/0/00000000000001000000.zst: does not go on from the segment before it");
    assert_told(u, "t/0/00000000000001000000.zst: is not the same as its raw files");
    free(other);
}

static void test_both_forms_are_verified(void **state)
{
    struct unit *u = *state;
    make(u);
    unit_flip(u, SECOND ".log", 500000);
    assert_told(u, "t/0/00000000000001000000.idx: entry 100 (position 1500000): bad chain");
    assert_int_equal(unit_verified.damages, 1);
    unit_flip(u, SECOND ".log", 500000);
    unit_flip(u, SECOND ".zst", 60);
    assert_told(u, "t/0/00000000000001000000.zst: frame 0 (positions 1000000 to 1262144): damaged");
    assert_int_equal(unit_verified.damages, 1);
    assert_int_equal(unit_verified.bytes, LINES * LINE); /* the raw files have it */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        UNIT_SIM(test_a_sound_store),
        UNIT_SIM(test_a_damaged_frame_is_named_and_the_next_read),
        UNIT_SIM(test_every_flipped_byte_is_found),
        UNIT_SIM(test_a_torn_file),
        UNIT_SIM(test_neighbours),
        UNIT_SIM(test_a_segment_of_another_history),
        UNIT_SIM(test_both_forms_are_verified),
        UNIT_REAL(test_a_sound_store),
        UNIT_REAL(test_neighbours),
        UNIT_REAL(test_both_forms_are_verified),
        UNIT_REAL(test_a_damaged_frame_is_named_and_the_next_read),
    };
    return cmocka_run_group_tests_name("verify_sealed", tests, NULL, NULL);
}
