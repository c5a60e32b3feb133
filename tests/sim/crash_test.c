/* Kills and power cuts at every operation: see unplug.h for what is done and model.h for what must hold. */
#include "unplug.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static void tell(const char *name, uint64_t first, unsigned count, const struct unplug_result *sum)
{
    print_message("%s: seeds %" PRIu64 "..%" PRIu64 ", %" PRIu64 " operations, %" PRIu64 " recoveries, %" PRIu64
                  " crashed in turn, %" PRIu64 " copies; %" PRIu64 " lines kept, %" PRIu64 " lost, %" PRIu64
                  " unfinished ones ended; %" PRIu64 " partitions found sealed, %" PRIu64 " trimmed\n",
                  name, first, first + count - 1, sum->operations, sum->recoveries, sum->nested, sum->copies, sum->kept,
                  sum->lost, sum->ended, sum->sealed, sum->trimmed);
}

/* Runs the seeds and fails at the first that goes wrong. */
static struct unplug_result run(const char *name, const struct unplug_options *options, uint64_t first, unsigned count)
{
    struct unplug_result result, sum = {.why = ""};
    unsigned asked = count;
    first = work_seeds(first, &count);
    for (uint64_t seed = first; seed < first + count; seed++) {
        if (!unplug_run(seed, options, &result))
            fail_msg("%s: %s (repeat with TOPICFS_SIM_SEED=%" PRIu64 ")", name, result.why, seed);
        sum.operations += result.operations;
        sum.recoveries += result.recoveries;
        sum.nested += result.nested;
        sum.copies += result.copies;
        sum.kept += result.kept;
        sum.lost += result.lost;
        sum.ended += result.ended;
        sum.sealed += result.sealed;
        sum.trimmed += result.trimmed;
    }
    tell(name, first, count, &sum);
    /* a test that met nothing proves nothing; one that was asked for less may meet less */
    if (count >= asked)
        assert_true(sum.recoveries > 100 && sum.kept > 1000 && sum.lost > 0 && sum.ended > 0);
    return sum;
}

static void appends_survive(void **state)
{
    (void)state;
    run("appends", &(struct unplug_options){.steps = 150, .cuts = 2, .more_percent = 3}, 1, 20);
}

static void changes_of_topics_survive(void **state)
{
    (void)state;
    run("topics", &(struct unplug_options){.steps = 120, .cuts = 2, .more_percent = 3, .topics = true}, 101, 16);
}

static void sealing_and_trims_survive(void **state)
{
    (void)state;
    struct unplug_result sum =
        run("keeping", &(struct unplug_options){.steps = 120, .cuts = 2, .more_percent = 5, .keeps = true}, 701, 16);
    assert_true((sum.sealed > 1000 && sum.trimmed > 1000) || getenv("TOPICFS_SIM_SEED"));
    run("keeping, nested",
        &(struct unplug_options){
            .steps = 100, .cuts = 1, .point_percent = 8, .nested_percent = 60, .more_percent = 5, .keeps = true},
        721, 8);
    run("keeping, lives",
        &(struct unplug_options){
            .steps = 150, .cuts = 1, .point_percent = 25, .crash_percent = 8, .more_percent = 5, .keeps = true},
        741, 10);
}

static void large_appends_survive(void **state)
{
    (void)state;
    run("large",
        &(struct unplug_options){.steps = 100, .cuts = 1, .point_percent = 30, .more_percent = 3, .large = true}, 201,
        8);
}

static void recoveries_survive(void **state)
{
    (void)state;
    struct unplug_result sum =
        run("nested",
            &(struct unplug_options){
                .steps = 100, .cuts = 1, .point_percent = 8, .nested_percent = 60, .more_percent = 5, .topics = true},
            301, 14);
    assert_true(sum.nested > 0 || getenv("TOPICFS_SIM_SEED"));
}

static void many_crashes_in_one_life(void **state)
{
    (void)state;
    run("lives",
        &(struct unplug_options){
            .steps = 200, .cuts = 1, .point_percent = 25, .crash_percent = 8, .more_percent = 3, .topics = true},
        401, 30);
}

static void copies_are_stores(void **state)
{
    (void)state;
    struct unplug_result sum =
        run("copies", &(struct unplug_options){.steps = 300, .cuts = 1, .point_percent = 8, .copies = true}, 501, 10);
    assert_true(sum.copies > 0 || getenv("TOPICFS_SIM_SEED"));
    sum = run("copies, keeping",
              &(struct unplug_options){.steps = 300, .cuts = 1, .point_percent = 4, .copies = true, .keeps = true}, 521,
              14);
    assert_true(sum.copies > 0 || getenv("TOPICFS_SIM_SEED"));
}

/* The suite must notice a disk that does not keep what it was told to sync: then it would notice a sync that the
 * library forgot. Each is a sync that stands somewhere in log/. */
static const struct lie {
    const char *sync, *sync_dir;
} lies[] =
    {
        {"/journal/", NULL},   /* group commit */
        {".log", NULL},        /* flushing a partition's files */
        {".idx", NULL},        /* the same */
        {"/checkpoint", NULL}, /* every round of upkeep */
        {"/topic.conf", NULL}, /* making and configuring a topic */
        {"/id", NULL},         /* making a store */
        {NULL, "/journal"},    /* a new file of the journal */
        {NULL, "/topics"},     /* topics, partitions and segments */
        {NULL, "/store"},
},
  keeping_lies[] = {
      {".zst", NULL},      /* a sealed file before it gets its name */
      {NULL, "/topics"},   /* that name, before the raw files go */
      {"/journal/", NULL}, /* a new start, before the segments below it go */
};

static void notice(const struct lie *lie, struct unplug_options options, uint64_t first, unsigned seeds)
{
    struct unplug_result result;
    uint64_t seed = first;
    options.lie_sync = lie->sync;
    options.lie_sync_dir = lie->sync_dir;
    while (seed < first + seeds && unplug_run(seed, &options, &result))
        seed++;
    if (seed == first + seeds)
        fail_msg("nothing noticed that syncs of \"%s\" do nothing", lie->sync ? lie->sync : lie->sync_dir);
    print_message("%s %s is not synced: %s\n", lie->sync ? "file" : "directory", lie->sync ? lie->sync : lie->sync_dir,
                  result.why);
}

static void syncs_that_do_nothing_are_noticed(void **state)
{
    const struct unplug_options options = {
        .steps = 150, .cuts = 2, .crash_percent = 5, .more_percent = 10, .topics = true};
    (void)state;
    for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++)
        notice(&lies[i], options, 601, 10);
}

static void syncs_that_do_nothing_while_sealing_are_noticed(void **state)
{
    const struct unplug_options options = {.steps = 150, .cuts = 3, .keeps = true, .lie_keeping = true};
    (void)state;
    for (size_t i = 0; i < sizeof keeping_lies / sizeof keeping_lies[0]; i++)
        notice(&keeping_lies[i], options, 621, 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(appends_survive),
        cmocka_unit_test(changes_of_topics_survive),
        cmocka_unit_test(sealing_and_trims_survive),
        cmocka_unit_test(large_appends_survive),
        cmocka_unit_test(recoveries_survive),
        cmocka_unit_test(many_crashes_in_one_life),
        cmocka_unit_test(copies_are_stores),
        cmocka_unit_test(syncs_that_do_nothing_are_noticed),
        cmocka_unit_test(syncs_that_do_nothing_while_sealing_are_noticed),
    };
    return cmocka_run_group_tests_name("crash", tests, NULL, NULL);
}
