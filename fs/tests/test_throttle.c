/* Writers who wait: when they are let through, interrupts at every moment, what was charged and not written, the end.
 * Requests are numbers here; what they are answered, and what was written, is kept. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>

#define FUSE_USE_VERSION 314
#include <fuse_lowlevel.h>

#include "log/topiclog.h"
#include "throttle.h"

#define MS_NS INT64_C(1000000)

enum { REQUESTS = 256, UNANSWERED = -1, WRITTEN = 0 };

static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct {
        int answer;
        int64_t answered_ns;
        fuse_interrupt_func_t interrupt;
        void *data;
    } requests[REQUESTS];
    bool interrupt_early; /* as soon as the function is set */
    uint64_t charged_bytes, charges;
    int64_t wait_ns; /* what the log says */
} world = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static int64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

static fuse_req_t request(int number)
{
    return (fuse_req_t)(uintptr_t)(number + 1);
}

static int number_of(fuse_req_t req)
{
    return (int)(uintptr_t)req - 1;
}

static void answer(fuse_req_t req, int what)
{
    pthread_mutex_lock(&world.lock);
    assert_int_equal(world.requests[number_of(req)].answer, UNANSWERED);
    /* Nobody may be interrupted any more by the time he has his answer, but by the one who gives it. */
    assert_true(world.requests[number_of(req)].interrupt == NULL || what == EINTR);
    world.requests[number_of(req)].answer = what;
    world.requests[number_of(req)].answered_ns = now_ns();
    pthread_cond_broadcast(&world.changed);
    pthread_mutex_unlock(&world.lock);
}

/* What throttle.c wants of libfuse and of the log. */
int fuse_reply_err(fuse_req_t req, int error)
{
    answer(req, error);
    return 0;
}

void fuse_req_interrupt_func(fuse_req_t req, fuse_interrupt_func_t function, void *data)
{
    pthread_mutex_lock(&world.lock);
    world.requests[number_of(req)].interrupt = function;
    world.requests[number_of(req)].data = data;
    bool early = function != NULL && world.interrupt_early;
    pthread_mutex_unlock(&world.lock);
    if (early)
        function(req, data);
}

int64_t tlog_partition_throttle(struct tlog_partition *partition, uint64_t bytes)
{
    (void)partition;
    pthread_mutex_lock(&world.lock);
    world.charged_bytes += bytes;
    world.charges++;
    int64_t wait_ns = world.wait_ns;
    pthread_mutex_unlock(&world.lock);
    return wait_ns;
}

static void write_now(struct fuse_req *req, const char *data, size_t bytes, off_t offset, struct fuse_file_info *fi)
{
    assert_int_equal(fi->fh, 7);
    assert_int_equal(offset, 5);
    assert_int_equal(bytes, strlen("some data\n"));
    assert_memory_equal(data, "some data\n", bytes);
    answer(req, WRITTEN);
}

static bool keeps(struct tfs_throttle *throttle, struct tfs_charged *charged, int number)
{
    const struct fuse_file_info fi = {.fh = 7};
    char data[] = "some data\n";

    bool kept = tfs_throttle_keeps(throttle, charged, NULL, request(number), data, strlen(data), 5, &fi);
    memset(data, 'x', sizeof data); /* the caller's buffer is his again */
    return kept;
}

static int answer_of(int number)
{
    pthread_mutex_lock(&world.lock);
    int got = world.requests[number].answer;
    pthread_mutex_unlock(&world.lock);
    return got;
}

static int wait_for(int number)
{
    struct timespec deadline;

    clock_gettime(CLOCK_REALTIME, &deadline);
    deadline.tv_sec += 30;
    pthread_mutex_lock(&world.lock);
    while (world.requests[number].answer == UNANSWERED)
        if (pthread_cond_timedwait(&world.changed, &world.lock, &deadline) != 0)
            break;
    int got = world.requests[number].answer;
    pthread_mutex_unlock(&world.lock);
    return got;
}

static void interrupt(int number)
{
    pthread_mutex_lock(&world.lock);
    fuse_interrupt_func_t function = world.requests[number].interrupt;
    void *data = world.requests[number].data;
    pthread_mutex_unlock(&world.lock);
    assert_non_null(function);
    function(request(number), data);
}

static int start(void **state)
{
    struct tfs_throttle *throttle = malloc(sizeof *throttle);

    for (int i = 0; i < REQUESTS; i++)
        world.requests[i].answer = UNANSWERED, world.requests[i].interrupt = NULL;
    world.interrupt_early = false;
    world.charged_bytes = world.charges = 0;
    world.wait_ns = 0;
    if (throttle == NULL)
        return -1;
    tfs_throttle_init(throttle, write_now);
    *state = throttle;
    return 0;
}

static int end(void **state)
{
    tfs_throttle_stop(*state);
    free(*state);
    return 0;
}

static void keeps_nobody_within_the_quota(void **state)
{
    struct tfs_charged charged = {0};

    assert_false(keeps(*state, &charged, 0));
    assert_int_equal(answer_of(0), UNANSWERED);
    assert_int_equal(world.charged_bytes, 10);
}

static void lets_through_when_the_time_has_come(void **state)
{
    struct tfs_charged charged = {0};
    int64_t began_ns = now_ns();

    world.wait_ns = 50 * MS_NS;
    assert_true(keeps(*state, &charged, 0));
    assert_int_equal(wait_for(0), WRITTEN);
    assert_true(world.requests[0].answered_ns - began_ns >= 50 * MS_NS);
}

static void lets_through_in_the_order_of_their_times(void **state)
{
    static const int waits_ms[] = {90, 30, 60, 120, 1};
    enum { COUNT = sizeof waits_ms / sizeof *waits_ms };
    struct tfs_charged charged[COUNT] = {0};

    for (int i = 0; i < COUNT; i++) {
        world.wait_ns = waits_ms[i] * MS_NS;
        assert_true(keeps(*state, &charged[i], i));
    }
    for (int i = 0; i < COUNT; i++)
        assert_int_equal(wait_for(i), WRITTEN);
    for (int i = 0; i < COUNT; i++)
        for (int k = 0; k < COUNT; k++)
            if (waits_ms[i] < waits_ms[k])
                assert_true(world.requests[i].answered_ns <= world.requests[k].answered_ns);
}

static void answers_an_interrupt_at_once(void **state)
{
    struct tfs_charged charged = {0};

    world.wait_ns = 3600 * 1000 * MS_NS;
    assert_true(keeps(*state, &charged, 0));
    assert_true(keeps(*state, &charged, 1));
    assert_true(keeps(*state, &charged, 2));
    interrupt(1);
    assert_int_equal(answer_of(1), EINTR);
    interrupt(0);
    interrupt(2);
    assert_int_equal(answer_of(0), EINTR);
    assert_int_equal(answer_of(2), EINTR);
}

static void notes_an_interrupt_that_comes_early(void **state)
{
    struct tfs_charged charged = {0};

    world.wait_ns = 3600 * 1000 * MS_NS;
    world.interrupt_early = true;
    assert_true(keeps(*state, &charged, 0));
    assert_int_equal(answer_of(0), EINTR);
    assert_int_equal(charged.bytes, 10);
}

/* Who is interrupted again and again is charged once, and is let through when he would have been without. */
static void charges_an_interrupted_writer_once(void **state)
{
    struct tfs_charged charged = {0};
    int64_t began_ns = now_ns();
    int number = 0;

    world.wait_ns = 100 * MS_NS;
    assert_true(keeps(*state, &charged, number));
    for (; number < 20; number++) {
        interrupt(number);
        assert_int_equal(answer_of(number), EINTR);
        assert_true(keeps(*state, &charged, number + 1));
    }
    assert_int_equal(world.charged_bytes, 10);
    assert_int_equal(world.charges, 1);
    assert_int_equal(wait_for(number), WRITTEN);
    assert_true(world.requests[number].answered_ns - began_ns >= 100 * MS_NS);
    /* All that was charged is used up. */
    world.wait_ns = 0;
    assert_false(keeps(*state, &charged, number + 1));
    assert_int_equal(world.charged_bytes, 20);
}

static void lets_all_through_at_the_end(void **state)
{
    struct tfs_charged charged = {0};

    world.wait_ns = 3600 * 1000 * MS_NS;
    for (int i = 0; i < 10; i++)
        assert_true(keeps(*state, &charged, i));
    tfs_throttle_stop(*state);
    for (int i = 0; i < 10; i++)
        assert_int_equal(answer_of(i), WRITTEN);
    tfs_throttle_init(*state, write_now);
}

struct interrupter {
    int from, to;
};

static void *interrupt_all(void *arg)
{
    const struct interrupter *own = arg;

    for (int i = own->from; i < own->to; i++) {
        pthread_mutex_lock(&world.lock);
        fuse_interrupt_func_t function = world.requests[i].interrupt;
        void *data = world.requests[i].data;
        /* As libfuse: the function is not taken away while it runs. */
        if (function != NULL && world.requests[i].answer == UNANSWERED && i % 2 == 0)
            world.requests[i].interrupt = NULL;
        else
            function = NULL;
        pthread_mutex_unlock(&world.lock);
        if (function != NULL)
            function(request(i), data);
    }
    return NULL;
}

/* Interrupts are over before writes are due, or libfuse would have to hold those back: what it does is played by the
 * length of the wait. Every request gets one answer. */
static void answers_each_once(void **state)
{
    struct tfs_charged charged[4] = {0};
    struct interrupter own = {0, REQUESTS};
    pthread_t thread;

    world.wait_ns = 200 * MS_NS;
    for (int i = 0; i < REQUESTS; i++)
        assert_true(keeps(*state, &charged[i % 4], i));
    assert_int_equal(pthread_create(&thread, NULL, interrupt_all, &own), 0);
    pthread_join(thread, NULL);
    for (int i = 0; i < REQUESTS; i++) {
        int got = wait_for(i);
        assert_true(got == WRITTEN || (got == EINTR && i % 2 == 0));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(keeps_nobody_within_the_quota, start, end),
        cmocka_unit_test_setup_teardown(lets_through_when_the_time_has_come, start, end),
        cmocka_unit_test_setup_teardown(lets_through_in_the_order_of_their_times, start, end),
        cmocka_unit_test_setup_teardown(answers_an_interrupt_at_once, start, end),
        cmocka_unit_test_setup_teardown(notes_an_interrupt_that_comes_early, start, end),
        cmocka_unit_test_setup_teardown(charges_an_interrupted_writer_once, start, end),
        cmocka_unit_test_setup_teardown(lets_all_through_at_the_end, start, end),
        cmocka_unit_test_setup_teardown(answers_each_once, start, end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
