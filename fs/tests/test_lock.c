/* Advisory locks: who gets them, who waits and in what order, interrupts, and ranges against a plain model. Requests
 * are numbers here, and what they are answered is kept. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define FUSE_USE_VERSION 314
#include <fuse_lowlevel.h>

#include "lock.h"

enum { REQUESTS = 64, UNANSWERED = -1 };

static struct {
    int answer;
    fuse_interrupt_func_t interrupt;
    void *data;
} requests[REQUESTS];

static fuse_req_t request(int number)
{
    return (fuse_req_t)(uintptr_t)(number + 1);
}

static int number_of(fuse_req_t req)
{
    return (int)(uintptr_t)req - 1;
}

/* What lock.c wants of libfuse. */
int fuse_reply_err(fuse_req_t req, int error)
{
    int number = number_of(req);

    assert_int_equal(requests[number].answer, UNANSWERED);
    /* Nobody may be interrupted any more by the time he has his answer. */
    assert_true(requests[number].interrupt == NULL || error == EINTR);
    requests[number].answer = error;
    return 0;
}

void fuse_req_interrupt_func(fuse_req_t req, fuse_interrupt_func_t function, void *data)
{
    requests[number_of(req)].interrupt = function;
    requests[number_of(req)].data = data;
}

static void interrupt(int number)
{
    requests[number].interrupt(request(number), requests[number].data);
}

static int start(void **state)
{
    struct tfs_locks *locks = malloc(sizeof *locks);

    for (int i = 0; i < REQUESTS; i++)
        requests[i].answer = UNANSWERED, requests[i].interrupt = NULL, requests[i].data = NULL;
    if (locks == NULL)
        return -1;
    tfs_locks_init(locks);
    *state = locks;
    return 0;
}

static int end(void **state)
{
    tfs_locks_release(*state);
    free(*state);
    return 0;
}

static struct tfs_lock range(short type, uint64_t owner, uint64_t from, uint64_t to)
{
    return (struct tfs_lock){
        .kind = TFS_RANGE, .type = type, .owner = owner, .handle = owner, .start = from, .end = to};
}

static struct tfs_lock whole(short type, uint64_t owner)
{
    return (struct tfs_lock){.kind = TFS_FLOCK, .type = type, .owner = owner, .handle = owner, .end = INT64_MAX};
}

static int set(struct tfs_locks *locks, int number, struct tfs_lock want, bool wait)
{
    tfs_locks_set(locks, request(number), &want, wait);
    return requests[number].answer;
}

static void readers_share_and_writers_do_not(void **state)
{
    assert_int_equal(set(*state, 0, range(F_RDLCK, 1, 0, 9), false), 0);
    assert_int_equal(set(*state, 1, range(F_RDLCK, 2, 5, 14), false), 0);
    assert_int_equal(set(*state, 2, range(F_WRLCK, 3, 9, 20), false), EAGAIN);
    assert_int_equal(set(*state, 3, range(F_WRLCK, 3, 15, 20), false), 0);
    assert_int_equal(set(*state, 4, range(F_RDLCK, 1, 20, 20), false), EAGAIN);
    /* One's own lock is never in the way. */
    assert_int_equal(set(*state, 5, range(F_RDLCK, 3, 16, 17), false), 0);
}

static void the_kinds_do_not_see_each_other(void **state)
{
    assert_int_equal(set(*state, 0, range(F_WRLCK, 1, 0, INT64_MAX), false), 0);
    assert_int_equal(set(*state, 1, whole(F_WRLCK, 2), false), 0);
}

static void waiters_are_served_in_their_order(void **state)
{
    assert_int_equal(set(*state, 0, whole(F_WRLCK, 1), true), 0);
    assert_int_equal(set(*state, 1, whole(F_WRLCK, 2), true), UNANSWERED);
    assert_int_equal(set(*state, 2, whole(F_WRLCK, 3), true), UNANSWERED);
    assert_int_equal(set(*state, 3, whole(F_UNLCK, 1), false), 0);
    assert_int_equal(requests[1].answer, 0);
    assert_int_equal(requests[2].answer, UNANSWERED);
    tfs_locks_drop_handle(*state, 2);
    assert_int_equal(requests[2].answer, 0);
}

static void all_readers_are_let_in_at_once(void **state)
{
    assert_int_equal(set(*state, 0, range(F_WRLCK, 1, 0, 9), true), 0);
    for (int i = 1; i <= 5; i++)
        assert_int_equal(set(*state, i, range(F_RDLCK, (uint64_t)i + 1, 0, 9), true), UNANSWERED);
    assert_int_equal(set(*state, 6, range(F_RDLCK, 1, 0, 9), false), 0); /* from write to read */
    for (int i = 1; i <= 5; i++)
        assert_int_equal(requests[i].answer, 0);
}

static void an_interrupt_ends_the_wait_of_one(void **state)
{
    assert_int_equal(set(*state, 0, whole(F_WRLCK, 1), true), 0);
    for (int i = 1; i <= 3; i++)
        assert_int_equal(set(*state, i, whole(F_WRLCK, (uint64_t)i + 1), true), UNANSWERED);
    interrupt(3); /* the last in the queue, so that its end moves */
    assert_int_equal(requests[3].answer, EINTR);
    interrupt(1);
    assert_int_equal(requests[1].answer, EINTR);
    assert_int_equal(set(*state, 4, whole(F_WRLCK, 5), true), UNANSWERED);
    tfs_locks_drop_handle(*state, 1);
    assert_int_equal(requests[2].answer, 0);
    assert_int_equal(requests[4].answer, UNANSWERED);
    tfs_locks_drop_handle(*state, 3);
    assert_int_equal(requests[4].answer, 0);
}

static void the_end_answers_who_still_waits(void **state)
{
    struct tfs_locks locks;

    (void)state;
    tfs_locks_init(&locks);
    assert_int_equal(set(&locks, 0, whole(F_WRLCK, 1), true), 0);
    assert_int_equal(set(&locks, 1, whole(F_RDLCK, 2), true), UNANSWERED);
    tfs_locks_release(&locks);
    assert_int_equal(requests[1].answer, ENOLCK);
}

static void changing_a_flock_gives_it_up_first(void **state)
{
    assert_int_equal(set(*state, 0, whole(F_RDLCK, 1), false), 0);
    assert_int_equal(set(*state, 1, whole(F_RDLCK, 2), false), 0);
    assert_int_equal(set(*state, 2, whole(F_WRLCK, 1), true), UNANSWERED);
    /* Both wish to become writers: as the first gave up its lock, the second gets it. */
    assert_int_equal(set(*state, 3, whole(F_WRLCK, 2), true), 0);
    tfs_locks_drop_handle(*state, 2);
    assert_int_equal(requests[2].answer, 0);
}

static void a_process_that_closes_loses_its_ranges_and_no_flock(void **state)
{
    struct tfs_lock found, probe = range(F_WRLCK, 9, 0, INT64_MAX);

    assert_int_equal(set(*state, 0, range(F_WRLCK, 1, 3, 7), false), 0);
    assert_int_equal(set(*state, 1, whole(F_WRLCK, 1), false), 0);
    assert_true(tfs_locks_any_range(*state));
    assert_true(tfs_locks_test(*state, &probe, &found));
    assert_int_equal(found.start, 3);
    assert_int_equal(found.end, 7);
    tfs_locks_drop_owner(*state, 1);
    assert_false(tfs_locks_any_range(*state));
    assert_int_equal(set(*state, 2, whole(F_RDLCK, 2), false), EAGAIN);
}

/* Random locks of three owners on 16 bytes, each byte's state kept beside. */
static void ranges_are_what_a_plain_model_says(void **state)
{
    enum { BYTES = 16, OWNERS = 3, STEPS = 20000 };
    short model[OWNERS][BYTES];

    for (int owner = 0; owner < OWNERS; owner++)
        for (int i = 0; i < BYTES; i++)
            model[owner][i] = F_UNLCK;
    srand(5);
    for (int step = 0; step < STEPS; step++) {
        static const short types[] = {F_RDLCK, F_WRLCK, F_UNLCK};
        int owner = rand() % OWNERS, from = rand() % BYTES, to = from + rand() % (BYTES - from);
        short type = types[rand() % 3];
        bool conflict = false;

        for (int other = 0; other < OWNERS; other++)
            for (int i = from; i <= to; i++)
                conflict |= other != owner && type != F_UNLCK && model[other][i] != F_UNLCK &&
                            (type == F_WRLCK || model[other][i] == F_WRLCK);
        requests[0].answer = UNANSWERED;
        int answer = set(*state, 0, range(type, (uint64_t)owner + 1, (uint64_t)from, (uint64_t)to), false);
        if (answer != (conflict ? EAGAIN : 0))
            fail_msg("step %d: answered %d", step, answer);
        for (int i = from; !conflict && i <= to; i++)
            model[owner][i] = type;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(readers_share_and_writers_do_not, start, end),
        cmocka_unit_test_setup_teardown(the_kinds_do_not_see_each_other, start, end),
        cmocka_unit_test_setup_teardown(waiters_are_served_in_their_order, start, end),
        cmocka_unit_test_setup_teardown(all_readers_are_let_in_at_once, start, end),
        cmocka_unit_test_setup_teardown(an_interrupt_ends_the_wait_of_one, start, end),
        cmocka_unit_test_setup_teardown(the_end_answers_who_still_waits, start, end),
        cmocka_unit_test_setup_teardown(changing_a_flock_gives_it_up_first, start, end),
        cmocka_unit_test_setup_teardown(a_process_that_closes_loses_its_ranges_and_no_flock, start, end),
        cmocka_unit_test_setup_teardown(ranges_are_what_a_plain_model_says, start, end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
