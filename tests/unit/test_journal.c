/* The journal: records in and out, torn and missing ones, files in turn, group commit, failure. */
#include "unit.h"

static const uint8_t store_id[16] = "a journal's own", other_id[16] = "some other store";
static const uint8_t topic_id[16] = "the topic it was";

enum { FILE_BYTES = 16 << 10, ROOM = FILE_BYTES - TLOG_JOURNAL_HEADER_BYTES };

struct pressure {
    unsigned failures, pressures;
};

static void on_failure(void *arg)
{
    ((struct pressure *)arg)->failures++;
}

static void on_pressure(void *arg)
{
    ((struct pressure *)arg)->pressures++;
}

static void open_as(struct unit *u, struct tlog_journal *journal, const uint8_t id[16], bool discard)
{
    char path[128];
    snprintf(path, sizeof path, "%s/journal", u->path);
    assert_int_equal(tlog_journal_open(journal, u->options.io, path, id, FILE_BYTES, discard, &u->error), 0);
}

static void open_journal(struct unit *u, struct tlog_journal *journal)
{
    open_as(u, journal, store_id, false);
}

static int write_body(struct tlog_journal *journal, const void *body, size_t bytes, uint64_t *lsn)
{
    struct iovec parts[] = {{(void *)(uintptr_t)body, bytes / 2},
                            {(char *)(uintptr_t)body + bytes / 2, bytes - bytes / 2}};
    return tlog_journal_write(journal, TLOG_JOURNAL_REST, topic_id, 7, parts, 2, lsn);
}

static uint64_t write_text(struct tlog_journal *journal, const char *text)
{
    uint64_t lsn = 0;
    assert_int_equal(write_body(journal, text, strlen(text), &lsn), 0);
    return lsn;
}

struct heard {
    char text[65536];
    uint64_t first, last;
    unsigned count;
    int stop_at;
};

static int hear(void *arg, const struct tlog_journal_record *record)
{
    struct heard *heard = arg;
    assert_int_equal(record->type, TLOG_JOURNAL_REST);
    assert_memory_equal(record->topic_id, topic_id, 16);
    assert_int_equal(record->partition, 7);
    assert_true(heard->count == 0 || record->lsn == heard->last + 1);
    if (heard->count++ == 0)
        heard->first = record->lsn;
    heard->last = record->lsn;
    snprintf(heard->text + strlen(heard->text), sizeof heard->text - strlen(heard->text), "%.*s|",
             (int)(record->body_bytes > 20 ? 20 : record->body_bytes), (const char *)record->body);
    return heard->stop_at && (int)heard->count == heard->stop_at ? -ECANCELED : 0;
}

static struct heard replay(struct tlog_journal *journal, uint64_t from)
{
    struct heard heard = {.first = 0};
    assert_int_equal(tlog_journal_replay(journal, from, hear, &heard), 0);
    return heard;
}

/* A file of the journal, as seen from the store. */
static const char *in_journal(const char *name)
{
    static char path[160];
    snprintf(path, sizeof path, "journal/%s", name);
    return path;
}

static void test_what_is_written_is_replayed(void **state)
{
    struct unit *u = *state;
    struct tlog_journal journal;
    open_journal(u, &journal);
    struct heard heard = replay(&journal, 0);
    assert_int_equal(heard.count, 0);
    assert_int_equal(write_text(&journal, "one"), 1);
    assert_int_equal(write_text(&journal, ""), 2);
    assert_int_equal(write_text(&journal, "three"), 3);
    assert_int_equal(tlog_journal_last(&journal), 3);
    assert_int_equal(tlog_journal_synced(&journal), 0);
    assert_int_equal(tlog_journal_sync_wait(&journal), 0);
    assert_int_equal(tlog_journal_synced(&journal), 3);
    tlog_journal_close(&journal);
    for (uint64_t from = 0; from < 5; from++) {
        open_journal(u, &journal);
        heard = replay(&journal, from);
        assert_string_equal(heard.text, from <= 1 ? "one||three|" : from == 2 ? "|three|" : from == 3 ? "three|" : "");
        tlog_journal_close(&journal);
    }
    open_journal(u, &journal);
    heard = (struct heard){.stop_at = 2};
    assert_int_equal(tlog_journal_replay(&journal, 0, hear, &heard), -ECANCELED);
    assert_int_equal(heard.count, 2);
    tlog_journal_close(&journal);
}

static void test_numbers_run_on_after_a_start(void **state)
{
    struct unit *u = *state;
    struct tlog_journal journal;
    char expected[256] = "";
    for (unsigned i = 0; i < 6; i++) {
        open_journal(u, &journal);
        struct heard heard = replay(&journal, 0);
        assert_string_equal(heard.text, expected);
        char text[8];
        snprintf(text, sizeof text, "run %u", i);
        assert_int_equal(write_text(&journal, text), i + 1);
        strcat(strcat(expected, text), "|");
        tlog_journal_close(&journal);
    }
}

static void test_a_torn_record_ends_it(void **state)
{
    struct unit *u = *state;
    struct tlog_journal journal;
    open_journal(u, &journal);
    (void)replay(&journal, 0);
    write_text(&journal, "first of them");
    write_text(&journal, "second of them");
    write_text(&journal, "third of them");
    tlog_journal_close(&journal);
    size_t second = TLOG_JOURNAL_HEADER_BYTES + 64; /* 48 + 13, padded to 8 */
    static const unsigned places[] = {0, 9, 17, 21, 25, 29, 40, 50, 61};
    for (unsigned i = 0; i < sizeof places / sizeof *places; i++) {
        unit_flip(u, in_journal("000000"), second + places[i]);
        open_journal(u, &journal);
        assert_string_equal(replay(&journal, 0).text, "first of them|");
        assert_int_equal(tlog_journal_last(&journal), 1);
        tlog_journal_close(&journal);
        unit_flip(u, in_journal("000000"), second + places[i]);
    }
    open_journal(u, &journal);
    assert_int_equal(replay(&journal, 0).count, 3);
    tlog_journal_close(&journal);
    /* What is written after a torn end is the next, not what follows it in the file. */
    unit_flip(u, in_journal("000000"), second + 50);
    open_journal(u, &journal);
    (void)replay(&journal, 0);
    assert_int_equal(write_text(&journal, "new second"), 2);
    tlog_journal_close(&journal);
    open_journal(u, &journal);
    assert_string_equal(replay(&journal, 0).text, "first of them|new second|");
    tlog_journal_close(&journal);
}

static void test_files_in_turn(void **state)
{
    struct unit *u = *state;
    struct tlog_journal journal;
    uint64_t bytes, used;
    char body[3000];
    open_journal(u, &journal);
    (void)replay(&journal, 0);
    memset(body, 'b', sizeof body);
    for (unsigned i = 0; i < 10; i++) { /* four fit into a file */
        snprintf(body, 8, "%u", i);
        assert_int_equal(write_body(&journal, body, sizeof body, NULL), 0);
    }
    tlog_journal_usage(&journal, &bytes, &used);
    assert_int_equal(bytes, 3 * FILE_BYTES);
    assert_int_equal(used, 3 * TLOG_JOURNAL_HEADER_BYTES + 10 * 3048);
    assert_int_equal(unit_count(u, "journal", "0000"), 3);
    assert_true(tlog_journal_pressed(&journal));
    /* Unsynced files are never given up. */
    tlog_journal_free(&journal, 11);
    tlog_journal_usage(&journal, &bytes, &used);
    assert_int_equal(bytes, 3 * FILE_BYTES);
    assert_int_equal(tlog_journal_sync_wait(&journal), 0);
    tlog_journal_free(&journal, 4); /* record 4 is in the first file still */
    tlog_journal_usage(&journal, &bytes, &used);
    assert_int_equal(used, 3 * TLOG_JOURNAL_HEADER_BYTES + 10 * 3048);
    tlog_journal_free(&journal, 5);
    tlog_journal_usage(&journal, &bytes, &used);
    assert_int_equal(used, 2 * TLOG_JOURNAL_HEADER_BYTES + 6 * 3048);
    tlog_journal_free(&journal, 9); /* one spare is enough */
    tlog_journal_usage(&journal, &bytes, &used);
    assert_int_equal(bytes, 2 * FILE_BYTES);
    assert_int_equal(unit_count(u, "journal", "0000"), 2);
    assert_false(tlog_journal_pressed(&journal));
    for (unsigned i = 10; i < 14; i++) { /* into the file that was used before */
        snprintf(body, 8, "%u", i);
        assert_int_equal(write_body(&journal, body, sizeof body, NULL), 0);
    }
    assert_int_equal(unit_count(u, "journal", "0000"), 2);
    tlog_journal_close(&journal);
    open_journal(u, &journal);
    struct heard heard = replay(&journal, 9);
    assert_int_equal(heard.first, 9);
    assert_int_equal(heard.last, 14);
    tlog_journal_close(&journal);
}

static void test_a_gap_ends_it_and_what_follows_never_comes_back(void **state)
{
    struct unit *u = *state;
    struct tlog_journal journal;
    char body[3000] = "";
    open_journal(u, &journal);
    (void)replay(&journal, 0);
    for (unsigned i = 0; i < 10; i++)
        assert_int_equal(write_body(&journal, body, sizeof body, NULL), 0);
    assert_int_equal(tlog_journal_sync_wait(&journal), 0);
    tlog_journal_close(&journal);
    unit_flip(u, in_journal("000001"), TLOG_JOURNAL_HEADER_BYTES + 3048 + 60); /* record 6 */
    open_journal(u, &journal);
    assert_int_equal(replay(&journal, 2).last, 5);
    assert_int_equal(write_body(&journal, body, sizeof body, NULL), 0);
    assert_int_equal(tlog_journal_last(&journal), 6);
    tlog_journal_close(&journal);
    open_journal(u, &journal);
    assert_int_equal(replay(&journal, 2).last, 6);
    tlog_journal_close(&journal);
    /* Below what is needed a gap does not matter. */
    unit_unlink(u, in_journal("000000"));
    open_journal(u, &journal);
    struct heard heard = replay(&journal, 5);
    assert_int_equal(heard.first, 5);
    assert_int_equal(heard.last, 6);
    tlog_journal_close(&journal);
}

static void test_journals_of_others_and_unmade_files(void **state)
{
    struct unit *u = *state;
    struct tlog_journal journal;
    open_journal(u, &journal);
    (void)replay(&journal, 0);
    write_text(&journal, "mine");
    assert_int_equal(tlog_journal_sync_wait(&journal), 0);
    tlog_journal_close(&journal);
    unit_put(u, in_journal("000009"), 0, "cut short when it was made", 26);
    unit_put(u, in_journal("README"), 0, "not a journal", 13);
    open_as(u, &journal, other_id, false);
    assert_int_equal(replay(&journal, 0).count, 0);
    assert_false(unit_exists(u, in_journal("000009")));
    assert_true(unit_exists(u, in_journal("README")));
    tlog_journal_close(&journal);
    open_journal(u, &journal);
    assert_int_equal(replay(&journal, 0).count, 1); /* looking at it changed nothing */
    tlog_journal_close(&journal);
    open_as(u, &journal, store_id, true);
    assert_int_equal(replay(&journal, 0).count, 0);
    assert_false(unit_exists(u, in_journal("000000")));
    write_text(&journal, "anew");
    tlog_journal_close(&journal);
    open_journal(u, &journal);
    assert_string_equal(replay(&journal, 0).text, "anew|");
    tlog_journal_close(&journal);
}

static void test_sizes(void **state)
{
    struct unit *u = *state;
    struct tlog_journal journal;
    char *body = calloc(1, ROOM);
    open_journal(u, &journal);
    (void)replay(&journal, 0);
    assert_int_equal(write_body(&journal, body, ROOM - TLOG_JOURNAL_RECORD_BYTES + 1, NULL), -EFBIG);
    assert_int_equal(tlog_journal_last(&journal), 0);
    assert_int_equal(write_body(&journal, body, ROOM - TLOG_JOURNAL_RECORD_BYTES, NULL), 0);
    write_text(&journal, "after it");
    assert_int_equal(unit_size(u, in_journal("000000")), FILE_BYTES);
    assert_int_equal(unit_size(u, in_journal("000001")), FILE_BYTES);
    tlog_journal_close(&journal);
    open_journal(u, &journal);
    assert_int_equal(replay(&journal, 0).count, 2);
    tlog_journal_close(&journal);
    free(body);
}

static void test_a_full_disk_refuses_the_record_and_nothing_else(void **state)
{
    struct unit *u = *state;
    struct tlog_journal journal;
    char body[3000] = "";
    open_journal(u, &journal);
    (void)replay(&journal, 0);
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(write_body(&journal, body, sizeof body, NULL), 0);
    static const unsigned kinds[] = {SIM_CREATE, SIM_WRITE, SIM_SYNC, SIM_SYNC_DIR};
    for (unsigned i = 0; i < 4; i++) {
        simdisk_fail(u->disk, 1U << kinds[i], 0, ENOSPC, false);
        assert_int_equal(write_body(&journal, body, sizeof body, NULL), -ENOSPC);
        assert_true(simdisk_failed(u->disk));
        assert_int_equal(tlog_journal_last(&journal), 4);
        assert_false(unit_exists(u, in_journal("000001")));
    }
    assert_int_equal(write_body(&journal, body, sizeof body, NULL), 0);
    simdisk_fail(u->disk, 1U << SIM_WRITE, 0, EIO, false);
    assert_int_equal(write_body(&journal, body, 100, NULL), -EIO);
    assert_int_equal(write_body(&journal, body, 50, NULL), 0); /* in the same place */
    assert_int_equal(tlog_journal_last(&journal), 6);
    assert_int_equal(tlog_journal_sync_wait(&journal), 0);
    tlog_journal_close(&journal);
    simdisk_power_cut(u->disk, 5);
    open_journal(u, &journal);
    assert_int_equal(replay(&journal, 0).last, 6);
    tlog_journal_close(&journal);
}

static void test_pressure(void **state)
{
    struct unit *u = *state;
    struct tlog_journal journal;
    struct pressure pressure = {0, 0};
    char body[1000] = "";
    open_journal(u, &journal);
    (void)replay(&journal, 0);
    journal.on_pressure = on_pressure;
    journal.arg = &pressure;
    unsigned at_half = 0, at_turn = 0;
    for (unsigned i = 0; i < 20; i++) {
        struct tlog_journal_file *before = journal.current;
        uint64_t used = before ? before->used_bytes : 0;
        unsigned told = pressure.pressures;
        assert_int_equal(write_body(&journal, body, sizeof body, NULL), 0);
        bool turned = before && journal.current != before;
        bool half = before && !turned && used <= FILE_BYTES / 2 && journal.current->used_bytes > FILE_BYTES / 2;
        assert_int_equal(pressure.pressures - told, turned || half);
        at_half += half;
        at_turn += turned;
    }
    assert_true(at_half > 0 && at_turn > 0);
    assert_int_equal(tlog_journal_prepare(&journal), 0);
    uint64_t bytes, again, used;
    tlog_journal_usage(&journal, &bytes, &used);
    assert_int_equal(tlog_journal_prepare(&journal), 0); /* one stands ready */
    tlog_journal_usage(&journal, &again, &used);
    assert_int_equal(bytes, again);
    tlog_journal_close(&journal);
}

static void test_one_sync_serves_all_files(void **state)
{
    struct unit *u = *state;
    struct tlog_journal journal;
    char body[9000] = "";
    open_journal(u, &journal);
    (void)replay(&journal, 0);
    for (unsigned i = 0; i < 40; i++) /* a file each: more than one round takes */
        assert_int_equal(write_body(&journal, body, sizeof body, NULL), 0);
    assert_int_equal(tlog_journal_sync_wait(&journal), 0);
    assert_int_equal(tlog_journal_synced(&journal), 40);
    for (struct tlog_journal_file *file = journal.files; file; file = file->next)
        assert_false(file->dirty);
    tlog_journal_close(&journal);
    simdisk_power_cut(u->disk, 9);
    open_journal(u, &journal);
    assert_int_equal(replay(&journal, 0).last, 40);
    tlog_journal_close(&journal);
}

/* ---- with threads ---- */

struct waiting {
    struct tlog_waiter waiter;
    atomic_int result; /* 1: not done yet */
};

static void done(struct tlog_waiter *waiter, int result)
{
    atomic_store(&((struct waiting *)waiter)->result, result);
}

struct syncer {
    struct tlog_journal *journal;
    uint64_t lsn;
    struct waiting waiting;
};

static void *sync_it(void *arg)
{
    struct syncer *syncer = arg;
    tlog_journal_sync(syncer->journal, syncer->lsn, &syncer->waiting.waiter);
    return NULL;
}

static pthread_t start(struct syncer *syncer, struct tlog_journal *journal, uint64_t lsn)
{
    pthread_t thread;
    *syncer = (struct syncer){journal, lsn, {{.done = done}, 1}};
    assert_int_equal(pthread_create(&thread, NULL, sync_it, syncer), 0);
    return thread;
}

static void test_who_comes_during_a_sync_shares_the_next(void **state)
{
    struct unit *u = *state;
    struct tlog_journal journal;
    struct syncer first, others[6];
    unit_gate_use(u);
    open_journal(u, &journal);
    (void)replay(&journal, 0);
    write_text(&journal, "first");
    unit_gate_shut(true);
    pthread_t thread = start(&first, &journal, 1);
    unit_gate_wait(1);
    unsigned before = unit_gate.syncs;
    for (unsigned i = 0; i < 6; i++) {
        uint64_t lsn = write_text(&journal, "another");
        others[i] = (struct syncer){&journal, lsn, {{.done = done}, 1}};
        sync_it(&others[i]); /* comes back at once: somebody is at it */
        assert_int_equal(others[i].waiting.result, 1);
    }
    unit_gate_shut(false);
    pthread_join(thread, NULL);
    assert_int_equal(first.waiting.result, 0);
    for (unsigned i = 0; i < 6; i++)
        assert_int_equal(others[i].waiting.result, 0);
    assert_int_equal(unit_gate.syncs - before, 2);
    assert_int_equal(tlog_journal_synced(&journal), 7);
    struct syncer late = {&journal, 7, {{.done = done}, 1}};
    sync_it(&late);
    assert_int_equal(late.waiting.result, 0);
    assert_int_equal(unit_gate.syncs - before, 2);
    tlog_journal_close(&journal);
}

static void test_a_failed_sync_is_never_tried_again(void **state)
{
    struct unit *u = *state;
    struct tlog_journal journal;
    struct pressure pressure = {0, 0};
    struct syncer first, second;
    unit_gate_use(u);
    open_journal(u, &journal);
    (void)replay(&journal, 0);
    journal.on_failure = on_failure;
    journal.arg = &pressure;
    write_text(&journal, "first");
    unit_gate_shut(true);
    unit_gate.refuse_after = 0;
    pthread_t thread = start(&first, &journal, 1);
    unit_gate_wait(1);
    unsigned before = unit_gate.syncs;
    second = (struct syncer){&journal, write_text(&journal, "second"), {{.done = done}, 1}};
    sync_it(&second);
    unit_gate_shut(false);
    pthread_join(thread, NULL);
    assert_int_equal(first.waiting.result, -EIO);
    assert_int_equal(second.waiting.result, -EIO); /* a sync after a failed one proves nothing */
    assert_int_equal(unit_gate.syncs - before, 1);
    assert_int_equal(tlog_journal_synced(&journal), 0);
    assert_int_equal(pressure.failures, 1);
    assert_int_equal(write_body(&journal, "x", 1, NULL), -EROFS);
    assert_int_equal(tlog_journal_sync_wait(&journal), -EIO);
    assert_int_equal(unit_gate.syncs - before, 1);
    tlog_journal_close(&journal);
}

enum { THREADS = 6, ROUNDS = 100 };

static void *write_and_sync(void *arg)
{
    struct tlog_journal *journal = arg;
    uintptr_t failures = 0;
    for (unsigned i = 0; i < ROUNDS; i++) {
        uint64_t lsn = 0;
        struct syncer syncer = {journal, 0, {{.done = done}, 1}};
        failures += write_body(journal, "a record of no great length", 27, &lsn) != 0;
        failures += tlog_journal_sync_wait(journal) != 0;
        failures += tlog_journal_synced(journal) < lsn;
        syncer.lsn = lsn;
        sync_it(&syncer);
        failures += syncer.waiting.result != 0;
    }
    return (void *)failures;
}

static void test_many_threads(void **state)
{
    struct unit *u = *state;
    struct tlog_journal journal;
    pthread_t threads[THREADS];
    open_journal(u, &journal);
    (void)replay(&journal, 0);
    for (unsigned i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, write_and_sync, &journal), 0);
    for (unsigned i = 0; i < THREADS; i++) {
        void *failures;
        pthread_join(threads[i], &failures);
        assert_null(failures);
    }
    assert_int_equal(tlog_journal_last(&journal), THREADS * ROUNDS);
    assert_true(journal.syncs <= THREADS * ROUNDS);
    tlog_journal_close(&journal);
    open_journal(u, &journal);
    assert_int_equal(replay(&journal, 0).last, THREADS * ROUNDS);
    tlog_journal_close(&journal);
}

static void test_renewing(void **state)
{
    struct unit *u = *state;
    struct tlog_journal journal;
    open_journal(u, &journal);
    (void)replay(&journal, 0);
    write_text(&journal, "old");
    assert_int_equal(tlog_journal_renew(&journal), 0);
    assert_false(unit_exists(u, in_journal("000000")));
    assert_int_equal(write_text(&journal, "new"), 2);
    tlog_journal_close(&journal);
    open_journal(u, &journal);
    assert_string_equal(replay(&journal, 0).text, "new|");
    tlog_journal_close(&journal);
}

static int setup_real(void **state)
{
    int r = unit_setup_real(state);
    struct unit *u = *state;
    u->options.io = u->io;
    assert_int_equal(u->io->mkdir(u->io, u->path), 0);
    return r;
}

static int setup_sim(void **state)
{
    int r = unit_setup_sim(state);
    struct unit *u = *state;
    assert_int_equal(u->io->mkdir(u->io, u->path), 0);
    assert_int_equal(u->io->sync_dir(u->io, "/"), 0);
    assert_int_equal(u->io->mkdir(u->io, "/store/journal"), 0); /* its name is the store's to sync */
    assert_int_equal(u->io->sync_dir(u->io, "/store"), 0);
    return r;
}

#define SIM(test)                                                                                                      \
    {                                                                                                                  \
#test " (sim)", test, setup_sim, unit_teardown, NULL                                                           \
    }
#define REAL(test)                                                                                                     \
    {                                                                                                                  \
#test " (files)", test, setup_real, unit_teardown, NULL                                                        \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        SIM(test_what_is_written_is_replayed),
        REAL(test_what_is_written_is_replayed),
        SIM(test_numbers_run_on_after_a_start),
        REAL(test_numbers_run_on_after_a_start),
        SIM(test_a_torn_record_ends_it),
        SIM(test_files_in_turn),
        REAL(test_files_in_turn),
        SIM(test_a_gap_ends_it_and_what_follows_never_comes_back),
        SIM(test_journals_of_others_and_unmade_files),
        SIM(test_sizes),
        SIM(test_a_full_disk_refuses_the_record_and_nothing_else),
        SIM(test_pressure),
        SIM(test_one_sync_serves_all_files),
        REAL(test_who_comes_during_a_sync_shares_the_next),
        REAL(test_a_failed_sync_is_never_tried_again),
        SIM(test_many_threads),
        REAL(test_many_threads),
        SIM(test_renewing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
