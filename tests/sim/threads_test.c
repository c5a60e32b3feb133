/* Writers on threads of their own, upkeep on another, and the disk killed or unplugged in the middle. */
#include "workload.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { THREADS = 3, LINES = 120, POINTS = 40 };

/* What a writer's thread was told, line numbers counted from 1. */
struct told {
    uint64_t answered, synced;
};

struct thread {
    pthread_t id;
    struct crew *crew;
    unsigned number;
    struct tlog_partition *partition;
    _Atomic uint64_t answered, synced;
    int error;
};

struct point {
    struct simdisk *disk;
    struct told told[THREADS];
};

struct crew {
    uint64_t seed;
    struct simdisk *disk;
    struct tlog_store *store;
    struct thread threads[THREADS];
    _Atomic unsigned running;
    struct point points[POINTS];
    unsigned count; /* under the disk's lock, as the hook is */
    struct sim_random random;
};

static void point_hook(void *arg, enum sim_kind kind, const char *path)
{
    struct crew *crew = arg;
    (void)kind;
    (void)path;
    if (crew->count == POINTS || !sim_random_chance(&crew->random, 4))
        return;
    struct point *point = &crew->points[crew->count++];
    for (unsigned i = 0; i < THREADS; i++) {
        point->told[i].synced = atomic_load(&crew->threads[i].synced);
        point->told[i].answered = atomic_load(&crew->threads[i].answered);
    }
    point->disk = simdisk_clone(crew->disk);
}

/* Line n of a thread is "T n first|second\n"; some are written in two pieces, parted at the bar. */
static size_t compose(const struct thread *thread, uint64_t n, char *to)
{
    return (size_t)sprintf(to, "%u %" PRIu64 " %.*s|second\n", thread->number, n, (int)(n * 7 % 40),
                           "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz");
}

static void *write_lines(void *arg)
{
    struct thread *thread = arg;
    struct sim_random random;
    struct tlog_writer *writer = NULL;
    char text[256];
    sim_random_seed(&random, thread->crew->seed * 100 + thread->number);
    thread->error = tlog_writer_open(&writer, thread->partition);
    for (uint64_t n = 1; !thread->error && n <= LINES; n++) {
        size_t length = compose(thread, n, text), at = 0;
        if (sim_random_chance(&random, 40)) {
            at = (size_t)(strchr(text, '|') - text);
            ssize_t held = tlog_writer_append(writer, text, at, 0, 0);
            thread->error = held == (ssize_t)at ? 0 : (int)held;
        }
        if (!thread->error) {
            ssize_t count = tlog_writer_append(writer, text + at, length - at, length - at, 1);
            thread->error = count == (ssize_t)(length - at) ? 0 : (int)count;
        }
        if (!thread->error)
            atomic_store(&thread->answered, n);
        if (!thread->error && sim_random_chance(&random, 15)) {
            thread->error = tlog_partition_sync_wait(thread->partition);
            if (!thread->error)
                atomic_store(&thread->synced, n);
        }
    }
    if (writer)
        tlog_writer_close(writer);
    atomic_fetch_sub(&thread->crew->running, 1);
    return NULL;
}

static void *tend(void *arg)
{
    struct crew *crew = arg;
    while (atomic_load(&crew->running)) {
        simdisk_advance(crew->disk, 300000000);
        (void)tlog_store_upkeep(crew->store);
    }
    return NULL;
}

/* The lines of one thread in a partition: all that it was told of, in order, once. */
static void lines_check(const struct crew *crew, unsigned point, const char *text, size_t length, unsigned number,
                        uint64_t needed, bool cut)
{
    const char *crash = cut ? "unplugged" : "killed";
    uint64_t whole_lines = 0;
    bool halves[LINES + 1] = {false}, any_half = false;
    for (const char *at = text; at < text + length;) {
        char expected[256];
        unsigned thread;
        uint64_t n;
        const char *line = at, *newline = memchr(at, '\n', (size_t)(text + length - at));
        assert_non_null(newline);
        size_t bytes = (size_t)(newline + 1 - at);
        if (sscanf(at, "%u %" SCNu64 " ", &thread, &n) != 2 || thread >= THREADS || !n || n > LINES)
            fail_msg("seed %" PRIu64 ", point %u, %s: a line that nobody wrote", crew->seed, point, crash);
        at = newline + 1;
        if (thread != number)
            continue;
        size_t whole = compose(&crew->threads[number], n, expected);
        size_t first = (size_t)(strchr(expected, '|') - expected);
        bool half = bytes == first + 1;
        if (memcmp(line, expected, half ? first : whole) != 0 || (!half && bytes != whole))
            fail_msg("seed %" PRIu64 ", point %u, %s: thread %u's line %" PRIu64 " is torn", crew->seed, point, crash,
                     number, n);
        /* unfinished lines may survive a power cut that lost whole lines before them: those were not synced */
        bool fits = half ? n == whole_lines + 1 || (cut && n > whole_lines) : n == whole_lines + 1 && !any_half;
        if (!fits || (half && halves[n]))
            fail_msg("seed %" PRIu64 ", point %u, %s: thread %u's line %" PRIu64 " comes after its line %" PRIu64,
                     crew->seed, point, crash, number, n, whole_lines);
        any_half |= half;
        halves[n] |= half;
        whole_lines += !half;
    }
    if (whole_lines < needed)
        fail_msg("seed %" PRIu64 ", point %u, %s: thread %u's last line is %" PRIu64 " of %" PRIu64, crew->seed, point,
                 crash, number, whole_lines, needed);
}

static void point_check(const struct crew *crew, unsigned number, bool cut)
{
    struct work settings = {.max_files = 0};
    const struct point *point = &crew->points[number];
    struct simdisk *disk = simdisk_clone(point->disk);
    struct tlog_store *store;
    struct tlog_error error = {""};
    if (cut)
        simdisk_power_cut(disk, number);
    else
        simdisk_kill(disk, number);
    int result = work_open(disk, &settings, &store, &error);
    if (result)
        fail_msg("seed %" PRIu64 ", point %u: the store cannot be opened: %d %s", crew->seed, number, result,
                 error.text);
    struct tlog_topic *topic = tlog_topic_get(store, "t");
    assert_non_null(topic);
    for (unsigned i = 0; i < THREADS; i++) {
        struct tlog_partition *partition = tlog_partition_get(topic, i / 2);
        struct tlog_bounds bounds;
        assert_non_null(partition);
        tlog_partition_bounds(partition, &bounds);
        char *text = malloc(bounds.end + 1);
        assert_int_equal(tlog_partition_read(partition, 0, text, bounds.end), bounds.end);
        lines_check(crew, number, text, bounds.end, i, cut ? point->told[i].synced : point->told[i].answered, cut);
        free(text);
        tlog_partition_unref(partition);
    }
    tlog_topic_unref(topic);
    work_bury(disk, store);
    simdisk_free(disk);
}

static void crew_run(uint64_t seed)
{
    struct crew *crew = calloc(1, sizeof *crew);
    struct work settings = {.max_files = 0};
    struct tlog_error error = {""};
    struct tlog_attr attr = {.mode = 0755};
    struct tlog_topic *topic;
    pthread_t tender;
    crew->seed = seed;
    sim_random_seed(&crew->random, seed);
    crew->disk = simdisk_new(&(struct simdisk_options){.seed = seed});
    assert_int_equal(work_open(crew->disk, &settings, &crew->store, &error), 0);
    assert_int_equal(tlog_store_config_set(crew->store, "segment.bytes=2KiB\nflush.ms=1s\n", true, NULL), 0);
    assert_int_equal(tlog_topic_create(crew->store, "t", 2, &attr, &topic, &error), 0);
    assert_int_equal(tlog_store_sync(crew->store), 0);
    simdisk_hook(crew->disk, point_hook, crew);
    atomic_store(&crew->running, THREADS);
    for (unsigned i = 0; i < THREADS; i++) {
        struct thread *thread = &crew->threads[i];
        thread->crew = crew;
        thread->number = i;
        thread->partition = tlog_partition_get(topic, i / 2); /* two on one, one alone */
        assert_int_equal(pthread_create(&thread->id, NULL, write_lines, thread), 0);
    }
    assert_int_equal(pthread_create(&tender, NULL, tend, crew), 0);
    for (unsigned i = 0; i < THREADS; i++) {
        pthread_join(crew->threads[i].id, NULL);
        assert_int_equal(crew->threads[i].error, 0);
        tlog_partition_unref(crew->threads[i].partition);
    }
    pthread_join(tender, NULL);
    simdisk_hook(crew->disk, NULL, NULL);
    tlog_topic_unref(topic);
    assert_int_equal(tlog_store_close(crew->store, &error), 0);
    assert_true(crew->count > 5);
    for (unsigned i = 0; i < crew->count; i++) {
        point_check(crew, i, false);
        point_check(crew, i, true);
        simdisk_free(crew->points[i].disk);
    }
    simdisk_free(crew->disk);
    free(crew);
}

static void writers_on_threads_survive(void **state)
{
    unsigned count = 8;
    uint64_t first = work_seeds(1, &count);
    (void)state;
    for (uint64_t seed = first; seed < first + count; seed++)
        crew_run(seed);
    print_message("threads: seeds %" PRIu64 "..%" PRIu64 " (their threads' order is not repeatable)\n", first,
                  first + count - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(writers_on_threads_survive),
    };
    return cmocka_run_group_tests_name("threads", tests, NULL, NULL);
}
