/* Cuts of the whole store at one instant, now and in the past. */
#include "unit.h"

static struct tlog_cut *cut(struct unit *u, int64_t time_ns, size_t expected)
{
    struct tlog_cut *cuts;
    size_t count;
    assert_int_equal(tlog_store_cut(u->store, time_ns, &cuts, &count), 0);
    assert_int_equal(count, expected);
    return cuts;
}

static void test_a_cut_now(void **state)
{
    struct unit *u = *state;
    char name[256], data[64];
    unit_open(u);
    struct tlog_partition *b = unit_partition(u, "b", 0), *a = unit_partition(u, "a", 2);
    struct tlog_writer *writer = unit_writer(u, b);
    unit_append(b, "one\ntwo\n");
    unit_write(writer, "thr"); /* no part of it */
    struct tlog_cut *cuts = cut(u, 0, 4);
    unit_write(writer, "ee\n");
    unit_append(a, "late\n");
    static const char *const names[] = {"a", "a", "a", "b"};
    for (unsigned i = 0; i < 4; i++) {
        tlog_topic_name(cuts[i].topic, name);
        assert_string_equal(name, names[i]);
        assert_int_equal(tlog_partition_number(cuts[i].pin.partition), i % 3);
        assert_int_equal(cuts[i].start, 0);
        assert_int_equal(cuts[i].end, i == 3 ? 8 : 0);
    }
    assert_true(cuts[3].mtime_ns < unit_bounds(b).mtime_ns);
    /* it is pinned */
    assert_int_equal(tlog_partition_trim(b, UINT64_MAX, NULL), 0);
    assert_int_equal(tlog_partition_read(b, 0, data, 8), 8);
    assert_memory_equal(data, "one\ntwo\n", 8);
    tlog_cuts_free(cuts, 4);
    cuts = cut(u, 0, 4);
    assert_int_equal(cuts[3].start, 14);
    assert_int_equal(cuts[3].end, 14);
    tlog_cuts_free(cuts, 4);
    /* a topic that is removed stays in a cut that has it */
    cuts = cut(u, 0, 4);
    assert_int_equal(tlog_topic_remove(unit_topic(u, "a"), true), 0);
    tlog_topic_name(cuts[2].topic, name);
    assert_string_equal(name, "a");
    assert_int_equal(tlog_partition_read(cuts[2].pin.partition, 0, data, 64), 5);
    tlog_cuts_free(cuts, 4);
    tlog_cuts_free(NULL, 0);
}

static void test_a_cut_by_time(void **state)
{
    struct unit *u = *state;
    struct tlog_cut *cuts;
    size_t count;
    int64_t times[10];
    unit_open(u);
    struct tlog_partition *p = unit_partition(u, "t", 0), *raw = unit_partition(u, "raw", 0);
    unit_config(u, "t", "segment.bytes=1KiB");
    unit_config(u, "raw", "message.format=raw");
    for (unsigned i = 0; i < 10; i++) {
        unit_lines(p, 4 * i, 4, 100);
        assert_int_equal(tlog_partition_append(raw, "raw", 3, 1), 0);
        unit_advance(u, 1000);
        times[i] = u->io->realtime_ns(u->io);
        unit_advance(u, 1000);
    }
    unit_lines(p, 40, 1, 100); /* still open */
    for (unsigned i = 0; i < 10; i++) {
        cuts = cut(u, times[i], 2);
        assert_int_equal(cuts[0].end, 3 * (i + 1));
        assert_int_equal(cuts[1].end, 400 * (i + 1));
        assert_true(cuts[1].mtime_ns < times[i] && cuts[1].mtime_ns > times[i] - INT64_C(1100000000));
        tlog_cuts_free(cuts, 2);
    }
    cuts = cut(u, u->io->realtime_ns(u->io), 2);
    assert_int_equal(cuts[1].end, 4100);
    tlog_cuts_free(cuts, 2);
    cuts = cut(u, 1, 2); /* long ago */
    assert_int_equal(cuts[1].start, 0);
    assert_int_equal(cuts[1].end, 0);
    tlog_cuts_free(cuts, 2);
    assert_int_equal(tlog_partition_trim(p, 2500, NULL), 0);
    cuts = cut(u, times[2], 2); /* what was there has been trimmed */
    assert_int_equal(cuts[1].start, 2000);
    assert_int_equal(cuts[1].end, 2000);
    tlog_cuts_free(cuts, 2);
    assert_int_equal(tlog_store_cut(u->store, u->io->realtime_ns(u->io) + 10000000000, &cuts, &count), -EINVAL);
}

/* ---- one instant ---- */

enum { WRITERS = 3, PARTITIONS = 5, CUTS = 100 };

struct crowd {
    struct unit *u;
    struct tlog_partition *p[PARTITIONS];
    atomic_bool stop;
    atomic_uint rounds;
};

/* A line to each partition in turn, the first first. */
static void *write_lines(void *arg)
{
    struct crowd *crowd = arg;
    while (!atomic_load(&crowd->stop)) {
        for (unsigned k = 0; k < PARTITIONS; k++)
            if (unit_append(crowd->p[k], "x\n") < 0)
                abort();
        atomic_fetch_add(&crowd->rounds, 1);
    }
    return NULL;
}

/* Partitions come, get a record and go meanwhile. */
static void *make_and_remove(void *arg)
{
    struct crowd *crowd = arg;
    struct tlog_topic *topic = tlog_topic_get(crowd->u->store, "other");
    while (!atomic_load(&crowd->stop)) {
        struct tlog_partition *p;
        if (tlog_topic_add_partition(topic, 1, NULL) < 0 || !(p = tlog_partition_get(topic, 1)) ||
            unit_append(p, "x\n") < 0 || tlog_partition_remove(p, true) < 0)
            abort();
        tlog_partition_unref(p);
    }
    tlog_topic_unref(topic);
    return NULL;
}

static void test_no_append_is_between_the_ends(void **state)
{
    struct unit *u = *state;
    pthread_t threads[WRITERS + 1];
    struct crowd crowd = {.u = u};
    unsigned torn = 0;
    unit_open(u);
    (void)unit_partition(u, "other", 0);
    for (unsigned k = 0; k < PARTITIONS; k++)
        crowd.p[k] = unit_partition(u, "t", k);
    for (unsigned i = 0; i < WRITERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, write_lines, &crowd), 0);
    assert_int_equal(pthread_create(&threads[WRITERS], NULL, make_and_remove, &crowd), 0);
    for (unsigned made = 0; made < CUTS; made++) {
        struct tlog_cut *cuts;
        size_t count;
        assert_int_equal(tlog_store_cut(u->store, 0, &cuts, &count), 0);
        const struct tlog_cut *t = cuts + count - PARTITIONS;
        /* Each writer is at one place in its turn: the ends fall from one partition to the next, and by no more than
         * one line a writer. Taken one after the other without a gate they would not. */
        for (unsigned k = 0; k + 1 < PARTITIONS; k++)
            torn += t[k].end < t[k + 1].end || t[k].end > t[k + 1].end + 2 * WRITERS;
        torn += t[0].end > t[PARTITIONS - 1].end + 2 * WRITERS;
        tlog_cuts_free(cuts, count);
    }
    atomic_store(&crowd.stop, true);
    for (unsigned i = 0; i <= WRITERS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(torn, 0);
    for (unsigned k = 0; k < PARTITIONS; k++)
        assert_int_equal(unit_bounds(crowd.p[k]).end, 2 * atomic_load(&crowd.rounds));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        UNIT_SIM(test_a_cut_now),
        UNIT_SIM(test_a_cut_by_time),
        UNIT_MEMORY(test_no_append_is_between_the_ends),
    };
    return cmocka_run_group_tests_name("cut", tests, NULL, NULL);
}
