/* The parser and table of topic keys, and the sentences it says. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "log/config.h"
#include "log/error.h"

static int64_t value_of(const char *text, enum tlog_key key)
{
    struct tlog_config config = {.set = 0};
    struct tlog_error error = {""};

    if (tlog_config_parse(text, strlen(text), &config, &error) != 0)
        fail_msg("%s: %s", text, error.text);
    assert_int_equal(config.set, 1u << key);
    assert_true(tlog_config_has(&config, key));
    return config.values[key];
}

static void assert_refused(const char *text, const char *sentence)
{
    struct tlog_config config = {.set = 0}, before = config;
    struct tlog_error error = {""};

    assert_int_equal(tlog_config_parse(text, strlen(text), &config, &error), -EINVAL);
    assert_string_equal(error.text, sentence);
    assert_memory_equal(&config, &before, sizeof(config));
    assert_int_equal(tlog_config_check(text, NULL), -EINVAL);
}

static void test_every_key_has_a_name_and_a_default_it_accepts(void **state)
{
    (void)state;
    for (enum tlog_key key = 0; key < TLOG_KEYS; key++) {
        char value[32], line[128];
        assert_non_null(tlog_key_name(key));
        snprintf(line, sizeof(line), "%s=%s", tlog_key_name(key), tlog_key_format(key, tlog_key_default(key), value));
        assert_int_equal(value_of(line, key), tlog_key_default(key));
    }
    assert_null(tlog_key_name(TLOG_KEYS));
}

static void test_sizes(void **state)
{
    (void)state;
    assert_int_equal(value_of("segment.bytes=1048576", TLOG_SEGMENT_BYTES), 1 << 20);
    assert_int_equal(value_of("segment.bytes=2048B", TLOG_SEGMENT_BYTES), 2048);
    assert_int_equal(value_of("segment.bytes=3KiB", TLOG_SEGMENT_BYTES), 3 << 10);
    assert_int_equal(value_of("segment.bytes=3K", TLOG_SEGMENT_BYTES), 3 << 10);
    assert_int_equal(value_of("segment.bytes=64MiB", TLOG_SEGMENT_BYTES), 64 << 20);
    assert_int_equal(value_of("segment.bytes=64M", TLOG_SEGMENT_BYTES), 64 << 20);
    assert_int_equal(value_of("segment.bytes=2GiB", TLOG_SEGMENT_BYTES), INT64_C(2) << 30);
    assert_int_equal(value_of("segment.bytes=2G", TLOG_SEGMENT_BYTES), INT64_C(2) << 30);
    assert_int_equal(value_of("segment.bytes=1TiB", TLOG_SEGMENT_BYTES), INT64_C(1) << 40);
    assert_int_equal(value_of("segment.bytes=1T", TLOG_SEGMENT_BYTES), INT64_C(1) << 40);
    assert_int_equal(value_of("quota.bytes=0", TLOG_QUOTA_BYTES), 0);
    assert_int_equal(value_of("quota.bytes=-1", TLOG_QUOTA_BYTES), -1);
    assert_int_equal(value_of("quota.bytes=9223372036854775807", TLOG_QUOTA_BYTES), INT64_MAX);
    assert_int_equal(value_of("max.message.bytes=1B", TLOG_MAX_MESSAGE_BYTES), 1);
}

static void test_times(void **state)
{
    (void)state;
    assert_int_equal(value_of("segment.ms=1500", TLOG_SEGMENT_MS), 1500);
    assert_int_equal(value_of("segment.ms=1500ms", TLOG_SEGMENT_MS), 1500);
    assert_int_equal(value_of("segment.ms=2s", TLOG_SEGMENT_MS), 2000);
    assert_int_equal(value_of("segment.ms=3m", TLOG_SEGMENT_MS), 180000);
    assert_int_equal(value_of("segment.ms=4h", TLOG_SEGMENT_MS), 14400000);
    assert_int_equal(value_of("segment.ms=5d", TLOG_SEGMENT_MS), 432000000);
    assert_int_equal(value_of("segment.ms=6w", TLOG_SEGMENT_MS), INT64_C(3628800000));
    assert_int_equal(value_of("segment.ms=-1", TLOG_SEGMENT_MS), -1);
}

static void test_choices(void **state)
{
    (void)state;
    assert_int_equal(value_of("message.format=raw", TLOG_MESSAGE_FORMAT), TLOG_FORMAT_RAW);
    assert_int_equal(value_of("message.format=lines", TLOG_MESSAGE_FORMAT), TLOG_FORMAT_LINES);
    assert_int_equal(value_of("open.truncate=refuse", TLOG_OPEN_TRUNCATE), TLOG_TRUNCATE_REFUSE);
    assert_int_equal(value_of("delete.enable=true", TLOG_DELETE_ENABLE), 1);
    assert_int_equal(value_of("delete.enable=false", TLOG_DELETE_ENABLE), 0);
}

static void test_layout_does_not_matter(void **state)
{
    struct tlog_config config = {.set = 0};
    const char *text = "# a comment, with = in it\n\n \t\r\n  partitions = 3 \r\n   # another\nsegment.ms=7 d";

    (void)state;
    assert_int_equal(tlog_config_parse(text, strlen(text), &config, NULL), 0);
    assert_int_equal(config.values[TLOG_PARTITIONS], 3);
    assert_int_equal(config.values[TLOG_SEGMENT_MS], 7 * 86400000);
    assert_int_equal(config.set, 1u << TLOG_PARTITIONS | 1u << TLOG_SEGMENT_MS);
    assert_int_equal(tlog_config_parse("", 0, &config, NULL), 0);
    assert_int_equal(config.values[TLOG_PARTITIONS], 3);
}

static void test_the_value_of_one_key(void **state)
{
    int64_t value = 5;

    (void)state;
    assert_int_equal(tlog_config_value("# x\nflush.ms=1s\nflush.ms=2s\n", TLOG_FLUSH_MS, &value), 1);
    assert_int_equal(value, 2000);
    assert_int_equal(tlog_config_value("flush.ms=1s", TLOG_SEGMENT_MS, &value), 0);
    assert_int_equal(tlog_config_value("flush.ms", TLOG_FLUSH_MS, &value), -EINVAL);
    assert_int_equal(value, 2000);
}

static void test_keys_are_added_and_the_last_wins(void **state)
{
    struct tlog_config config = {.set = 0};
    const char *first = "partitions=2\nquota.bytes=5\n", *second = "partitions=4\npartitions=6";

    (void)state;
    assert_int_equal(tlog_config_parse(first, strlen(first), &config, NULL), 0);
    assert_int_equal(tlog_config_parse(second, strlen(second), &config, NULL), 0);
    assert_int_equal(config.values[TLOG_PARTITIONS], 6);
    assert_int_equal(config.values[TLOG_QUOTA_BYTES], 5);
}

static void test_sentences(void **state)
{
    (void)state;
    assert_refused("\n# x\nretention.msx=1", "line 3: retention.msx: unknown key");
    assert_refused("=1", "line 1: : unknown key");
    assert_refused("Partitions=1", "line 1: Partitions: unknown key");
    assert_refused("partitions", "line 1: partitions: not key=value");
    assert_refused("partitions=", "line 1: partitions: no value");
    assert_refused("partitions=two", "line 1: partitions: two: not a number");
    assert_refused("partitions=2K", "line 1: partitions: 2K: unknown unit (none here)");
    assert_refused("partitions=1 2", "line 1: partitions: 1 2: unknown unit (none here)");
    assert_refused("segment.bytes=1kb", "line 1: segment.bytes: 1kb: unknown unit (B, KiB, MiB, GiB, TiB)");
    assert_refused("segment.ms=1y", "line 1: segment.ms: 1y: unknown unit (ms, s, m, h, d, w)");
    assert_refused("partitions=2\nsegment.bytes=12MiB3",
                   "line 2: segment.bytes: 12MiB3: unknown unit (B, KiB, MiB, GiB, TiB)");
    assert_refused("message.format=lime", "line 1: message.format: lime: not one of lines, raw");
    assert_refused("delete.enable=1", "line 1: delete.enable: 1: not one of false, true");
    assert_refused("partitions\x1b[2J=\n", "line 1: partitions?[2J: unknown key");
}

static void test_ranges(void **state)
{
    (void)state;
    assert_refused("partitions=0", "line 1: partitions: 0: out of range (1 to 100000)");
    assert_refused("partitions=100001", "line 1: partitions: 100001: out of range (1 to 100000)");
    assert_refused("partitions=-1", "line 1: partitions: -1: out of range (1 to 100000)");
    assert_refused("segment.bytes=1023", "line 1: segment.bytes: 1023: out of range (1KiB to 1TiB)");
    assert_refused("segment.bytes=2TiB", "line 1: segment.bytes: 2TiB: out of range (1KiB to 1TiB)");
    assert_refused("segment.ms=999", "line 1: segment.ms: 999: out of range (at least 1s, or -1)");
    assert_refused("segment.ms=-2", "line 1: segment.ms: -2: out of range (at least 1s, or -1)");
    assert_refused("segment.ms=9223372036855", "line 1: segment.ms: 9223372036855: out of range (at least 1s, or -1)");
    assert_refused("flush.ms=99", "line 1: flush.ms: 99: out of range (at least 100ms)");
    assert_refused("flush.bytes=65535", "line 1: flush.bytes: 65535: out of range (at least 64KiB)");
    assert_refused("quota.bytes=9223372036854775808",
                   "line 1: quota.bytes: 9223372036854775808: out of range (at least 0, or -1)");
    assert_refused("quota.bytes=18446744073709551617",
                   "line 1: quota.bytes: 18446744073709551617: out of range (at least 0, or -1)");
    assert_refused("quota.bytes=9007199254740993K",
                   "line 1: quota.bytes: 9007199254740993K: out of range (at least 0, or -1)");
    assert_refused("max.message.bytes=257M", "line 1: max.message.bytes: 257M: out of range (1 to 256MiB)");
}

static void test_nul_bytes_are_refused(void **state)
{
    static const char text[] = "partitions=2\n#\0\n";
    struct tlog_config config = {.set = 0};
    struct tlog_error error = {""};

    (void)state;
    assert_int_equal(tlog_config_parse(text, sizeof(text) - 1, &config, &error), -EINVAL);
    assert_string_equal(error.text, "line 2: a NUL byte");
    assert_int_equal(config.set, 0);
}

static void test_long_text_is_shortened_in_messages(void **state)
{
    char text[2000];
    struct tlog_error error = {""};

    (void)state;
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    assert_int_equal(tlog_config_check(text, &error), -EINVAL);
    assert_true(strlen(error.text) < 120);
    assert_non_null(strstr(error.text, "xxx...: not key=value"));
}

static void assert_merges(const char *old_text, const char *new_text, const char *expected)
{
    struct tlog_error error = {""};
    char *merged = NULL;

    assert_int_equal(tlog_config_merge(old_text, new_text, &merged, &error), 0);
    assert_string_equal(merged, expected);
    free(merged);
}

static void test_merge(void **state)
{
    (void)state;
    assert_merges("", "", "");
    assert_merges("", "partitions=2", "partitions=2\n");
    assert_merges("# why\npartitions=2\n\n# end\n", "partitions=3\n", "# why\npartitions=3\n\n# end\n");
    assert_merges("partitions=2", "quota.bytes=1K", "partitions=2\nquota.bytes=1K\n");
    assert_merges("a line that is none\n", "partitions=2", "a line that is none\npartitions=2\n");
    assert_merges("partitions=2\n", "# a note\n\nflush.ms=1s\npartitions=5\n# end",
                  "partitions=5\n# a note\nflush.ms=1s\n# end\n");
    assert_merges("# partitions=1\n", "partitions=2", "# partitions=1\npartitions=2\n");
}

static void test_merge_of_a_key_given_twice(void **state)
{
    (void)state;
    assert_merges("partitions=1\n# x\npartitions=2\n", "partitions=3", "partitions=1\n# x\npartitions=3\n");
    assert_merges("", "flush.ms=1s\n# x\nflush.ms=2s", "# x\nflush.ms=2s\n");
}

static void test_merge_refuses_what_does_not_parse(void **state)
{
    struct tlog_error error = {""};
    char *merged = NULL;

    (void)state;
    assert_int_equal(tlog_config_merge("partitions=1\n", "partitions=3\nnope=1", &merged, &error), -EINVAL);
    assert_string_equal(error.text, "line 2: nope: unknown key");
    assert_null(merged);
}

/* Random texts of likely and unlikely pieces. */
static void random_text(char *to, size_t room, unsigned *seed)
{
    static const char *const pieces[] = {
        "partitions=3",         "partitions = 4 ",
        "flush.ms=1s",          "flush.ms=200",
        "quota.bytes=-1",       "quota.bytes=1K",
        "segment.ms=7d",        "message.format=raw",
        "# partitions=9",       "#",
        "open.truncate=refuse", " \t",
        "delete.enable=true",   "max.message.bytes=64 KiB",
    };
    static const char *const wrong[] = {"partitions",   "=",   "flush.ms=", "x=1", "flush.ms=1 s m",
                                        "partitions=0", "\x01"};
    size_t used = 0;

    *to = '\0';
    for (int lines = rand_r(seed) % 12; lines > 0; lines--) {
        const char *piece = rand_r(seed) % 40 == 0 ? wrong[(size_t)rand_r(seed) % (sizeof(wrong) / sizeof(*wrong))]
                                                   : pieces[(size_t)rand_r(seed) % (sizeof(pieces) / sizeof(*pieces))];
        const char *end = lines == 1 && rand_r(seed) % 2 ? "" : rand_r(seed) % 5 == 0 ? "\r\n" : "\n";
        used += (size_t)snprintf(to + used, room - used, "%s%s", piece, end);
    }
}

static bool same(const struct tlog_config *a, const struct tlog_config *b)
{
    return a->set == b->set && memcmp(a->values, b->values, sizeof(a->values)) == 0;
}

/* Whatever the texts: merging gives what parsing one after the other gives, and a merged text parses. */
static void test_merging_is_parsing_one_after_the_other(void **state)
{
    (void)state;
    for (unsigned run = 0; run < 20000; run++) {
        struct tlog_config expected = {.set = 0}, got = {.set = 0};
        struct tlog_error error = {""};
        char before[1024], after[1024], *merged = NULL;
        unsigned seed = run;
        random_text(before, sizeof(before), &seed);
        random_text(after, sizeof(after), &seed);
        bool good = tlog_config_parse(before, strlen(before), &expected, NULL) == 0;
        struct tlog_config kept = expected;
        bool fits = tlog_config_parse(after, strlen(after), &expected, &error) == 0;
        if (!fits && (error.text[0] == '\0' || !same(&kept, &expected)))
            fail_msg("run %u: refused without a sentence, or with an effect", run);
        if (tlog_config_merge(before, after, &merged, NULL) != (fits ? 0 : -EINVAL))
            fail_msg("run %u: merge and parse disagree", run);
        if (good && fits && (tlog_config_parse(merged, strlen(merged), &got, &error) != 0 || !same(&got, &expected)))
            fail_msg("run %u: %s: merged into\n%s", run, error.text, merged);
        free(merged);
    }
}

static void test_format(void **state)
{
    char to[32];

    (void)state;
    assert_string_equal(tlog_key_format(TLOG_SEGMENT_BYTES, 256 << 20, to), "256MiB");
    assert_string_equal(tlog_key_format(TLOG_SEGMENT_BYTES, 1025, to), "1025");
    assert_string_equal(tlog_key_format(TLOG_SEGMENT_MS, 7 * 86400000, to), "7d");
    assert_string_equal(tlog_key_format(TLOG_SEGMENT_MS, 90000, to), "90s");
    assert_string_equal(tlog_key_format(TLOG_SEGMENT_MS, 1500, to), "1500ms");
    assert_string_equal(tlog_key_format(TLOG_SEGMENT_MS, -1, to), "-1");
    assert_string_equal(tlog_key_format(TLOG_QUOTA_BYTES, 0, to), "0");
    assert_string_equal(tlog_key_format(TLOG_PARTITIONS, 1024, to), "1024");
    assert_string_equal(tlog_key_format(TLOG_DELETE_ENABLE, 1, to), "true");
}

static void test_error_prefix(void **state)
{
    struct tlog_error error = {""};
    char expected[sizeof(error.text)];

    (void)state;
    tlog_error_prefix(&error, "topic %s", "orders");
    assert_string_equal(error.text, "topic orders");
    tlog_error_set(&error, "bad chain");
    tlog_error_prefix(&error, "entry %d", 17);
    assert_string_equal(error.text, "entry 17: bad chain");
    memset(expected, 'x', sizeof(expected));
    expected[sizeof(expected) - 1] = '\0';
    tlog_error_set(&error, "%s", expected);
    tlog_error_prefix(&error, "p");
    memcpy(expected, "p: ", 3);
    assert_string_equal(error.text, expected);
    tlog_error_set(NULL, "nobody asked");
    tlog_error_prefix(NULL, "nobody asked");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_key_has_a_name_and_a_default_it_accepts),
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_times),
        cmocka_unit_test(test_choices),
        cmocka_unit_test(test_layout_does_not_matter),
        cmocka_unit_test(test_the_value_of_one_key),
        cmocka_unit_test(test_keys_are_added_and_the_last_wins),
        cmocka_unit_test(test_sentences),
        cmocka_unit_test(test_ranges),
        cmocka_unit_test(test_nul_bytes_are_refused),
        cmocka_unit_test(test_long_text_is_shortened_in_messages),
        cmocka_unit_test(test_merge),
        cmocka_unit_test(test_merge_of_a_key_given_twice),
        cmocka_unit_test(test_merge_refuses_what_does_not_parse),
        cmocka_unit_test(test_merging_is_parsing_one_after_the_other),
        cmocka_unit_test(test_format),
        cmocka_unit_test(test_error_prefix),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
