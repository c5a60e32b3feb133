/* Writers and their unfinished lines: kept, ended, dropped, refused, in order, never twice and never lost. */
#include "unit.h"

static void test_a_rest_waits_for_its_newline(void **state)
{
    struct unit *u = *state;
    unit_open(u);
    struct tlog_partition *p = unit_partition(u, "t", 0);
    struct tlog_writer *writer = unit_writer(u, p);
    assert_int_equal(unit_write(writer, "one\ntw"), 6);
    assert_int_equal(tlog_writer_held(writer), 2);
    assert_int_equal(unit_bounds(p).pending, 2);
    assert_int_equal(unit_bounds(p).end, 4);
    assert_int_equal(unit_write(writer, "o"), 1);
    assert_int_equal(tlog_writer_held(writer), 3);
    unit_assert_text(p, "one\n");
    assert_int_equal(unit_write(writer, "\nthree\nfou"), 10);
    unit_assert_text(p, "one\ntwo\nthree\n");
    assert_int_equal(unit_bounds(p).end_seq, 3);
    assert_int_equal(tlog_writer_held(writer), 3);
    assert_int_equal(tlog_writer_append(writer, "", 0, 0, 0), 0);
    unit_writer_close(u, writer);
    unit_assert_text(p, "one\ntwo\nthree\nfou\n");
    assert_int_equal(unit_bounds(p).pending, 0);
    assert_int_equal(unit_bounds(p).end_seq, 4);
}

static void test_a_dropped_rest_is_no_more(void **state)
{
    struct unit *u = *state;
    unit_open(u);
    struct tlog_partition *p = unit_partition(u, "t", 0);
    struct tlog_writer *writer = unit_writer(u, p);
    unit_write(writer, "too long");
    tlog_writer_drop(writer);
    tlog_writer_drop(writer);
    assert_int_equal(tlog_writer_held(writer), 0);
    assert_int_equal(unit_bounds(p).pending, 0);
    assert_int_equal(unit_write(writer, "next\n"), 5);
    unit_write(writer, "dropped too");
    tlog_writer_drop(writer);
    unit_kill(u);
    unit_open(u);
    assert_int_equal(unit_recovery(u).ended_rests, 0);
    unit_assert_text(unit_get(u, "t", 0), "next\n");
}

static void test_lines_of_several_writers_stay_whole(void **state)
{
    struct unit *u = *state;
    unit_open(u);
    struct tlog_partition *p = unit_partition(u, "t", 0);
    struct tlog_writer *a = unit_writer(u, p), *b = unit_writer(u, p), *c = unit_writer(u, p);
    unit_write(a, "a1 ");
    unit_write(b, "b1 ");
    unit_append(p, "plain\n");
    unit_write(a, "a2\na3");
    unit_write(c, "c1\n");
    unit_write(b, "b2");
    assert_int_equal(unit_bounds(p).pending, 2 + 5);
    unit_write(b, "\n");
    unit_writer_close(u, a);
    unit_writer_close(u, c); /* it holds nothing */
    unit_assert_text(p, "plain\na1 a2\nc1\nb1 b2\na3\n");
    assert_int_equal(unit_bounds(p).end_seq, 5);
}

static void test_long_rests(void **state)
{
    struct unit *u = *state;
    enum { PIECE = 1000, PIECES = 700 };
    unit_open(u);
    struct tlog_partition *p = unit_partition(u, "t", 0);
    struct tlog_writer *writer = unit_writer(u, p);
    char *expected = malloc(PIECE * PIECES + 16), *at = expected;
    for (int i = 0; i < PIECES; i++) {
        char piece[PIECE + 1];
        memset(piece, 'a' + i % 26, PIECE);
        piece[PIECE] = 0;
        assert_int_equal(unit_write(writer, piece), PIECE); /* more than two of the journal's files hold */
        memcpy(at, piece, PIECE);
        at += PIECE;
    }
    assert_int_equal(tlog_writer_held(writer), PIECE * PIECES);
    assert_int_equal(unit_write(writer, "\nrest"), 5);
    strcpy(at, "\n");
    unit_assert_text(p, expected);
    unit_writer_close(u, writer);
    strcpy(at, "\nrest\n");
    unit_assert_text(p, expected);
    free(expected);
}

static int producers(void *arg, const struct tlog_entry *entry)
{
    uint32_t *numbers = arg;
    *numbers = *numbers * 10 + entry->producer_seq;
    return 0;
}

static void test_the_entry_names_the_rest_that_it_ended(void **state)
{
    struct unit *u = *state;
    uint32_t numbers = 0;
    unit_open(u);
    struct tlog_partition *p = unit_partition(u, "t", 0);
    struct tlog_writer *a = unit_writer(u, p), *b = unit_writer(u, p);
    unit_write(a, "first");
    unit_write(b, "second");
    unit_write(b, "\n");
    unit_append(p, "plain\n");
    unit_write(a, "\n");
    unit_write(b, "third");
    unit_writer_close(u, b);
    assert_int_equal(tlog_partition_entries(p, producers, &numbers), 0);
    assert_int_equal(numbers, 2013);
}

static void test_closing_works_on_a_full_disk(void **state)
{
    struct unit *u = *state;
    unit_open(u);
    struct tlog_partition *p = unit_partition(u, "t", 0);
    struct tlog_writer *writer = unit_writer(u, p), *other = unit_writer(u, p);
    unit_append(p, "line\n");
    assert_int_equal(unit_write(writer, "rest"), 4);
    simdisk_resize(u->disk, simdisk_used_bytes(u->disk), 100000); /* nothing is free any more */
    char big[9001];
    memset(big, 'x', 9000);
    big[9000] = 0;
    big[8999] = '\n';
    int refused = 0;
    for (int i = 0; i < 20 && !refused; i++)
        refused = unit_append(p, big) == -ENOSPC;
    assert_true(refused);
    unit_writer_close(u, writer); /* its space had been taken */
    assert_int_equal(unit_bounds(p).pending, 0);
    char *text = unit_text(p);
    size_t length = strlen(text);
    assert_true(length > 5);
    assert_string_equal(text + length - 6, "\nrest\n");
    free(text);
    simdisk_resize(u->disk, 1 << 30, 100000);
    assert_int_equal(unit_write(other, "more\n"), 5);
}

static void test_a_rest_that_finds_no_space_is_refused(void **state)
{
    struct unit *u = *state;
    unit_open(u);
    struct tlog_partition *p = unit_partition(u, "t", 0);
    struct tlog_writer *writer = unit_writer(u, p);
    simdisk_fail(u->disk, 1U << SIM_RESERVE, 0, ENOSPC, true);
    assert_int_equal(unit_write(writer, "rest"), -ENOSPC);
    assert_int_equal(tlog_writer_held(writer), 0);
    assert_int_equal(unit_bounds(p).pending, 0);
    /* of a write with lines and a rest nothing is taken, as long as nothing was appended */
    assert_int_equal(unit_write(writer, "line\nrest"), -ENOSPC);
    assert_int_equal(unit_bounds(p).end, 0);
    simdisk_fail(u->disk, 0, 0, 0, false);
    assert_int_equal(unit_write(writer, "line\nrest"), 9);
    unit_writer_close(u, writer);
    unit_assert_text(p, "line\nrest\n");
    assert_int_equal(tlog_writer_open(&writer, p), 0);
    simdisk_fail(u->disk, 1U << SIM_RESERVE, 0, EOPNOTSUPP, true); /* a filesystem that cannot */
    assert_int_equal(unit_write(writer, "rest"), 4);
    tlog_writer_close(writer);
    unit_assert_text(p, "line\nrest\nrest\n");
}

static void test_short_counts_are_exact(void **state)
{
    struct unit *u = *state;
    unit_open(u);
    struct tlog_partition *p = unit_partition(u, "t", 0);
    struct tlog_writer *writer = unit_writer(u, p);
    /* reserve, write to the .log, then the journal's write of the rest fails */
    simdisk_fail(u->disk, 1U << SIM_WRITE, 1, EIO, false);
    assert_int_equal(unit_write(writer, "line\nrest"), 5);
    assert_true(simdisk_failed(u->disk));
    assert_int_equal(tlog_writer_held(writer), 0);
    unit_assert_text(p, "line\n");
    assert_int_equal(unit_bounds(p).pending, 0);
    assert_int_equal(unit_write(writer, "rest\n"), 5);
    unit_kill(u);
    unit_open(u);
    unit_assert_text(unit_get(u, "t", 0), "line\nrest\n");
}

static void test_an_append_that_fails_keeps_the_rest(void **state)
{
    struct unit *u = *state;
    unit_open(u);
    struct tlog_partition *p = unit_partition(u, "t", 0);
    struct tlog_writer *writer = unit_writer(u, p);
    unit_append(p, "before\n");
    unit_write(writer, "kept");
    for (unsigned skip = 0; skip < 3; skip++) { /* the open entry, its own entry, the bytes */
        simdisk_fail(u->disk, 1U << SIM_WRITE, skip == 0 ? 0 : 1, EIO, false);
        assert_int_equal(unit_write(writer, " and ended\n"), -EIO);
        assert_true(simdisk_failed(u->disk));
        assert_int_equal(tlog_writer_held(writer), 4);
        assert_int_equal(unit_bounds(p).end, 7);
    }
    assert_int_equal(unit_write(writer, " and ended\n"), 11);
    unit_assert_text(p, "before\nkept and ended\n");
    unit_close(u);
    assert_string_equal(unit_verify(u), "");
    assert_int_equal(unit_verified.records, 2);
}

static void test_a_close_that_fails_is_tried_again(void **state)
{
    struct unit *u = *state;
    unit_open(u);
    struct tlog_partition *p = unit_partition(u, "t", 0);
    struct tlog_writer *writer = unit_writer(u, p);
    unit_write(writer, "late");
    simdisk_fail(u->disk, 1U << SIM_WRITE, 0, EIO, true);
    unit_writer_close(u, writer);
    assert_int_equal(unit_bounds(p).end, 0);
    assert_int_equal(unit_bounds(p).pending, 4);
    unit_advance(u, 1100);
    assert_int_equal(unit_bounds(p).end, 0);
    simdisk_fail(u->disk, 0, 0, 0, false);
    unit_advance(u, 1100);
    unit_assert_text(p, "late\n");
    assert_int_equal(unit_bounds(p).pending, 0);
    unit_advance(u, 1100);
    unit_assert_text(p, "late\n");
}

static void test_a_close_that_fails_survives_a_kill_once(void **state)
{
    struct unit *u = *state;
    unit_open(u);
    struct tlog_partition *p = unit_partition(u, "t", 0);
    struct tlog_writer *writer = unit_writer(u, p);
    unit_write(writer, "late");
    simdisk_fail(u->disk, 1U << SIM_WRITE, 0, EIO, true);
    unit_writer_close(u, writer);
    unit_kill(u);
    for (int i = 0; i < 3; i++) {
        unit_open(u);
        assert_int_equal(unit_recovery(u).ended_rests, i == 0);
        unit_assert_text(unit_get(u, "t", 0), "late\n");
        unit_kill(u);
    }
}

static void test_writers_of_a_removed_partition(void **state)
{
    struct unit *u = *state;
    unit_open(u);
    struct tlog_partition *p = unit_partition(u, "t", 0);
    struct tlog_writer *writer = unit_writer(u, p), *idle = unit_writer(u, p);
    unit_write(writer, "unfinished");
    assert_int_equal(tlog_partition_remove(p, false), -EPERM); /* an unfinished line counts */
    assert_int_equal(tlog_partition_remove(p, true), 0);
    assert_int_equal(tlog_writer_held(writer), 0); /* it was ended first */
    assert_int_equal(unit_write(writer, "more"), -ESTALE);
    assert_int_equal(unit_write(idle, "more\n"), -ESTALE);
    assert_int_equal(tlog_partition_append(p, "more\n", 5, 1), -ESTALE);
    assert_int_equal(unit_count(u, "trash", "t.0."), 1);
    p = unit_partition(u, "t", 0);
    assert_int_equal(unit_bounds(p).start, 11);
    assert_int_equal(unit_bounds(p).start_seq, 1);
}

static void test_unfinished_lines_keep_their_space_across_a_roll(void **state)
{
    struct unit *u = *state;
    unit_open(u);
    struct tlog_partition *p = unit_partition(u, "t", 0);
    struct tlog_writer *writer = unit_writer(u, p);
    unit_config(u, "t", "segment.bytes=1K");
    unit_write(writer, "rest");
    unit_lines(p, 0, 11, 100); /* the next one begins a segment */
    assert_int_equal(p->segment_count, 2);
    assert_true(p->reserved_log >= 100 + 5);
    assert_true(p->reserved_idx >= p->idx_bytes + 2 * TLOG_ENTRY_BYTES);
    simdisk_fail(u->disk, 1U << SIM_RESERVE, 0, ENOSPC, true);
    unit_writer_close(u, writer);
    char *text = unit_text(p);
    assert_string_equal(text + 1100, "rest\n");
    free(text);
}

/* ---- many threads ---- */

enum { WRITERS = 8, WRITES = 300 };

struct work {
    struct tlog_partition *p;
    unsigned number;
    unsigned failures;
};

/* Lines "W N …" in writes that end anywhere. */
static void *write_lines(void *arg)
{
    struct work *work = arg;
    struct tlog_writer *writer;
    char text[WRITES * 24], *end = text;
    unsigned random = work->number;
    if (tlog_writer_open(&writer, work->p) < 0) {
        work->failures++;
        return NULL;
    }
    for (unsigned i = 0; i < WRITES; i++)
        end += sprintf(end, "%u %u %.*s\n", work->number, i, (int)(i % 13), "abcdefghijklm");
    for (char *at = text; at < end;) {
        random = random * 1103515245 + 12345;
        size_t piece = 1 + random / 65536 % 40, whole;
        if (piece > (size_t)(end - at))
            piece = (size_t)(end - at);
        const char *newline = memrchr(at, '\n', piece);
        whole = newline ? (size_t)(newline + 1 - at) : 0;
        uint32_t records = 0;
        for (size_t i = 0; i < whole; i++)
            records += at[i] == '\n';
        if (tlog_writer_append(writer, at, piece, whole, records) != (ssize_t)piece)
            work->failures++;
        at += piece;
    }
    tlog_writer_close(writer);
    return NULL;
}

static void test_many_writers_at_once(void **state)
{
    struct unit *u = *state;
    struct work work[WRITERS];
    pthread_t threads[WRITERS];
    unsigned next[WRITERS] = {0};
    u->options.no_upkeep = false;
    unit_open(u);
    struct tlog_partition *p = unit_partition(u, "t", 0);
    unit_config(u, "t", "segment.bytes=16K\nflush.ms=100ms");
    for (unsigned i = 0; i < WRITERS; i++) {
        work[i] = (struct work){p, i, 0};
        assert_int_equal(pthread_create(&threads[i], NULL, write_lines, &work[i]), 0);
    }
    for (unsigned i = 0; i < WRITERS; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(work[i].failures, 0);
    }
    assert_int_equal(unit_bounds(p).end_seq, WRITERS * WRITES);
    char *text = unit_text(p), *save = NULL;
    for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        unsigned writer, number;
        int used = 0;
        assert_int_equal(sscanf(line, "%u %u %n", &writer, &number, &used), 2);
        assert_true(writer < WRITERS);
        assert_int_equal(number, next[writer]++); /* each writer's own order */
        assert_int_equal(strlen(line) - (size_t)used, number % 13);
    }
    for (unsigned i = 0; i < WRITERS; i++)
        assert_int_equal(next[i], WRITES);
    free(text);
    unit_close(u);
    assert_string_equal(unit_verify(u), "");
    assert_int_equal(unit_verified.records, WRITERS * WRITES);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        UNIT_BOTH(test_a_rest_waits_for_its_newline),
        UNIT_SIM(test_a_dropped_rest_is_no_more),
        UNIT_BOTH(test_lines_of_several_writers_stay_whole),
        UNIT_BOTH(test_long_rests),
        UNIT_BOTH(test_the_entry_names_the_rest_that_it_ended),
        UNIT_SIM(test_closing_works_on_a_full_disk),
        UNIT_SIM(test_a_rest_that_finds_no_space_is_refused),
        UNIT_SIM(test_short_counts_are_exact),
        UNIT_SIM(test_an_append_that_fails_keeps_the_rest),
        UNIT_SIM(test_a_close_that_fails_is_tried_again),
        UNIT_SIM(test_a_close_that_fails_survives_a_kill_once),
        UNIT_BOTH(test_writers_of_a_removed_partition),
        UNIT_SIM(test_unfinished_lines_keep_their_space_across_a_roll),
        UNIT_BOTH(test_many_writers_at_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
