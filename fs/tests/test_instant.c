/* Instants: whose they are, how long they are found again, what is in them, when they are freed. The log's cuts are
 * played, and time passes by setting back when an instant was used. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "daemon.h"
#include "instant.h"
#include "tree.h"

static struct {
    int cuts, freed; /* made, and given back */
    int refs, pins;  /* of partitions */
    bool trimmed;    /* no pin is to be had */
    int64_t time_ns; /* of the last cut */
    char gone[64];   /* the name that the kernel was told to forget last */
    int told;
    const char *topics[8]; /* of each cut; NULL: no more */
} world;

int tlog_store_cut(struct tlog_store *store, int64_t time_ns, struct tlog_cut **out, size_t *count)
{
    (void)store;
    if (time_ns > INT64_C(4000000000) * 1000000000)
        return -EINVAL;
    world.cuts++;
    world.time_ns = time_ns;
    *count = 0;
    while (world.topics[*count] != NULL)
        ++*count;
    *out = calloc(*count + 1, sizeof **out);
    assert_non_null(*out);
    for (size_t i = 0; i < *count; i++)
        (*out)[i] = (struct tlog_cut){
            .topic = (struct tlog_topic *)(uintptr_t)world.topics[i],
            .pin.partition = (struct tlog_partition *)(uintptr_t)(i + 1),
            .start = 10 * i,
            .end = 10 * i + 5,
        };
    return 0;
}

void tlog_cuts_free(struct tlog_cut *cuts, size_t count)
{
    (void)count;
    world.freed++;
    free(cuts);
}

void tlog_topic_name(struct tlog_topic *topic, char to[256])
{
    snprintf(to, 256, "%s", (const char *)topic);
}

struct tlog_partition *tlog_partition_ref(struct tlog_partition *partition)
{
    world.refs++;
    return partition;
}

void tlog_partition_unref(struct tlog_partition *partition)
{
    (void)partition;
    world.refs--;
}

int tlog_partition_pin(struct tlog_partition *partition, uint64_t pos, struct tlog_pin *pin)
{
    if (world.trimmed)
        return -ESTALE;
    *pin = (struct tlog_pin){.partition = partition, .pos = pos};
    world.pins++;
    return 0;
}

void tlog_pin_release(struct tlog_pin *pin)
{
    world.pins -= pin->partition != NULL;
}

int tfs_tree_find_top(struct tfs *fs, struct tfs_node *directory, const char *name, struct tfs_node **out)
{
    (void)fs;
    assert_string_equal(name, ".at");
    *out = directory;
    return 0;
}

uint64_t tfs_node_id(const struct tfs *fs, const struct tfs_node *node)
{
    (void)fs, (void)node;
    return 42;
}

void tfs_node_unref(struct tfs *fs, struct tfs_node *node, uint64_t count)
{
    (void)fs, (void)node, (void)count;
}

void tfs_notify_gone(struct tfs_notify *notify, uint64_t parent, const char *name)
{
    (void)notify;
    assert_int_equal(parent, 42);
    snprintf(world.gone, sizeof world.gone, "%s", name);
    world.told++;
}

static int start(void **state)
{
    struct tfs *fs = calloc(1, sizeof *fs);

    memset(&world, 0, sizeof world);
    if (fs == NULL)
        return -1;
    tfs_instants_init(&fs->instants);
    *state = fs;
    return 0;
}

/* Whatever was taken is given back. */
static int end(void **state)
{
    struct tfs *fs = *state;

    tfs_instants_release(&fs->instants);
    bool left = world.cuts != world.freed || world.refs != 0 || world.pins != 0 || fs->instants.list != NULL;
    free(fs);
    return left ? -1 : 0;
}

static struct tfs_instant *find(struct tfs *fs, const char *name, pid_t caller)
{
    struct tfs_instant *instant = NULL;

    assert_int_equal(tfs_instant_find(fs, name, caller, &instant), 0);
    return instant;
}

static void pass(struct tfs_instant *instant, int64_t seconds)
{
    atomic_fetch_sub(&instant->used_ns, seconds * INT64_C(1000000000));
}

static pid_t other(void)
{
    return getppid();
}

static void is_the_same_for_a_process(void **state)
{
    struct tfs_instant *first = find(*state, "now", getpid());

    assert_ptr_equal(find(*state, "now", getpid()), first);
    assert_int_equal(world.cuts, 1);
    assert_int_equal(world.time_ns, 0);
    tfs_instant_unref(*state, first);
    tfs_instant_unref(*state, first);
}

static void *find_in_thread(void *fs)
{
    return find(fs, "now", gettid());
}

static void is_the_same_for_its_threads(void **state)
{
    struct tfs_instant *first = find(*state, "now", getpid());
    pthread_t thread;
    void *found;

    assert_int_equal(pthread_create(&thread, NULL, find_in_thread, *state), 0);
    pthread_join(thread, &found);
    assert_ptr_equal(found, first);
    tfs_instant_unref(*state, first);
    tfs_instant_unref(*state, first);
}

static void is_another_for_another_process(void **state)
{
    struct tfs_instant *first = find(*state, "now", getpid()), *second = find(*state, "now", other());

    assert_ptr_not_equal(first, second);
    assert_ptr_equal(find(*state, "now", getpid()), first);
    assert_int_equal(world.cuts, 2);
    tfs_instant_unref(*state, first);
    tfs_instant_unref(*state, first);
    tfs_instant_unref(*state, second);
}

/* The kernel forgets a name that leads elsewhere for another process. */
static void is_found_again_when_no_node_refers_to_it(void **state)
{
    static const char topic[] = "t";

    world.topics[0] = topic;
    struct tfs_instant *first = find(*state, "now", getpid());
    tfs_instant_unref(*state, first);
    assert_int_equal(world.refs, 1);
    assert_ptr_equal(find(*state, "now", getpid()), first);
    tfs_instant_unref(*state, first);
    pass(first, TFS_INSTANT_OWN_SECONDS + 1);
    tfs_instants_expire(*state);
    assert_int_equal(world.refs, 0);
}

static void is_a_new_one_when_unused(void **state)
{
    struct tfs_instant *first = find(*state, "now", getpid());

    pass(first, TFS_INSTANT_OWN_SECONDS - 1);
    assert_ptr_equal(find(*state, "now", getpid()), first);
    pass(first, TFS_INSTANT_OWN_SECONDS + 1);
    struct tfs_instant *second = find(*state, "now", getpid());
    assert_ptr_not_equal(first, second);
    assert_ptr_equal(find(*state, "now", getpid()), second);
    tfs_instant_unref(*state, first);
    tfs_instant_unref(*state, first);
    tfs_instant_unref(*state, second);
    tfs_instant_unref(*state, second);
}

static void stays_while_something_is_open_in_it(void **state)
{
    struct tfs_instant *first = find(*state, "now", getpid());

    tfs_instant_use(*state, first, 1);
    pass(first, 100000);
    tfs_instants_expire(*state);
    assert_ptr_equal(find(*state, "now", getpid()), first);
    assert_int_equal(world.told, 0);
    tfs_instant_use(*state, first, -1);
    assert_int_equal(atomic_load(&first->open), 0);
    tfs_instant_unref(*state, first);
    tfs_instant_unref(*state, first);
}

static void of_the_calendar_is_everybodys(void **state)
{
    struct tfs_instant *first = find(*state, "2026-11-22", getpid());

    assert_int_equal(world.time_ns, INT64_C(1795305600) * 1000000000);
    pass(first, TFS_INSTANT_OWN_SECONDS + 1);
    assert_ptr_equal(find(*state, "2026-11-22", other()), first);
    struct tfs_instant *second = find(*state, "2026-11-22T00:00:00Z", getpid());
    assert_ptr_not_equal(second, first);
    tfs_instant_unref(*state, first);
    tfs_instant_unref(*state, first);
    tfs_instant_unref(*state, second);
}

static void refuses_other_names(void **state)
{
    static const char *const names[] = {"",   "nov",  "now2",       "-",
                                        "-5", "2026", "9000-01-01", "2026-11-22T10:00:00.00000000000000Z"};
    struct tfs_instant *instant;

    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        assert_int_equal(tfs_instant_find(*state, names[i], getpid(), &instant), -ENOENT);
    assert_int_equal(world.cuts, 0);
}

static void has_its_topics_by_name(void **state)
{
    static const char a[] = "a", b[] = "b", c[] = "c";

    /* As they come when one was renamed between the cut and the look at its name. */
    world.topics[0] = c, world.topics[1] = c, world.topics[2] = a, world.topics[3] = b, world.topics[4] = b;
    struct tfs_instant *instant = find(*state, "now", getpid());
    assert_int_equal(instant->topic_count, 3);
    assert_string_equal(instant->topics[0].name, "a");
    assert_string_equal(instant->topics[1].name, "b");
    assert_string_equal(instant->topics[2].name, "c");
    assert_int_equal(instant->count, 5);
    assert_int_equal(instant->files[3].start, 30);
    assert_int_equal(instant->files[3].end, 35);
    assert_int_equal(instant->topics[0].count, 1);
    assert_int_equal(instant->topics[1].count, 2);
    assert_int_equal(instant->topics[2].count, 2);
    assert_ptr_equal(instant->topics[0].files, &instant->files[2]);
    assert_ptr_equal(instant->topics[1].files, &instant->files[3]);
    assert_ptr_equal(instant->topics[2].files, &instant->files[0]);
    tfs_instant_unref(*state, instant);
}

static void is_forgotten_once_when_idle(void **state)
{
    static const char topic[] = "t";

    world.topics[0] = topic;
    struct tfs_instant *instant = find(*state, "-1h", getpid());
    pass(instant, TFS_INSTANT_IDLE_SECONDS - 1);
    tfs_instants_expire(*state);
    assert_int_equal(world.told, 0);
    pass(instant, 2);
    tfs_instants_expire(*state);
    assert_int_equal(world.told, 1);
    assert_string_equal(world.gone, "-1h");
    tfs_instants_expire(*state);
    assert_int_equal(world.told, 1);
    assert_int_equal(world.refs, 1); /* a working directory may be in it */
    tfs_instant_unref(*state, instant);
    assert_int_equal(world.refs, 0);
}

static void pins_while_it_is_in_use(void **state)
{
    static const char topic[] = "t";

    world.topics[0] = world.topics[1] = topic;
    struct tfs_instant *instant = find(*state, "now", getpid());
    assert_int_equal(world.pins, 2);
    tfs_instants_expire(*state);
    assert_int_equal(world.pins, 2);
    pass(instant, TFS_INSTANT_OWN_SECONDS + 1);
    tfs_instant_use(*state, instant, 1);
    pass(instant, TFS_INSTANT_OWN_SECONDS + 1);
    tfs_instants_expire(*state);
    assert_int_equal(world.pins, 2);
    tfs_instant_use(*state, instant, -1);
    pass(instant, TFS_INSTANT_OWN_SECONDS + 1);
    tfs_instants_expire(*state);
    tfs_instants_expire(*state);
    assert_int_equal(world.pins, 0);
    tfs_instant_use(*state, instant, 0);
    assert_int_equal(world.pins, 2);
    pass(instant, TFS_INSTANT_OWN_SECONDS + 1);
    tfs_instants_expire(*state);
    world.trimmed = true;
    tfs_instant_use(*state, instant, 1);
    assert_int_equal(world.pins, 0);
    tfs_instant_use(*state, instant, -1);
    tfs_instant_unref(*state, instant);
}

/* The name leads to the other one. */
static void is_not_forgotten_beside_one_in_use(void **state)
{
    struct tfs_instant *first = find(*state, "now", getpid()), *second = find(*state, "now", other());

    pass(first, TFS_INSTANT_IDLE_SECONDS + 1);
    tfs_instants_expire(*state);
    assert_int_equal(world.told, 0);
    pass(second, TFS_INSTANT_IDLE_SECONDS + 1);
    tfs_instants_expire(*state);
    assert_true(world.told > 0);
    tfs_instant_unref(*state, first);
    tfs_instant_unref(*state, second);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(is_the_same_for_a_process, start, end),
        cmocka_unit_test_setup_teardown(is_the_same_for_its_threads, start, end),
        cmocka_unit_test_setup_teardown(is_another_for_another_process, start, end),
        cmocka_unit_test_setup_teardown(is_found_again_when_no_node_refers_to_it, start, end),
        cmocka_unit_test_setup_teardown(is_a_new_one_when_unused, start, end),
        cmocka_unit_test_setup_teardown(stays_while_something_is_open_in_it, start, end),
        cmocka_unit_test_setup_teardown(of_the_calendar_is_everybodys, start, end),
        cmocka_unit_test_setup_teardown(refuses_other_names, start, end),
        cmocka_unit_test_setup_teardown(has_its_topics_by_name, start, end),
        cmocka_unit_test_setup_teardown(pins_while_it_is_in_use, start, end),
        cmocka_unit_test_setup_teardown(is_forgotten_once_when_idle, start, end),
        cmocka_unit_test_setup_teardown(is_not_forgotten_beside_one_in_use, start, end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
