/* Verification: each kind of damage is found and named, and nothing else is called damage. */
#include "unit.h"

#define DIR    "topics/t/0/"
#define FIRST  DIR "00000000000000000000"
#define SECOND DIR "00000000000000004000"
#define THIRD  DIR "00000000000000008000"

/* Three segments of 40 lines, the last of 20: entries of 41 lines at most, so one or two each. */
static void make(struct unit *u)
{
    unit_open(u);
    struct tlog_partition *p = unit_partition(u, "t", 0);
    unit_config(u, "t", "segment.bytes=4000");
    for (unsigned i = 0; i < 10; i++) {
        unit_lines(p, i * 10, 10, 100);
        assert_int_equal(tlog_partition_sync_wait(p), 0); /* an entry of ten lines */
    }
    unit_close(u);
}

static void test_a_sound_store(void **state)
{
    struct unit *u = *state;
    make(u);
    assert_string_equal(unit_verify(u), "");
    assert_int_equal(unit_verified.topics, 1);
    assert_int_equal(unit_verified.partitions, 1);
    assert_int_equal(unit_verified.segments, 3);
    assert_int_equal(unit_verified.entries, 10);
    assert_int_equal(unit_verified.records, 100);
    assert_int_equal(unit_verified.bytes, 10000);
    assert_int_equal(unit_verified.unindexed_bytes, 0);
    assert_int_equal(unit_verified.torn_bytes, 0);
    assert_int_equal(unit_verified.damages, 0);
}

struct one {
    const char *file;
    uint64_t foff;
    const char *sentence;
};

static void test_every_flipped_byte_is_found(void **state)
{
    struct unit *u = *state;
    static const struct one ones[] = {
        {FIRST ".log", 0, "t/0/00000000000000000000.idx: entry 0 (position 0): bad chain"},
        {FIRST ".log", 1500, "t/0/00000000000000000000.idx: entry 1 (position 1000): bad chain"},
        {FIRST ".log", 3999, "t/0/00000000000000000000.idx: entry 3 (position 3000): bad chain"},
        {SECOND ".log", 2000, "t/0/00000000000000004000.idx: entry 2 (position 6000): bad chain"},
        {THIRD ".log", 5, "t/0/00000000000000008000.idx: entry 0 (position 8000): bad chain"},
        {THIRD ".log", 1999, "t/0/00000000000000008000.idx: entry 1 (position 9000): bad chain"},
        {FIRST ".idx", 0, "t/0/00000000000000000000.idx: bad index header"},
        {FIRST ".idx", 8, "t/0/00000000000000000000.idx: bad index header"},
        {SECOND ".idx", 40, "t/0/00000000000000004000.idx: bad index header"},
        {THIRD ".idx", 63, "t/0/00000000000000008000.idx: bad index header"},
        {SECOND ".idx", 64, "t/0/00000000000000004000.idx: entry 0 (position 4000): does not follow the entry before"},
        {SECOND ".idx", 64 + 8, "t/0/00000000000000004000.idx: entry 0 (position 4000): bad fields"},
        {SECOND ".idx", 64 + 16, "entry 0 (position 4000): bad chain"},  /* its time */
        {SECOND ".idx", 64 + 28, "entry 0 (position 4000): bad chain"},  /* its records */
        {SECOND ".idx", 64 + 32, "entry 0 (position 4000): bad chain"},  /* its epoch */
        {SECOND ".idx", 64 + 36, "entry 0 (position 4000): bad fields"}, /* an unknown flag */
        {SECOND ".idx", 64 + 40, "entry 0 (position 4000): bad chain"},
        {SECOND ".idx", 64 + 52, "entry 0 (position 4000): bad chain"},
        {SECOND ".idx", 64 + 60, "entry 0 (position 4000): bad chain"},
    };
    make(u);
    for (unsigned i = 0; i < sizeof ones / sizeof *ones; i++) {
        unit_flip(u, ones[i].file, ones[i].foff);
        const char *sentences = unit_verify(u);
        if (!strstr(sentences, ones[i].sentence))
            fail_msg("%s at %" PRIu64 ": %s", ones[i].file, ones[i].foff, sentences);
        assert_true(unit_verified.damages > 0);
        unit_flip(u, ones[i].file, ones[i].foff);
    }
    assert_string_equal(unit_verify(u), "");
    for (uint64_t foff = 0; foff < 2000; foff += 7) { /* wherever it is */
        unit_flip(u, THIRD ".log", foff);
        unit_verify(u);
        assert_true(unit_verified.damages > 0);
        unit_flip(u, THIRD ".log", foff);
    }
    for (uint64_t foff = 0; foff < 64 * 3; foff += 5) {
        unit_flip(u, THIRD ".idx", foff);
        unit_verify(u);
        if (unit_verified.damages == 0)
            fail_msg("foff %" PRIu64, foff);
        unit_flip(u, THIRD ".idx", foff);
    }
}

static void test_one_bad_entry_does_not_hide_the_next(void **state)
{
    struct unit *u = *state;
    make(u);
    unit_flip(u, FIRST ".log", 100);
    unit_flip(u, FIRST ".log", 3100);
    unit_flip(u, THIRD ".log", 100);
    const char *sentences = unit_verify(u);
    assert_int_equal(unit_verified.damages, 3);
    assert_non_null(strstr(sentences, "entry 0 (position 0)"));
    assert_non_null(strstr(sentences, "entry 3 (position 3000)"));
    assert_non_null(strstr(sentences, "entry 0 (position 8000)"));
    assert_int_equal(unit_verified.bytes, 7000); /* what was good */
}

static void test_missing_and_foreign_files(void **state)
{
    struct unit *u = *state;
    make(u);
    static const char *const files[] = {FIRST ".log", FIRST ".idx", SECOND ".log", SECOND ".idx"};
    for (unsigned i = 0; i < 4; i++) {
        size_t bytes;
        char *data = unit_file(u, files[i], &bytes), sentence[128];
        unit_unlink(u, files[i]);
        const char *sentences = unit_verify(u);
        snprintf(sentence, sizeof sentence, "t/0/%s: missing", files[i] + strlen(DIR));
        if (!strstr(sentences, sentence))
            fail_msg("%s: %s", sentence, sentences);
        unit_put(u, files[i], 0, data, bytes);
        free(data);
    }
    assert_string_equal(unit_verify(u), "");
    /* a segment gone altogether */
    size_t log_bytes, idx_bytes;
    char *log = unit_file(u, SECOND ".log", &log_bytes), *idx = unit_file(u, SECOND ".idx", &idx_bytes);
    unit_unlink(u, SECOND ".log");
    unit_unlink(u, SECOND ".idx");
    assert_non_null(
        strstr(unit_verify(u), "t/0/00000000000000008000.log: bytes from 4000 to 8000 are missing before it"));
    /* another segment in its place */
    unit_put(u, SECOND ".log", 0, log, log_bytes);
    free(idx);
    idx = unit_file(u, FIRST ".idx", &idx_bytes);
    unit_put(u, SECOND ".idx", 0, idx, idx_bytes);
    assert_non_null(strstr(unit_verify(u), "t/0/00000000000000004000.idx: index belongs to position 0"));
    free(idx);
    free(log);
}

static void test_another_topics_files(void **state)
{
    struct unit *u = *state;
    make(u);
    unit_open(u);
    unit_lines(unit_partition(u, "other", 0), 0, 3, 100);
    unit_lines(unit_partition(u, "other", 1), 0, 3, 100);
    unit_close(u);
    size_t bytes;
    char *idx = unit_file(u, "topics/other/0/00000000000000000000.idx", &bytes);
    unit_put(u, "topics/other/1/00000000000000000000.idx", 0, idx, bytes);
    assert_non_null(strstr(unit_verify(u), "other/1/00000000000000000000.idx: belongs to another partition"));
    unit_put(u, FIRST ".idx", 0, idx, bytes);
    free(idx);
    assert_non_null(strstr(unit_verify(u), "t/0/00000000000000000000.idx: index belongs to another topic"));
}

static void test_bytes_too_many_or_too_few(void **state)
{
    struct unit *u = *state;
    make(u);
    unit_put(u, FIRST ".log", 4000, "more\n", 5);
    assert_non_null(strstr(unit_verify(u), "t/0/00000000000000000000.log: 5 bytes past its last entry"));
    unit_truncate(u, FIRST ".log", 3999);
    assert_non_null(strstr(unit_verify(u), "entry 3 (position 3000): its data is missing from the .log"));
    unit_truncate(u, FIRST ".log", 1000);
    unit_verify(u);
    assert_true(unit_verified.damages > 0);
}

static void test_tails_are_no_damage(void **state)
{
    struct unit *u = *state;
    make(u);
    unit_put(u, THIRD ".log", 2000, "whole\nlines\ntorn", 16);
    assert_string_equal(unit_verify(u), "");
    assert_int_equal(unit_verified.unindexed_bytes, 12);
    assert_int_equal(unit_verified.torn_bytes, 4);
    unit_put(u, THIRD ".idx", unit_size(u, THIRD ".idx"), "half an entry", 13);
    assert_string_equal(unit_verify(u), "");
    unit_open(u);
    unit_close(u);
    assert_string_equal(unit_verify(u), "");
    assert_int_equal(unit_verified.unindexed_bytes, 0);
    assert_int_equal(unit_verified.torn_bytes, 0);
    assert_int_equal(unit_verified.records, 102);
}

static void test_without_a_checkpoint(void **state)
{
    struct unit *u = *state;
    make(u);
    unit_unlink(u, "checkpoint");
    assert_string_equal(unit_verify(u), "");
    unit_flip(u, FIRST ".log", 100);
    assert_non_null(strstr(unit_verify(u), "entry 0 (position 0): bad chain"));
    unit_flip(u, FIRST ".log", 100);
    unit_flip(u, THIRD ".log", 100); /* a good entry follows */
    assert_non_null(strstr(unit_verify(u), "entry 0 (position 8000): bad chain"));
    unit_flip(u, THIRD ".log", 100);
    unit_put(u, "checkpoint", 0, "rubbish", 7);
    assert_string_equal(unit_verify(u), "checkpoint: damaged\n");
}

static void test_after_a_power_cut_what_was_synced_is_checked(void **state)
{
    struct unit *u = *state;
    make(u);
    unit_open(u);
    struct tlog_partition *p = unit_get(u, "t", 0);
    unit_lines(p, 100, 15, 100);
    unit_power_cut(u, 11);
    (void)unit_verify(u); /* whatever is left of the tail */
    assert_int_equal(unit_verified.damages, 0);
    simdisk_flip(u->disk, "/store/" THIRD ".log", 1500);
    assert_non_null(strstr(unit_verify(u), "entry 1 (position 9000): bad chain"));
    simdisk_flip(u->disk, "/store/" THIRD ".log", 1500);
    unit_open(u);
    unit_close(u);
    assert_string_equal(unit_verify(u), "");
}

static void count_damage(void *arg, const char *line)
{
    (void)line;
    ++*(unsigned *)arg;
}

static void test_one_topic_and_what_cannot_be_verified(void **state)
{
    struct unit *u = *state;
    struct tlog_options options = {.io = u->disk ? u->io : NULL, .read_only = true};
    struct tlog_verify out;
    unsigned damages = 0;
    make(u);
    unit_open(u);
    unit_append(unit_partition(u, "sound", 0), "line\n");
    unit_close(u);
    unit_flip(u, FIRST ".log", 7);
    assert_int_equal(tlog_verify_with(&options, u->path, "sound", count_damage, NULL, &damages, &out, &u->error), 0);
    assert_int_equal(out.topics, 1);
    assert_int_equal(damages, 0);
    assert_int_equal(tlog_verify_with(&options, u->path, "t", count_damage, NULL, &damages, &out, &u->error), 0);
    assert_int_equal(damages, 1);
    assert_int_equal(tlog_verify_with(&options, u->path, "none", NULL, NULL, NULL, &out, &u->error), -ENOENT);
    assert_string_equal(u->error.text, "none: no such topic");
    assert_int_equal(tlog_verify_with(&options, "/nowhere", NULL, NULL, NULL, NULL, &out, &u->error), -ENOENT);
    if (!u->disk) {
        unit_open(u);
        assert_int_equal(tlog_verify(u->path, NULL, NULL, NULL, NULL, &out, &u->error), -EWOULDBLOCK);
        assert_non_null(strstr(u->error.text, "another process has it open"));
    }
}

static void test_a_disk_that_cannot_be_read(void **state)
{
    struct unit *u = *state;
    struct tlog_options options = {.io = u->io, .read_only = true};
    struct tlog_verify out;
    make(u);
    simdisk_bad_range(u->disk, "/store/" FIRST ".log", 500, 600);
    assert_int_equal(tlog_verify_with(&options, u->path, NULL, NULL, NULL, NULL, &out, &u->error), -EIO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        UNIT_BOTH(test_a_sound_store),
        UNIT_SIM(test_every_flipped_byte_is_found),
        UNIT_BOTH(test_one_bad_entry_does_not_hide_the_next),
        UNIT_BOTH(test_missing_and_foreign_files),
        UNIT_SIM(test_another_topics_files),
        UNIT_SIM(test_bytes_too_many_or_too_few),
        UNIT_BOTH(test_tails_are_no_damage),
        UNIT_SIM(test_without_a_checkpoint),
        UNIT_SIM(test_after_a_power_cut_what_was_synced_is_checked),
        UNIT_BOTH(test_one_topic_and_what_cannot_be_verified),
        UNIT_SIM(test_a_disk_that_cannot_be_read),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
