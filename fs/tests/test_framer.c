/* The line framer: every rule of its header by a case of its own, then random writes against a plain model. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "framer.h"

enum { LOG_BYTES = 8 << 20 };

/* One open file and the log behind it. */
struct file {
    struct tfs_framer framer;
    size_t max_bytes;
    char *held;
    size_t held_bytes;
    char *log;
    size_t log_bytes, records;
};

static void setup(struct file *file, size_t max_bytes)
{
    static char held[LOG_BYTES],
        log[LOG_BYTES]; /* set up thousands of times: allocating them costs more than the test */
    *file = (struct file){.max_bytes = max_bytes, .held = held, .log = log};
}

static void to_log(struct file *file, const char *data, size_t bytes)
{
    assert_true(file->log_bytes + bytes <= LOG_BYTES);
    memcpy(file->log + file->log_bytes, data, bytes);
    file->log_bytes += bytes;
}

/* What the daemon does with a write, with a log that takes all. */
static long put_bytes(struct file *file, const char *data, size_t bytes)
{
    struct tfs_frame frame = tfs_framer_lines(&file->framer, data, bytes, file->held_bytes, file->max_bytes);
    long taken = frame.error;

    if (frame.forget)
        file->held_bytes = 0;
    if (frame.error == 0) {
        const char *from = data + frame.skip;
        size_t lines = 0;

        assert_true(frame.skip + frame.length <= bytes);
        assert_true(frame.whole <= frame.length);
        for (size_t i = 0; i < frame.whole; i++)
            lines += from[i] == '\n';
        assert_int_equal(lines, frame.records);
        if (frame.whole > 0) {
            assert_int_equal(from[frame.whole - 1], '\n');
            to_log(file, file->held, file->held_bytes);
            to_log(file, from, frame.whole);
            file->held_bytes = 0;
        }
        memcpy(file->held + file->held_bytes, from + frame.whole, frame.length - frame.whole);
        file->held_bytes += frame.length - frame.whole;
        assert_null(memchr(file->held, '\n', file->held_bytes));
        assert_true(file->held_bytes < file->max_bytes);
        file->records += frame.records;
        taken = (long)(frame.skip + frame.length);
    } else {
        assert_int_equal(frame.skip + frame.length + frame.whole + frame.records, 0);
    }
    tfs_framer_done(&file->framer, bytes, taken);
    return taken;
}

static long put(struct file *file, const char *text)
{
    return put_bytes(file, text, strlen(text));
}

static void assert_log(const struct file *file, const char *expected)
{
    assert_int_equal(file->log_bytes, strlen(expected));
    assert_memory_equal(file->log, expected, file->log_bytes);
}

static void appends_whole_lines_and_holds_the_rest(void **state)
{
    struct file file;

    (void)state;
    setup(&file, 100);
    assert_int_equal(put(&file, "one\ntwo\nthr"), 11);
    assert_log(&file, "one\ntwo\n");
    assert_int_equal(file.held_bytes, 3);
    assert_int_equal(put(&file, "e"), 1);
    assert_int_equal(put(&file, "e\n\nfour"), 7);
    assert_log(&file, "one\ntwo\nthree\n\n");
    assert_int_equal(file.records, 4);
}

static void takes_a_line_of_exactly_the_limit(void **state)
{
    struct file file;

    (void)state;
    setup(&file, 8);
    assert_int_equal(put(&file, "1234567\n"), 8);
    assert_int_equal(put(&file, "12345678\n"), -EMSGSIZE);
    assert_int_equal(put(&file, "1234567"), 7);
    assert_int_equal(put(&file, "\n"), 1);
    assert_log(&file, "1234567\n1234567\n");
}

static void a_rest_that_no_newline_can_save_is_refused_at_once(void **state)
{
    struct file file;

    (void)state;
    setup(&file, 8);
    assert_int_equal(put(&file, "12345678"), -EMSGSIZE);
    assert_int_equal(put(&file, "zzz\nnext\n"), 9);
    assert_log(&file, "next\n");
}

static void gives_a_short_count_for_lines_before_a_long_one(void **state)
{
    struct file file;

    (void)state;
    setup(&file, 8);
    assert_int_equal(put(&file, "a\nb\n123456789\nc\n"), 4);
    assert_log(&file, "a\nb\n");
    assert_int_equal(put(&file, "123456789\nc\n"), -EMSGSIZE);
    /* Nothing of that was taken: the next write begins a line. */
    assert_int_equal(put(&file, "c\n"), 2);
    assert_log(&file, "a\nb\nc\n");
}

static void drops_a_long_line_up_to_its_newline(void **state)
{
    struct file file;

    (void)state;
    setup(&file, 8);
    assert_int_equal(put(&file, "12345"), 5);
    assert_int_equal(put(&file, "6789"), -EMSGSIZE);
    assert_int_equal(file.held_bytes, 0);
    assert_int_equal(put(&file, "more"), 4);
    assert_int_equal(put(&file, "of it\nnew\nhalf"), 14);
    assert_int_equal(put(&file, "\n"), 1);
    assert_log(&file, "new\nhalf\n");
}

static void after_a_dropped_end_a_long_line_follows(void **state)
{
    struct file file;

    (void)state;
    setup(&file, 8);
    assert_int_equal(put(&file, "123456789"), -EMSGSIZE);
    assert_int_equal(put(&file, "end\n123456789\n"), 4);
    assert_int_equal(put(&file, "123456789\n"), -EMSGSIZE);
    assert_int_equal(put(&file, "ok\n"), 3);
    assert_log(&file, "ok\n");
}

static void a_refused_write_with_the_newline_ends_the_line(void **state)
{
    struct file file;

    (void)state;
    setup(&file, 8);
    assert_int_equal(put(&file, "12345"), 5);
    assert_int_equal(put(&file, "6789\nnext\n"), -EMSGSIZE);
    assert_int_equal(put(&file, "other\n"), 6);
    assert_log(&file, "other\n");
}

static void the_same_write_again_does_not_tear(void **state)
{
    struct file file;

    (void)state;
    setup(&file, 8);
    assert_int_equal(put(&file, "12345"), 5);
    assert_int_equal(put(&file, "6789\nnext\n"), -EMSGSIZE);
    assert_int_equal(put(&file, "6789\nnext\n"), 10);
    assert_log(&file, "next\n");
    /* Once only: a third one is lines like any other. */
    assert_int_equal(put(&file, "6789\nnext\n"), 10);
    assert_log(&file, "next\n6789\nnext\n");
}

static void a_long_line_begun_in_the_refused_write_stays_refused(void **state)
{
    struct file file;

    (void)state;
    setup(&file, 8);
    for (int i = 0; i < 3; i++)
        assert_int_equal(put(&file, "123456789\nx\n"), -EMSGSIZE);
    assert_log(&file, "");
}

/* A request just after a full-size one may be the second piece of one write(2), whose error the kernel keeps. */
static void an_error_that_may_not_have_been_told_is_told_again(void **state)
{
    struct file file;
    char *piece = malloc(TFS_REQUEST_BYTES);

    (void)state;
    assert_non_null(piece);
    memset(piece, 'x', TFS_REQUEST_BYTES);
    setup(&file, TFS_REQUEST_BYTES + 10);

    assert_int_equal(put_bytes(&file, piece, TFS_REQUEST_BYTES), TFS_REQUEST_BYTES);
    assert_int_equal(put(&file, "yyyyyyyyyyyyyyy"), -EMSGSIZE);
    assert_int_equal(put(&file, "yyyyyyyyyyyyyyy"), -EMSGSIZE); /* the caller came back with the same */
    assert_int_equal(put(&file, "yyyyyyyyyyyyyyy"), 15);        /* and then goes on */
    assert_int_equal(put(&file, "end\nok\n"), 7);
    assert_log(&file, "ok\n");

    assert_int_equal(put_bytes(&file, piece, TFS_REQUEST_BYTES), TFS_REQUEST_BYTES);
    assert_int_equal(put(&file, "yyyyyyyyyyyyyyy\nz\n"), -EMSGSIZE);
    assert_int_equal(put(&file, "yyyyyyyyyyyyyyy\nz\n"), -EMSGSIZE);
    assert_int_equal(put(&file, "yyyyyyyyyyyyyyy\nz\n"), 18);
    assert_log(&file, "ok\nz\n");

    /* Told, and the caller goes on elsewhere: not again. */
    assert_int_equal(put_bytes(&file, piece, TFS_REQUEST_BYTES), TFS_REQUEST_BYTES);
    assert_int_equal(put(&file, "yyyyyyyyyyyyyyy\nz\n"), -EMSGSIZE);
    assert_int_equal(put(&file, "other\n"), 6);
    assert_log(&file, "ok\nz\nother\n");
    free(piece);
}

static void finds_long_lines_in_large_writes(void **state)
{
    enum { MAX = 1000, BYTES = 10000 };
    struct file file;
    char *data = malloc(BYTES);

    (void)state;
    assert_non_null(data);
    for (size_t length = MAX - 2; length <= MAX + 2; length++)
        for (size_t at = 0; at < BYTES - MAX - 2; at += 37) {
            memset(data, 'x', BYTES);
            for (size_t i = 99; i < at; i += 100)
                data[i] = '\n';
            if (at > 0)
                data[at - 1] = '\n';
            data[at + length - 1] = '\n';
            for (size_t i = at + length; i < BYTES; i += 100)
                data[i] = '\n';
            data[BYTES - 1] = '\n';
            setup(&file, MAX);
            long taken = put_bytes(&file, data, BYTES);
            if (length <= MAX)
                assert_int_equal(taken, BYTES);
            else
                assert_int_equal(taken, at > 0 ? (long)at : -EMSGSIZE);
        }
    free(data);
}

static void a_limit_lowered_under_a_held_line_refuses_it(void **state)
{
    struct file file;

    (void)state;
    setup(&file, 100);
    assert_int_equal(put(&file, "123456789012345"), 15);
    file.max_bytes = 10;
    assert_int_equal(put(&file, "\nok\n"), -EMSGSIZE);
    assert_int_equal(file.held_bytes, 0);
    assert_int_equal(put(&file, "ok\n"), 3);
    assert_log(&file, "ok\n");
}

static void raw_takes_each_write_as_a_record(void **state)
{
    (void)state;
    struct tfs_frame frame = tfs_framer_raw(5, 5);
    assert_int_equal(frame.error, 0);
    assert_int_equal(frame.length, 5);
    assert_int_equal(frame.whole, 5);
    assert_int_equal(frame.records, 1);
    assert_int_equal(tfs_framer_raw(6, 5).error, -EMSGSIZE);
    assert_int_equal(tfs_framer_raw(TFS_REQUEST_BYTES, 1 << 28).error, 0);
    assert_int_equal(tfs_framer_raw(TFS_REQUEST_BYTES + 1, 1 << 28).error, -EMSGSIZE);
}

/* A writer that goes on as libc does: after a short count with the remainder, after an error either with the same
 * bytes once more or with what follows. Whole lines only, none over the limit, in order, none twice; a line is
 * missing only if it was too long, or if its writer gave up a write that held (part of) it. */
static void random_writes_leave_whole_lines_in_order(void **state)
{
    enum { ROUNDS = 3000, MAX = 64, INPUT = 4096 };

    (void)state;
    for (unsigned round = 0; round < ROUNDS; round++) {
        struct file file;
        char input[INPUT];
        size_t bytes = 0;
        unsigned line = 0;
        bool give_up = round % 2 == 1, gave_up = false;

        srand(round);
        while (bytes < INPUT - 200) {
            int pad = rand() % 10 == 0 ? rand() % 150 : rand() % 20;
            bytes += (size_t)sprintf(input + bytes, "<%u ", line++);
            memset(input + bytes, 'x', (size_t)pad);
            bytes += (size_t)pad;
            bytes += (size_t)sprintf(input + bytes, ">\n");
        }
        setup(&file, MAX);
        for (size_t at = 0; at < bytes;) {
            size_t want = 1 + (size_t)rand() % (rand() % 4 == 0 ? 300 : 30);
            long taken = 0;
            if (want > bytes - at)
                want = bytes - at;
            for (int tries = 0; tries < 3; tries++) {
                taken = put_bytes(&file, input + at, want);
                if (taken >= 0 || give_up)
                    break;
            }
            gave_up |= taken < 0 && give_up;
            if (taken < 0 && !give_up) {
                /* Refused for good: a line too long that begins here. Go on behind it. */
                const char *newline = memchr(input + at, '\n', want);
                assert_non_null(newline);
                want = (size_t)(newline - (input + at)) + 1;
            }
            at += taken < 0 ? want : (size_t)taken;
        }

        unsigned expected = 0, seen = 0;
        for (char *next, *from = file.log; from < file.log + file.log_bytes; from = next) {
            unsigned number;
            char *newline = memchr(from, '\n', (size_t)(file.log + file.log_bytes - from));
            assert_non_null(newline);
            next = newline + 1;
            *newline = 0; /* the log is no string, and sscanf wants one */
            if (next - from > MAX)
                fail_msg("round %u: a line of %td bytes", round, next - from);
            if (from[0] != '<' || newline[-1] != '>' || sscanf(from, "<%u", &number) != 1) {
                /* Only a writer that gives up a write with a newline in it can begin in the middle of a line. */
                if (!give_up)
                    fail_msg("round %u: torn: %.*s", round, (int)(newline - from), from);
                continue;
            }
            if (number < expected)
                fail_msg("round %u: line %u after line %u", round, number, expected);
            expected = number + 1;
            seen++;
        }
        assert_int_equal(seen > 0, 1);
        if (!gave_up) {
            char *end, *from = input;
            unsigned short_lines = 0;
            for (; (end = memchr(from, '\n', (size_t)(input + bytes - from))) != NULL; from = end + 1)
                short_lines += end + 1 - from <= MAX;
            assert_int_equal(seen, short_lines);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(appends_whole_lines_and_holds_the_rest),
        cmocka_unit_test(takes_a_line_of_exactly_the_limit),
        cmocka_unit_test(a_rest_that_no_newline_can_save_is_refused_at_once),
        cmocka_unit_test(gives_a_short_count_for_lines_before_a_long_one),
        cmocka_unit_test(drops_a_long_line_up_to_its_newline),
        cmocka_unit_test(after_a_dropped_end_a_long_line_follows),
        cmocka_unit_test(a_refused_write_with_the_newline_ends_the_line),
        cmocka_unit_test(the_same_write_again_does_not_tear),
        cmocka_unit_test(a_long_line_begun_in_the_refused_write_stays_refused),
        cmocka_unit_test(an_error_that_may_not_have_been_told_is_told_again),
        cmocka_unit_test(finds_long_lines_in_large_writes),
        cmocka_unit_test(a_limit_lowered_under_a_held_line_refuses_it),
        cmocka_unit_test(raw_takes_each_write_as_a_record),
        cmocka_unit_test(random_writes_leave_whole_lines_in_order),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
